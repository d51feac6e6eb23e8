//! The children of a pool that have a call, and come back afterwards if they may answer another one.

use super::caller::Caller;
use super::lending::{Lent, come_back};
use super::refill::{REFILL_PAUSE, RETIRE_PAUSE};
use super::stats::count;
use super::stock::{Stock, Stocked};
use crate::call::{Child, Remainder, Spare};
use crate::error::Error;
#[cfg(feature = "metrics")]
use crate::meters::{self, Level};
use crate::object::Object;
use crate::sys::poll::Deadline;
use crate::transport::Outbox;

/// What is kept of a spare while its child has a call.
#[derive(Debug)]
pub(super) struct Loan {
    made_by: Caller,
    answered: u32,
    remainder: Remainder,
    /// Counts this child, if it is to come back.
    lent: Option<Lent>,
}

impl Loan {
    /// Returns whether no other child can have the call.
    pub(super) fn ends_channels(&self) -> bool {
        self.remainder.ends_channels()
    }
}

impl<R: Object + Send> Stock<R> {
    /// Gives a call to a child: to a spare, or else to one that is being started. The deadline is that of an attempt
    /// before, or becomes that of the call.
    pub(super) fn lend(
        &self,
        outbox: &mut Outbox<'_>,
        number: Option<u64>,
        deadline: &mut Option<Deadline>,
    ) -> Result<(Child<R>, Loan), Error> {
        let caller = Caller::now()?;
        // Before it is missing among the spares.
        let lent = (self.answers > 1).then(|| self.lending.lend());
        let is_here = self.is_in_this_process();
        let spare = match is_here {
            true => self.take_spare(&caller),
            false => None,
        };
        #[cfg(feature = "metrics")]
        let kind = spare.as_ref().map(|stocked| stocked.answered > 0);
        let (spare, made_by, answered) = match spare {
            Some(stocked) => {
                count(&self.counters.hits);
                (stocked.spare, stocked.made_by, stocked.answered)
            }
            None => {
                count(&self.counters.misses);
                if is_here {
                    // Starting one can take long, or fail.
                    self.refill_in_time();
                }
                ((self.start)(&self.options)?, caller, 0)
            }
        };
        if answered > 0 {
            count(&self.counters.reused);
        }
        #[cfg(feature = "metrics")]
        meters::pool_child(
            self.function,
            match kind {
                None => "new",
                Some(false) => "spare",
                Some(true) => "reused",
            },
        );
        let begun = spare.call(outbox, self.options.limits, number, deadline);
        if is_here {
            // Now that the child works.
            self.refill_in_time();
        }
        let (child, remainder) = begun?;
        let loan = Loan {
            made_by,
            answered,
            remainder,
            lent,
        };
        Ok((child, loan))
    }

    /// Takes a child back after its call. It waits for another one if it may have one and is wanted.
    pub(super) fn take_back(&self, child: Child<R>, loan: Loan, has_answered: bool) {
        let Loan {
            made_by,
            answered,
            remainder,
            lent,
        } = loan;
        let answered = answered.saturating_add(1);
        let may_answer = has_answered && answered < self.answers && self.is_in_this_process();
        let again = match may_answer {
            true => Spare::again(child, remainder),
            false => Err(Box::new(child)),
        };
        let spare = match again {
            Ok(spare) => spare,
            Err(child) => {
                come_back(lent);
                return self.retire(*child);
            }
        };
        let stocked = Stocked {
            spare,
            made_by,
            answered,
            #[cfg(feature = "metrics")]
            _waiting: Level::pool_spare(self.function),
        };
        let mut state = self.lock();
        // Now that the lock keeps the thread from counting.
        come_back(lent);
        if !state.is_closed && state.spares.len() < self.wanted {
            state.spares.push_front(stocked);
            // It is idle from now on, and the thread doesn't know it: it may be asleep, without a time to wake up.
            state.idle_until = Deadline::after(self.idle_time);
            self.wake_in(&mut state, REFILL_PAUSE);
        } else {
            state.give_up(stocked);
            self.wake_in(&mut state, RETIRE_PAUSE);
        }
    }
}
