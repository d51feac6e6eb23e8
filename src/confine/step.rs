//! The texts of the errors of a step of confinement.

use std::fmt;
use std::io;

use crossmist_policy::steps::{self, SecondNet};

use crate::error::{ChildText, Step};

impl Step {
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
                "that needs CAP_SYS_ADMIN (and CAP_SYS_CHROOT if the root directory is an initramfs), a root \
                 directory that is the root of a mount (a program that has called chroot(2) may have none), and no \
                 filter or limit (sysctl user.max_mnt_namespaces) that forbids it: \
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
#[derive(Clone, Debug, PartialEq, Eq, crate::Object)]
pub(crate) struct Failure {
    step: Step,
    errno: i32,
    /// Memory that was reserved before the start, and how much of it may be used. Both are 0 if the
    /// failure is not about that.
    reserve: [u64; 2],
    /// The names of the threads that there are beside the first one, as the child says. Empty if the
    /// failure is not about that.
    threads: String,
}

impl Failure {
    pub(crate) fn new(step: Step, errno: i32) -> Self {
        Self {
            step,
            errno,
            reserve: [0; 2],
            threads: String::new(),
        }
    }

    /// The process has these threads beside its first one.
    pub(super) fn threads(others: String) -> Self {
        Self {
            threads: others,
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

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    pub(crate) fn errno(&self) -> i32 {
        self.errno
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
        write!(f, "it could not {}: ", self.step)?;
        match self.threads.as_str() {
            "" => write!(f, "{}", io::Error::from_raw_os_error(self.errno))?,
            threads => write!(f, "it has {}", ChildText::new(threads.to_owned()))?,
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
