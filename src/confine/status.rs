//! How a confinement went, as the child tells its parent.

use std::fmt;
use std::io;

use crossmist_policy::steps::{self, SecondNet};

use super::control_group::ControlGroup;
use super::fields::{
    flag, namespaces, nets, number, put_flag, put_namespaces, put_nets, put_number,
};
use super::namespaces::{Namespace, NamespaceSet};
use super::plan::Fixed;
use super::users::User;
use crate::object::{DecodeError, Decoder, Encoder};

/// What is enforced on a confined child, layer by layer.
///
/// The child reports this after the last step, and before it looks at its arguments. At that point
/// nobody else has influenced it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many instructions the seccomp filter has.
    pub seccomp_instructions: u32,
    /// Whether the filter left speculation unmitigated (`spec_allow`).
    pub allows_speculation: bool,
    /// The Landlock ABI of the kernel, or 0 if it has none.
    pub landlock_abi: u32,
    /// The rights on files that Landlock denies except for what the policy grants, as the kernel's
    /// bits. 0 if files are left to other layers.
    pub landlock_files: u64,
    /// The same for TCP ports.
    pub landlock_ports: u64,
    /// The scopes that Landlock closes: abstract Unix sockets, signals.
    pub landlock_scopes: u64,
    /// The capabilities that stay, as a mask.
    pub capabilities: u64,
    /// The user id that the child has for itself, which is also its group id; `None` if it keeps its
    /// parent's user. Files that the child creates belong to this id.
    pub own_user: Option<u32>,
    /// Why the child keeps its parent's user; `None` if it has one of its own.
    pub same_user: Option<SameUser>,
    /// What the child's control group bounds; `None` if it has none, because its policy wants none or the
    /// program can't make any.
    pub control_group: Option<ControlGroup>,
    /// How many resource limits were set.
    pub limits: u32,
    /// Whether memory cannot be writable and executable at the same time (PR_SET_MDWE).
    pub denies_write_execute: bool,
    /// Whether other processes of the same user may inspect the child.
    pub dumpable: bool,
    /// How many promises the policy gives up with `[kernel] relax`.
    pub relaxed: u32,
    /// The second nets that the policy uses and this kernel doesn't have.
    pub missing: Vec<SecondNet>,
    /// The namespaces that the child is in and the program is not.
    pub namespaces: Vec<Namespace>,
    /// The namespaces that the policy wants if possible, and that the program couldn't create.
    pub missing_namespaces: Vec<Namespace>,
}

impl Status {
    /// Returns whether everything that the policy asks for is in place: no promise was given up by
    /// `[kernel] relax`, the kernel has every second net, and the child has every namespace.
    ///
    /// If this is false, the whole wall is still in place (seccomp, capabilities, limits, closed
    /// descriptors, no_new_privs); without it, the child would not run. [`missing`](Self::missing)
    /// lists the second nets that the kernel does not have. A policy can insist on a second net
    /// with `[kernel] require`.
    #[must_use]
    pub fn is_fully_enforced(&self) -> bool {
        self.relaxed == 0 && self.missing.is_empty() && self.missing_namespaces.is_empty()
    }

    pub(super) fn of(
        fixed: &Fixed,
        user: User,
        own_user: Option<u32>,
        denies_write_execute: bool,
        namespaces: NamespaceSet,
    ) -> Self {
        let is_missing = fixed.deny_write_execute && !denies_write_execute;
        let missing = is_missing.then_some(SecondNet::DenyWriteExecute);
        let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let [files, ports, scopes] = fixed.handled;
        Self {
            seccomp_instructions: length(fixed.filter.len()),
            allows_speculation: fixed.allow_speculation,
            landlock_abi: fixed.landlock_abi,
            landlock_files: files,
            landlock_ports: ports,
            landlock_scopes: scopes,
            capabilities: fixed.capabilities,
            own_user,
            same_user: match user {
                User::Own(_) => None,
                User::Same(why) => Some(why),
            },
            control_group: None,
            limits: length(
                fixed.limits.len()
                    + fixed.memory_limits.len()
                    + usize::from(fixed.memory.is_some())
                    + usize::from(fixed.mappable.is_some()),
            ),
            denies_write_execute,
            dumpable: fixed.dumpable,
            relaxed: fixed.relaxed,
            missing: missing.into_iter().chain(fixed.missing.clone()).collect(),
            namespaces: namespaces.list(),
            missing_namespaces: fixed.namespaces.all().minus(namespaces).list(),
        }
    }

