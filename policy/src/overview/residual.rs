//! The risks that remain under a policy.

use super::Residual;
use crate::bpf::Action;
use crate::condition::Condition;
use crate::namespaces::Namespace;
use crate::policy::Policy;
use crate::syscalls;

const O_PATH: u64 = 0o10_000_000;

impl Policy {
    pub(super) fn residual(&self) -> Vec<Residual> {
        const SOCK_DGRAM: u64 = 2;
        let happens = |name: &str| self.can_happen(name, |_, _| true).is_some();
        let any = |names: &[&str]| names.iter().any(|name| happens(name));
        let one = |what, is_open, open: &str, closed: &str| Residual {
            what,
            is_open,
            note: if is_open { open } else { closed }.to_owned(),
        };
        let counted = |always: bool| {
            let calls = syscalls::all().iter().filter(|call| happens(call.name));
            let verdicts = calls.map(|call| self.verdict(call).rest == Action::Allow);
            verdicts.filter(|is_always| *is_always == always).count()
        };
        let udp = self.can_happen("socket", |condition, arch| {
            condition.admits(arch, 1, SOCK_DGRAM)
        });
        let is_alone = self.has_own(Namespace::Network);
        let shares = any(&["memfd_create"]);
        let names_places = [("open", 1), ("openat", 2)].iter().any(|(name, flags)| {
            let admits = |condition: &Condition, arch| condition.admits_bit(arch, *flags, O_PATH);
            self.can_happen(name, admits).is_some()
        });
        let inspects = names_places
            || any(&[
                "access",
                "faccessat",
                "faccessat2",
                "file_getattr",
                "getxattr",
                "getxattrat",
                "lgetxattr",
                "listxattr",
                "listxattrat",
                "llistxattr",
                "lstat",
                "newfstatat",
                "readlink",
                "readlinkat",
                "stat",
                "statfs",
                "statx",
            ]);
        let fresh = self.values.is_strict("process", "launch");
        let speculates = !self.values.is_strict("process", "spec_allow");
        let grouped = self.has_control_group();
        let may_thread = self.values.count("limits", "threads") > 1;
        let many = may_thread && !grouped;
        let mut residual = self.open_by_grants();
        residual.extend([
            one(
                "its answer",
                true,
                "it may be a lie: only its shape is checked",
                "",
            ),
            one(
                "timing",
                true,
                "others can measure how long its work takes, and it can measure theirs",
                "",
            ),
            one(
                "passed descriptors",
                true,
                "each allows what it was opened for, whatever paths the policy grants",
                "",
            ),
            Residual {
                what: "the kernel",
                is_open: true,
                note: format!(
                    "{} calls always, {} by their arguments: a bug in one of these is a way out",
                    counted(true),
                    counted(false)
                ),
            },
            one(
                "metadata",
                inspects && !self.has_own(Namespace::Mount),
                "whether a path exists, and its size and times, for any path: Landlock doesn't restrict that",
                match inspects {
                    true => "only granted paths exist (a mount namespace)",
                    false => "no path can be inspected (seccomp)",
                },
            ),
            one(
                "UDP",
                udp.is_some() && !is_alone && !self.confines_udp(),
                "any address and port: Landlock restricts it only for policies that grant UDP ports",
                match (is_alone, self.confines_udp()) {
                    (true, _) => "no address can be reached (a network namespace)",
                    (false, true) => "only granted ports are reached (Landlock ABI 10)",
                    (false, false) => "no datagram socket can be made (seccomp)",
                },
            ),
            one(
                "listening",
                happens("listen") && !is_alone,
                "`listen` without `bind` uses a port that the kernel chooses, past Landlock",
                match is_alone {
                    true => "nobody can connect to it (a network namespace)",
                    false => "nothing can listen (seccomp)",
                },
            ),
            one(
                "signals to others",
                !self.values.is_strict("scope", "signal")
                    && !self.has_own(Namespace::Pid)
                    && any(&["kill", "tkill", "pidfd_send_signal"]),
                "any process of the same user can be signalled",
                "none outside can be signalled",
            ),
            one(
                "memory that is shared",
                shares && !grouped,
                "memory objects don't count towards `limits.memory`, but in a control group \
                 (`limits.control_group`)",
                if shares {
                    "memory objects count (memory.max)"
                } else {
                    "none can be made (seccomp)"
                },
            ),
            one(
                "memory that was prepared",
                !fresh && !grouped,
                "what `preload` has written doesn't count towards `limits.memory`, nor does a child's copy of it: \
                 a child may write to all of it",
                if grouped {
                    "copies of it count (memory.max)"
                } else {
                    "there is none (execve)"
                },
            ),
            one(
                "the kernel's memory",
                any(&["epoll_create1", "socketpair", "socket", "pipe2"]) && !grouped,
                "sockets, pipes and the watches of epolls don't count towards `limits.memory`; \
                 `limits.open_files` bounds how many there are, and each epoll can watch all of them. The \
                 more watch a socket, the longer one packet to it takes, also for its other side",
                if grouped {
                    "it counts (memory.max)"
                } else {
                    "little can be made that takes some (seccomp)"
                },
            ),
            one(
                "locks on files",
                any(&["flock"]),
                "a lock on a passed file holds for everybody who has it",
                "none can be taken (seccomp)",
            ),
            one(
                "the address-space layout",
                !fresh,
                "it is that of the program's keeper and of its other children; `[process] launch = \
                 \"exec\"` gives it one of its own",
                "it is its own, by execve",
            ),
            one(
                "speculation",
                speculates,
                "the kernel's mitigations for filtered processes are off (`spec_allow`)",
                "mitigated as for any filtered process",
            ),
            one(
                "the number of threads",
                many,
                "`limits.threads` binds only a child with a user of its own, as under root, or with a \
                 control group (`limits.control_group`)",
                if may_thread {
                    "bounded (pids.max)"
                } else {
                    "none can be started (seccomp)"
                },
            ),
        ]);
        if let Some(more) = self.residual_of_processes() {
            residual.push(more);
        }
        residual.extend(self.residual_of_files());
        for relaxed in &self.relax {
            residual.push(Residual {
                what: relaxed.value.what,
                is_open: true,
                note: format!("given up on kernels that lack it: {}", relaxed.value.reason),
            });
        }
        residual
    }

