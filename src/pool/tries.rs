//! The attempts to give a call to a spare.

use super::loan::Loan;
use crate::call::Child;
use crate::error::Error;
use crate::object::Object;
use crate::sys::poll::Deadline;
use crate::transport::Outbox;

/// The attempts to give a call to a spare. If a spare ends before it has read the arguments, nobody has seen them,
/// and what ended it has nothing to do with the call, so another spare gets them.
///
/// A reused child may have been taken over. Then it can read the arguments and leave them in its socket (`MSG_PEEK`),
/// so that the call goes to another child as well. It could as well have kept them and answered.
///
/// If channels that the call passes end with its child, there is one attempt. Another child would find them closed, and
/// could take that for the end of its input.
///
/// All attempts together have the time of the call: children that were taken over can't make it longer.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failed: u32,
    was_unread: bool,
    deadline: Option<Deadline>,
}

impl Tries {
    const MOST: u32 = 4;

    /// Returns the deadline of the call. The first child that is given the call sets it.
    pub(super) fn deadline(&mut self) -> &mut Option<Deadline> {
        &mut self.deadline
    }

    /// Notes how the last attempt went.
    pub(super) fn note<R: Object>(&mut self, child: &Child<R>, loan: &Loan, outbox: &Outbox<'_>) {
        let was_unread = outbox.is_one_packet() && child.left_unread();
        self.was_unread = !loan.ends_channels() && (outbox.is_untouched() || was_unread);
    }

    /// Returns whether to try again after a result.
    pub(super) fn is_one_left<R>(&mut self, result: &Result<R, Error>) -> bool {
        self.failed = self.failed.saturating_add(1);
        let may_repeat = match result {
            Ok(_) => false,
            // It is the call's own, and has passed.
            Err(Error::Deadline { .. }) => false,
            Err(_) => !self.deadline.is_some_and(Deadline::has_passed),
        };
        std::mem::take(&mut self.was_unread) && may_repeat && self.failed < Self::MOST
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Traffic;
    use crate::wire::ProtocolError;

    /// A child that a previous call took over can end in any way that it likes.
    #[test]
    fn a_call_that_nobody_read_is_repeated_whatever_ended_the_child() {
        let errors = [
            Error::Exited { status: 3 },
            Error::KeeperDied,
            Error::Malformed(ProtocolError::Surplus),
            Error::TooCostly {
                traffic: Traffic::Channel,
            },
        ];
        for error in errors {
            let shown = error.to_string();
            let mut tries = Tries {
                was_unread: true,
                ..Tries::default()
            };
            assert!(tries.is_one_left::<()>(&Err(error)), "{shown}");
        }
    }

    #[test]
    fn a_call_is_repeated_neither_once_it_was_read_nor_after_its_deadline() {
        let unread = || Tries {
            was_unread: true,
            ..Tries::default()
        };
        let after = Duration::from_secs(1);
        assert!(unread().is_one_left::<()>(&Err(Error::KeeperDied)));
        assert!(!unread().is_one_left::<()>(&Err(Error::Deadline { after })));
        let until = |deadline| Tries {
            deadline: Some(deadline),
            ..unread()
        };
        assert!(until(Deadline::NEVER).is_one_left::<()>(&Err(Error::KeeperDied)));
        let late = until(Deadline::after(Duration::ZERO));
        assert!(!{ late }.is_one_left::<()>(&Err(Error::KeeperDied)));
        assert!(!unread().is_one_left(&Ok(())));
        assert!(!Tries::default().is_one_left::<()>(&Err(Error::KeeperDied)));
    }

    #[test]
    fn a_call_is_not_repeated_for_ever() {
        let mut tries = Tries::default();
        let mut repeated = 0;
        loop {
            tries.was_unread = true;
            if !tries.is_one_left::<()>(&Err(Error::KeeperDied)) {
                break;
            }
            repeated += 1;
        }
        assert_eq!(repeated, 3);
    }
}
