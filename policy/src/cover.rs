//! Denials that rest on Landlock alone, and therefore need a kernel that has it.

use crate::diagnostic::Code;
use crate::file::LandlockWish;
use crate::landlock::{Need, UDP_ABI};
use crate::namespaces::Namespace;
use crate::policy::Policy;
use crate::resolve::Grant;
use crate::source::{Place, Problem};

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SOCK_DGRAM: u64 = 2;
const O_TRUNC: u64 = 0o1000;

const MAKES: &[&str] = &[
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rmdir",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
];
const MOVES: &[&str] = &["link", "linkat", "rename", "renameat", "renameat2"];
const SIGNALS: &[&str] = &[
    "kill",
    "pidfd_send_signal",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "tgkill",
    "tkill",
];

/// One need, still with its place.
struct Found {
    abi: u32,
    what: &'static str,
    relaxation: &'static str,
    place: Place,
}

impl Policy {
    /// Whether datagrams are confined by port: whether the policy grants UDP ports.
    pub(crate) fn confines_udp(&self) -> bool {
        self.ports.iter().any(|grant| grant.used_for.is_udp())
    }

    /// The grant by which a child may make UDP sockets. It may also be one by which it may not.
    pub(crate) fn makes_udp_sockets(&self) -> Option<&Grant> {
        self.can_happen("socket", |condition, arch| {
            let of_family = |family| condition.admits(arch, 0, family);
            (of_family(AF_INET) || of_family(AF_INET6)) && condition.admits(arch, 1, SOCK_DGRAM)
        })
    }

    /// Everything that only Landlock denies, with the line that makes it so.
    pub fn needs(&self) -> Vec<Need> {
        let found = self.found_needs().into_iter();
        let found = found.filter(|need| !self.is_relaxed(need.relaxation));
        let needs = found.map(|need| Need {
            abi: need.abi,
            what: need.what.to_owned(),
            relaxation: need.relaxation.to_owned(),
            location: self.sources.locate(need.place),
        });
        needs.collect()
    }

    /// The same, and what `kernel.landlock` asks for besides.
    pub(crate) fn all_needs(&self) -> Vec<Need> {
        let mut needs = self.needs();
        if let LandlockWish::AtLeast(abi) = self.landlock.value {
            needs.push(Need {
                abi,
                what: "what `kernel.landlock` asks for".to_owned(),
                relaxation: String::new(),
                location: self.sources.locate(self.landlock.place),
            });
        }
        needs
    }

    pub(crate) fn is_relaxed(&self, what: &str) -> bool {
        self.relax.iter().any(|relaxed| relaxed.value.what == what)
    }

    /// Complains if `kernel.landlock` asks for less than is needed.
    pub(crate) fn check_needs(&self, problems: &mut Vec<Problem>) {
        if self.landlock.value != LandlockWish::Off {
            return;
        }
        for need in self.found_needs() {
            if !self.is_relaxed(need.relaxation) {
                let message = format!(
                    "`kernel.landlock` is \"off\", but nothing else can confine {} (ABI {})",
                    need.what, need.abi
                );
                problems.push(Problem::new(Code::LandlockTooLow, need.place, message));
            }
        }
    }

    fn found_needs(&self) -> Vec<Found> {
        let mut needs = Vec::new();
        // First, since it takes the newest kernel.
        if self.network_unconfined.is_none() && !self.has_own(Namespace::Network) {
            let udp = self.ports.iter().find(|grant| grant.used_for.is_udp());
            needs.extend(udp.map(|grant| Found {
                abi: UDP_ABI,
                what: "UDP ports",
                relaxation: "",
                place: grant.ports.place,
            }));
        }
        let mut need = |grant: Option<&Grant>, abi, what, relaxation| {
            if let Some(grant) = grant {
                let place = grant.origin.place.unwrap_or(self.root);
                needs.push(Found {
                    abi,
                    what,
                    relaxation,
                    place,
                });
            }
        };
        let any = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| self.can_happen(name, |_, _| true))
        };
        let of_family = |family| self.can_happen("socket", |c, arch| c.admits(arch, 0, family));
        let opens = any(&["openat", "open", "openat2", "creat"]);
        if self.filesystem_unconfined.is_none() {
            need(opens, 1, "opening paths", "landlock-fs");
            need(any(MAKES), 1, "making and removing files", "landlock-fs");
            need(
                any(&["execve", "execveat"]),
                1,
                "running programs",
                "landlock-fs",
            );
            need(any(MOVES), 2, "moving files between folders", "landlock-fs");
            let cuts = any(&["truncate", "creat"])
                .or_else(|| self.can_happen("openat", |c, arch| c.admits_bit(arch, 2, O_TRUNC)))
                .or_else(|| self.can_happen("open", |c, arch| c.admits_bit(arch, 1, O_TRUNC)));
            need(cuts, 3, "cutting files short", "landlock-fs-truncate");
            // A condition names the commands, and with them the devices that know them.
            let ioctl = opens.and_then(|_| self.can_happen("ioctl", |_, _| false));
            need(ioctl, 5, "commands to devices", "landlock-ioctl");
        }
        if self.network_unconfined.is_none() {
            // If no interface is up, there is nothing to connect to, and nobody else has ports.
            let is_alone = self.has_own(Namespace::Network);
            let inet = of_family(AF_INET).or_else(|| of_family(AF_INET6));
            let inet = inet.filter(|_| !is_alone);
            let connect = inet.and_then(|_| any(&["connect"]));
            need(connect, 4, "TCP connections", "landlock-net");
            need(
                inet.and_then(|_| any(&["bind"])),
                4,
                "binding TCP ports",
                "landlock-net",
            );
            let unix = of_family(AF_UNIX).and_then(|_| any(&["connect"]));
            let by_path = self.values.is_strict("network", "unix");
            need(
                unix.filter(|_| by_path),
                9,
                "Unix sockets by path",
                "landlock-unix",
            );
            let isolated = self.values.is_strict("scope", "abstract_unix") && !is_alone;
            need(
                unix.filter(|_| isolated),
                6,
                "abstract Unix sockets",
                "landlock-scope",
            );
        }
        // No other process has a number there.
        let sees_others = !self.has_own(Namespace::Pid);
        if sees_others && self.values.is_strict("scope", "signal") {
            let free = |name: &&str| self.can_happen(name, |c, arch| !c.is_own_pid(arch, 0));
            need(
                SIGNALS.iter().find_map(free),
                6,
                "signals to other processes",
                "landlock-scope",
            );
        }
        needs
    }
}
