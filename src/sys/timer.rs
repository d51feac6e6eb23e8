//! Timers as descriptors, which a program sets and another process waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::poll::Deadline;

/// A timer (timerfd_create(2)) on CLOCK_MONOTONIC. It is not set at first.
#[derive(Debug)]
pub(crate) struct Timer(TimerFd);

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Sets it to a deadline. It never ends if that is never.
    pub(crate) fn set(&self, deadline: Deadline) -> io::Result<()> {
        let Some(left) = deadline.remaining() else {
            return Ok(self.0.unset()?);
        };
        // Zero would stop it.
        let left = left.max(Duration::from_nanos(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(left));
        Ok(self.0.set(expiration, TimerSetTimeFlags::empty())?)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns whether a timer has ended since it was last set, and forgets that it has.
pub(crate) fn has_ended(timer: BorrowedFd<'_>) -> bool {
    let mut count = [0; 8];
    nix::unistd::read(timer, &mut count).is_ok_and(|length| length == count.len())
}
