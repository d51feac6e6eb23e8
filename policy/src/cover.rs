//! What is denied by Landlock alone, and therefore needs a kernel that has it.

use crate::diagnostic::Code;
use crate::file::LandlockWish;
use crate::landlock::{Need, Unenforceable};
use crate::policy::Policy;
use crate::resolve::Grant;
use crate::source::{Place, Problem};

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const O_TRUNC: u64 = 0o1000;

/// One need, still with its place.
struct Found {
    abi: u32,
    what: &'static str,
    relaxation: &'static str,
    place: Place,
}

impl Policy {
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

    /// The least Landlock ABI that enforces the whole policy; 0 if it needs no Landlock at all.
    pub fn required_abi(&self) -> u32 {
        let wish = match self.landlock {
            LandlockWish::AtLeast(abi) => abi,
            LandlockWish::Auto | LandlockWish::Off => 0,
        };
        self.needs()
            .iter()
            .map(|need| need.abi)
            .max()
            .unwrap_or(0)
            .max(wish)
    }

    /// Whether a kernel with this Landlock ABI, 0 for none, can enforce the policy.
    ///
    /// # Errors
    ///
    /// What it can't deny, and the policy's line that makes that necessary.
    pub fn check_kernel(&self, abi: u32) -> Result<(), Unenforceable> {
        check_kernel(&self.needs(), abi)
    }

    pub(crate) fn is_relaxed(&self, what: &str) -> bool {
        self.relax.iter().any(|relaxed| relaxed.value.what == what)
    }

    /// Complains where `kernel.landlock` asks for less than is needed.
    pub(crate) fn check_needs(&self, problems: &mut Vec<Problem>) {
        if self.landlock != LandlockWish::Off {
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
        let any = |names: &[&str]| names.iter().find_map(|name| self.can_happen(name, None));
        let opens = any(&["openat", "open", "openat2", "creat"]);
        if self.filesystem_unconfined.is_none() {
            need(opens, 1, "opening paths", "landlock-fs");
            let makes = [
                "mkdirat",
                "mkdir",
                "mknodat",
                "mknod",
                "unlinkat",
                "unlink",
                "rmdir",
                "symlinkat",
                "symlink",
            ];
            need(any(&makes), 1, "making and removing files", "landlock-fs");
            need(
                any(&["execve", "execveat"]),
                1,
                "running programs",
                "landlock-fs",
            );
            let moves = ["renameat2", "renameat", "rename", "linkat", "link"];
            need(
                any(&moves),
                2,
                "moving files between folders",
                "landlock-fs",
            );
            let cuts = any(&["truncate", "creat"])
                .or_else(|| self.can_happen("openat", Some((2, O_TRUNC))))
                .or_else(|| self.can_happen("open", Some((1, O_TRUNC))));
            need(cuts, 3, "cutting files short", "landlock-fs-truncate");
            let any_request = 0xffff_fff0;
            let ioctl = opens.and_then(|_| self.can_happen("ioctl", Some((1, any_request))));
            need(ioctl, 5, "commands to devices", "landlock-ioctl");
        }
        if self.network_unconfined.is_none() {
            let inet = [AF_INET, AF_INET6].iter();
            let inet = inet
                .clone()
                .find_map(|family| self.can_happen("socket", Some((0, *family))));
            let connect = inet.and_then(|_| any(&["connect"]));
            need(connect, 4, "TCP connections", "landlock-net");
            need(
                inet.and_then(|_| any(&["bind"])),
                4,
                "binding TCP ports",
                "landlock-net",
            );
            let unix = self
                .can_happen("socket", Some((0, AF_UNIX)))
                .and_then(|_| any(&["connect"]));
            let by_path = self.values.is_strict("network", "unix");
            need(
                unix.filter(|_| by_path),
                9,
                "Unix sockets by path",
                "landlock-unix",
            );
            let isolated = self.values.is_strict("scope", "abstract_unix");
            need(
                unix.filter(|_| isolated),
                6,
                "abstract Unix sockets",
                "landlock-scope",
            );
        }
        if self.values.is_strict("scope", "signal") {
            // A condition keeps kill and tgkill to the process itself, as every group has it.
            let free = [
                "kill",
                "tkill",
                "tgkill",
                "rt_sigqueueinfo",
                "rt_tgsigqueueinfo",
                "pidfd_send_signal",
            ];
            let free = free
                .iter()
                .filter_map(|name| self.can_happen(name, Some((0, 1))));
            need(
                free.into_iter().next(),
                6,
                "signals to other processes",
                "landlock-scope",
            );
        }
        needs
    }
}

/// Whether a kernel with this ABI meets all needs.
pub(crate) fn check_kernel(needs: &[Need], abi: u32) -> Result<(), Unenforceable> {
    match needs.iter().find(|need| need.abi > abi) {
        Some(need) => Err(Unenforceable {
            kernel_abi: abi,
            need: need.clone(),
        }),
        None => Ok(()),
    }
}
