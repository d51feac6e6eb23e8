//! A child that is not known to have ended: what it has said, and what its end means.
//!
//! Nothing in this module waits. It says what to wait for, so that threads and runtimes decide alike.

mod ending;
mod numbered;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::confinement::Confined;
use super::process::{ChildProcess, StillRunning};
use super::processor::ProcessorTime;
use crate::child::{Numbered, Reply};
use crate::error::{Error, Resource, Traffic};
#[cfg(feature = "tracing")]
use crate::events;
use crate::object::{Limits, Object, Trust};
use crate::sys::connection::Connection;
use crate::sys::poll::Deadline;
use crate::sys::process::Ended;
use crate::sys::socket::{self, Wait};
use crate::sys::stream;
use crate::transport::{
    Arrival, CROWD_INTERVAL, Fault, Inbox, Interest, Outbox, Sent, Slots, Step, WaitFor,
};
use crate::wire::ProtocolError;

/// A child that is not known to have ended.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Arc<ChildProcess>,
    pub(crate) socket: Arc<Connection>,
    inbox: Inbox,
    pub(super) function: &'static str,
    limits: Limits,
    pub(crate) deadline: Deadline,
    /// The time from which `deadline` was computed, for the error.
    pub(crate) time: Duration,
    pub(crate) kill_on_drop: bool,
    /// Whether the thread that drops it may wait a moment. A thread of a runtime or of a pool may not,
    /// because others wait for that thread.
    may_wait: bool,
    /// The number that an answer must have, of a child that answers several calls.
    number: Option<u64>,
    /// The processor time of such a call, if that is bounded.
    processor: Option<ProcessorTime>,
    /// For a child that confines itself.
    pub(crate) confined: Option<Confined>,
    /// Its process is known to have ended.
    has_ended: bool,
    /// The message that is awaited after that.
    rest: Rest,
    /// Its status was taken, or can no longer be taken.
    is_over: bool,
}

/// The settings of a running call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallSettings {
    pub(crate) function: &'static str,
    pub(crate) limits: Limits,
    pub(crate) deadline: Deadline,
    pub(crate) time: Duration,
    pub(crate) kill_on_drop: bool,
}

/// A child's answer, if there is one.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    Given(Reply<T>),
    /// Nothing more will come.
    Closed,
}

