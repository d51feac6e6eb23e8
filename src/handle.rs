//! The parent's hold on a child: waiting for its answer, and for its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::object::{Limits, Object, Trust};
use crate::reaper;
use crate::reply::Reply;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{Ended, Process};
use crate::sys::socket::{Connection, Wait};
use crate::transport::{Arrival, Fault, Inbox, Outbox};
use crate::wire::FrameError;

/// A function that runs in a child process.
///
/// Dropping it lets the child run on, as with a thread; what it returns is lost then. Its end
/// leaves no zombie either way. A builder's
/// [`kill_on_drop`](crate::Builder::kill_on_drop) makes the drop end it.
#[derive(Debug)]
pub struct Child<T> {
    running: Option<Running>,
    /// What it answered, while its end is waited for.
    reply: Option<Reply<T>>,
}

/// A child whose end hasn't been seen.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Arc<Kill>,
    socket: Connection,
    inbox: Inbox,
    /// By when it has to be gone, once nothing more is expected from it.
    leaving: Option<Deadline>,
    limits: Limits,
    deadline: Deadline,
    /// What `deadline` was made of, for the error.
    time: Duration,
    kill_on_drop: bool,
    /// Its status was taken, or the reaper is going to.
    is_released: bool,
}

/// The process, and who killed it if it was us.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) process: Process,
    requested: AtomicBool,
}

/// How a child is to be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) limits: Limits,
    pub(crate) deadline: Deadline,
    pub(crate) time: Duration,
    pub(crate) kill_on_drop: bool,
}

/// How long a child that has answered may take to exit before it is killed. The answer counts
/// either way.
const LINGER: Duration = Duration::from_secs(2);

/// How long a drop waits for the end of a child that it killed; a reaper takes over after that.
const DROP_WAIT: Duration = Duration::from_millis(100);

impl<T: Object> Child<T> {
    pub(crate) fn new(process: Process, socket: OwnedFd, hold: Hold) -> Self {
        let Hold {
            limits,
            deadline,
            time,
            kill_on_drop,
        } = hold;
        let process = Arc::new(Kill {
            process,
            requested: AtomicBool::new(false),
        });
        let inbox = Inbox::default();
        let running = Running {
            process,
            socket: Connection::new(socket),
            inbox,
            leaving: None,
            limits,
            deadline,
            time,
            kill_on_drop,
            is_released: false,
        };
        Self {
            running: Some(running),
            reply: None,
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
                running.end_now();
                let time = running.time;
                self.running = None;
                Err(match error.kind() {
                    io::ErrorKind::TimedOut => Error::Deadline { after: time },
                    _ => Error::Launch {
                        step: "send the arguments",
                        source: error,
                    },
                })
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running
            .as_ref()
            .map_or(0, |running| running.process.process.id.unsigned_abs())
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

    /// Gives the function's result if the child has ended; `None` while it runs.
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
        if running.leaving.is_none() {
            match running.outcome(until) {
                Ok(Outcome::Waiting) => return Ok(None),
                Ok(Outcome::Reply(reply)) => self.reply = Some(reply),
                Ok(Outcome::End) => {}
                Err(error) => {
                    running.end_now();
                    self.running = None;
                    return Err(error);
                }
            }
        }
        let leaving = running.leaving();
        if !running.has_ended(leaving.min(until)) && !leaving.has_passed() {
            return Ok(None);
        }
        let outcome = match self.reply.take() {
            Some(reply) => running.settle(reply),
            None => Err(running.end_without_answer()),
        };
        self.running = None;
        outcome.map(Some)
    }
}

impl Running {
    /// Sends a message as far as the child takes it before it ends.
    fn send(&self, outbox: &mut Outbox<'_>) -> io::Result<()> {
        loop {
            match outbox.advance(self.socket.as_fd(), Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            // A process that doesn't read may hold the child's end of the socket.
            let mut entries = [
                poll::entry(self.socket.as_fd(), libc::POLLOUT),
                poll::entry(self.process.process.pidfd.as_fd(), libc::POLLIN),
            ];
            poll::poll(&mut entries, self.deadline)?;
            if entries[1].revents != 0 {
                return Ok(());
            }
        }
    }

    /// Waits for the answer or for the end without one, until `until`.
    fn outcome<T: Object>(&mut self, until: Deadline) -> Result<Outcome<T>, Error> {
        let failed = |operation| move |source| Error::Io { operation, source };
        let mut ended = false;
        loop {
            let mut partly = false;
            let (limits, socket) = (self.limits, self.socket.as_fd());
            let arrival =
                self.inbox
                    .advance(socket, &limits, Trust::Data, Wait::Never, |message| {
                        message.decode(limits, Trust::Data)
                    });
            match arrival {
                Ok(Arrival::Message(Ok(reply))) => return Ok(Outcome::Reply(reply)),
                Ok(Arrival::Message(Err(error))) => return Err(Error::Decode(error)),
                Ok(Arrival::End) => return Ok(Outcome::End),
                Ok(Arrival::Partly) => partly = true,
                Err(Fault::Frame(error)) => return Err(Error::Malformed(error)),
                Err(fault) if fault.would_block() => {}
                Err(Fault::Io(source)) => return Err(failed("receive the answer")(source)),
            }
            if ended {
                // It is gone, and what it had sent is read.
                return Ok(Outcome::End);
            }
            if self.deadline.has_passed() {
                return Err(Error::Deadline { after: self.time });
            }
            if partly && until.has_passed() {
                return Ok(Outcome::Waiting);
            }
            // The answer wakes, and so does the end of the process: another holder of its socket
            // can put off the end of the channel.
            let mut entries = [
                poll::entry(self.socket.as_fd(), libc::POLLIN),
                poll::entry(self.process.process.pidfd.as_fd(), libc::POLLIN),
            ];
            match poll::poll(&mut entries, until.min(self.deadline)) {
                Ok(()) => ended = entries[1].revents != 0,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if !self.deadline.has_passed() {
                        return Ok(Outcome::Waiting);
                    }
                    // An answer that is complete when the deadline is noticed counts: once more.
                }
                Err(source) => return Err(failed("wait for the child process")(source)),
            }
        }
    }

