//! Creating and entering namespaces.
//!
//! All of it is about the calling thread, which must be the only one of its process.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

use super::system_files;

/// A network namespace, by a descriptor.
#[derive(Debug)]
pub(crate) struct Network(OwnedFd);

impl Network {
    /// Moves this thread into a new one, whose only interface is a loopback that is down.
    pub(crate) fn begin() -> io::Result<Self> {
        begin_network()?;
        system_files::open("thread-self/ns/net").map(|file| Self(file.into()))
    }

    /// Moves this thread into it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)?)
    }
}

impl From<OwnedFd> for Network {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Network {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Moves this thread into a new network namespace, without a descriptor of it.
pub(crate) fn begin_network() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Moves this process into a new IPC namespace.
pub(crate) fn begin_ipc() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWIPC)?)
}

/// Moves this process into a new user namespace, in which it has every capability. No id is mapped there
/// yet.
pub(crate) fn begin_user() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
}

/// Ids that mean the same inside and outside of a user namespace: the first one, and how many.
pub(crate) type Range = (u32, u32);

/// Maps ids of the user namespace that `process` has begun, a directory of `/proc`. A process that maps no
/// more than its own id needs no privilege for that, and no group can be given up inside.
pub(crate) fn map_ids(
    process: &str,
    users: &[Range],
    groups: &[Range],
    keeps_groups: bool,
) -> io::Result<()> {
    let write = |file: &str, text: &str| {
        system_files::open_to_write(&format!("{process}/{file}"))?.write_all(text.as_bytes())
    };
    let lines = |ranges: &[Range]| -> String {
        let lines = ranges
            .iter()
            .map(|(first, count)| format!("{first} {first} {count}\n"));
        lines.collect()
    };
    if keeps_groups {
        write("setgroups", "deny")?;
    }
    write("uid_map", &lines(users))?;
    write("gid_map", &lines(groups))
}
