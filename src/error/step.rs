//! `Step`: the steps by which a child confines itself.

use std::fmt;

/// One step of a child's confinement. The order of the variants says nothing about the order of the steps.
///
/// [`Display`](fmt::Display) completes the sentence "it could not …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, crate::Object)]
#[non_exhaustive]
pub enum Step {
    /// It has one thread, so that its whole process gives up what this thread gives up.
    Threads,
    /// It joins the control group that was made for it.
    ControlGroup,
    /// It enters a network namespace, or creates one.
    Network,
    /// It creates an IPC namespace.
    Ipc,
    /// It gets a root directory of its own.
    Mount,
    /// It is in every namespace that its policy requires.
    Namespaces,
    /// It closes every descriptor that it was not given.
    Descriptors,
    /// It sets up its standard descriptors.
    Standard,
    /// It sets its environment.
    Environment,
    /// It takes over its caller's scheduling, umask and limits.
    Inherit,
    /// It lowers its resource limits.
    Limits,
    /// It empties its capability bounding set.
    BoundingSet,
    /// It locks its securebits.
    Securebits,
    /// It becomes a user of its own.
    User,
    /// It gives up its capabilities.
    Capabilities,
    /// It binds its life to the keeper's.
    ParentDeath,
    /// It sets no_new_privs.
    NoNewPrivs,
    /// It bounds its memory.
    Memory,
    /// It forbids memory that is writable and executable.
    DenyWriteExecute,
    /// It keeps other processes from inspecting it.
    Dumpable,
    /// It installs the handler that reports denied calls.
    Handler,
    /// It enforces its Landlock ruleset.
    Landlock,
    /// It loads its seccomp filter.
    Seccomp,
    /// It reports that it is confined.
    Report,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "count on being its only thread",
            Self::ControlGroup => "join its control group (cgroup.procs)",
            Self::Descriptors => "close the descriptors that are not its (close_range)",
            Self::Standard => "set up its standard descriptors",
            Self::Environment => "set its environment",
            Self::Inherit => "take over the processors, priorities and limits of its caller",
            Self::Network => {
                "get into a network namespace without interfaces (unshare or setns, CLONE_NEWNET)"
            }
            Self::Ipc => "get into an IPC namespace of its own (unshare, CLONE_NEWIPC)",
            Self::Mount => {
                "get a root directory of its own (unshare, CLONE_NEWNS; open_tree, mount_setattr, move_mount, \
                 pivot_root or chroot)"
            }
            Self::Namespaces => "find itself in every namespace that its policy requires",
            Self::Limits => "set a resource limit (prlimit)",
            Self::BoundingSet => "empty its capability bounding set",
            Self::Securebits => "lock its securebits",
            Self::User => "take a user of its own (getrandom, setgroups, setresgid, setresuid)",
            Self::Capabilities => "give up its capabilities",
            Self::ParentDeath => "bind its life to the keeper's (PR_SET_PDEATHSIG)",
            Self::NoNewPrivs => "set no_new_privs",
            Self::Memory => "bound its memory (prlimit)",
            Self::DenyWriteExecute => "forbid writable and executable memory (PR_SET_MDWE)",
            Self::Dumpable => "keep others from looking into it (PR_SET_DUMPABLE)",
            Self::Handler => "handle SIGSYS",
            Self::Landlock => "enforce its Landlock ruleset",
            Self::Seccomp => "load its seccomp filter",
            Self::Report => "report that it is confined",
        })
    }
}
