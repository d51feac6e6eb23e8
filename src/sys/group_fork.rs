//! Starts processes in a control group.
//!
//! The kernel lets a new process begin in a group (CLONE_INTO_CGROUP). To move one there afterwards, it first
//! waits until every processor has passed a point of rest, some 10 to 20 ms.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use libc::pid_t;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::event;
use super::fork::{fork, is_single_threaded, kill_child};
use super::poll::{self, Deadline};
use super::process::{Ended, Process, leave, open_pidfd};

/// How long the process in between may take, since this process does nothing else until then. It takes less than a
/// millisecond, unless the machine is busy, or the group, or one above it, is frozen or has no memory left. What
/// begins outside the group and joins it takes 20 ms at most, so it is not worth waiting longer.
pub(crate) const TIME: Duration = Duration::from_millis(50);

/// How the process in between ends if it could not begin anything.
const FAILED: i32 = 1;

/// Why no process has begun in a group.
#[derive(Debug)]
pub(crate) enum GroupError {
    /// The kernel, or a filter of a container, didn't have it, or there is something wrong with what was to begin.
    Refused,
    /// It took too long. All that was in the group has been killed. Some of it may be left as zombies.
    TooLate,
    /// It took too long, and could not be ended. It may still begin.
    Unfinished(io::Error),
}

/// Forks this process, if it has one thread, into the control group that a directory stands for, in which nothing
/// else may be. Returns `None` in the copy, whose parent is this process.
///
/// This process must be a subreaper, or the first one of a PID namespace. No call of the C library knows
/// groups, and a copy has to be made by its `fork`, which runs the handlers of other libraries, such as those
/// that give a copy random numbers of its own. So a process in between begins in the group, forks the copy, and
/// ends, and the copy comes to this process. If it takes its time to end, it is killed and added to `ending`, to be
/// waited for later.
pub(crate) fn fork_into(
    group: BorrowedFd<'_>,
    ending: &mut Vec<Process>,
) -> Result<Option<Process>, GroupError> {
    begin_in(group, ending, |between| {
        let copy = fork().map_err(|error| error.source)?;
        if copy.is_none() {
            await_end(between);
        }
        Ok(copy)
    })
}

/// Starts a process in a control group, as [`fork_into`] forks one. `start` is called in the process in between,
/// whose id it is given. What it starts must wait for the [end](await_end) of that process before it looks for its
/// parent.
pub(crate) fn start_in(
    group: BorrowedFd<'_>,
    ending: &mut Vec<Process>,
    start: impl FnOnce(pid_t) -> io::Result<Process>,
) -> Result<Process, GroupError> {
    match begin_in(group, ending, |between| start(between).map(Some))? {
        Some(process) => Ok(process),
        // There is no copy.
        None => leave(1),
    }
}

/// Waits until this process's parent has ended, if that is the process in between.
pub(crate) fn await_end(between: pid_t) {
    while nix::unistd::getppid().as_raw() == between {
        std::thread::yield_now();
    }
}

/// Has a process in between begin something in a group. Returns `None` in a copy that this has made.
fn begin_in(
    group: BorrowedFd<'_>,
    ending: &mut Vec<Process>,
    begin: impl FnOnce(pid_t) -> io::Result<Option<Process>>,
) -> Result<Option<Process>, GroupError> {
    let refused = |_: io::Error| GroupError::Refused;
    if !is_single_threaded().map_err(refused)? {
        return Err(GroupError::Refused);
    }
    let told = event::new().map_err(refused)?;
    let Some(between) = clone_into(group).map_err(refused)? else {
        return match begin(nix::unistd::getpid().as_raw()) {
            Ok(None) => Ok(None),
            Ok(Some(process)) => {
                event::tell(told.as_fd(), u64::from(process.id.unsigned_abs()));
                leave(0)
            }
            Err(_) => leave(FAILED),
        };
    };
    let ends = |deadline| poll::readable(between.pidfd.as_fd(), deadline).is_ok();
    let is_late = !ends(Deadline::after(TIME));
    let mut id = event::take(told.as_fd());
    if is_late && id == 0 {
        // Not the process in between alone: what it has begun in this moment would then be unknown.
        kill_all(group).map_err(GroupError::Unfinished)?;
        if ends(Deadline::after(TIME)) {
            id = event::take(told.as_fd());
        }
    }
    if is_late {
        // It may have told, and not ended yet.
        let _ = between.signal(libc::SIGKILL);
    }
    let ended = between.try_wait();
    let has_said_no = matches!(ended, Ok(Some(Ended::Exited(FAILED))));
    if !matches!(ended, Ok(Some(_))) {
        ending.push(between);
    }
    match pid_t::try_from(id) {
        // If that was killed above, its end says so.
        Ok(id) if id > 0 => with_pidfd(id).map(Some).map_err(GroupError::Unfinished),
        _ if is_late => Err(GroupError::TooLate),
        // It was killed, perhaps after it had begun something, and before it told.
        _ if !has_said_no => {
            kill_all(group).map_err(GroupError::Unfinished)?;
            Err(GroupError::TooLate)
        }
        _ => Err(GroupError::Refused),
    }
}

/// Kills all that is in a group, and what it starts meanwhile (Linux 5.14).
pub(crate) fn kill_all(group: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let kill = openat(group, "cgroup.kill", flags, Mode::empty())?;
    File::from(kill).write_all(b"1")
}

/// Clones this process, which has one thread, into a group. Returns `None` in the clone, which may only fork,
/// start another program, and end.
fn clone_into(group: BorrowedFd<'_>) -> io::Result<Option<Process>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all-zero is a valid `clone_args`: no flags, and null pointers.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: without a stack and without sharing, `clone3(2)` forks. This is the only thread, so the copy of
    // the memory is whole. The C library isn't told: it takes the copy's thread for the number of this one. The
    // only call for which that could matter is the library's `fork`, which sets the number of its copy. A clone
    // that executes a program at once has no use for the number.
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
