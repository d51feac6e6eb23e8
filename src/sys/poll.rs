//! Waits for descriptors, until a point in time.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The time when a wait must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    /// Returns the time `timeout` from now, or never if that is beyond what the clock can
    /// represent.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    pub(crate) fn is_never(self) -> bool {
        self.0.is_none()
    }

    /// Returns whether it has passed.
    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// Returns the time on CLOCK_MONOTONIC in nanoseconds, which is the clock of `Instant`, unless
    /// it is never.
    pub(crate) fn monotonic_nanos(self) -> Option<u64> {
        let left = self.0?.saturating_duration_since(Instant::now());
        let left = i128::try_from(left.as_nanos()).unwrap_or(i128::MAX);
        u64::try_from(super::clock::monotonic_nanos().saturating_add(left)).ok()
    }

    /// Returns the time, unless it is never.
    #[cfg(feature = "__runtime")]
    pub(crate) fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Returns the earlier of both.
    pub(crate) fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// How long it is until then, unless it is never. Zero once it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.0
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn left(self) -> Option<libc::timespec> {
        self.remaining().map(|left| libc::timespec {
            tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        })
    }
}

/// Waits until one of `fds` has one of its `events`, and fails with TimedOut at the deadline.
pub(crate) fn poll(fds: &mut [libc::pollfd], deadline: Deadline) -> io::Result<()> {
    loop {
        let left = deadline.left();
        let timeout = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `ppoll(2)` reads and writes the array of the length that it is given, and reads
        // the time, which lives in `left`, unless the pointer is null.
        let ready = unsafe {
            libc::ppoll(
                fds.as_mut_ptr(),
                fds.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        match ready {
            0 => return Err(io::ErrorKind::TimedOut.into()),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => return Ok(()),
        }
    }
}

/// Returns an entry for [`poll`].
pub(crate) fn entry(fd: BorrowedFd<'_>, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    }
}

/// Waits until `fd` can be read from, or has reached its end.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    poll(&mut [entry(fd, libc::POLLIN)], deadline)
}

/// Waits until `fd` can be written to.
pub(crate) fn writable(fd: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    poll(&mut [entry(fd, libc::POLLOUT)], deadline)
}

/// Returns those of some events that have occurred.
pub(crate) fn events(fd: BorrowedFd<'_>, events: libc::c_short) -> libc::c_short {
    let mut entries = [entry(fd, events)];
    // It fails only without memory; then there is nothing to tell.
    let _ = poll(&mut entries, Deadline::after(Duration::ZERO));
    entries[0].revents
}

/// Whether the other end of a socket is closed.
pub(crate) fn has_hung_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut entries = [entry(fd, libc::POLLRDHUP)];
    match poll(&mut entries, Deadline::after(Duration::ZERO)) {
        Ok(()) => Ok(entries[0].revents & (libc::POLLRDHUP | libc::POLLHUP) != 0),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error),
    }
}