    /// Returns the remaining risk of processes that a child starts.
    fn residual_of_processes(&self) -> Option<Residual> {
        let is_open = !self.has_control_group() && !self.has_own(Namespace::Pid);
        let note = match is_open {
            true => {
                "the keeper ends them after the child, one by one, and what forks faster than that may \
                 outlive the program; if the child has a user of its own, as under root, or a control group \
                 (`limits.control_group`), they end all at once"
            }
            false => "they end all at once (a control group, or a PID namespace)",
        };
        (self.values.count("limits", "processes") > 0).then(|| Residual {
            what: "the processes that it starts",
            is_open,
            note: note.to_owned(),
        })
    }

    /// Whether no call is made without a control group.
    fn has_control_group(&self) -> bool {
        self.values.is_strict("limits", "control_group")
    }

    /// Returns the remaining risks of files that a child creates.
    fn residual_of_files(&self) -> Vec<Residual> {
        const MAKE_SYM: u64 = 1 << 12;
        const MAKE: u64 = 0x7f << 6;
        let makes = |rights: u64| {
            self.paths
                .iter()
                .any(|path| path.rights.bits() & rights != 0)
        };
        let makes = |rights| self.filesystem_unconfined.is_some() || makes(rights);
        let one = |what, note: &str| Residual {
            what,
            is_open: true,
            note: note.to_owned(),
        };
        let number = makes(MAKE).then(|| {
            one(
                "the number of files",
                "`limits.file_size` bounds each file that it makes; nothing bounds how many: make them on a \
                 file system of their own, or with a quota",
            )
        });
        let links = makes(MAKE_SYM).then(|| {
            one(
                "links",
                "it can leave symbolic links to any place: whoever opens what it made should follow none \
                 (O_NOFOLLOW, RESOLVE_NO_SYMLINKS)",
            )
        });
        number.into_iter().chain(links).collect()
    }
}
