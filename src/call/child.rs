//! `Child`: waits for a child's answer and for its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::confinement::Confined;
use super::process::{ChildProcess, StillRunning};
use super::progress::{Answer, CallSettings, Running};
use super::reaper;
use crate::confine::ConfinementStatus;
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::object::Object;
use crate::sys::poll::Deadline;
use crate::sys::process::Ended;
use crate::transport::Outbox;

/// A function that is running in a child process.
///
/// Dropping a `Child` does not end the process, just as dropping a `JoinHandle` does not end a
/// thread. The result is then lost. To kill the process on drop, set
/// [`kill_on_drop`](crate::Builder::kill_on_drop) on the builder. In both cases, the process leaves
/// no zombie.
pub struct Child<T> {
    running: Option<Running>,
    said: Option<Said<T>>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// What a child has said before it exits.
#[derive(Debug)]
struct Said<T> {
    look: Answer<T>,
    /// When it has to have exited.
    linger: Deadline,
}

/// How long a child may take to exit after it has answered, before it is killed. The answer counts
/// either way.
const LINGER: Duration = Duration::from_secs(2);

impl<T: Object> Child<T> {
    pub(crate) fn new(
        process: ChildProcess,
        socket: OwnedFd,
        hold: CallSettings,
        confined: Option<Confined>,
    ) -> Self {
        Self {
            running: Some(Running::new(process, socket, hold, confined)),
            said: None,
        }
    }

