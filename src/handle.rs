//! The parent's hold on a child: waiting for its answer, and for its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::confine::Status;
use crate::confined::Confined;
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::object::Object;
use crate::reaper;
use crate::running::{ChildProcess, Hold, Look, Running, StillRunning};
use crate::sys::poll::Deadline;
use crate::sys::process::Ended;
use crate::transport::Outbox;

/// A function that runs in a child process.
///
/// Dropping it lets the child run on, as with a thread; what it returns is lost then. Its end
/// leaves no zombie either way. A builder's
/// [`kill_on_drop`](crate::Builder::kill_on_drop) makes the drop end it.
pub struct Child<T> {
    running: Option<Running>,
    said: Option<Said<T>>,
}

// Not derived: a derive would ask that the objects be `Debug`.
impl<T> std::fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// What a child has said, while it takes its time to exit.
#[derive(Debug)]
struct Said<T> {
    look: Look<T>,
    /// Until when it may.
    linger: Deadline,
}

/// How long a child that has answered may take to exit before it is killed. The answer counts
/// either way.
const LINGER: Duration = Duration::from_secs(2);

impl<T: Object> Child<T> {
    pub(crate) fn new(
        process: ChildProcess,
        socket: OwnedFd,
        hold: Hold,
        confined: Option<Confined>,
    ) -> Self {
        Self {
            running: Some(Running::new(process, socket, hold, confined)),
            said: None,
        }
    }

    /// Sends the rest of the arguments, while the child reads them.
    pub(crate) fn send(&mut self, outbox: &mut Outbox<'_>) -> Result<(), Error> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        match running.send(outbox) {
            Ok(()) => Ok(()),
            // Why it went away, its end will tell.
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

    /// Sees to it that its deadline is kept while nobody waits for it.
    pub(crate) fn watch(&self) {
        if let Some(running) = self
            .running
            .as_ref()
            .filter(|running| !running.deadline.is_never() && !running.process.is_kept())
        {
            reaper::watch(Arc::clone(&running.process), running.deadline);
        }
    }

    /// Its process id.
    ///
    /// A confined child's waits until it has one, some tens of microseconds after `spawn`; 0 where it
    /// doesn't get one, which [`join`](Self::join) tells more of.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running
            .as_ref()
            .map_or(0, |running| running.process.id())
    }

    /// Kills the child, by SIGKILL. [`join`](Self::join) then says [`Error::Killed`], unless the
    /// answer was there before.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; not where the child has ended already.
    pub fn kill(&self) -> Result<(), Error> {
        self.running
            .as_ref()
            .map_or(Ok(()), |running| running.process.kill())
    }

    /// A handle that can kill the child from another thread.
    #[must_use]
    pub fn kill_handle(&self) -> KillHandle {
        KillHandle {
            process: self
                .running
                .as_ref()
                .map(|running| Arc::clone(&running.process)),
        }
    }

    /// Waits for the child's end and gives the function's result.
    ///
    /// # Errors
    ///
    /// How the child ended where it gave no result: see [`Error`].
    pub fn join(mut self) -> Result<T, Error> {
        match self.join_until(Deadline::NEVER)? {
            Some(value) => Ok(value),
            // Without a deadline of its own the wait ends with a result or an error.
            None => Err(Error::StatusTaken),
        }
    }

    /// Gives the function's result if it is there; `None` while the child runs.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join).
    pub fn try_join(&mut self) -> Result<Option<T>, Error> {
        self.join_until(Deadline::after(Duration::ZERO))
    }

    /// Waits for the child's end no longer than `timeout`; `None` where it still runs then.
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

    /// What is enforced on the child of a function with a sandbox; `None` for any other. It waits
    /// until the child has confined itself, some tenths of a millisecond after its start.
    ///
    /// # Errors
    ///
    /// [`Error::Confine`] where it could not; else how the call failed so early.
    pub fn confinement(&mut self) -> Result<Option<Status>, Error> {
        loop {
            let Some(running) = &mut self.running else {
                return Err(Error::StatusTaken);
            };
            match running.confined.as_ref().map(Confined::status) {
                None => return Ok(None),
                Some(Some(status)) => return Ok(Some(Status::clone(status))),
                Some(None) => {}
            }
            if self.said.is_some() {
                // It has closed its channel before it said anything.
                let ended = running.wait_for_end(Deadline::after(LINGER));
                return self.finish(ended).map(|_| None);
            }
            let look = running.wait_for_answer(Deadline::NEVER, true);
            self.note(look)?;
        }
    }

    /// Notes down what a look at the child gave, and tells until when it may linger then. After an
    /// error it is killed.
    pub(crate) fn note(
        &mut self,
        look: Result<Option<Look<T>>, Error>,
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

    /// The result of the call, once the child has said what it had to and has ended, or should
    /// have.
    pub(crate) fn finish(&mut self, ended: Result<Ended, StillRunning>) -> Result<T, Error> {
        let (Some(running), Some(said)) = (&mut self.running, self.said.take()) else {
            return Err(Error::StatusTaken);
        };
        let result = match said.look {
            Look::Answer(reply) => running.conclude(reply),
            Look::Closed => Err(running.verdict(ended)),
        };
        // What still runs by now is killed.
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
    /// Kills a child that is of no more use, if it still runs, and forgets it.
    pub(crate) fn end_now(&mut self) {
        if let Some(running) = &mut self.running {
            running.kill_on_drop = true;
        }
        self.running = None;
    }
}

/// What a join needs that waits in another way.
#[cfg(feature = "tokio")]
impl<T> Child<T> {
    pub(crate) fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    /// Until when a child may linger that has said what it had to.
    pub(crate) fn linger(&self) -> Option<Deadline> {
        self.said.as_ref().map(|said| said.linger)
    }
}

/// Kills a child from another thread, or after its [`Child`] has gone; see
/// [`Child::kill_handle`].
///
/// It never hits another process: the kernel names the child by a pidfd, not by its number.
#[derive(Clone, Debug)]
pub struct KillHandle {
    process: Option<Arc<ChildProcess>>,
}

impl KillHandle {
    /// Kills the child, by SIGKILL. Nothing happens where it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn kill(&self) -> Result<(), Error> {
        self.process
            .as_ref()
            .map_or(Ok(()), |process| process.kill())
    }
}
