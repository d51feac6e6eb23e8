//! Bounds the processor time that receiving from a peer may cost.
//!
//! A receive wakes up the processes that wait for room. A peer can make tens of thousands of them
//! wait, so that each packet costs milliseconds instead of microseconds. No honest peer does that.

use std::time::{Duration, Instant};

use crate::sys::clock;

/// What one receive may cost: many times the usual cost, for a packet of 200 KiB as well.
const RECEIVE_TIME: Duration = Duration::from_millis(1);

/// How many receives are measured after one that took long. Some of them find nothing, and cost nothing.
const MEASURED: u32 = 64;

/// By how much all receives from one peer together may exceed that.
pub(crate) const EXCESS_TIME: Duration = Duration::from_millis(100);

/// How much one receive adds to that at most. A virtual machine that is halted for a second, to be moved
/// say, counts the second as processor time, and no peer has anything to do with it.
const ADDED_TIME: Duration = Duration::from_millis(25);

/// The rate at which the excess is forgotten, as a fraction of the time that passes. So a machine
/// that is slow for a moment does no harm to a peer that lives for days.
const FORGOTTEN_PART: u32 = 100;

/// How much more than usual the receives from one peer have cost.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    excess: Duration,
    /// How many of the next receives are measured, since one took long. It may have been waiting.
    to_be_measured: u32,
    /// When `excess` was last updated.
    at: Option<Instant>,
}

impl Cost {
    /// Receives, and counts what that costs this thread if one of the receives before it took long.
    ///
    /// The kernel is not asked for the time unless it matters. To wait for something to receive costs nothing.
    pub(crate) fn watch<R>(&mut self, receive: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = match self.to_be_measured {
            0 => receive(),
            _ => self.of(receive),
        };
        self.to_be_measured = match begun.elapsed() > RECEIVE_TIME {
            true => MEASURED,
            false => self.to_be_measured.saturating_sub(1),
        };
        result
    }

    /// Receives, and counts what that costs this thread.
    pub(crate) fn of<R>(&mut self, receive: impl FnOnce() -> R) -> R {
        let before = clock::thread_time();
        let result = receive();
        self.add(clock::thread_time().saturating_sub(before));
        result
    }

    fn add(&mut self, cost: Duration) {
        let excess = cost.saturating_sub(RECEIVE_TIME).min(ADDED_TIME);
        if excess.is_zero() {
            return;
        }
        let now = Instant::now();
        let passed = self.at.replace(now).map(|at| now.duration_since(at));
        let forgotten = passed.unwrap_or_default() / FORGOTTEN_PART;
        self.excess = self.excess.saturating_sub(forgotten).saturating_add(excess);
    }

    /// Returns whether the peer must be ended.
    pub(crate) fn is_too_high(&self) -> bool {
        self.excess > EXCESS_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_receives_never_add_up() {
        let mut cost = Cost::default();
        for _ in 0..1_000_000 {
            cost.add(RECEIVE_TIME);
        }
        assert!(!cost.is_too_high());
        assert_eq!(cost.of(|| 7), 7);
    }

    #[test]
    fn expensive_ones_do() {
        let mut cost = Cost::default();
        let mut count = 0;
        while !cost.is_too_high() {
            cost.add(RECEIVE_TIME * 4);
            count += 1;
        }
        assert!((20..60).contains(&count), "{count}");
        // What this thread does meanwhile is what counts, not the time that passes.
        let mut patient = Cost::default();
        patient.of(|| std::thread::sleep(EXCESS_TIME * 2));
        assert!(!patient.is_too_high());
        let mut busy = Cost::default();
        for _ in 0..10 {
            let until = clock::thread_time() + EXCESS_TIME / 2;
            busy.of(|| while clock::thread_time() < until {});
        }
        assert!(busy.is_too_high());
    }

    #[test]
    fn one_long_receive_is_forgiven() {
        let mut halted = Cost::default();
        for _ in 0..4 {
            halted.add(EXCESS_TIME * 100);
        }
        assert!(!halted.is_too_high());
        halted.add(EXCESS_TIME * 100);
        assert!(halted.is_too_high());
    }
}
