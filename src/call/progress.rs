//! A child that is not known to have ended: what it has said, and what its end means.
//!
//! Nothing in this module depends on how a caller waits, so threads and runtimes can both use it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::confinement::Confined;
use super::process::{ChildProcess, StillRunning};
use super::reaper;
use crate::child::Reply;
use crate::error::{Error, Traffic};
#[cfg(feature = "tracing")]
use crate::events;
use crate::keeper::Outcome;
use crate::object::{Limits, Object, Trust};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::Ended;
use crate::sys::socket::{Connection, Wait};
use crate::transport::{self, Arrival, Fault, Inbox, Outbox, Sent};
use crate::wire::ProtocolError;

/// A child that is not known to have ended.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Arc<ChildProcess>,
    pub(crate) socket: Arc<Connection>,
    inbox: Inbox,
    limits: Limits,
    pub(crate) deadline: Deadline,
    /// The time from which `deadline` was computed, for the error.
    pub(crate) time: Duration,
    pub(crate) kill_on_drop: bool,
    /// For a child that confines itself.
    pub(crate) confined: Option<Confined>,
    /// Its status was taken, or can no longer be taken.
    is_over: bool,
}

/// The settings of a running call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSettings {
    pub(crate) limits: Limits,
    pub(crate) deadline: Deadline,
    pub(crate) time: Duration,
    pub(crate) kill_on_drop: bool,
}

/// How long a drop waits for the end of a child that it killed. After that, the reaper takes over.
const DROP_WAIT: Duration = Duration::from_millis(100);

/// What a child has sent.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Given(Reply<T>),
    /// Nothing more will come.
    Closed,
}

/// What is known of a child, without waiting.
#[derive(Debug)]
pub(crate) enum Progress<T> {
    Done(Answer<T>),
    /// Part of an answer, and there may be more of it at once.
    Partly,
    /// Something that precedes an answer, at most once of each kind.
    Noted,
    /// Nothing yet.
    Nothing,
}

/// The wait for the rest of a message whose sender has ended.
///
/// The rest is in the socket, and a few looks find it. If more keeps coming, another process sends
/// it, and that process may never stop.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    looks: u32,
    until: Option<Deadline>,
}

impl Rest {
    /// Enough, however slow this process is.
    const LOOKS: u32 = 8;
    const TIME: Duration = Duration::from_millis(200);

    /// Returns whether to look once more.
    pub(crate) fn is_awaited(&mut self) -> bool {
        let until = *self
            .until
            .get_or_insert_with(|| Deadline::after(Self::TIME));
        self.looks = self.looks.saturating_add(1);
        self.looks <= Self::LOOKS || !until.has_passed()
    }
}

impl Running {
    pub(crate) fn new(
        process: ChildProcess,
        socket: OwnedFd,
        hold: CallSettings,
        confined: Option<Confined>,
    ) -> Self {
        let CallSettings {
            limits,
            deadline,
            time,
            kill_on_drop,
        } = hold;
        Self {
            process: Arc::new(process),
            socket: Arc::new(Connection::new(socket)),
            inbox: Inbox::new(confined.is_some()),
            confined,
            limits,
            deadline,
            time,
            kill_on_drop,
            is_over: false,
        }
    }

    /// Sends a message, as far as the child reads it before it ends.
    pub(crate) fn send(&self, outbox: &mut Outbox<'_>) -> io::Result<()> {
        loop {
            match outbox.advance(self.socket.as_fd(), Wait::Never) {
                Ok(Sent::All) => return Ok(()),
                // A child that keeps reading slowly is no reason to wait longer.
                Ok(_) if self.deadline.has_passed() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Ok(Sent::Full | Sent::Partly) => {}
                Err(error) if transport::is_crowded(&error) => {
                    if self.deadline.has_passed() || self.process.has_ended() {
                        return Err(error);
                    }
                    std::thread::sleep(transport::CROWD_INTERVAL);
                    continue;
                }
                Err(error) => return Err(error),
            }
            // A process that does not read may hold the child's end of the socket.
            let mut entries = [
                poll::entry(self.socket.as_fd(), libc::POLLOUT),
                self.process.end_entry(),
            ];
            poll::poll(&mut entries, self.deadline)?;
            if entries[1].revents != 0 {
                return Ok(());
            }
        }
    }