    /// Sends the rest of the arguments while the child reads them.
    pub(crate) fn send(&mut self, outbox: &mut Outbox<'_>) -> Result<(), Error> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        match running.send(outbox) {
            Ok(()) => Ok(()),
            // Its exit status will tell why it went away.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => {
                let error = match error.kind() {
                    io::ErrorKind::TimedOut => Error::Deadline {
                        after: running.time,
                    },
                    _ => Error::Launch {
                        step: "send the arguments",
                        source: error,
                    },
                };
                self.end_for(&error);
                Err(error)
            }
        }
    }

    /// Makes the reaper enforce the deadline while nobody waits for the child.
    pub(crate) fn watch(&self) {
        if let Some(running) = self
            .running
            .as_ref()
            .filter(|running| !running.deadline.is_never() && !running.process.is_supervised())
        {
            reaper::watch(Arc::clone(&running.process), running.deadline);
        }
    }

    /// Returns the child's process id.
    ///
    /// For a confined child, this waits until it has one, some tens of microseconds after `spawn`.
    /// Returns 0 if the child could not be started; [`join`](Self::join) returns the reason.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running
            .as_ref()
            .map_or(0, |running| running.process.id())
    }

    /// Kills the child with SIGKILL. [`join`](Self::join) then returns [`Error::Killed`], unless
    /// the answer had already arrived. Killing a child that has already exited is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the child cannot be killed.
    pub fn kill(&self) -> Result<(), Error> {
        self.running
            .as_ref()
            .map_or(Ok(()), |running| running.process.kill())
    }

    /// Returns a handle that can kill the child from another thread.
    #[must_use]
    pub fn kill_handle(&self) -> KillHandle {
        KillHandle {
            process: self
                .running
                .as_ref()
                .map(|running| Arc::clone(&running.process)),
        }
    }

    /// Waits until the child has exited, and returns the function's result.
    ///
    /// # Errors
    ///
    /// An [`Error`] that says how the child ended, if it returned no result.
    pub fn join(mut self) -> Result<T, Error> {
        match self.join_until(Deadline::NEVER)? {
            Some(value) => Ok(value),
            // A wait without a deadline ends only with a result or an error.
            None => Err(Error::StatusTaken),
        }
    }

    /// Returns the function's result if it has arrived, or `None` while the child is running. Does
    /// not wait.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join).
    pub fn try_join(&mut self) -> Result<Option<T>, Error> {
        self.join_until(Deadline::after(Duration::ZERO))
    }

    /// Waits for at most `timeout` until the child has exited, and returns the function's result.
    /// Returns `None` if the child is still running.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<Option<T>, Error> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&mut self, until: Deadline) -> Result<Option<T>, Error> {
        let Some(running) = &mut self.running else {
            return Err(Error::StatusTaken);
        };
        let linger = match &self.said {
            Some(said) => said.linger,
            None => {
                let look = running.wait_for_answer(until, false);
                match self.note(look)? {
                    Some(linger) => linger,
                    None => return Ok(None),
                }
            }
        };
        let Some(running) = &mut self.running else {
            return Err(Error::StatusTaken);
        };
        match running.wait_for_end(until.min(linger)) {
            Err(StillRunning) if !linger.has_passed() => Ok(None),
            ended => self.finish(ended).map(Some),
        }
    }

    /// Waits until the sandbox is in place, and returns what it enforces. Returns `None` for a
    /// function without a sandbox.
    ///
    /// A child confines itself within some tenths of a millisecond after its start.
    ///
    /// # Errors
    ///
    /// [`Error::Confine`] if the child could not confine itself. Otherwise the error that ended the
    /// call so early.
    pub fn confinement(&mut self) -> Result<Option<ConfinementStatus>, Error> {
        loop {
            let Some(running) = &mut self.running else {
                return Err(Error::StatusTaken);
            };
            match running.confined.as_ref().map(Confined::status) {
                None => return Ok(None),
                Some(Some(status)) => return Ok(Some(ConfinementStatus::clone(status))),
                Some(None) => {}
            }
            if self.said.is_some() {
                // The child closed its channel before it said anything.
                let ended = running.wait_for_end(Deadline::after(LINGER));
                return self.finish(ended).map(|_| None);
            }
            let look = running.wait_for_answer(Deadline::NEVER, true);
            self.note(look)?;
        }
    }

    /// Records what the child has said, and returns until when it may linger. Kills the child if
    /// there was an error.
    pub(crate) fn note(
        &mut self,
        look: Result<Option<Answer<T>>, Error>,
    ) -> Result<Option<Deadline>, Error> {
        match (look, &self.running) {
            (Ok(Some(look)), Some(running)) => {
                let linger = Deadline::after(LINGER).min(running.deadline);
                self.said = Some(Said { look, linger });
                Ok(Some(linger))
            }
            (Ok(_), _) => Ok(None),
            (Err(error), _) => {
                self.end_for(&error);
                Err(error)
            }
        }
    }

    /// Returns the result of the call, after the child has said everything and has ended, or should
    /// have.
    pub(crate) fn finish(&mut self, ended: Result<Ended, StillRunning>) -> Result<T, Error> {
        let (Some(running), Some(said)) = (&mut self.running, self.said.take()) else {
            return Err(Error::StatusTaken);
        };
        let result = match said.look {
            Answer::Given(reply) => running.conclude(reply),
            Answer::Closed => Err(running.verdict(ended)),
        };
        // If the child is still running, it is killed.
        match &result {
            Ok(_) => self.end_now(),
            Err(error) => self.end_for(error),
        }
        result
    }

    /// Ends a child whose call has failed.
    pub(crate) fn end_for(&mut self, error: &Error) {
        #[cfg(not(feature = "tracing"))]
        let _ = error;
        #[cfg(feature = "tracing")]
        let id = self.id();
        self.end_now();
        #[cfg(feature = "tracing")]
        events::failed(id, error);
    }
}

impl<T> Child<T> {
    pub(crate) fn process(&self) -> Option<&Arc<ChildProcess>> {
        self.running.as_ref().map(|running| &running.process)
    }

    /// Kills the child if it is still running, and forgets it.
    pub(crate) fn end_now(&mut self) {
        if let Some(running) = &mut self.running {
            running.kill_on_drop = true;
        }
        self.running = None;
    }
}

/// What a join under another runtime needs.
#[cfg(feature = "tokio")]
impl<T> Child<T> {
    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    /// Returns until when a child that has said everything may linger.
    pub(crate) fn linger(&self) -> Option<Deadline> {
        self.said.as_ref().map(|said| said.linger)
    }
}

/// Kills a child from another thread, or after its [`Child`] has been dropped. Created by
/// [`Child::kill_handle`].
///
/// It never kills another process: a pidfd identifies the child, not its process id, which can be
/// reused.
#[derive(Clone, Debug)]
pub struct KillHandle {
    process: Option<Arc<ChildProcess>>,
}

impl KillHandle {
    /// Kills the child with SIGKILL. Killing a child that has already exited is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the child cannot be killed.
    pub fn kill(&self) -> Result<(), Error> {
        self.process
            .as_ref()
            .map_or(Ok(()), |process| process.kill())
    }
}
