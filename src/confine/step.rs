//! `Step`: the steps of a confinement, and what is said if one fails.

use std::fmt;
use std::io;

use crossmist_policy::steps::{self, SecondNet};

use super::fields::{number, put_number};
use crate::error::ChildText;
use crate::object::{DecodeError, Decoder, Encoder, Object};

/// One step of a confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Threads,
    ControlGroup,
    Network,
    Ipc,
    Mount,
    Namespaces,
    Descriptors,
    Standard,
    Environment,
    Inherit,
    Limits,
    BoundingSet,
    Securebits,
    User,
    Capabilities,
    ParentDeath,
    NoNewPrivs,
    Memory,
    DenyWriteExecute,
    Dumpable,
    Handler,
    Landlock,
    Seccomp,
}

impl Step {
    const ALL: &'static [Self] = &[
        Self::Threads,
        Self::ControlGroup,
        Self::Network,
        Self::Ipc,
        Self::Mount,
        Self::Namespaces,
        Self::Descriptors,
        Self::Standard,
        Self::Environment,
        Self::Inherit,
        Self::Limits,
        Self::BoundingSet,
        Self::Securebits,
        Self::User,
        Self::Capabilities,
        Self::ParentDeath,
        Self::NoNewPrivs,
        Self::Memory,
        Self::DenyWriteExecute,
        Self::Dumpable,
        Self::Handler,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// Completes the sentence "it could not …".
    fn name(self) -> &'static str {
        match self {
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
                 pivot_root)"
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
        }
    }

    /// Returns the entry for what the step needs of the kernel, if some kernels do not have it.
    fn asks(self) -> Option<&'static steps::Step> {
        match self {
            Self::Descriptors => steps::asking_for("close_range"),
            Self::Mount => steps::asking_for("unshare(CLONE_NEWNS)"),
            Self::NoNewPrivs => steps::asking_for("PR_SET_NO_NEW_PRIVS"),
            Self::DenyWriteExecute => Some(SecondNet::DenyWriteExecute.step()),
            Self::Seccomp => steps::asking_for("SECCOMP_RET_KILL_PROCESS"),
            _ => None,
        }
    }

    /// Returns what can be done about it.
    fn cure(self) -> Option<&'static str> {
        Some(match self {
            Self::Threads => {
                "a library starts a thread before `main`; set the variable that stops it by \
                 `crossmist::keeper::env`, or leave the library out"
            }
            Self::ControlGroup => {
                "a program may move its children between groups if it may write to cgroup.procs of the \
                 closest group above both; let the policy say `[limits] control_group = \"none\"`"
            }
            Self::Inherit => {
                "the child has the settings of the keeper's first caller, and may not change them: \
                 after `crossmist::keeper::end`, the next call starts another keeper"
            }
            Self::Network => {
                "that needs CAP_SYS_ADMIN, and no filter or limit (sysctl user.max_net_namespaces) that \
                 forbids it: let the keeper use a user namespace, by `user = \"if-needed\"` in \
                 `[namespaces]`, or say `network = \"if-possible\"` there"
            }
            Self::Ipc => {
                "that needs CAP_SYS_ADMIN, and no filter or limit (sysctl user.max_ipc_namespaces) that \
                 forbids it: let the keeper use a user namespace, by `user = \"if-needed\"` in \
                 `[namespaces]`, or say `ipc = \"if-possible\"` there"
            }
            Self::Mount => {
                "that needs CAP_SYS_ADMIN, a root directory that is the root of a mount (a program that has called \
                 chroot(2) may have none), and no filter or limit (sysctl user.max_mnt_namespaces) that forbids it: \
                 let the keeper use a user namespace, by `user = \"if-needed\"` in `[namespaces]`, or say \
                 `mount = \"if-possible\"` there"
            }
            Self::User => {
                "under root each child takes a random user id that /proc/self/uid_map and gid_map \
                 allow: mount /proc, or let the child keep root's user by `[process] user = \
                 \"same\"` in the policy"
            }
            Self::BoundingSet | Self::Securebits => {
                "a process with capabilities needs CAP_SETPCAP to give them up for good: run the \
                 program with it, or without any"
            }
            Self::ParentDeath => "the keeper was killed meanwhile: call again",
            Self::DenyWriteExecute => {
                "a kernel without it is an error only if the policy says `[kernel] require = \
                 [\"deny_write_execute\"]`; `[process] deny_write_execute = false` relies on the \
                 filter alone"
            }
            Self::Landlock | Self::Seccomp => {
                "the program may itself be confined, by a container perhaps, so that it can't \
                 confine its children, or has used up the layers that the kernel allows"
            }
            Self::Handler => "the process was confined before",
            _ => return None,
        })
    }
}

/// A number of bytes in words.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 20 => write!(f, "{}KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{}MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

/// The step that failed, and the operating system's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    step: Step,
    errno: i32,
    /// Memory that was reserved before the start, and how much of it may be used. Both are 0 if the
    /// failure is not about that.
    reserve: [u64; 2],
    /// The threads that there are beside the first one. Empty if the failure is not about that.
    threads: ChildText,
}

impl Failure {
    pub(crate) fn new(step: Step, errno: i32) -> Self {
        Self {
            step,
            errno,
            reserve: [0; 2],
            threads: ChildText::new(String::new()),
        }
    }

    /// The process has these threads beside its first one.
    pub(super) fn threads(others: String) -> Self {
        Self {
            threads: ChildText::new(others),
            ..Self::new(Step::Threads, libc::EBUSY)
        }
    }

    /// The process started with more writable memory than it may have.
    pub(super) fn unbounded(reserved: u64, memory: u64) -> Self {
        Self {
            reserve: [reserved, memory],
            ..Self::new(Step::Memory, libc::ENOMEM)
        }
    }

    pub(crate) fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let step = Step::ALL.iter().position(|step| *step == self.step);
        encoder.put(&[step
            .and_then(|step| u8::try_from(step).ok())
            .unwrap_or(u8::MAX)]);
        encoder.put(&self.errno.to_le_bytes());
        self.reserve
            .iter()
            .for_each(|bytes| put_number(encoder, *bytes));
        encoder.bytes(self.threads.as_raw().as_bytes());
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let step = decoder.byte()?;
        let Some(step) = Step::ALL.get(usize::from(step)).copied() else {
            return Err(decoder.error("the number of a step of the confinement", step));
        };
        let errno = decoder.array().map(i32::from_le_bytes)?;
        Ok(Self {
            step,
            errno,
            reserve: [number(decoder)?, number(decoder)?],
            threads: ChildText::new(String::decode(decoder)?),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [reserved, memory] = self.reserve;
        if reserved != 0 {
            return write!(
                f,
                "it could not bound its memory: the process starts with {} that it could write to \
                 without asking for more, and the policy's `limits.memory` is {}; allow that much, or have \
                 less reserved: large static arrays count, and what an allocator maps ahead, for which it \
                 may have a variable (`crossmist::keeper::env`)",
                Size(reserved),
                Size(memory)
            );
        }
        write!(f, "it could not {}: ", self.step.name())?;
        match self.threads.as_raw() {
            "" => write!(f, "{}", io::Error::from_raw_os_error(self.errno))?,
            _ => write!(f, "it has {}", self.threads)?,
        }
        // A kernel returns this if it does not know a call, or an option of a call.
        if let (libc::ENOSYS | libc::EINVAL, Some(asks)) = (self.errno, self.step.asks()) {
            write!(f, "; {} needs {}", asks.asks_for, asks.since)?;
        }
        match self.step.cure() {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}
