//! Forks this process, which must have one thread, and handles what copies leave behind.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{Process, open_pidfd};
use super::{system_files, threads};

/// How many forks of this module lie between this process and the one that began.
static COPIES: AtomicU32 = AtomicU32::new(0);

/// Returns a number that differs between a process and a copy that this module has made of it.
pub(super) fn generation() -> u32 {
    COPIES.load(Ordering::Relaxed)
}

/// Forks this process, if it has one thread. In a copy of a process with more, threads that do not
/// exist may hold locks. Returns `None` in the child.
pub(crate) fn fork() -> Result<Option<Process>, ForkError> {
    let failed = |step| move |source| ForkError { step, source };
    if !is_single_threaded().map_err(failed(ForkStep::CountThreads))? {
        let source = io::Error::other(format!(
            "it has {}. A library started it before the program's `main`, where a copy by fork would \
             lack it. Have it start none: `crossmist::keeper::env` sets a variable that tells it so, \
             if it has one",
            threads::others(),
        ));
        return Err(failed(ForkStep::Fork)(source));
    }
    // SAFETY: this is the only thread, so the child's copy of the memory is whole.
    let forked = unsafe { nix::unistd::fork() };
    match forked.map_err(|error| failed(ForkStep::Fork)(error.into()))? {
        nix::unistd::ForkResult::Child => {
            COPIES.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        nix::unistd::ForkResult::Parent { child } => {
            let id = child.as_raw();
            // The id is the child's until it is waited for, which only its parent can do.
            match open_pidfd(id) {
                Ok(pidfd) => Ok(Some(Process {
                    id,
                    pidfd: Arc::new(pidfd),
                })),
                Err(error) => {
                    kill_child(id);
                    let child = nix::unistd::Pid::from_raw(id);
                    while let Err(nix::Error::EINTR) = nix::sys::wait::waitpid(child, None) {}
                    Err(failed(ForkStep::OpenPidfd)(error))
                }
            }
        }
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(crate) struct ForkError {
    pub(crate) step: ForkStep,
    pub(crate) source: io::Error,
}

/// A step of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkStep {
    CountThreads,
    Fork,
    OpenPidfd,
}

impl fmt::Display for ForkStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CountThreads => "count the threads",
            Self::Fork => "fork",
            Self::OpenPidfd => "open a pidfd",
        })
    }
}

/// Forks this process, if it has one thread, into a new PID namespace, whose first process the copy is.
/// `None` in the copy.
pub(crate) fn fork_into_pid_namespace() -> io::Result<Option<Process>> {
    if !is_single_threaded()? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: without a stack and without sharing, `clone(2)` forks. This is the only thread, so the copy of
    // the memory is whole. The C library isn't told: it takes the copy's thread for the number of this one
    // until that forks by the library itself.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            COPIES.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
        id => {
            let id = libc::pid_t::try_from(id).map_err(io::Error::other)?;
            // As in `fork`.
            match open_pidfd(id) {
                Ok(pidfd) => Ok(Some(Process {
                    id,
                    pidfd: Arc::new(pidfd),
                })),
                Err(error) => {
                    kill_child(id);
                    let child = nix::unistd::Pid::from_raw(id);
                    while let Err(nix::Error::EINTR) = nix::sys::wait::waitpid(child, None) {}
                    Err(error)
                }
            }
        }
    }
}

/// Forks the calling thread and runs `test` in the copy. Returns whether it returned without a
/// panic.
///
/// For a test that is alone in its process, where no other thread of the runner holds a lock.
#[cfg(test)]
pub(crate) fn passes_in_a_fork(test: fn()) -> bool {
    // SAFETY: as above, the runner's other thread waits for this one.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            let passed = std::panic::catch_unwind(test).is_ok();
            // SAFETY: ends the process, without the runner's part.
            unsafe { libc::_exit(if passed { 0 } else { 1 }) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let ended = nix::sys::wait::waitpid(child, None).expect("its child");
            ended == nix::sys::wait::WaitStatus::Exited(child, 0)
        }
    }
}

/// Returns whether this process has one thread.
pub(crate) fn is_single_threaded() -> io::Result<bool> {
    // `unshare(2)`: this flag has no effect, but fails with EINVAL in a process of several threads.
    // SAFETY: takes a number, and changes nothing with this one.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL) => Ok(false),
        // A container may forbid the call whatever its flags. The directory has a link for each
        // thread, beside its own two.
        Some(libc::EPERM | libc::ENOSYS) => Ok(system_files::links("self/task")? == 3),
        _ => Err(error),
    }
}

/// Returns the children of this thread, if the kernel tells (CONFIG_PROC_CHILDREN), by ids that are
/// valid in this process: a `/proc` of another PID namespace has other ids.
pub(crate) fn children_of_this_thread() -> io::Result<Vec<libc::pid_t>> {
    let own = system_files::read_link("self")?;
    if own.to_str() != Some(std::process::id().to_string().as_str()) {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    let list = system_files::read_proc("/proc/thread-self/children")?;
    let children = list.split_whitespace();
    Ok(children.filter_map(|id| id.parse().ok()).collect())
}

/// Kills a child of this process that has no pidfd, and takes its status if it is available. The
/// child must not have been waited for.
pub(crate) fn kill_child(id: libc::pid_t) {
    let id = nix::unistd::Pid::from_raw(id);
    let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(id, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
}
