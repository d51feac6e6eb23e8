//! `Child`: waits in a runtime for a child's answer and for its end.

use std::time::Duration;

use super::names;
use super::reactor::{Reactor, Woken, wait};
use crate::call::{KillHandle, time_to_end};
use crate::channel::ChannelError;
use crate::confine::ConfinementStatus;
use crate::error::Error;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;
use crate::object::Object;
use crate::sys::poll::Deadline;
use crate::sys::readiness::Held;
use crate::transport::{Outbox, Step};

/// A function that is running in a child process. See [`crossmist::Child`](crate::Child).
///
/// Dropping a `Child` does not end the process, unless
/// [`kill_on_drop`](crate::Builder::kill_on_drop) is set on the builder. In both cases, the process
/// leaves no zombie.
pub struct Child<T, W: Reactor> {
    // Before the child, whose descriptors they watch.
    socket: W::Source,
    end: W::Source,
    child: crate::Child<T>,
    /// Why the call failed, while the names in that are looked up.
    failed: Option<Error>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T, W: Reactor> std::fmt::Debug for Child<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

impl<T: Object, W: Reactor> Child<T, W> {
    pub(crate) fn new(mut child: crate::Child<T>) -> Result<Self, Error> {
        child.never_wait();
        let Some((socket, end)) = child.sources() else {
            return Err(Error::AlreadyJoined);
        };
        let register = |held| {
            W::register(held).map_err(|source| Error::Io {
                operation: "register the child process with the asynchronous runtime",
                source,
            })
        };
        Ok(Self {
            socket: register(Held::connection(socket))?,
            end: register(Held::pidfd(end))?,
            child,
            failed: None,
        })
    }

    #[cfg(feature = "metrics")]
    pub(super) fn measure_call(&mut self, meter: CallMeter) {
        self.child.measure_call(meter);
    }

    pub(super) fn watch(&self) {
        self.child.watch();
    }

    /// Returns the child's process id. See [`crossmist::Child::id`](crate::Child::id).
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the child with SIGKILL. See [`crossmist::Child::kill`](crate::Child::kill).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the child cannot be killed.
    pub fn kill(&self) -> Result<(), Error> {
        self.child.kill()
    }

    /// Returns a handle that can kill the child from elsewhere.
    #[must_use]
    pub fn kill_handle(&self) -> KillHandle {
        self.child.kill_handle()
    }

    /// Waits until the child has exited, and returns the function's result.
    ///
    /// # Errors
    ///
    /// An [`Error`] that says how the child ended, if it returned no result.
    ///
    /// # Panics
    ///
    /// tokio panics if its time driver is not enabled and is needed, for a deadline or for a child that
    /// lingers after its answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the `Child`: the process keeps running, or is killed if
    /// `kill_on_drop` is set. To wait with a timeout and keep the child, use
    /// [`join_timeout`](Self::join_timeout).
    pub async fn join(mut self) -> Result<T, Error> {
        match self.join_until(Deadline::NEVER).await? {
            Some(value) => Ok(value),
            None => Err(Error::StatusTaken),
        }
    }

    /// Waits until the child has exited, but for at most `timeout`, and returns the function's result.
    /// Returns `None` if the child is still running.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped. The next call continues to wait.
    pub async fn join_timeout(&mut self, timeout: Duration) -> Result<Option<T>, Error> {
        self.join_until(Deadline::after(timeout)).await
    }

    async fn join_until(&mut self, until: Deadline) -> Result<Option<T>, Error> {
        if self.failed.is_none() {
            match self.drive(|child| child.next_join(until)).await {
                Err(error) => self.failed = Some(error),
                result => return result,
            }
        }
        // Kept meanwhile, so that nothing is lost if this future is dropped.
        if let Some(error) = &self.failed {
            names::look_up(error).await;
        }
        Err(self.failed.take().unwrap_or(Error::StatusTaken))
    }

    /// Ends the child, and returns why a channel to it has failed. See
    /// [`crossmist::Child::explain`](crate::Child::explain).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the `Child`, as with [`join`](Self::join).
    #[must_use]
    pub async fn explain(mut self, error: ChannelError) -> Error {
        let joined = self.join_until(time_to_end(&error)).await;
        self.child.settle(error, joined)
    }

    /// Waits until the sandbox is in place, and returns what it enforces. See
    /// [`crossmist::Child::confinement`](crate::Child::confinement).
    ///
    /// # Errors
    ///
    /// [`Error::Confine`] if the child could not confine itself. Otherwise the error that ended the
    /// call so early.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn confinement(&mut self) -> Result<Option<ConfinementStatus>, Error> {
        self.drive(crate::Child::next_confinement).await
    }

    /// Sends the rest of the arguments while the child reads them.
    pub(crate) async fn send(&mut self, outbox: &mut Outbox<'_>) -> Result<(), Error> {
        self.drive(|child| child.next_send(outbox)).await
    }

    /// Waits for the result, and not for the end of a child that has given one.
    pub(crate) async fn result(&mut self) -> Result<T, Error> {
        self.drive(crate::Child::next_result).await
    }

    /// Gives up the registration.
    pub(crate) fn into_child(self) -> crate::Child<T> {
        self.child
    }

    /// Takes steps until the last one, and waits in between.
    async fn drive<O>(
        &mut self,
        mut next: impl FnMut(&mut crate::Child<T>) -> Step<Result<O, Error>>,
    ) -> Result<O, Error> {
        let mut ready = None;
        loop {
            let wanted = match next(&mut self.child) {
                Step::Done(result) => return result,
                Step::Continue => {
                    W::yield_now().await;
                    continue;
                }
                Step::Wait(wanted) => wanted,
            };
            if let Some(ready) = ready.take() {
                // The step has found nothing, so the runtime has to wait again.
                W::clear(ready);
            }
            match wait::<W>(&self.socket, Some(&self.end), wanted).await {
                Ok(Woken::Socket(readiness)) => ready = Some(readiness),
                Ok(Woken::End(readiness)) => {
                    if !self.child.note_end() {
                        W::clear(readiness);
                    }
                }
                Ok(Woken::Time) => {}
                Err(source) => return Err(self.child.fail_to_wait(source)),
            }
        }
    }
}
