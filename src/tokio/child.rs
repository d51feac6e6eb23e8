//! `Child`: waits in a runtime for a child's answer and for its end.

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::{Answer, Confined, KillHandle, Progress, Rest, Running, StillRunning};
use crate::confine::ConfinementStatus;
use crate::error::Error;
use crate::object::Object;
use crate::sys::process::Ended;
use crate::sys::readiness::{Held, Readiness};
use crate::sys::socket::Wait;
use crate::transport::{CROWD_INTERVAL, Outbox, Sent, is_crowded};

/// A function that is running in a child process. See [`crossmist::Child`](crate::Child).
///
/// Dropping a `Child` does not end the process, unless
/// [`kill_on_drop`](crate::Builder::kill_on_drop) is set on the builder. In both cases, the process
/// leaves no zombie.
pub struct Child<T> {
    socket: Readiness,
    pidfd: Readiness,
    child: crate::Child<T>,
    result: PhantomData<fn() -> T>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

impl<T: Object> Child<T> {
    pub(super) fn new(child: crate::Child<T>) -> Result<Self, Error> {
        let failed = |source| Error::Io {
            operation: "register the child process with a tokio runtime",
            source,
        };
        let Some(running) = child.running() else {
            return Err(Error::StatusTaken);
        };
        let socket =
            Readiness::register(Held::Connection(Arc::clone(&running.socket))).map_err(failed)?;
        let pidfd =
            Readiness::register(Held::Pidfd(Arc::clone(running.process.end()))).map_err(failed)?;
        Ok(Self {
            socket,
            pidfd,
            child,
            result: PhantomData,
        })
    }

    pub(super) fn watch(&self) {
        self.child.watch();
    }

    /// Returns the child's process id. See [`crossmist::Child::id`](crate::Child::id).
    #[must_use]
    pub fn id(&self) -> u32 {
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
    /// tokio panics if the runtime's time driver is not enabled and is needed, for a deadline or
    /// for a child that lingers after its answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the `Child`: the process keeps running, or is killed if
    /// `kill_on_drop` is set. To wait with a timeout and keep the child, use
    /// [`join_timeout`](Self::join_timeout).
    pub async fn join(mut self) -> Result<T, Error> {
        match self.join_until(None).await? {
            Some(value) => Ok(value),
            None => Err(Error::StatusTaken),
        }
    }

    /// Waits for at most `timeout` until the child has exited, and returns the function's result.
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
        self.join_until(Instant::now().checked_add(timeout)).await
    }

    async fn join_until(&mut self, until: Option<Instant>) -> Result<Option<T>, Error> {
        let Self {
            socket,
            pidfd,
            child,
            ..
        } = self;
        let linger = match (child.linger(), child.running_mut()) {
            (_, None) => return Err(Error::StatusTaken),
            (None, Some(running)) => {
                let look = wait_for_answer(running, socket, pidfd, until, false).await;
                match child.note(look)? {
                    Some(linger) => linger,
                    None => return Ok(None),
                }
            }
            (Some(linger), Some(_)) => linger,
        };
        let Some(running) = child.running_mut() else {
            return Err(Error::StatusTaken);
        };
        let first = until.into_iter().chain(linger.instant()).min();
        match wait_for_end(running, pidfd, first).await {
            Err(StillRunning) if !linger.has_passed() => Ok(None),
            ended => child.finish(ended).map(Some),
        }
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
        loop {
            let linger = self.child.linger();
            let Some(running) = self.child.running_mut() else {
                return Err(Error::StatusTaken);
            };
            match running.confined.as_ref().map(Confined::status) {
                None => return Ok(None),
                Some(Some(status)) => return Ok(Some(ConfinementStatus::clone(status))),
                Some(None) => {}
            }
            if let Some(linger) = linger {
                // The child closed its channel before it said anything.
                let ended = wait_for_end(running, &self.pidfd, linger.instant()).await;
                return self.child.finish(ended).map(|_| None);
            }
            let look = wait_for_answer(running, &self.socket, &self.pidfd, None, true).await;
            self.child.note(look)?;
        }
    }

