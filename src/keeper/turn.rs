//! Lets one thread at a time start a keeper of a kind, while the others wait without using a processor.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Kind;
use crate::sys::poll::Deadline;

/// The kinds of which a keeper is being started, and the process whose thread does that. A copy of the
/// process that `fork` makes has no such thread.
static TAKEN: Mutex<Vec<(u32, Kind)>> = Mutex::new(Vec::new());

/// Signalled when a turn ends.
static FREE: Condvar = Condvar::new();

/// The turn of the thread that has this value. Dropping it ends the turn.
#[derive(Debug)]
pub(super) struct Turn(Kind);

fn lock() -> MutexGuard<'static, Vec<(u32, Kind)>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Waits until no other thread of this process starts a keeper of this kind, and takes the turn.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::TimedOut`] if another thread has it until the deadline.
    pub(super) fn take(kind: Kind, deadline: Deadline) -> io::Result<Self> {
        let own = (std::process::id(), kind);
        let mut taken = lock();
        while taken.contains(&own) {
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
        // Those of a process that this one is a copy of will never end.
        taken.retain(|(process, _)| *process == own.0);
        taken.push(own);
        Ok(Self(kind))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let own = (std::process::id(), self.0);
        lock().retain(|taken| *taken != own);
        FREE.notify_all();
    }
}
