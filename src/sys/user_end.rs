//! Ends all processes of a user at once.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getresgid, getresuid};

use super::confinement::{become_group, become_user};
use super::privileges::Capabilities;

/// Becomes a user, for good, and kills all other processes of that user that this one can see.
///
/// The kernel takes its list of processes as a whole, so a process that is being forked meanwhile
/// dies as well. Nothing is killed unless this process has only that user and group, which must not
/// be root's, and no capability.
pub(crate) fn become_user_and_kill_all(user: libc::uid_t) -> io::Result<()> {
    if user == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    become_group(user)?;
    become_user(user)?;
    Capabilities::clear_ambient()?;
    let none = Capabilities {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    none.set()?;
    let (users, groups) = (getresuid()?, getresgid()?);
    let users = [users.real, users.effective, users.saved].map(|id| id.as_raw());
    let groups = [groups.real, groups.effective, groups.saved].map(|id| id.as_raw());
    if (users, groups) != ([user; 3], [user; 3]) || Capabilities::of_this_thread()? != none {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        // There is no other process.
        Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
