//! Lets one thread at a time start the keeper, while the others wait without using a processor.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::sys::poll::Deadline;

/// The process whose thread has the turn. A copy of the process that `fork` makes has no such
/// thread.
static TAKEN: Mutex<Option<u32>> = Mutex::new(None);

/// Signalled when the turn ends.
static FREE: Condvar = Condvar::new();

/// The turn of the thread that has this value. Dropping it ends the turn.
#[derive(Debug)]
pub(super) struct Turn(());

fn lock() -> MutexGuard<'static, Option<u32>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Waits until no other thread of this process has the turn, and takes it.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::TimedOut`] if another thread has it until the deadline.
    pub(super) fn take(deadline: Deadline) -> io::Result<Self> {
        let own = Some(std::process::id());
        let mut taken = lock();
        while *taken == own {
            if deadline.has_passed() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            taken = match deadline.remaining() {
                Some(time) => FREE
                    .wait_timeout(taken, time)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(taken, _)| taken),
                None => FREE.wait(taken).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *taken = own;
        Ok(Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock() = None;
        // Waking one thread is enough: it takes the turn, and signals again when its turn ends.
        FREE.notify_one();
    }
}
