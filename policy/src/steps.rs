//! The steps of a confinement: what each is for, which kernel introduced it, and what is lost without it.
//!
//! One table, from which errors, `cargo crossmist kernel`, `explain` and the table in SECURITY.md are
//! made. The steps of the *wall* are never optional. A *second net* denies what the wall denies already:
//! it is used if the kernel has it, unless a policy insists on it by `[kernel] require`.

use std::fmt;

use crate::namespaces::Namespace;

/// A Linux release, such as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Release {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads a release such as `6.7` or `6.18.3-custom`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some(Self { major, minor }),
            _ => None,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}.{}", self.major, self.minor)
    }
}

/// One step of a confinement.
#[derive(Debug)]
pub struct Step {
    /// The action, with the child as its subject, such as "sets no_new_privs".
    pub what: &'static str,
    /// The purpose of the step; for a second net, the protection that remains without it.
    pub purpose: &'static str,
    /// The system call that it needs, or an option of one.
    pub asks_for: &'static str,
    /// The release that introduced that.
    pub since: Release,
    /// Whether a child can run without it.
    pub layer: Layer,
}

/// Whether a child can run without a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Never optional: if it fails, the child doesn't run.
    Wall,
    /// Used if the kernel has it.
    Second(SecondNet),
    /// Taken if the policy asks for it in `[namespaces]`.
    Namespace(Namespace),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall => f.write_str("wall"),
            Self::Second(net) => write!(f, "second net `{net}`"),
            Self::Namespace(namespace) => write!(f, "`namespaces.{namespace}`"),
        }
    }
}

/// A layer that denies again what the filter and the limits deny.
///
/// Its [`name`](Self::name) is what `[kernel] require` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SecondNet {
    /// Memory that was ever writable can't be made executable (`PR_SET_MDWE`).
    DenyWriteExecute,
    /// Landlock's rights on files, in a policy that grants no path; the kernel's first net for one that
    /// does, which then doesn't run without it.
    LandlockFs,
    /// Landlock's rights on TCP ports, in the same way.
    LandlockNet,
    /// Landlock's scopes for signals and abstract Unix sockets, in the same way.
    LandlockScope,
}

impl SecondNet {
    /// All second nets, in the order in which a child sets them up.
    pub const ALL: [Self; 4] = [
        Self::DenyWriteExecute,
        Self::LandlockFs,
        Self::LandlockNet,
        Self::LandlockScope,
    ];

    /// Returns the name that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Self::DenyWriteExecute => "deny_write_execute",
            Self::LandlockFs => "landlock-fs",
            Self::LandlockNet => "landlock-net",
            Self::LandlockScope => "landlock-scope",
        }
    }

    /// Finds a net by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|net| net.name() == name)
    }

    /// Returns the step that sets it up.
    pub fn step(self) -> &'static Step {
        let mut steps = STEPS.iter();
        let found = steps.find(|step| step.layer == Layer::Second(self));
        // A test shows that each has one.
        found.unwrap_or(&STEPS[0])
    }

    /// Returns the Landlock ABI that introduced it; 0 if it isn't part of Landlock.
    pub fn landlock_abi(self) -> u32 {
        match self {
            Self::DenyWriteExecute => 0,
            Self::LandlockFs => 1,
            Self::LandlockNet => 4,
            Self::LandlockScope => 6,
        }
    }
}

impl fmt::Display for SecondNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const fn wall(
    what: &'static str,
    asks_for: &'static str,
    since: Release,
    purpose: &'static str,
) -> Step {
    Step {
        what,
        purpose,
        asks_for,
        since,
        layer: Layer::Wall,
    }
}

const fn second(
    net: SecondNet,
    what: &'static str,
    asks_for: &'static str,
    since: Release,
    purpose: &'static str,
) -> Step {
    Step {
        what,
        purpose,
        asks_for,
        since,
        layer: Layer::Second(net),
    }
}

const fn namespace(
    namespace: Namespace,
    what: &'static str,
    asks_for: &'static str,
    since: Release,
    purpose: &'static str,
) -> Step {
    Step {
        what,
        purpose,
        asks_for,
        since,
        layer: Layer::Namespace(namespace),
    }
}

