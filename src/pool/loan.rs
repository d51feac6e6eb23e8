//! The children of a pool that have a call, and come back afterwards if they may answer another one.

use std::sync::Arc;

use super::caller::Caller;
use super::stats::count;
use super::stock::{RETIRE_PAUSE, Stock, Stocked};
use crate::call::{Child, Remainder, Spare};
use crate::error::Error;
use crate::object::Object;
use crate::transport::Outbox;

/// What is kept of a spare while its child has a call.
#[derive(Debug)]
pub(super) struct Loan {
    made_by: Caller,
    answered: u32,
    remainder: Remainder,
    /// Counts this child, if it is to come back.
    _lent: Option<Arc<()>>,
}

impl<R: Object + Send> Stock<R> {
    /// Gives a call to a child: to a spare, or else to one that is being started.
    pub(super) fn lend(
        &self,
        outbox: &mut Outbox<'_>,
        number: Option<u64>,
    ) -> Result<(Child<R>, Loan), Error> {
        let caller = Caller::now()?;
        // Before it is missing among the spares.
        let lent = (self.answers > 1).then(|| Arc::clone(&self.lent));
        let spare = match self.is_in_this_process() {
            true => self.take_spare(&caller),
            false => None,
        };
        let Stocked {
            spare,
            made_by,
            answered,
        } = match spare {
            Some(spare) => {
                count(&self.counters.hits);
                spare
            }
            None => {
                count(&self.counters.misses);
                Stocked {
                    spare: (self.start)(&self.options)?,
                    made_by: caller,
                    answered: 0,
                }
            }
        };
        if answered > 0 {
            count(&self.counters.reused);
        }
        let (child, remainder) = spare.call(outbox, self.options.limits, number)?;
        let loan = Loan {
            made_by,
            answered,
            remainder,
            _lent: lent,
        };
        Ok((child, loan))
    }

    /// Takes a child back after its call. It waits for another one if it may have one and is wanted.
    pub(super) fn take_back(&self, child: Child<R>, loan: Loan, has_answered: bool) {
        let answered = loan.answered.saturating_add(1);
        if !has_answered || answered >= self.answers || !self.is_in_this_process() {
            return self.retire(child);
        }
        let spare = match Spare::again(child, loan.remainder) {
            Ok(spare) => spare,
            Err(child) => return self.retire(*child),
        };
        let stocked = Stocked {
            spare,
            made_by: loan.made_by,
            answered,
        };
        let mut state = self.lock();
        if !state.is_closed && state.spares.len() < self.wanted {
            state.spares.push_front(stocked);
        } else {
            state.useless.push(stocked.spare);
            self.wake_in(&mut state, RETIRE_PAUSE);
        }
    }
}