    /// Receives what has arrived, without waiting.
    pub(crate) fn look<T: Object>(&mut self) -> Result<Progress<T>, Error> {
        let (limits, socket) = (self.limits, self.socket.as_fd());
        let arrival = self
            .inbox
            .advance(socket, &limits, Trust::Data, Wait::Never, |message| {
                message.decode::<Reply<T>>(limits, Trust::Data)
            });
        match (arrival, &mut self.confined) {
            (Ok(Arrival::Message(Ok(reply))), None) => match reply.is_report() {
                true => Err(Error::Malformed(ProtocolError::Surplus)),
                false => Ok(Progress::Done(Answer::Given(reply))),
            },
            (Ok(Arrival::Message(Ok(reply))), Some(confined)) => match confined.hear(reply)? {
                Some(answer) => Ok(Progress::Done(Answer::Given(answer))),
                None => {
                    #[cfg(feature = "tracing")]
                    if let Some(status) = confined.status() {
                        events::confined(self.process.id(), status);
                    }
                    Ok(Progress::Noted)
                }
            },
            (Ok(Arrival::DenialReport(note)), Some(confined)) => {
                confined.note(note)?;
                Ok(Progress::Noted)
            }
            (Ok(Arrival::DenialReport(_)), None) => Err(Error::Malformed(ProtocolError::Surplus)),
            (Ok(Arrival::Message(Err(error))), _) => Err(Error::Decode(error)),
            (Ok(Arrival::End), _) => Ok(Progress::Done(Answer::Closed)),
            (Ok(Arrival::Partly), _) => Ok(Progress::Partly),
            (Err(Fault::Frame(error)), _) => Err(Error::Malformed(error)),
            (Err(Fault::Cost), _) => Err(Error::TooCostly {
                traffic: Traffic::Answer,
            }),
            (Err(fault), _) if fault.would_block() => Ok(Progress::Nothing),
            (Err(Fault::Io(source)), _) => Err(Error::Io {
                operation: "receive the answer",
                source,
            }),
        }
    }