/// The state of a child, found without waiting.
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
            function,
            limits,
            deadline,
            time,
            kill_on_drop,
        } = hold;
        #[cfg(feature = "metrics")]
        let process = process.measured_for(function);
        Self {
            process: Arc::new(process),
            socket: Arc::new(Connection::new(socket)),
            inbox: Inbox::new(confined.is_some()),
            confined,
            function,
            limits,
            deadline,
            time,
            kill_on_drop,
            may_wait: true,
            number: None,
            processor: None,
            has_ended: false,
            rest: Rest::default(),
            is_over: false,
        }
    }

    /// From now on, waits neither until a killed child is gone nor until its text is printed.
    pub(super) fn never_wait(&mut self) {
        self.may_wait = false;
    }

    pub(super) fn use_slots(&mut self, slots: Option<Slots>) {
        self.inbox.use_slots(slots);
    }

    /// Sends a message, as far as the child reads it before it ends.
    pub(crate) fn next_send(&mut self, outbox: &mut Outbox<'_>) -> Step<Result<(), Error>> {
        let (socket, until) = match outbox.advance(self.socket.as_fd(), Wait::Never) {
            Ok(Sent::All) => return Step::Done(Ok(())),
            Ok(Sent::Full) => (Some(Interest::Writable), Deadline::NEVER),
            Ok(Sent::Crowded) => (None, Deadline::after(CROWD_INTERVAL)),
            // A child that keeps reading slowly is no reason to wait longer.
            Ok(Sent::Partly) => match self.check_deadline() {
                Ok(()) => return Step::Continue,
                late => return Step::Done(late),
            },
            // Its exit status will tell why it went away.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Step::Done(Ok(()));
            }
            Err(source) => {
                return Step::Done(Err(Error::Launch {
                    step: "send the arguments",
                    source,
                }));
            }
        };
        // A process that does not read may hold the child's end of the socket.
        if self.has_ended {
            return Step::Done(Ok(()));
        }
        if let Err(late) = self.check_deadline() {
            return Step::Done(Err(late));
        }
        Step::Wait(WaitFor {
            socket,
            end: true,
            until: until.min(self.deadline).min(self.look_at()),
        })
    }

    /// Receives what has arrived, without waiting.
    pub(crate) fn look<T: Object>(&mut self) -> Result<Progress<T>, Error> {
        let (limits, socket) = (self.limits, self.socket.as_fd());
        // Its report on its confinement has none.
        let is_confined = self.confined.as_ref().is_some_and(Confined::is_confirmed);
        let (number, mut is_foreign) = (self.number.filter(|_| is_confined), false);
        let arrival = self
            .inbox
            .advance(socket, &limits, Trust::Data, Wait::Never, |message| {
                let Some(number) = number else {
                    return message.decode::<Reply<T>>(limits, Trust::Data);
                };
                let answer = message.decode::<Numbered<T>>(limits, Trust::Data)?;
                is_foreign = answer.number != number;
                Ok(answer.reply)
            });
        if is_foreign {
            // It answers another call, or was sent before this one was asked.
            return Err(Error::Malformed(ProtocolError::Surplus));
        }
        match (arrival, &mut self.confined) {
            (Ok(Arrival::Message(Ok(reply))), None) => match reply.is_report() {
                true => Err(Error::Malformed(ProtocolError::Surplus)),
                false => Ok(Progress::Done(Answer::Given(reply))),
            },
            (Ok(Arrival::Message(Ok(reply))), Some(confined)) => match confined.hear(reply)? {
                Some(answer) => Ok(Progress::Done(Answer::Given(answer))),
                None => {
                    self.start_clock()?;
                    #[cfg(feature = "tracing")]
                    if let Some(status) = self.confined.as_ref().and_then(Confined::status) {
                        events::confined(self.process.id(), status);
                    }
                    Ok(Progress::Noted)
                }
            },
            (Ok(Arrival::DenialReport(note)), Some(confined)) => {
                confined.note(*note)?;
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

    /// Finds the answer, or the child's end without one. Returns `None` if `until` comes first, or,
    /// with `or_note`, something that comes before an answer.
    pub(crate) fn next_answer<T: Object>(
        &mut self,
        until: Deadline,
        or_note: bool,
    ) -> Result<Step<Option<Answer<T>>>, Error> {
        // An answer that is complete when the deadline is noticed counts, so this comes first.
        let is_partial = match self.look()? {
            Progress::Done(answer) => return Ok(Step::Done(Some(answer))),
            Progress::Noted if or_note => return Ok(Step::Done(None)),
            // The next message may be there already.
            Progress::Noted => return Ok(Step::Continue),
            Progress::Partly => true,
            Progress::Nothing => false,
        };
        if self.has_ended && !(is_partial && self.rest.is_awaited()) {
            // It has exited, and everything that it sent has been read.
            return Ok(Step::Done(Some(Answer::Closed)));
        }
        if self.process.start_by().has_passed() {
            self.process.check_start()?;
        }
        self.check_deadline()?;
        // A child that never stops sending is no reason to wait longer, and neither is a process that
        // it has left behind.
        let is_late = until.has_passed();
        if (is_partial || is_late) && !self.has_ended {
            self.note_end();
            if self.has_ended {
                return Ok(Step::Continue);
            }
        }
        Ok(match (is_late, is_partial) {
            (true, _) => Step::Done(None),
            (false, true) => Step::Continue,
            // The answer ends the wait, and so does the end of the process, because another holder of
            // its socket can delay the end of the channel.
            (false, false) => Step::Wait(self.answer_wait(until)),
        })
    }

    /// Returns what to wait for if nothing of the answer has arrived.
    pub(super) fn answer_wait(&self, until: Deadline) -> WaitFor {
        WaitFor {
            socket: Some(Interest::Readable),
            end: true,
            until: until
                .min(self.deadline)
                .min(self.look_at())
                .min(self.process.start_by()),
        }
    }

    /// Finds the end of a child that has nothing more to say, unless `until` comes first.
    pub(crate) fn next_end(&mut self, until: Deadline) -> Step<Result<Ended, StillRunning>> {
        if self.process.has_ended() {
            return Step::Done(Ok(self.take_status()));
        }
        match until.has_passed() {
            true => Step::Done(Err(StillRunning)),
            false => Step::Wait(WaitFor {
                socket: None,
                end: true,
                until,
            }),
        }
    }

    /// Looks whether the process has ended, after what tells of it has become ready: that can have
    /// another reason. Returns whether it has.
    pub(crate) fn note_end(&mut self) -> bool {
        self.has_ended = self.has_ended || self.process.has_ended();
        self.has_ended
    }

    /// Returns whether the child has not read what it was sent last: it has ended, and the kernel has told of that; or
    /// it is still there, as what it was sent is.
    pub(crate) fn left_unread(&self) -> bool {
        let socket = self.socket.as_fd();
        // In this order: if the child ends in this moment, the kernel tells of it before the packets go.
        self.inbox.was_reset()
            || stream::unreceived(socket).is_ok_and(|bytes| bytes > 0)
            || socket::take_error(socket).is_ok_and(|error| error == libc::ECONNRESET)
    }

    pub(crate) fn lower_limits(&mut self, limits: Limits) {
        self.limits = self.limits.min(limits);
    }

    /// Fails once the deadline has passed, or the processor time of the call is used up.
    fn check_deadline(&mut self) -> Result<(), Error> {
        if self.deadline.has_passed() {
            return Err(Error::Deadline { after: self.time });
        }
        if let (Some(processor), Some(confined)) = (&mut self.processor, &self.confined)
            && processor.is_used_up()
        {
            return Err(confined.limit(Resource::CpuTime));
        }
        Ok(())
    }

    /// Returns when to look at the processor time of the call.
    fn look_at(&self) -> Deadline {
        self.processor
            .as_ref()
            .map_or(Deadline::NEVER, ProcessorTime::look_at)
    }
}
