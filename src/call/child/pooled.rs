//! The operations that a pool needs on a child whose call comes later than its start.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::super::confinement::Confined;
use super::super::progress::{Answer, Running};
use super::Child;
use crate::child::Reply;
use crate::error::Error;
use crate::object::{Limits, Object};
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::Wait;
use crate::transport::{Outbox, Step};

impl<T: Object> Child<T> {
    /// Returns whether it runs, and has said nothing since it was confined or has answered. Reads nothing of
    /// what it says: to receive and decode that can take a while, and the pool is locked.
    pub(in crate::call) fn is_waiting(&mut self) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let socket = poll::entry(running.socket.as_fd(), libc::POLLIN);
        let mut entries = [socket, running.process.end_entry()];
        let now = Deadline::after(Duration::ZERO);
        match poll::poll(&mut entries, now) {
            Err(error) => error.kind() == io::ErrorKind::TimedOut,
            // What tells of its end can be ready for another reason.
            Ok(()) => entries[0].revents == 0 && !running.note_end(),
        }
    }

    pub(in crate::call) fn set_deadline(&mut self, deadline: Deadline, time: Duration) {
        if let Some(running) = &mut self.running {
            (running.deadline, running.time) = (deadline, time);
        }
    }

    pub(in crate::call) fn is_past_deadline(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.deadline.has_passed())
    }

    /// Begins a call of a child that answers several.
    pub(in crate::call) fn begin_numbered(&mut self, number: u64) -> Result<(), Error> {
        self.running
            .as_mut()
            .map_or(Ok(()), |running| running.begin_numbered(number))
    }

    /// Ends a call that was answered, and returns whether the child can have another one.
    pub(in crate::call) fn end_numbered(&mut self) -> bool {
        self.said.is_none() && self.running.as_mut().is_some_and(Running::end_numbered)
    }

    pub(in crate::call) fn lower_limits(&mut self, limits: Limits) {
        if let Some(running) = &mut self.running {
            running.lower_limits(limits);
        }
    }

    pub(in crate::call) fn confined(&self) -> Option<&Confined> {
        self.running.as_ref()?.confined.as_ref()
    }

    /// Sends what its socket takes of the arguments.
    pub(in crate::call) fn begin_send(&mut self, outbox: &mut Outbox<'_>) -> io::Result<()> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        match outbox.advance(running.socket.as_fd(), Wait::Never) {
            Ok(_) => Ok(()),
            // Its exit status will tell why it went away.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Comes closer to the result, and does not wait for the end of a child that has given one. Any
    /// other child has ended then.
    pub(crate) fn next_result(&mut self) -> Step<Result<T, Error>> {
        if self.said.is_none()
            && let Some(running) = &mut self.running
        {
            match running.next_answer(Deadline::NEVER, false) {
                Ok(Step::Done(Some(Answer::Given(reply @ Reply::Returned(_))))) => {
                    let result = running.conclude(reply);
                    if let Err(error) = &result {
                        self.end_for(error);
                    }
                    return Step::Done(result);
                }
                Ok(Step::Done(answer)) => {
                    if let Err(error) = self.note(Ok(answer)) {
                        return Step::Done(Err(error));
                    }
                    // It may put off its end, which is waited for, until it hears that it is not needed.
                    self.hang_up();
                }
                Ok(Step::Continue) => return Step::Continue,
                Ok(Step::Wait(wait)) => return Step::Wait(wait),
                Err(error) => {
                    self.end_for(&error);
                    return Step::Done(Err(error));
                }
            }
        }
        match self.next_join(Deadline::NEVER) {
            Step::Done(Ok(Some(value))) => Step::Done(Ok(value)),
            Step::Done(Ok(None)) => Step::Done(Err(Error::StatusTaken)),
            Step::Done(Err(error)) => Step::Done(Err(error)),
            Step::Continue => Step::Continue,
            Step::Wait(wait) => Step::Wait(wait),
        }
    }

    /// Waits for the result, and not for the end of a child that has given one.
    pub(crate) fn result(&mut self) -> Result<T, Error> {
        // It was given the call a moment ago. To look first would find nothing.
        if let Some(running) = &self.running {
            self.wait(running.answer_wait(Deadline::NEVER))?;
        }
        loop {
            match self.next_result() {
                Step::Done(result) => return result,
                Step::Continue => {}
                Step::Wait(wait) => self.wait(wait)?,
            }
        }
    }

    /// Returns whether a child that has ended had not read what it was sent last. If that was all of its
    /// arguments, nobody has seen them.
    pub(crate) fn left_unread(&self) -> bool {
        self.is_untouched
    }

    /// Keeps its end and its drop from waiting for anything, because others wait for this thread.
    pub(crate) fn never_wait(&mut self) {
        if let Some(running) = &mut self.running {
            running.never_wait();
        }
    }

    /// Tells a child that has answered that it may end.
    pub(crate) fn hang_up(&self) {
        if let Some(running) = &self.running {
            running.socket.shut_down();
        }
    }

    /// Looks whether a child that has answered has ended, passes on what it printed, and returns whether
    /// there is nothing more to do. A child that lingers is killed.
    pub(crate) fn is_over(&mut self, linger: Deadline) -> bool {
        let Some(running) = &mut self.running else {
            return true;
        };
        match running.next_end(linger) {
            Step::Done(_) => {
                self.end_now();
                true
            }
            _ => false,
        }
    }
}
