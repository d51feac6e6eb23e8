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
use crate::sys::socket::Wait;
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
    said: Option<Said<T>>,
}

/// What a child has said, while it takes its time to exit.
#[derive(Debug)]
struct Said<T> {
    look: Look<T>,
    /// Until when it may.
    linger: Deadline,
}

/// A child whose end hasn't been seen.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Arc<Kill>,
    pub(crate) socket: Arc<OwnedFd>,
    inbox: Inbox,
    limits: Limits,
    pub(crate) deadline: Deadline,
    /// What `deadline` was made of, for the error.
    time: Duration,
    pub(crate) kill_on_drop: bool,
    /// Its status was taken, or can't be any more.
    is_over: bool,
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
            socket: Arc::new(socket),
            inbox,
            limits,
            deadline,
            time,
            kill_on_drop,
            is_over: false,
        };
        Self {
            running: Some(running),
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
                let time = running.time;
                running.kill_on_drop = true;
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

    /// Sees to it that its deadline is kept while nobody waits for it.
    pub(crate) fn watch(&self) {
        if let Some(running) = self
            .running
            .as_ref()
            .filter(|running| !running.deadline.is_never())
        {
            reaper::watch(Arc::clone(&running.process), running.deadline);
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
                let look = running.wait_for_answer(until);
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
                self.end_now();
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
        self.end_now();
        result
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

/// What has come from a child.
#[derive(Debug)]
pub(crate) enum Look<T> {
    Answer(Reply<T>),
    /// Nothing more will come.
    Closed,
}

/// A child that went on after it should have ended.
#[derive(Debug)]
pub(crate) struct StillRunning;

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

    /// Receives what has come, without waiting. `None` where an answer may still come.
    pub(crate) fn look<T: Object>(&mut self) -> Result<Option<Look<T>>, Error> {
        let (limits, socket) = (self.limits, self.socket.as_fd());
        let arrival = self
            .inbox
            .advance(socket, &limits, Trust::Data, Wait::Never, |message| {
                message.decode(limits, Trust::Data)
            });
        match arrival {
            Ok(Arrival::Message(Ok(reply))) => Ok(Some(Look::Answer(reply))),
            Ok(Arrival::Message(Err(error))) => Err(Error::Decode(error)),
            Ok(Arrival::End) => Ok(Some(Look::Closed)),
            Err(Fault::Frame(error)) => Err(Error::Malformed(error)),
            Err(fault) if fault.would_block() => Ok(None),
            Err(Fault::Io(source)) => Err(Error::Io {
                operation: "receive the answer",
                source,
            }),
        }
    }

    /// Waits for the answer or for the end without one; `None` where `until` comes first.
    fn wait_for_answer<T: Object>(&mut self, until: Deadline) -> Result<Option<Look<T>>, Error> {
        let mut ended = false;
        loop {
            if let Some(look) = self.look()? {
                return Ok(Some(look));
            }
            if ended {
                // It is gone, and what it had sent is read.
                return Ok(Some(Look::Closed));
            }
            self.check_deadline()?;
            // The answer wakes, and so does the end of the process: another holder of its socket
            // can put off the end of the channel.
            let mut entries = [
                poll::entry(self.socket.as_fd(), libc::POLLIN),
                poll::entry(self.process.as_fd(), libc::POLLIN),
            ];
            match poll::poll(&mut entries, until.min(self.deadline)) {
                Ok(()) => ended = entries[1].revents != 0,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if !self.deadline.has_passed() {
                        return Ok(None);
                    }
                    // An answer that is complete when the deadline is noticed counts: once more.
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

    /// The result of a child that has answered and ended.
    pub(crate) fn conclude<T: Object>(&mut self, reply: Reply<T>) -> Result<T, Error> {
        match reply {
            // Nothing may follow an answer.
            Reply::Returned(value) => match self.look::<()>() {
                Ok(Some(Look::Closed) | None) | Err(Error::Io { .. }) => Ok(value),
                Ok(Some(Look::Answer(_))) | Err(_) => Err(Error::Malformed(FrameError::Surplus)),
            },
            Reply::Panicked(panic) => Err(Error::Panicked(panic)),
            Reply::BadArguments(reason) => Err(Error::BadArguments { reason }),
            Reply::BadResult(reason) => Err(Error::BadResult { reason }),
        }
    }

    /// The error for a child that gave no answer.
    pub(crate) fn verdict(&self, ended: Result<Ended, StillRunning>) -> Error {
        let past_deadline = self.deadline.has_passed();
        let after = self.time;
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
            Ok(Ended::Unknown) => Error::StatusTaken,
            Err(StillRunning) if past_deadline => Error::Deadline { after },
            Err(StillRunning) => Error::Silent,
        }
    }

    /// Waits for the end of a child that has nothing more to say.
    fn wait_for_end(&mut self, until: Deadline) -> Result<Ended, StillRunning> {
        match poll::readable(self.process.as_fd(), until) {
            Ok(()) => Ok(self.take_status()),
            Err(_) => Err(StillRunning),
        }
    }

    /// The status of a child, if it has ended by now.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_take_status(&mut self) -> Option<Ended> {
        let ended = self.process.process.try_wait().unwrap_or(None)?;
        self.is_over = true;
        Some(ended)
    }

    /// The status of a child that has ended.
    pub(crate) fn take_status(&mut self) -> Ended {
        self.is_over = true;
        self.process.process.wait().unwrap_or(Ended::Unknown)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let process = &self.process.process;
        if self.kill_on_drop {
            // One that has ended can't be killed, and one of ours may be.
            let _ = process.signal(libc::SIGKILL);
            // The kernel takes a moment, or longer where it is stuck in a file system.
            let _ = poll::readable(process.pidfd.as_fd(), Deadline::after(DROP_WAIT));
        }
        if let Ok(None) = process.try_wait() {
            reaper::adopt(Arc::clone(&self.process), self.deadline);
        }
    }
}

impl AsFd for Kill {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }
}

impl Kill {
    /// Whether it was killed by us, on somebody's request.
    fn was_killed(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

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