/// Older than any kernel that matters here.
const EVER: Release = Release::new(2, 6);

/// Every step, in the order in which it is taken.
#[rustfmt::skip] // A table.
pub static STEPS: &[Step] = &[
    wall("checks that it has one thread", "unshare", EVER,
        "Landlock and seccomp bind a thread and the threads that it starts, not its siblings"),
    namespace(Namespace::User, "is forked by a keeper in a user namespace of its own, which maps the ids of the program", "unshare(CLONE_NEWUSER)", Release::new(3, 8),
        "a program without privileges may create the other namespaces there. The kernel must have CONFIG_USER_NS, and no security module or setting may forbid it"),
    namespace(Namespace::Network, "is in a network namespace in which no interface is up", "setns(CLONE_NEWNET)", Release::new(3, 0),
        "no address can be reached by any protocol. This includes UDP, and TCP on kernels whose Landlock has no rights on ports. Children whose filter allows only TCP sockets that connect share one, at no cost; others have one each"),
    namespace(Namespace::Ipc, "is in an IPC namespace of its own", "unshare(CLONE_NEWIPC)", Release::new(3, 0),
        "no message queue, semaphore or shared memory of System V or POSIX is shared with anybody"),
    namespace(Namespace::Mount, "gets a root directory of its own, which holds only the paths that the policy grants", "unshare(CLONE_NEWNS), mount_setattr", Release::new(5, 12),
        "no other path exists: not even the metadata of one can be read, which Landlock does not restrict. What the policy does not grant for writing is mounted read-only, and nothing there has a set-user-ID bit"),
    namespace(Namespace::Pid, "is in a PID namespace whose first process belongs to the keeper and only waits", "clone(CLONE_NEWPID)", Release::new(3, 8),
        "the end is atomic: the kernel kills everything that the child has started together with that process. The child sees no process but its own"),
    wall("is waited for and killed through a descriptor", "pidfd_open, waitid(P_PIDFD)", Release::new(5, 4),
        "no signal hits another process that got the same number"),
    wall("closes all descriptors but the call's", "close_range(CLOSE_RANGE_CLOEXEC)", Release::new(5, 11),
        "an open file needs no path"),
    wall("gets standard descriptors, environment and signals of its own", "dup2, rt_sigaction", EVER,
        "the child inherits nothing from the parent by accident"),
    wall("is scheduled as an ordinary process, whatever the program is (the keeper does this for all its children)", "sched_setscheduler", EVER,
        "children must not keep the keeper from running, since it enforces deadlines"),
    wall("gets the processors, priorities, limits and umask of the thread that calls", "sched_setaffinity", EVER,
        "it has no more than its caller, whoever started the keeper"),
    wall("limits descriptors, file size, processor time, core dumps, locked memory", "prlimit64", EVER,
        "stops resource bombs, which no filter sees"),
    wall("gives up capabilities (ambient, effective, permitted, inheritable) and reads them back; the bounding set and securebits as well, if the program has CAP_SETPCAP", "PR_CAP_AMBIENT", Release::new(4, 3),
        "root loses its privileges. The bounding set limits only programs that are executed, and no_new_privs keeps capabilities from those"),
    wall("takes a user of its own, if the program is root and can end such a child: a random id that its user namespace maps and no live process has", "setresuid", EVER,
        "it can't touch other processes of the program's user, and RLIMIT_NPROC counts its threads alone. Otherwise it keeps the program's user, and the status says why"),
    wall("dies with the keeper, and checks that the keeper is still alive", "PR_SET_PDEATHSIG", EVER,
        "no child outlives the program. The step follows the change of user, which would undo it"),
    wall("sets no_new_privs", "PR_SET_NO_NEW_PRIVS", Release::new(3, 5),
        "no privilege is gained by `execve`; Landlock and seccomp require it"),
    wall("limits private writable memory (RLIMIT_DATA) and all that is mapped (RLIMIT_AS)", "RLIMIT_DATA for mappings", Release::new(4, 7),
        "stops memory bombs. RLIMIT_DATA does not count pages that have become read-only; RLIMIT_AS does"),
    second(SecondNet::DenyWriteExecute, "denies memory that was writable from becoming executable", "PR_SET_MDWE", Release::new(6, 3),
        "the filter alone denies executable memory"),
    wall("stops being dumpable", "PR_SET_DUMPABLE", EVER,
        "no other process of the user can look into it"),
    wall("handles SIGSYS", "rt_sigaction", EVER,
        "denied calls are reported, and some calls are answered in the kernel's place: `fstat` in the form that C libraries use, shared mappings for reading, `sysinfo`, `uname`. A thread that blocks SIGSYS dies if it makes one of these calls"),
    second(SecondNet::LandlockFs, "Landlock: every right on files that the kernel knows", "landlock_create_ruleset, ABI 1", Release::new(5, 13),
        "the filter alone denies paths"),
    second(SecondNet::LandlockNet, "Landlock: TCP ports", "landlock_create_ruleset, ABI 4", Release::new(6, 7),
        "the filter alone denies TCP"),
    second(SecondNet::LandlockScope, "Landlock: scopes for signals and abstract Unix sockets", "landlock_create_ruleset, ABI 6", Release::new(6, 12),
        "the filter alone denies signals to others and abstract sockets"),
    wall("loads its seccomp filter", "SECCOMP_RET_KILL_PROCESS", Release::new(4, 14),
        "what isn't allowed doesn't happen; other architectures and x32 are killed"),
];

