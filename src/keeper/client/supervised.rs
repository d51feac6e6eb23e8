//! A child of the keeper, as the program sees it: the keeper's reports, and orders to it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::packets::{late, receive};
use super::start::Keeper;
use crate::error::Error;
use crate::keeper::protocol::{ExitReport, KILL, Report, StartStep};
use crate::sys::poll::{self, Deadline};
use crate::sys::socket::{self, Wait};

/// A child of the keeper, as the program sees it.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(super) reports: Arc<OwnedFd>,
    pub(super) keeper: Weak<Keeper>,
    /// The code that is mapped in the keeper, as `/proc/PID/maps` has it.
    pub(crate) mapped: Arc<[u8]>,
    /// When it must have ended, and so started.
    pub(super) deadline: Deadline,
    /// Whether the keeper gets on with what it was asked for.
    pub(super) pace: Mutex<Pace>,
    /// Its process id, once it was reported.
    pub(super) id: OnceLock<i32>,
    /// The keeper's last report.
    pub(super) parting: Mutex<Option<Outcome>>,
}

/// Whether the keeper gets on.
#[derive(Debug)]
pub(super) struct Pace {
    /// The last known value of [`Keeper::unreceived`].
    pub(super) requests: Option<usize>,
    /// When it must have started the child, unless it gets on with others.
    pub(super) start_by: Deadline,
}

/// How long a keeper may take to start, or to take a request. If there are others before that, how long
/// it may take none of them.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) const ASK: &str = "ask the keeper for a child";

/// The last report on a child.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Reported(Arc<ExitReport>),
    /// It was not started.
    NotStarted {
        step: StartStep,
        errno: i32,
    },
    /// The keeper was killed, and the child with it.
    KeeperDied,
}

#[cfg(feature = "__fuzzing")]
impl Outcome {
    pub(crate) fn ended(ended: crate::sys::process::Ended) -> Self {
        Self::Reported(Arc::new(ExitReport {
            ended,
            killed_for: None,
            cpu_time: 0,
            memory: 0,
            stderr: Vec::new(),
        }))
    }
}

impl Supervised {
    /// Returns its process id, if it is known to have started.
    pub(crate) fn id(&self) -> Option<i32> {
        self.id.get().copied()
    }

    /// Returns the socket that becomes readable when the keeper has reported how the child ended.
    /// Before that, it also becomes readable while the child is not known to have started. The
    /// keeper closes it after the last report.
    pub(crate) fn reports(&self) -> &Arc<OwnedFd> {
        &self.reports
    }

    /// Waits until it has started.
    pub(crate) fn wait_until_started(&self) -> Result<(), Error> {
        loop {
            self.check_start()?;
            if self.id.get().is_some() {
                return Ok(());
            }
            match poll::readable(self.reports.as_fd(), self.start_by()) {
                // Whether that is too late is checked.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                result => result.map_err(late)?,
            }
        }
    }

    /// Returns until when to check whether it has started, or never if it is known to have.
    pub(crate) fn start_by(&self) -> Deadline {
        match self.id.get() {
            Some(_) => Deadline::NEVER,
            None => self.pace().start_by,
        }
    }

    /// Fails if it was not started, or if it is late.
    pub(crate) fn check_start(&self) -> Result<(), Error> {
        let parting = self.try_wait().map_err(late)?;
        match (self.id.get(), parting) {
            (Some(_), _) => Ok(()),
            (None, None) if self.is_late() => Err(late(io::ErrorKind::TimedOut.into())),
            (None, None) => Ok(()),
            (None, Some(parting)) => Err(parting.start_error()),
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether it should have started. On a slow machine, a keeper that many ask at once takes
    /// long to get to the last of them, and still gets on.
    fn is_late(&self) -> bool {
        let mut pace = self.pace();
        if !pace.start_by.has_passed() {
            return false;
        }
        let requests = self.keeper.upgrade().and_then(|keeper| keeper.unreceived());
        if requests.is_none() || requests == pace.requests || self.deadline.has_passed() {
            return true;
        }
        *pace = Pace {
            requests,
            start_by: self.deadline.min(Deadline::after(START_TIMEOUT)),
        };
        false
    }

    /// Reads the reports that have arrived, and returns how the child ended, if that is known.
    pub(crate) fn try_wait(&self) -> io::Result<Option<Outcome>> {
        let mut parting = self.parting.lock().unwrap_or_else(PoisonError::into_inner);
        while parting.is_none() {
            match next_report(self.reports.as_fd()) {
                Ok(Some(Report::Started { process })) => {
                    // It reports this only once.
                    let _ = self.id.set(process);
                }
                Ok(Some(Report::Failed { step, errno })) => {
                    *parting = Some(Outcome::NotStarted { step, errno });
                }
                Ok(Some(Report::Ended(departure))) => {
                    *parting = Some(Outcome::Reported(Arc::new(departure)));
                }
                Ok(None) => *parting = Some(Outcome::KeeperDied),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(parting.clone())
    }

    /// Asks the keeper to kill it. If the keeper has not started it yet, it will not. This process
    /// may have given up the right to kill it, and need not have a descriptor for it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let order = [IoSlice::new(&[KILL])];
        match socket::send(self.reports.as_fd(), &order, &[], Wait::Never) {
            Ok(_) => Ok(()),
            // It has ended, or it and the keeper have.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(()),
            // One order is enough.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Outcome {
    /// Returns the error for a child that was not started.
    pub(crate) fn start_error(&self) -> Error {
        let source = match self {
            Self::NotStarted { step, errno } => {
                return Error::Launch {
                    step: step.name(),
                    source: io::Error::from_raw_os_error(*errno),
                };
            }
            _ => io::Error::other("the keeper ended before it had made the child"),
        };
        Error::Launch { step: ASK, source }
    }
}

/// Takes the next report. Returns `None` if the keeper has died, and EAGAIN if there is no report
/// yet.
fn next_report(reports: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut bytes = Vec::new();
    receive(reports, &mut bytes, Report::BYTES)?;
    Ok(Report::parse(&bytes))
}
