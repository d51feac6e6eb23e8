//! The identity of a process: its credentials, and the surroundings that the keeper does not follow once it
//! has started.
//!
//! The surroundings are read at every call, so they include only what is cheap to read. A user
//! namespace in which ids mean the same, and mounts, are not noticed.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{getresgid, getresuid};

use crate::sys::privileges::{self, Capabilities, Capability, bit};
use crate::sys::socket_options;
use crate::sys::system_files::OwnFile;

/// The ids of a thread and its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Real, effective and saved user id, then group id.
    ids: [u32; 6],
    permitted: u64,
    effective: u64,
}

impl Credentials {
    pub(crate) fn of_this_thread() -> io::Result<Self> {
        let (user, group) = (getresuid()?, getresgid()?);
        let held = Capabilities::of_this_thread()?;
        Ok(Self {
            ids: [
                user.real.as_raw(),
                user.effective.as_raw(),
                user.saved.as_raw(),
                group.real.as_raw(),
                group.effective.as_raw(),
                group.saved.as_raw(),
            ],
            permitted: held.permitted,
            effective: held.effective,
        })
    }

    /// Returns whether it has no more than `other`: the same ids, and no further capability.
    ///
    /// An `execve` copies the effective ids to the saved ones, and changes nothing else under
    /// no_new_privs.
    pub(crate) fn is_at_most(&self, other: &Self) -> bool {
        let among = |id: u32, ids: &[u32]| ids.contains(&id);
        let (users, groups) = other.ids.split_at(3);
        self.ids.iter().take(3).all(|id| among(*id, users))
            && self.ids.iter().skip(3).all(|id| among(*id, groups))
            && self.permitted & !other.permitted == 0
            && self.effective & !other.permitted == 0
    }

    /// Returns whether it may restrict itself without giving up privileges.
    pub(super) fn may_administer(&self) -> bool {
        self.permitted & bit(Capability::CAP_SYS_ADMIN) != 0
    }

    /// Whether it may take any id.
    pub(super) fn may_change_users(&self) -> bool {
        let needed = bit(Capability::CAP_SETUID) | bit(Capability::CAP_SETGID);
        self.permitted & needed == needed
    }

    /// How long it is as bytes.
    pub(super) const BYTES: usize = 40;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let ids = self.ids.iter().flat_map(|id| id.to_le_bytes());
        ids.chain(self.permitted.to_le_bytes())
            .chain(self.effective.to_le_bytes())
            .collect()
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (ids, capabilities) = bytes.split_at_checked(24)?;
        let mut numbers = ids
            .as_chunks::<4>()
            .0
            .iter()
            .map(|id| u32::from_le_bytes(*id));
        let mut parsed = [0; 6];
        for id in &mut parsed {
            *id = numbers.next()?;
        }
        match capabilities.as_chunks::<8>() {
            ([permitted, effective], []) => Some(Self {
                ids: parsed,
                permitted: u64::from_le_bytes(*permitted),
                effective: u64::from_le_bytes(*effective),
            }),
            _ => None,
        }
    }
}

static CONTROL_GROUPS: OwnFile = OwnFile::new("self/cgroup");

/// The calling thread's real ids, groups, root directory and network, and its process's control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Surroundings {
    groups: Vec<u32>,
    /// Device and inode.
    root: Option<(u64, u64)>,
    network: Option<u64>,
    /// As in `/proc/self/cgroup`. Control groups limit and count what a process and its children
    /// use.
    control_groups: Option<String>,
    /// The real user and group. The kernel reports those of each sender to the keeper, which obeys
    /// no others.
    real: (u32, u32),
}

impl Surroundings {
    /// `socket` is one that this thread has just created.
    pub(super) fn of_this_thread(socket: BorrowedFd<'_>) -> Self {
        let root = std::fs::metadata("/").ok();
        Self {
            groups: privileges::groups().unwrap_or_default(),
            root: root.map(|root| (root.dev(), root.ino())),
            network: socket_options::network(socket).ok(),
            control_groups: CONTROL_GROUPS.read().ok(),
            real: (
                nix::unistd::getuid().as_raw(),
                nix::unistd::getgid().as_raw(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_privileges_are_noticed() {
        let user = Credentials {
            ids: [7, 7, 7, 8, 8, 8],
            permitted: 0b11,
            effective: 0b01,
        };
        assert!(user.is_at_most(&user));
        assert!(
            Credentials {
                permitted: 0b01,
                ..user
            }
            .is_at_most(&user)
        );
        assert!(
            !Credentials {
                permitted: 0b111,
                ..user
            }
            .is_at_most(&user)
        );
        assert!(
            !Credentials {
                effective: 0b100,
                ..user
            }
            .is_at_most(&user)
        );
        assert!(
            !Credentials {
                ids: [7, 0, 0, 8, 8, 8],
                ..user
            }
            .is_at_most(&user)
        );
        assert!(
            !Credentials {
                ids: [7, 7, 7, 8, 0, 8],
                ..user
            }
            .is_at_most(&user)
        );
    }

    #[test]
    fn credentials_survive_the_round_trip() {
        let ours = Credentials::of_this_thread().unwrap();
        let bytes = ours.to_bytes();
        assert_eq!(Credentials::parse(&bytes), Some(ours));
        assert_eq!(Credentials::parse(&bytes[1..]), None);
        assert_eq!(Credentials::parse(&[bytes, vec![0]].concat()), None);
    }
}
