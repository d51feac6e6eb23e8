//! Forks this process into a control group.
//!
//! The kernel lets a new process begin in a group (CLONE_INTO_CGROUP). To move one there afterwards, it first
//! waits until every processor has passed a point of rest, some 10 to 20 ms.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use super::event;
use super::fork::{fork, is_single_threaded, kill_child};
use super::poll::{self, Deadline};
use super::process::{Process, leave, open_pidfd};

/// How long the process in between may take. The group may be frozen, for one.
const TIME: Duration = Duration::from_secs(2);

/// Forks this process, if it has one thread, into the control group that a directory stands for. Returns `None`
/// in the copy, whose parent is this process.
///
/// This process must be a subreaper, or the first one of a PID namespace. No call of the C library knows
/// groups, and a copy has to be made by its `fork`, which runs the handlers of other libraries, such as those
/// that give a copy random numbers of its own. So a process in between begins in the group, forks the copy, and
/// ends, and the copy comes to this process.
pub(crate) fn fork_into(group: BorrowedFd<'_>) -> io::Result<Option<Process>> {
    if !is_single_threaded()? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let told = event::new()?;
    let Some(between) = clone_into(group)? else {
        let between = nix::unistd::getpid();
        return match fork() {
            Ok(None) => {
                while nix::unistd::getppid() == between {
                    std::thread::yield_now();
                }
                Ok(None)
            }
            Ok(Some(copy)) => {
                event::tell(told.as_fd(), u64::from(copy.id.unsigned_abs()));
                leave(0)
            }
            Err(_) => leave(1),
        };
    };
    if poll::readable(between.pidfd.as_fd(), Deadline::after(TIME)).is_err() {
        between.signal(libc::SIGKILL)?;
    }
    between.wait()?;
    match libc::pid_t::try_from(event::take(told.as_fd())) {
        Ok(id) if id > 0 => with_pidfd(id).map(Some),
        _ => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
    }
}

/// Clones this process, which has one thread, into a group. Returns `None` in the clone, which may only fork and
/// end.
fn clone_into(group: BorrowedFd<'_>) -> io::Result<Option<Process>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all-zero is a valid `clone_args`: no flags, and null pointers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: without a stack and without sharing, `clone3(2)` forks. This is the only thread, so the copy of
    // the memory is whole. The C library isn't told: it takes the copy's thread for the number of this one. The
    // only call for which that could matter is the library's `fork`, which sets the number of its copy.
    let id = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&arguments),
            size_of_val(&arguments),
        )
    };
    match id {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        id => with_pidfd(libc::pid_t::try_from(id).map_err(io::Error::other)?).map(Some),
    }
}

/// Opens a pidfd of a child of this process, or kills it.
fn with_pidfd(id: libc::pid_t) -> io::Result<Process> {
    // The id is the child's until it is waited for, which only its parent can do.
    match open_pidfd(id) {
        Ok(pidfd) => Ok(Process {
            id,
            pidfd: Arc::new(pidfd),
        }),
        Err(error) => {
            kill_child(id);
            Err(error)
        }
    }
}