    pub(crate) fn encode(&self, encoder: &mut Encoder<'_>) {
        for value in [
            self.seccomp_instructions.into(),
            self.landlock_abi.into(),
            self.landlock_files,
            self.landlock_ports,
            self.landlock_scopes,
            self.capabilities,
            self.own_user.map_or(u64::MAX, u64::from),
            SameUser::to_number(self.same_user),
            self.control_group.map_or(0, |group| {
                1 | u64::from(group.memory) << 1 | u64::from(group.tasks) << 2
            }),
            self.limits.into(),
            self.relaxed.into(),
        ] {
            put_number(encoder, value);
        }
        for value in [
            self.allows_speculation,
            self.denies_write_execute,
            self.dumpable,
        ] {
            put_flag(encoder, value);
        }
        put_nets(encoder, &self.missing);
        for list in [&self.namespaces, &self.missing_namespaces] {
            put_namespaces(encoder, NamespaceSet::of(list));
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let small = |decoder: &mut Decoder<'_>| {
            let number = number(decoder)?;
            u32::try_from(number).map_err(|_| decoder.error("a number of 32 bits", number))
        };
        Ok(Self {
            seccomp_instructions: small(decoder)?,
            landlock_abi: small(decoder)?,
            landlock_files: number(decoder)?,
            landlock_ports: number(decoder)?,
            landlock_scopes: number(decoder)?,
            capabilities: number(decoder)?,
            own_user: u32::try_from(number(decoder)?).ok(),
            same_user: SameUser::of_number(number(decoder)?),
            control_group: match number(decoder)? {
                0 => None,
                bits @ (1 | 3 | 5 | 7) => Some(ControlGroup {
                    memory: bits & 2 != 0,
                    tasks: bits & 4 != 0,
                }),
                other => return Err(decoder.error("bits of a control group", other)),
            },
            limits: small(decoder)?,
            relaxed: small(decoder)?,
            allows_speculation: flag(decoder)?,
            denies_write_execute: flag(decoder)?,
            dumpable: flag(decoder)?,
            missing: nets(decoder)?,
            namespaces: namespaces(decoder)?.list(),
            missing_namespaces: namespaces(decoder)?.list(),
        })
    }
}

/// Why a confined child keeps its parent's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameUser {
    /// The policy says so: `[process] user = "same"`.
    Policy,
    /// The program is not root: none of its user ids is 0, and it has no CAP_SETUID.
    NotRoot,
    /// The program is root, but lacks CAP_SETUID or CAP_SETGID to change users, or CAP_KILL to end a
    /// process of another user.
    NoCapability,
    /// The program is root of a user namespace that maps too few other ids.
    NoOtherIds,
}

impl SameUser {
    const ALL: [Self; 4] = [
        Self::Policy,
        Self::NotRoot,
        Self::NoCapability,
        Self::NoOtherIds,
    ];

    fn to_number(why: Option<Self>) -> u64 {
        let position = Self::ALL.iter().position(|known| Some(*known) == why);
        position.map_or(u64::MAX, |position| position as u64)
    }

    fn of_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// One step of a confinement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Threads,
    ControlGroup,
    Network,
    Ipc,
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
    const ALL: [Self; 22] = [
        Self::Threads,
        Self::ControlGroup,
        Self::Network,
        Self::Ipc,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    step: Step,
    errno: i32,
    /// Memory that was reserved before the start, and how much of it may be used. Both are 0 if the
    /// failure is not about that.
    reserve: [u64; 2],
}

impl Failure {
    pub(crate) fn new(step: Step, errno: i32) -> Self {
        Self {
            step,
            errno,
            reserve: [0; 2],
        }
    }

    /// The process started with more writable memory than it may have.
    pub(super) fn unbounded(reserved: u64, memory: u64) -> Self {
        Self {
            step: Step::Memory,
            errno: libc::ENOMEM,
            reserve: [reserved, memory],
        }
    }

    pub(crate) fn encode(&self, encoder: &mut Encoder<'_>) {
        let step = Step::ALL.iter().position(|step| *step == self.step);
        encoder.put(&[step
            .and_then(|step| u8::try_from(step).ok())
            .unwrap_or(u8::MAX)]);
        encoder.put(&self.errno.to_le_bytes());
        self.reserve
            .iter()
            .for_each(|bytes| put_number(encoder, *bytes));
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let step = decoder.byte()?;
        let Some(step) = Step::ALL.get(usize::from(step)).copied() else {
            return Err(decoder.error("a step of the confinement, 0 to 21", step));
        };
        let errno = decoder.array().map(i32::from_le_bytes)?;
        Ok(Self {
            step,
            errno,
            reserve: [number(decoder)?, number(decoder)?],
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
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "it could not {}: {error}", self.step.name())?;
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
