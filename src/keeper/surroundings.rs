//! What a process can change about itself, and the keeper does not follow once it was started.
//!
//! It is read at every call, so it includes only what is cheap to read. A user namespace in which
//! ids mean the same, and mounts, are not noticed.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use crate::sys::privileges;
use crate::sys::socket;
use crate::sys::system_files::OwnFile;

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
            network: socket::network(socket).ok(),
            control_groups: CONTROL_GROUPS.read().ok(),
            real: (
                nix::unistd::getuid().as_raw(),
                nix::unistd::getgid().as_raw(),
            ),
        }
    }
}