    /// Sends the rest of the arguments while the child reads them.
    pub(super) async fn send(&mut self, outbox: &mut Outbox<'_>) -> Result<(), Error> {
        loop {
            let Some(running) = self.child.running() else {
                return Ok(());
            };
            let result = outbox.advance(running.socket.as_fd(), Wait::Never);
            match result {
                Ok(Sent::All) => return Ok(()),
                Ok(Sent::Full) => {}
                // A child that keeps reading slowly is no reason to wait longer.
                Ok(Sent::Partly) if running.check_deadline().is_ok() => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Sent::Partly) => {
                    let late = running.check_deadline();
                    if let Err(error) = &late {
                        self.child.end_for(error);
                    }
                    return late;
                }
                Err(error) if is_crowded(&error) && running.check_deadline().is_ok() => {
                    tokio::time::sleep(CROWD_INTERVAL).await;
                    continue;
                }
                // Its exit status will tell why it went away.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(());
                }
                Err(source) => {
                    self.child.end_now();
                    return Err(Error::Launch {
                        step: "send the arguments",
                        source,
                    });
                }
            }
            let at = running.deadline.instant();
            tokio::select! {
                ready = self.socket.writable() => match ready {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(source) => {
                        self.child.end_now();
                        return Err(Error::Launch { step: "send the arguments", source });
                    }
                },
                // A process that does not read may hold the child's end of the socket.
                _ = ended(running, &self.pidfd) => return Ok(()),
                () = sleep(at) => {
                    let late = self.child.running().map_or(Ok(()), Running::check_deadline);
                    match &late {
                        Ok(()) => self.child.end_now(),
                        Err(error) => self.child.end_for(error),
                    }
                    return late;
                }
            }
        }
    }
}

/// Waits for the answer, or for the child's end without one. Returns `None` if `until` comes first,
/// or, with `or_note`, something that comes before an answer.
async fn wait_for_answer<T: Object>(
    running: &mut Running,
    socket: &Readiness,
    pidfd: &Readiness,
    until: Option<Instant>,
    or_note: bool,
) -> Result<Option<Answer<T>>, Error> {
    let failed = |source| Error::Io {
        operation: "wait for the child process",
        source,
    };
    let deadline = running.deadline.instant();
    let first = until.into_iter().chain(deadline).min();
    let mut has_ended = false;
    let mut rest = Rest::default();
    loop {
        let start_by = running.process.start_by().instant();
        let first = first.into_iter().chain(start_by).min();
        // Before the look, so that nothing that arrives after it is missed.
        let ready = tokio::select! {
            biased;
            // First, as another process may keep the socket full.
            gone = ended(running, pidfd), if !has_ended => {
                gone.map_err(failed)?;
                has_ended = true;
                None
            }
            ready = socket.readable(), if !has_ended => Some(ready.map_err(failed)?),
            () = sleep(first), if !has_ended => None,
            () = std::future::ready(()), if has_ended => None,
        };
        match running.look()? {
            Progress::Done(look) => return Ok(Some(look)),
            Progress::Noted if or_note => return Ok(None),
            // The next message may be there already.
            Progress::Noted => {}
            // Another process continues for it.
            Progress::Partly if has_ended && !rest.is_awaited() => return Ok(Some(Answer::Closed)),
            Progress::Partly => {
                running.check_deadline()?;
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Ok(None);
                }
                // Give other tasks a turn.
                tokio::task::yield_now().await;
            }
            // It has exited, and everything that it sent has been read.
            Progress::Nothing if has_ended => return Ok(Some(Answer::Closed)),
            Progress::Nothing => match ready {
                Some(mut ready) => ready.clear_ready(),
                None => {
                    running.process.check_start()?;
                    running.check_deadline()?;
                    if until.is_some_and(|until| until <= Instant::now()) {
                        return Ok(None);
                    }
                }
            },
        }
    }
}

/// Waits for the end of a child that has nothing more to say.
async fn wait_for_end(
    running: &mut Running,
    pidfd: &Readiness,
    at: Option<Instant>,
) -> Result<Ended, StillRunning> {
    // It usually has, and then the runtime is not needed.
    if let Some(ended) = running.try_take_status() {
        return Ok(ended);
    }
    match until(at, ended(running, pidfd)).await {
        Some(Ok(())) => Ok(running.take_status()),
        Some(Err(_)) | None => Err(StillRunning),
    }
}

/// Waits for the end of the process.
async fn ended(running: &Running, pidfd: &Readiness) -> io::Result<()> {
    loop {
        let mut ready = pidfd.readable().await?;
        // Readiness that was reported earlier is not its end.
        if running.process.has_ended() {
            return Ok(());
        }
        ready.clear_ready();
    }
}

async fn sleep(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn until<F: Future>(at: Option<Instant>, future: F) -> Option<F::Output> {
    match at {
        Some(at) => timeout_at(at, future).await.ok(),
        None => Some(future.await),
    }
}
