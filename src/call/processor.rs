//! The processor time of one call of a child that answers several, measured from outside.
//!
//! The kernel's limit counts the whole life of a process. So such a child has a limit for all its calls together,
//! and the program looks at its clock to see how much of that this call has taken.

use std::io;
use std::time::Duration;

use crate::sys::cpu_clock::{CpuClock, processors};
use crate::sys::poll::Deadline;

/// The processor time of a call.
#[derive(Debug)]
pub(super) struct ProcessorTime {
    clock: CpuClock,
    /// What the clock may show at the end of the call.
    most: Duration,
    /// Before that, the child cannot have taken so much.
    look_at: Deadline,
}

/// The shortest pause between two looks.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

impl ProcessorTime {
    /// Begins a call that may take this much.
    pub(super) fn begin(process: u32, time: Duration) -> io::Result<Self> {
        let clock = CpuClock::of(process)?;
        Ok(Self {
            clock,
            most: clock.time()?.saturating_add(time),
            look_at: after_at_least(time),
        })
    }

    /// Returns when to look again.
    pub(super) fn look_at(&self) -> Deadline {
        self.look_at
    }

    /// Returns whether the call has taken more than it may. Looks at the clock only when that is possible.
    pub(super) fn is_used_up(&mut self) -> bool {
        if !self.look_at.has_passed() {
            return false;
        }
        // A process that is gone takes no more.
        let used = self.clock.time().unwrap_or_default();
        let left = self.most.saturating_sub(used);
        self.look_at = after_at_least(left);
        left.is_zero()
    }

    /// Returns how much the child has taken in its life, or `None` if it is gone.
    pub(super) fn in_all(&self) -> Option<Duration> {
        self.clock.time().ok()
    }
}

/// Returns the earliest time at which this much processor time can have been spent by all threads of a process.
fn after_at_least(time: Duration) -> Deadline {
    Deadline::after((time / processors()).max(LEAST_PAUSE))
}
