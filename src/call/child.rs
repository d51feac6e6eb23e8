//! `Child`: waits for a child's answer and for its end.

mod explain;
mod pooled;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "__runtime")]
pub(crate) use self::explain::time_to_end;
use super::confinement::Confined;
use super::process::{ChildProcess, StillRunning};
use super::progress::{Answer, CallSettings, Running};
use super::reaper;
use crate::confine::ConfinementStatus;
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;
use crate::object::Object;
#[cfg(feature = "__runtime")]
use crate::sys::connection::Connection;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::Ended;
use crate::transport::{Interest, Outbox, Slots, Step, WaitFor};

/// A function that is running in a child process.
///
/// Dropping a `Child` does not end the process, just as dropping a `JoinHandle` does not end a
/// thread. The result is then lost. To kill the process on drop, set
/// [`kill_on_drop`](crate::Builder::kill_on_drop) on the builder. In both cases, the process leaves
/// no zombie.
pub struct Child<T> {
    running: Option<Running>,
    said: Option<Said<T>>,
    /// Its call has failed, and it had not read its arguments then, if they were one packet.
    is_untouched: bool,
    /// Of the call, if nobody else measures it.
    #[cfg(feature = "metrics")]
    meter: Option<CallMeter>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Child<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// The messages that a child has sent before it exits.
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
            is_untouched: false,
            #[cfg(feature = "metrics")]
            meter: None,
        }
    }

    /// Says what memory the child shares with this process.
    pub(crate) fn use_slots(&mut self, slots: Option<Slots>) {
        if let Some(running) = &mut self.running {
            running.use_slots(slots);
        }
    }

    /// Has it measure its call, which began before it was started.
    #[cfg(feature = "metrics")]
    pub(crate) fn measure_call(&mut self, meter: CallMeter) {
        self.meter = Some(meter);
    }

    /// Sends the rest of the arguments while the child reads them.
    pub(crate) fn send(&mut self, outbox: &mut Outbox<'_>) -> Result<(), Error> {
        loop {
            match self.next_send(outbox) {
                Step::Done(result) => return result,
                Step::Continue => {}
                Step::Wait(wait) => self.wait(wait)?,
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

    /// Returns the child's process id, or `None` if the child could not be started; then
    /// [`join`](Self::join) returns the reason.
    ///
    /// For a confined child, this waits until it has one, some tens of microseconds after `spawn`.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref()?.process.id()
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

    /// Waits until the child has exited, but for at most `timeout`, and returns the function's result.
    /// Returns `None` if the child is still running.
    ///
    /// # Errors
    ///
    /// Those of [`join`](Self::join).
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<Option<T>, Error> {
        self.join_until(Deadline::after(timeout))
    }

    fn join_until(&mut self, until: Deadline) -> Result<Option<T>, Error> {
        loop {
            match self.next_join(until) {
                Step::Done(result) => return result,
                Step::Continue => {}
                Step::Wait(wait) => self.wait(wait)?,
            }
        }
    }

    /// Waits until the sandbox is in place, and returns what it enforces. Returns `None` for a
    /// function without a sandbox.
    ///
    /// A child confines itself within a few tenths of a millisecond of its start.
    ///
    /// # Errors
    ///
    /// [`Error::Confine`] if the child could not confine itself. Otherwise the error that ended the
    /// call so early.
    pub fn confinement(&mut self) -> Result<Option<ConfinementStatus>, Error> {
        loop {
            match self.next_confinement() {
                Step::Done(result) => return result,
                Step::Continue => {}
                Step::Wait(wait) => self.wait(wait)?,
            }
        }
    }

    /// Waits in `poll(2)`.
    fn wait(&mut self, wait: WaitFor) -> Result<(), Error> {
        let Some(mut entries) = self.entries(wait) else {
            return Err(Error::AlreadyJoined);
        };
        match poll::poll(&mut entries, wait.until) {
            Ok(()) => {
                if entries[0].revents != 0 {
                    self.note_end();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(()),
            Err(source) => Err(self.fail_to_wait(source)),
        }
    }

    /// Ends a child that cannot be waited for, and returns the error.
    pub(crate) fn fail_to_wait(&mut self, source: io::Error) -> Error {
        let error = Error::Io {
            operation: "wait for the child process",
            source,
        };
        self.end_for(&error);
        error
    }

    /// Sends more of the arguments. If that fails, the child is killed.
    pub(crate) fn next_send(&mut self, outbox: &mut Outbox<'_>) -> Step<Result<(), Error>> {
        let Some(running) = &mut self.running else {
            return Step::Done(Ok(()));
        };
        let step = running.next_send(outbox);
        if let Step::Done(Err(error)) = &step {
            self.end_for(error);
        }
        step
    }

    /// Comes closer to the result, which is `None` if `until` passes before it.
    pub(crate) fn next_join(&mut self, until: Deadline) -> Step<Result<Option<T>, Error>> {
        let Some(running) = &mut self.running else {
            return Step::Done(Err(Error::AlreadyJoined));
        };
        let linger = match &self.said {
            Some(said) => said.linger,
            None => {
                let answer = match running.next_answer(until, false) {
                    Ok(Step::Done(answer)) => Ok(answer),
                    Ok(Step::Continue) => return Step::Continue,
                    Ok(Step::Wait(wait)) => return Step::Wait(wait),
                    Err(error) => Err(error),
                };
                match self.note(answer) {
                    Ok(Some(linger)) => linger,
                    Ok(None) => return Step::Done(Ok(None)),
                    Err(error) => return Step::Done(Err(error)),
                }
            }
        };
        let Some(running) = &mut self.running else {
            return Step::Done(Err(Error::AlreadyJoined));
        };
        match running.next_end(until.min(linger)) {
            Step::Done(Err(StillRunning)) if !linger.has_passed() => Step::Done(Ok(None)),
            Step::Done(ended) => Step::Done(self.finish(ended).map(Some)),
            Step::Continue => Step::Continue,
            Step::Wait(wait) => Step::Wait(wait),
        }
    }

    /// Comes closer to the child's report on its confinement.
    pub(crate) fn next_confinement(&mut self) -> Step<Result<Option<ConfinementStatus>, Error>> {
        let Some(running) = &mut self.running else {
            return Step::Done(Err(Error::AlreadyJoined));
        };
        match running.confined.as_ref().map(Confined::status) {
            None => return Step::Done(Ok(None)),
            Some(Some(status)) => return Step::Done(Ok(Some(ConfinementStatus::clone(status)))),
            Some(None) => {}
        }
        if let Some(said) = &self.said {
            // The child closed its channel before it said anything.
            return match running.next_end(said.linger) {
                Step::Done(ended) => Step::Done(self.finish(ended).map(|_| None)),
                Step::Continue => Step::Continue,
                Step::Wait(wait) => Step::Wait(wait),
            };
        }
        let answer = match running.next_answer(Deadline::NEVER, true) {
            Ok(Step::Done(answer)) => Ok(answer),
            Ok(Step::Continue) => return Step::Continue,
            Ok(Step::Wait(wait)) => return Step::Wait(wait),
            Err(error) => Err(error),
        };
        match self.note(answer) {
            Ok(_) => Step::Continue,
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Records what the child has said, and returns until when it may linger. Kills the child if
    /// there was an error.
    fn note(&mut self, look: Result<Option<Answer<T>>, Error>) -> Result<Option<Deadline>, Error> {
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
    fn finish(&mut self, ended: Result<Ended, StillRunning>) -> Result<T, Error> {
        let (Some(running), Some(said)) = (&mut self.running, self.said.take()) else {
            return Err(Error::AlreadyJoined);
        };
        let result = match said.look {
            Answer::Given(reply) => running.conclude(reply),
            Answer::Closed => Err(running.verdict(ended)),
        };
        #[cfg(crossmist_learn)]
        if let (Ok(value), Some(confined)) = (&result, &running.confined) {
            super::outcomes::returned(running.function, confined.policy_name(), value);
        }
        // If the child is still running, it is killed.
        match &result {
            Ok(_) => {
                self.end_now();
                #[cfg(feature = "metrics")]
                if let Some(meter) = self.meter.take() {
                    meter.end(&result);
                }
            }
            Err(error) => self.end_for(error),
        }
        result
    }

    /// Ends a child whose call has failed.
    fn end_for(&mut self, error: &Error) {
        #[cfg(not(any(feature = "metrics", feature = "tracing", crossmist_learn)))]
        let _ = error;
        #[cfg(crossmist_learn)]
        if let Some(running) = &self.running
            && let Some(confined) = &running.confined
        {
            super::outcomes::failed(running.function, confined.policy_name(), error);
        }
        #[cfg(feature = "tracing")]
        let id = self.id();
        self.is_untouched = self.running.as_ref().is_some_and(Running::left_unread);
        self.end_now();
        #[cfg(feature = "tracing")]
        events::failed(id, error);
        #[cfg(feature = "metrics")]
        if let Some(meter) = self.meter.take() {
            meter.fail(error);
        }
    }
}

impl<T> Child<T> {
    /// Looks whether the process has ended, and returns whether it has.
    pub(crate) fn note_end(&mut self) -> bool {
        self.running.as_mut().is_none_or(Running::note_end)
    }

    /// Returns what a step waits for, for `poll`: the end of the process, and its socket.
    pub(crate) fn entries(&self, wait: WaitFor) -> Option<[libc::pollfd; 2]> {
        let running = self.running.as_ref()?;
        let events = match wait.socket {
            None => 0,
            Some(Interest::Readable) => libc::POLLIN,
            Some(Interest::Writable) => libc::POLLOUT,
        };
        let mut socket = poll::entry(running.socket.as_fd(), events);
        if wait.socket.is_none() {
            // A socket from which nothing is expected may be ready all the time. `poll` ignores this.
            socket.fd = -1;
        }
        Some([running.process.end_entry(), socket])
    }

    /// Returns what tells of its end, for `poll`.
    pub(crate) fn end_entry(&self) -> Option<libc::pollfd> {
        self.running
            .as_ref()
            .map(|running| running.process.end_entry())
    }

    pub(crate) fn process(&self) -> Option<&Arc<ChildProcess>> {
        self.running.as_ref().map(|running| &running.process)
    }

    /// Kills the child if it is still running, and forgets it.
    fn end_now(&mut self) {
        if let Some(running) = &mut self.running {
            running.kill_on_drop = true;
        }
        #[cfg(crossmist_learn)]
        let recording = self.take_recording();
        self.running = None;
        #[cfg(crossmist_learn)]
        if let Some(recording) = recording {
            recording.complete();
        }
    }

    #[cfg(crossmist_learn)]
    fn take_recording(&mut self) -> Option<super::watch::Recording> {
        let confined = self.running.as_mut()?.confined.as_mut()?;
        confined.take_recording()
    }
}

/// The operations that a runtime needs to wait for it.
#[cfg(feature = "__runtime")]
impl<T> Child<T> {
    /// Returns its socket, and what tells of its end.
    pub(crate) fn sources(&self) -> Option<(Arc<Connection>, Arc<OwnedFd>)> {
        let running = self.running.as_ref()?;
        Some((
            Arc::clone(&running.socket),
            Arc::clone(running.process.end()),
        ))
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
