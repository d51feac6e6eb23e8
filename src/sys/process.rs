//! Processes, which are referred to by pidfd, and this process itself.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::raw::{c_int, c_long};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::system_files;

/// A child of this process. A pidfd never refers to another process later.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: libc::pid_t,
    pub(crate) pidfd: Arc<OwnedFd>,
}

/// How a process ended, according to `waitid(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signalled {
        signal: i32,
        core_dumped: bool,
    },
    /// Somebody else in this program waited for it, or SIGCHLD is ignored.
    Unknown,
}

/// What a process that has ended has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumption {
    pub(crate) cpu_time: Duration,
    /// The most memory that was resident at a time, in bytes. It counts from the last `fork`: what a program was
    /// before it called `execve` counts as well.
    pub(crate) memory: u64,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled { signal, .. } => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown status"),
        }
    }
}

impl Process {
    /// Waits for it to end, and takes its status.
    pub(crate) fn wait(&self) -> io::Result<Ended> {
        self.wait_with(0, None)
            .map(|ended| ended.unwrap_or(Ended::Unknown))
    }

    /// Takes its status if it has ended, and what it has used.
    pub(crate) fn try_wait_with_usage(&self) -> io::Result<Option<(Ended, Consumption)>> {
        // SAFETY: all-zero is a valid `rusage`.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        let ended = self.wait_with(libc::WNOHANG, Some(&mut usage))?;
        let time = |time: libc::timeval| {
            let micros = time.tv_sec.saturating_mul(1_000_000);
            Duration::from_micros(micros.saturating_add(time.tv_usec).unsigned_abs())
        };
        let consumption = Consumption {
            cpu_time: time(usage.ru_utime) + time(usage.ru_stime),
            // In kibibytes.
            memory: usage.ru_maxrss.unsigned_abs().saturating_mul(1024),
        };
        Ok(ended.map(|ended| (ended, consumption)))
    }

    /// Takes its status if it has ended.
    pub(crate) fn try_wait(&self) -> io::Result<Option<Ended>> {
        self.wait_with(libc::WNOHANG, None)
    }

    fn wait_with(
        &self,
        options: c_int,
        usage: Option<&mut libc::rusage>,
    ) -> io::Result<Option<Ended>> {
        // SAFETY: all-zero is a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let usage = usage.map_or(ptr::null_mut(), ptr::from_mut);
        loop {
            // The C library's wrapper has no argument for the usage.
            // SAFETY: `waitid(2)` writes into the structures that it is given, or none.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_waitid,
                    libc::P_PIDFD,
                    self.pidfd.as_raw_fd(),
                    &raw mut info,
                    libc::WEXITED | options,
                    usage,
                )
            };
            if result == 0 {
                break;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ECHILD) => return Ok(Some(Ended::Unknown)),
                _ => return Err(error),
            }
        }
        // SAFETY: `waitid` filled it in for a child, or left it zero; both have a status.
        let (pid, status) = (unsafe { info.si_pid() }, unsafe { info.si_status() });
        Ok((pid != 0).then_some(match info.si_code {
            libc::CLD_EXITED => Ended::Exited(status),
            code => Ended::Signalled {
                signal: status,
                core_dumped: code == libc::CLD_DUMPED,
            },
        }))
    }

    /// Returns the real user that it had, if it has ended and was not waited for. It can still be
    /// waited for.
    pub(crate) fn user_at_end(&self) -> io::Result<Option<libc::uid_t>> {
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: all-zero is a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let pidfd = self.pidfd.as_raw_fd();
        // SAFETY: `waitid(2)` writes into the structure.
        let result =
            unsafe { libc::waitid(libc::P_PIDFD, pidfd.cast_unsigned(), &raw mut info, options) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `waitid` filled it in for a child, or left it zero; both have an id and a user.
        let (pid, user) = (unsafe { info.si_pid() }, unsafe { info.si_uid() });
        Ok((pid != 0).then_some(user))
    }

    /// Sends a signal to it. Has no effect if it has ended.
    pub(crate) fn signal(&self, signal: c_int) -> io::Result<()> {
        signal_by_pidfd(self.pidfd.as_fd(), signal)
    }
}

/// Sends a signal to the process of a pidfd. Has no effect if it has ended.
pub(crate) fn signal_by_pidfd(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    // SAFETY: `pidfd_send_signal(2)` takes no pointer but the null that stands for "as `kill`".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        error => Err(error),
    }
}

/// Opens `/dev/null` for standard descriptors that are closed, so that nothing else gets their
/// numbers and is then printed to. Rust's runtime does it before `main`.
pub(crate) fn fill_standard_descriptors() -> io::Result<()> {
    for number in 0..3 {
        // SAFETY: takes no pointer, and fails if the descriptor is closed.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            let null = system_files::open_null()?;
            // It got the lowest free number, which is this one, and keeps it.
            let _ = null.into_raw_fd();
        }
    }
    Ok(())
}

/// Adopts a descriptor that this process was started with, which nothing in it may have adopted before.
///
/// Fails with EBADF if it is a standard one, or is not open, or is close-on-exec: then it was opened since
/// the start, or adopted.
pub(crate) fn adopt_inherited(number: c_int) -> io::Result<OwnedFd> {
    let refused = || io::Error::from_raw_os_error(libc::EBADF);
    if number <= libc::STDERR_FILENO {
        return Err(refused());
    }
    // SAFETY: takes a number.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        -1 => return Err(io::Error::last_os_error()),
        flags if flags & libc::FD_CLOEXEC != 0 => return Err(refused()),
        _ => {}
    }
    // SAFETY: takes numbers. The descriptor is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open and was not close-on-exec, so it was there before this process's program, which
    // had no owner for it: whatever opens descriptors for an owner, in std and here, has them be
    // close-on-exec. It is now, so that a second adoption fails.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends this process without the usual work at the end of a program: handlers of `atexit(3)`,
/// destructors of thread-locals and of the C library's loader. What C code has printed into a
/// buffer is written.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: a null pointer stands for all streams.
    unsafe { libc::fflush(ptr::null_mut()) };
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Has a function called when the program returns from `main` or calls `exit(3)`. Copies of the process
/// that `fork` makes call it as well.
pub(crate) fn at_exit(function: extern "C" fn()) {
    // SAFETY: a function of the program's own executable, which stays mapped, and which is safe to call at
    // any time. If there is no memory to remember it, it is not called.
    unsafe { libc::atexit(function) };
}

/// Makes copies of this process be scheduled as ordinary processes, however this one is.
pub(crate) fn reset_scheduling_on_fork() -> io::Result<()> {
    // The raw calls: musl's functions of these names do nothing.
    // SAFETY: takes a number.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let mut priority: c_int = 0;
    // SAFETY: writes the structure, which is this number (sched_setparam(2)).
    let known = unsafe { libc::syscall(libc::SYS_sched_getparam, 0, &raw mut priority) };
    if policy == -1 || known == -1 {
        return Err(io::Error::last_os_error());
    }
    let policy = policy | c_long::from(libc::SCHED_RESET_ON_FORK);
    // SAFETY: reads the structure.
    let set =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the name of this thread, and on the first thread also that of the process, as shown in `ps`
/// and the like.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: `PR_SET_NAME` reads a C string, of which it takes 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Opens a pidfd of a process.
pub(crate) fn open_pidfd(id: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: `pidfd_open(2)` takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    match c_int::try_from(fd) {
        // SAFETY: a new descriptor, close-on-exec, that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
