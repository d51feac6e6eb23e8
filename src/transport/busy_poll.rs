//! Looks for a packet for a while, before a wait puts the thread to sleep.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::sys::poll::{self, Deadline};

/// How many looks in a row may be in vain.
const MOST_IN_VAIN: u32 = 4;

/// How many waits then begin without one.
const REST: u32 = 64;

/// Looks for a packet for a while, if that has been worth it.
///
/// It is not if both sides share a processor, since the other one can't send then, or if the other one takes longer.
/// Nothing tells in advance: which processor it runs on is its word, and may change at any time.
#[derive(Debug, Default)]
pub(crate) struct BusyPoll {
    /// How long a look takes at most. Zero turns it off.
    time: Duration,
    in_vain: u32,
    rest: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A packet, or the end, is there.
    Found,
    InVain,
    /// There was none, or too little time for one.
    None,
}

impl BusyPoll {
    pub(crate) fn lasting(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// Looks until something is there, but not longer than until `deadline`.
    pub(crate) fn look(&mut self, socket: BorrowedFd<'_>, deadline: Deadline) -> Look {
        if self.time.is_zero() {
            return Look::None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Look::None;
        }
        let until = Deadline::after(self.time);
        loop {
            if poll::events(socket, libc::POLLIN) != 0 {
                self.in_vain = 0;
                return Look::Found;
            }
            if until.has_passed() {
                break;
            }
            if deadline.has_passed() {
                // It may have been worth it.
                return Look::None;
            }
            std::hint::spin_loop();
        }
        // After a rest, one look tells.
        self.in_vain = self.in_vain.saturating_add(1);
        if self.in_vain >= MOST_IN_VAIN {
            self.rest = REST;
        }
        Look::InVain
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::socket::{self, Wait};

    #[test]
    fn looks_that_are_in_vain_become_rare() {
        let (ours, theirs) = socket::pair().unwrap();
        let mut polling = BusyPoll::lasting(Duration::from_micros(1));
        let mut look = || polling.look(ours.as_fd(), Deadline::NEVER);
        for _ in 0..MOST_IN_VAIN {
            assert_eq!(look(), Look::InVain);
        }
        for _ in 0..3 {
            for _ in 0..REST {
                assert_eq!(look(), Look::None);
            }
            assert_eq!(look(), Look::InVain);
        }
        for _ in 0..REST {
            assert_eq!(look(), Look::None);
        }
        // One that finds something makes them frequent again.
        socket::send(theirs.as_fd(), &[IoSlice::new(b"x")], &[], Wait::Block).unwrap();
        assert_eq!(look(), Look::Found);
        socket::receive(ours.as_fd(), &mut Vec::new(), 1, None, Wait::Block).unwrap();
        for _ in 0..MOST_IN_VAIN {
            assert_eq!(look(), Look::InVain);
        }
        assert_eq!(look(), Look::None);
    }

    #[test]
    fn the_end_is_found_as_well() {
        let (ours, theirs) = socket::pair().unwrap();
        drop(theirs);
        let mut polling = BusyPoll::lasting(Duration::from_secs(3600));
        assert_eq!(polling.look(ours.as_fd(), Deadline::NEVER), Look::Found);
    }

    #[test]
    fn a_look_ends_at_the_deadline() {
        let (ours, _theirs) = socket::pair().unwrap();
        let mut polling = BusyPoll::lasting(Duration::from_secs(3600));
        let deadline = Deadline::after(Duration::from_millis(1));
        assert_eq!(polling.look(ours.as_fd(), deadline), Look::None);
        assert!(deadline.has_passed());
    }

    #[test]
    fn looks_that_the_deadline_cuts_short_count_for_nothing() {
        let (ours, _theirs) = socket::pair().unwrap();
        let mut polling = BusyPoll::lasting(Duration::from_millis(1));
        for _ in 0..2 * MOST_IN_VAIN {
            let passed = Deadline::after(Duration::ZERO);
            assert_eq!(polling.look(ours.as_fd(), passed), Look::None);
        }
        assert_eq!(polling.look(ours.as_fd(), Deadline::NEVER), Look::InVain);
    }

    #[test]
    fn nothing_is_looked_at_unless_it_is_turned_on() {
        let (ours, theirs) = socket::pair().unwrap();
        drop(theirs);
        let mut polling = BusyPoll::default();
        assert_eq!(polling.look(ours.as_fd(), Deadline::NEVER), Look::None);
    }
}
