//! The end of a child: what its answer or its exit means, and what becomes of the process.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::super::output;
use super::super::process::StillRunning;
use super::super::reaper;
use super::{Answer, Progress, Running};
use crate::child::Reply;
use crate::error::{Error, ResultLimit, Traffic};
use crate::keeper::Outcome;
use crate::object::{Limits, Object};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::Ended;
use crate::wire::ProtocolError;

/// How long a drop waits for the end of a child that it killed. After that, the reaper takes over.
const DROP_WAIT: Duration = Duration::from_millis(100);

impl Running {
    /// Returns the result of a child that has answered and ended.
    pub(crate) fn conclude<T: Object>(&mut self, reply: Reply<T>) -> Result<T, Error> {
        if let Some(confined) = &mut self.confined {
            confined.tell_answered();
        }
        match reply {
            // Nothing may follow an answer, not even the beginning of a message.
            Reply::Returned(value) => match self.look_past_notes() {
                Ok(Progress::Done(Answer::Closed)) => Ok(value),
                Ok(Progress::Nothing) | Err(Error::Io { .. }) if !self.inbox.is_mid_message() => {
                    Ok(value)
                }
                _ => Err(Error::Malformed(ProtocolError::Surplus)),
            },
            Reply::Panicked(panic) => Err(Error::Panicked(panic)),
            Reply::BadArguments(reason) => Err(Error::BadArguments { reason }),
            Reply::BadResult(reason) => Err(Error::BadResult { reason }),
            Reply::BeyondLimit(limit, amount) => Err(self.beyond::<T>(limit, amount)),
            // Handled by `look`.
            #[cfg(crossmist_learn)]
            Reply::Watched(_) => Err(Error::Malformed(ProtocolError::Surplus)),
            Reply::Confined(_) | Reply::NotConfined(_) => {
                Err(Error::Malformed(ProtocolError::Surplus))
            }
        }
    }

    /// Returns the error for a result of which the child says that it is beyond a limit.
    fn beyond<T: Object>(&self, limit: ResultLimit, amount: u64) -> Error {
        let of = |limits: &Limits| match limit {
            ResultLimit::Bytes => limits.message_bytes,
            ResultLimit::Descriptors => limits.descriptors,
            ResultLimit::Nesting => limits.nesting,
        };
        let allowed = of(&self.limits);
        // Otherwise the caller is stricter.
        let confined = self.confined.as_ref();
        let by_policy = confined.filter(|confined| of(&confined.limits::<T>()) == allowed);
        Error::ResultTooLarge {
            function: self.function,
            policy: by_policy.map(|confined| confined.policy_name().to_owned()),
            limit,
            amount,
            allowed: u64::try_from(allowed).unwrap_or(u64::MAX),
        }
    }

    /// Looks at what follows an answer. A call that was denied while the child was exiting does not
    /// invalidate the answer.
    fn look_past_notes(&mut self) -> Result<Progress<()>, Error> {
        loop {
            match self.look()? {
                // There are only so many.
                Progress::Noted => {}
                glance => return Ok(glance),
            }
        }
    }

    /// Returns the error for a child that gave no answer.
    pub(crate) fn verdict(&self, ended: Result<Ended, StillRunning>) -> Error {
        let past_deadline = self.deadline.has_passed();
        let after = self.time;
        if self.process.was_too_costly() {
            return Error::TooCostly {
                traffic: Traffic::Channel,
            };
        }
        // It is about a child that has started, or does not name one.
        let process = self.process.id().unwrap_or_default();
        if let Some(confined) = &self.confined
            && !self.process.was_killed()
            && let Some(error) = confined.verdict(
                &ended,
                self.process.parting(),
                process,
                &self.process.mapped(),
                confined.time_of_request(self.deadline).unwrap_or(after),
            )
        {
            return error;
        }
        match ended {
            Ok(Ended::Exited(status)) => Error::Exited { status },
            Ok(Ended::Signalled {
                signal: libc::SIGKILL,
                ..
            }) if self.process.was_killed() => Error::Killed,
            // The watchdog was faster.
            Ok(Ended::Signalled {
                signal: libc::SIGKILL,
                ..
            }) if past_deadline => Error::Deadline { after },
            Ok(Ended::Signalled {
                signal,
                core_dumped,
            }) => Error::Signalled {
                signal,
                core_dumped,
            },
            // It was never started, as its kill reported.
            Ok(Ended::Unknown) if self.process.was_killed() => Error::Killed,
            Ok(Ended::Unknown) => Error::StatusTaken,
            // The keeper has not said yet that it has ended.
            Err(StillRunning) if self.process.was_killed() => Error::Killed,
            Err(StillRunning) if past_deadline => Error::Deadline { after },
            Err(StillRunning) => Error::Silent,
        }
    }

    /// Takes the status of a child that has ended, without waiting: if another process traces it,
    /// that process gets the status first, and may take its time.
    pub(super) fn take_status(&mut self) -> Ended {
        match self.process.try_wait() {
            Ok(Some(ended)) => {
                self.close();
                ended
            }
            // The drop leaves it to the reaper.
            _ => Ended::Unknown,
        }
    }

    /// Records that its status was taken, and passes on what it wrote to a piped standard error.
    fn close(&mut self) {
        self.is_over = true;
        if let Some(Outcome::Reported(departure)) = self.process.parting() {
            // A child that has printed has started.
            let process = self.process.id().unwrap_or_default();
            output::show(self.function, &departure.stderr, process, self.may_wait);
        }
    }
}

impl Running {
    /// Passes on what a child has printed that is given up. If it has not ended, that is left to the reaper, because
    /// the keeper tells of it at the end.
    fn show_last_words(&mut self) {
        if !self.kill_on_drop || !self.process.is_supervised() {
            return;
        }
        match self.process.has_ended() {
            true => drop(self.take_status()),
            false => reaper::show_last_words(Arc::clone(&self.process), self.function),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A copy of the program that was made by `fork` does not kill it. Nor does it look for its end: the
        // keeper reports that once, on a socket that the original has as well.
        if self.is_over || !self.process.is_from_this_process() {
            return;
        }
        let process = &self.process;
        // It has ended, or somebody else has taken its status.
        if matches!(process.try_wait(), Ok(Some(_))) {
            self.show_last_words();
            return;
        }
        if self.kill_on_drop {
            // If it has ended, it cannot be killed. If it is this program's, it may be.
            let _ = process.signal_kill();
            // The kernel takes a moment, or longer if the process has much memory or is stuck in a file
            // system.
            let patience = Deadline::after(DROP_WAIT);
            while self.may_wait
                && !process.has_ended()
                && poll::readable(process.as_fd(), patience).is_ok()
            {}
            self.show_last_words();
        }
        let process = &self.process;
        // The keeper reaps its own children, and enforces their deadlines. A child that it has not
        // started yet when the handle is gone must not be started.
        if process.is_supervised() {
            if !self.kill_on_drop {
                let _ = process.wait_until_started();
            }
            // What it has used is known at its end.
            #[cfg(feature = "metrics")]
            if let Ok(None) = process.try_wait() {
                reaper::adopt(Arc::clone(&self.process), Deadline::NEVER);
            }
            return;
        }
        if let Ok(None) = process.try_wait() {
            reaper::adopt(Arc::clone(&self.process), self.deadline);
        }
    }
}