    /// Waits for the answer, or for the child's end without one. Returns `None` if `until` comes
    /// first, or, with `or_note`, something that comes before an answer.
    pub(crate) fn wait_for_answer<T: Object>(
        &mut self,
        until: Deadline,
        or_note: bool,
    ) -> Result<Option<Answer<T>>, Error> {
        let mut ended = false;
        let mut rest = Rest::default();
        loop {
            let glance = self.look()?;
            match glance {
                Progress::Done(look) => return Ok(Some(look)),
                Progress::Noted if or_note => return Ok(None),
                Progress::Noted => continue,
                Progress::Partly | Progress::Nothing => {}
            }
            if ended && !(matches!(glance, Progress::Partly) && rest.is_awaited()) {
                // It has exited, and everything that it sent has been read.
                return Ok(Some(Answer::Closed));
            }
            self.check_deadline()?;
            if matches!(glance, Progress::Partly) {
                // A child that never stops sending is no reason to wait longer.
                if until.has_passed() {
                    return Ok(None);
                }
                // Neither is a process that it has left behind.
                if !ended {
                    let now = Deadline::after(Duration::ZERO);
                    ended = poll::poll(&mut [self.process.end_entry()], now).is_ok();
                }
                continue;
            }
            // The answer ends the wait, and so does the end of the process, because another holder
            // of its socket can delay the end of the channel.
            let mut entries = [
                poll::entry(self.socket.as_fd(), libc::POLLIN),
                self.process.end_entry(),
            ];
            let first = until.min(self.deadline).min(self.process.start_by());
            match poll::poll(&mut entries, first) {
                Ok(()) => ended = entries[1].revents != 0,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.process.check_start()?;
                    if !self.deadline.has_passed() && until.has_passed() {
                        return Ok(None);
                    }
                    // An answer that is complete when the deadline is noticed counts, so look once
                    // more.
                }
                Err(source) => {
                    return Err(Error::Io {
                        operation: "wait for the child process",
                        source,
                    });
                }
            }
        }
    }

    /// Fails once the deadline has passed.
    pub(crate) fn check_deadline(&self) -> Result<(), Error> {
        if self.deadline.has_passed() {
            return Err(Error::Deadline { after: self.time });
        }
        Ok(())
    }

    /// Returns the result of a child that has answered and ended.
    pub(crate) fn conclude<T: Object>(&mut self, reply: Reply<T>) -> Result<T, Error> {
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
            // Handled by `look`.
            #[cfg(crossmist_learn)]
            Reply::Watched(_) => Err(Error::Malformed(ProtocolError::Surplus)),
            Reply::Confined(_) | Reply::NotConfined(_) => {
                Err(Error::Malformed(ProtocolError::Surplus))
            }
        }
    }

    /// Looks at what follows an answer. A call that was denied while the child was exiting does not
    /// invalidate the answer.
    fn look_past_notes(&mut self) -> Result<Progress<()>, Error> {
        match self.look()? {
            Progress::Noted => self.look(),
            glance => Ok(glance),
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
        if let Some(confined) = &self.confined
            && !self.process.was_killed()
            && let Some(error) =
                confined.verdict(&ended, self.process.parting(), self.process.id(), after)
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
            Err(StillRunning) if past_deadline => Error::Deadline { after },
            Err(StillRunning) => Error::Silent,
        }
    }

    /// Waits for the end of a child that has nothing more to say.
    pub(crate) fn wait_for_end(&mut self, until: Deadline) -> Result<Ended, StillRunning> {
        // Readiness that was reported earlier is not its end.
        while !self.process.has_ended() {
            if poll::readable(self.process.as_fd(), until).is_err() {
                return Err(StillRunning);
            }
        }
        Ok(self.take_status())
    }

    /// Returns the status of a child, if it has ended.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_take_status(&mut self) -> Option<Ended> {
        let ended = self.process.try_wait().unwrap_or(None)?;
        self.note_end();
        Some(ended)
    }

    /// Takes the status of a child that has ended, without waiting: if another process traces it,
    /// that process gets the status first, and may take its time.
    pub(crate) fn take_status(&mut self) -> Ended {
        match self.process.try_wait() {
            Ok(Some(ended)) => {
                self.note_end();
                ended
            }
            // The drop leaves it to the reaper.
            _ => Ended::Unknown,
        }
    }

    /// Records that its status was taken, and passes on what it wrote to a piped standard error.
    fn note_end(&mut self) {
        self.is_over = true;
        if let (Some(confined), Some(Outcome::Reported(departure))) =
            (&self.confined, self.process.parting())
        {
            confined.show_stderr(&departure.stderr, self.process.id());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let process = &self.process;
        // It has ended, or belongs to another process: a forked copy of its parent does not kill
        // it.
        if matches!(process.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.kill_on_drop {
            // If it has ended, it cannot be killed. If it is this program's, it may be.
            let _ = process.signal_kill();
            // The kernel takes a moment, or longer if the process is stuck in a file system.
            let patience = Deadline::after(DROP_WAIT);
            while !process.has_ended() && poll::readable(process.as_fd(), patience).is_ok() {}
        }
        // The keeper reaps its own children, and enforces their deadlines. A child that it has not
        // started yet when the handle is gone must not be started.
        if process.is_supervised() {
            if !self.kill_on_drop {
                let _ = process.wait_until_started();
            }
            return;
        }
        if let Ok(None) = process.try_wait() {
            reaper::adopt(Arc::clone(&self.process), self.deadline);
        }
    }
}
