//! When the spares that are missing are started.

use std::time::Duration;

use crate::sys::poll::Deadline;

/// How long after a spare was taken the next one is started, unless the call ends before, and how long after a child
/// came back the thread looks after it.
pub(super) const REFILL_PAUSE: Duration = Duration::from_millis(1);

/// How long after an answer the thread looks after the child. By then the caller has the answer, even if there
/// is one processor for all of them.
pub(super) const RETIRE_PAUSE: Duration = Duration::from_micros(50);

/// Puts off the start of spares, so that a short call is over first, and its caller has the answer: there may be one
/// processor for all of them.
#[derive(Debug, Default)]
pub(super) struct Refill {
    /// `None` if no call has begun or ended since the last start.
    due: Option<Deadline>,
}

impl Refill {
    /// Notes that a call begins. If few spares are left, it puts off nothing that was put off before: calls may come
    /// so fast that no spare would ever be started.
    pub(super) fn call_begins(&mut self, is_low: bool) {
        if !is_low || self.due.is_none() {
            self.due = Some(Deadline::after(REFILL_PAUSE));
        }
    }

    /// Notes that a call has ended.
    pub(super) fn call_has_ended(&mut self) {
        let soon = Deadline::after(RETIRE_PAUSE);
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Notes that spares were started, or that none is missing.
    pub(super) fn clear(&mut self) {
        self.due = None;
    }

    /// Returns when spares may be started.
    pub(super) fn due(&self) -> Deadline {
        self.due.unwrap_or_else(|| Deadline::after(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(refill: &Refill) {
        while !refill.due().has_passed() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn calls_that_come_without_end_do_not_put_off_a_refill_that_is_needed() {
        let mut refill = Refill::default();
        let begun = Deadline::after(Duration::ZERO);
        refill.call_begins(true);
        // The control.
        let due = refill.due();
        assert_ne!(begun.min(due), due);
        refill.call_begins(true);
        assert_eq!(refill.due(), due);
        wait(&refill);
        // Before the thread comes to look.
        refill.call_begins(true);
        refill.call_has_ended();
        assert_eq!(refill.due(), due);
        refill.clear();
        refill.call_begins(true);
        assert_ne!(refill.due(), due);
    }

    #[test]
    fn while_there_are_enough_spares_each_call_puts_off_a_refill() {
        let mut refill = Refill::default();
        refill.call_begins(false);
        let due = refill.due();
        wait(&refill);
        refill.call_begins(false);
        assert_ne!(refill.due(), due);
    }

    #[test]
    fn the_end_of_a_call_brings_a_refill_forward() {
        let due = Deadline::after(Duration::from_secs(60));
        let mut refill = Refill { due: Some(due) };
        refill.call_has_ended();
        assert_ne!(refill.due(), due);
        assert_eq!(refill.due().min(due), refill.due());
    }
}