/// Finds a step by the beginning of what it asks of the kernel.
pub fn asking_for(name: &str) -> Option<&'static Step> {
    STEPS.iter().find(|step| step.asks_for.starts_with(name))
}

/// Returns the step of the wall that needs the newest kernel.
pub fn newest_of_the_wall() -> &'static Step {
    let wall = STEPS.iter().filter(|step| step.layer == Layer::Wall);
    wall.max_by_key(|step| step.since).unwrap_or(&STEPS[0])
}

/// Returns the oldest kernel on which a confined call runs.
pub fn oldest_kernel() -> Release {
    newest_of_the_wall().since
}

/// Returns the steps as a table in Markdown, as SECURITY.md has it.
pub fn table() -> String {
    let mut text = "| the child | layer | what it is for | since |\n|---|---|---|---|\n".to_owned();
    for step in STEPS {
        let without = match step.layer {
            Layer::Wall => "",
            Layer::Second(_) => "without it, ",
            Layer::Namespace(_) => "",
        };
        let since = match step.since {
            EVER => String::new(),
            since => format!("{since} (`{}`)", step.asks_for),
        };
        text.push_str(&format!(
            "| {} | {} | {without}{} | {since} |\n",
            step.what, step.layer, step.purpose
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landlock::kernel_of_abi;

    #[test]
    fn every_second_net_is_one_step_and_is_found_by_its_name() {
        for net in SecondNet::ALL {
            let is_it = |step: &&Step| step.layer == Layer::Second(net);
            assert_eq!(STEPS.iter().filter(is_it).count(), 1, "{net}");
            assert_eq!(SecondNet::from_name(net.name()), Some(net));
            // The two tables of kernels agree.
            if net.landlock_abi() > 0 {
                let since = kernel_of_abi(net.landlock_abi());
                assert_eq!(net.step().since.to_string(), since, "{net}");
            }
        }
        assert_eq!(SecondNet::from_name("seccomp"), None);
    }

    #[test]
    fn the_oldest_kernel_is_the_one_that_closes_ranges_of_descriptors() {
        assert_eq!(oldest_kernel().to_string(), "Linux 5.11");
        assert!(newest_of_the_wall().asks_for.starts_with("close_range"));
    }

    #[test]
    fn releases_are_read_and_compared_by_number() {
        let release = |text| Release::parse(text).unwrap();
        assert_eq!(release("6.1.0-32-amd64").to_string(), "Linux 6.1");
        assert!(release("6.9") < release("6.12") && release("5.19") < release("6.0"));
        assert_eq!((Release::parse("six"), Release::parse("6")), (None, None));
    }
}
