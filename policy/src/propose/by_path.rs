//! What Landlock makes of a call that the filter lets pass, as far as the call tells.

use super::lines::{self, O_CREAT};
use super::{Denied, trial};
use crate::Arch;
use crate::landlock::FsRights;
use crate::policy::Policy;
use crate::syscalls::Syscall;

/// What Landlock makes of a call with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByPath {
    /// It does not look at the call's path.
    NotAsked,
    /// The policy grants there what the call does.
    Granted,
    /// The policy does not grant it, and the call fails with EACCES.
    Denied,
    /// The call as it is written does not tell.
    Unknown,
}

const MAKE_FILE: u64 = 1 << 8;

impl Policy {
    /// Returns what Landlock makes of a call at the one path that is known. Links are not followed.
    pub fn by_path(
        &self,
        arch: Arch,
        call: &'static Syscall,
        args: [u64; 6],
        path: Option<&str>,
    ) -> ByPath {
        if self.filesystem_unconfined.is_some() {
            return ByPath::NotAsked;
        }
        let asked = Denied {
            call,
            arch,
            args,
            path: path.map(str::as_bytes),
            is_answered: false,
        };
        // Landlock also looks at the program's file.
        let executes = ["execve", "execveat"].contains(&call.name);
        let Some((at, rights)) = lines::needed_at(&asked) else {
            return match executes {
                true => ByPath::Unknown,
                false => ByPath::NotAsked,
            };
        };
        // These have a second path, or begin with what is no path of theirs.
        let has_two = ["link", "rename", "symlink"]
            .iter()
            .any(|name| call.name.starts_with(name));
        let is_known = lines::grantable(asked.path).is_some();
        let has_variables = self
            .paths
            .iter()
            .any(|grant| grant.path.value.contains("${"));
        let may_make = || {
            let folder = at.rsplit_once('/').map_or("/", |(folder, _)| folder);
            FsRights::from_bits(MAKE_FILE).is_some_and(|make| trial::grants(self, folder, make))
        };
        let creates = lines::flags(&asked) & O_CREAT != 0;
        match trial::grants(self, &at, rights) {
            _ if has_two || !is_known => ByPath::Unknown,
            // Whether the file exists is not known.
            true if creates && !may_make() => ByPath::Unknown,
            true => ByPath::Granted,
            false if has_variables => ByPath::Unknown,
            false => ByPath::Denied,
        }
    }
}