    /// Sees to the end of a child that has answered.
    fn settle<T: Object>(&mut self, reply: Reply<T>) -> Result<T, Error> {
        let _ = self.wait_for_end();
        match reply {
            Reply::Returned(value) => {
                // Nothing may follow an answer.
                let limits = self.limits;
                let more = self.inbox.advance(
                    self.socket.as_fd(),
                    &limits,
                    Trust::Data,
                    Wait::Never,
                    |_| (),
                );
                match more {
                    Ok(Arrival::End) => Ok(value),
                    Err(Fault::Io(_)) if !self.inbox.is_mid_message() => Ok(value),
                    _ => Err(Error::Malformed(FrameError::Surplus)),
                }
            }
            Reply::Panicked(panic) => Err(Error::Panicked(panic)),
            Reply::BadArguments(reason) => Err(Error::BadArguments { reason }),
            Reply::BadResult(reason) => Err(Error::BadResult { reason }),
        }
    }

    /// The error for a child that will not answer any more.
    fn end_without_answer(&mut self) -> Error {
        let killed = match self.wait_for_end() {
            Ok(Ended::Exited(status)) => return Error::Exited { status },
            Ok(Ended::Signalled {
                signal,
                core_dumped,
            }) => (signal, core_dumped),
            Ok(Ended::Unknown) => return Error::StatusTaken,
            Err(StillRunning) if self.deadline.has_passed() => {
                return Error::Deadline { after: self.time };
            }
            Err(StillRunning) => return Error::Silent,
        };
        let (signal, core_dumped) = killed;
        if signal == libc::SIGKILL && self.process.requested.load(Ordering::Relaxed) {
            return Error::Killed;
        }
        if signal == libc::SIGKILL && self.deadline.has_passed() {
            // The watchdog was faster.
            return Error::Deadline { after: self.time };
        }
        Error::Signalled {
            signal,
            core_dumped,
        }
    }

    /// By when a child that has answered, or can't any more, has to be gone.
    fn leaving(&mut self) -> Deadline {
        *self
            .leaving
            .get_or_insert_with(|| Deadline::after(LINGER).min(self.deadline))
    }

    /// Waits for the end of the process until `deadline`.
    fn has_ended(&self, deadline: Deadline) -> bool {
        poll::readable(self.process.process.pidfd.as_fd(), deadline).is_ok()
    }

    /// Waits for the end of a process that has to leave, then kills it.
    fn wait_for_end(&mut self) -> Result<Ended, StillRunning> {
        let leaving = self.leaving();
        if self.has_ended(leaving) {
            return Ok(self.take_status());
        }
        self.end_now();
        Err(StillRunning)
    }

    /// Kills the process and takes its status, or leaves that to the reaper if the kernel can't
    /// end it at once.
    fn end_now(&mut self) {
        // A process that has ended can't be killed, and one of ours may be.
        let _ = self.process.process.signal(libc::SIGKILL);
        if self.has_ended(Deadline::after(DROP_WAIT)) {
            self.take_status();
        } else {
            self.release(Deadline::NEVER);
        }
    }

    /// Takes the status of a process that has ended, without waiting: where another process traces
    /// it, that one gets the status first, whenever it likes.
    fn take_status(&mut self) -> Ended {
        match self.process.process.try_wait() {
            Ok(Some(ended)) => {
                self.is_released = true;
                ended
            }
            _ => {
                self.release(Deadline::NEVER);
                Ended::Unknown
            }
        }
    }

    /// Leaves the process to the reaper.
    fn release(&mut self, deadline: Deadline) {
        if !std::mem::replace(&mut self.is_released, true) {
            reaper::adopt(Arc::clone(&self.process), deadline);
        }
    }
}

/// What a wait for the answer came to.
enum Outcome<T> {
    Reply(Reply<T>),
    /// There will be none.
    End,
    Waiting,
}

struct StillRunning;

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_released {
            return;
        }
        match self.process.process.try_wait() {
            // Also where its status was taken by somebody else.
            Ok(Some(_)) => {}
            _ if self.kill_on_drop => self.end_now(),
            _ => self.release(self.deadline),
        }
    }
}

impl<T> Child<T> {
    /// The pidfd of the child: readable once the process has ended.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running
            .as_ref()
            .map(|running| running.process.process.pidfd.as_fd())
    }
}

impl Kill {
    fn kill(&self) -> Result<(), Error> {
        self.requested.store(true, Ordering::Relaxed);
        self.process
            .signal(libc::SIGKILL)
            .map_err(|source| Error::Io {
                operation: "kill the child process",
                source,
            })
    }
}

/// Kills a child from another thread, or after its [`Child`] has gone; see
/// [`Child::kill_handle`].
///
/// It never hits another process: the kernel names the child by a pidfd, not by its number.
#[derive(Clone, Debug)]
pub struct KillHandle {
    process: Option<Arc<Kill>>,
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
