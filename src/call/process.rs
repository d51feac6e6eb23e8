//! The process of a call: a child of this program, or of the keeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "metrics")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::keeper::{Outcome, Supervised};
#[cfg(feature = "metrics")]
use crate::meters::ChildMeter;
use crate::object::Owner;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{Ended, Process};

/// The process, and whether this program killed it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    parent: Parent,
    /// The process that started it. A copy of that, made by `fork`, has no part in its end.
    started_by: u32,
    requested: AtomicBool,
    /// It was killed for what its messages on a channel cost.
    too_costly: AtomicBool,
    /// Until its end is known.
    #[cfg(feature = "metrics")]
    meter: Mutex<Option<ChildMeter>>,
}

/// Whose child a process is, and so who waits for it.
#[derive(Debug)]
enum Parent {
    Us(Process),
    Keeper(Supervised),
}

/// The child is still running, although it should have ended.
#[derive(Debug)]
pub(crate) struct StillRunning;

/// Becomes readable when the child has ended and its status can be taken. Before that, it may also
/// become readable while the child is not known to have started.
impl AsFd for ChildProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end().as_fd()
    }
}

impl Owner for ChildProcess {
    fn end_for_cost(&self) {
        self.too_costly.store(true, Ordering::Relaxed);
        // If it can't be killed, its deadline ends it.
        let _ = self.signal_kill();
    }
}

impl ChildProcess {
    pub(crate) fn own(process: Process) -> Self {
        Self::new(Parent::Us(process))
    }

    pub(crate) fn supervised(supervised: Supervised) -> Self {
        Self::new(Parent::Keeper(supervised))
    }

    fn new(parent: Parent) -> Self {
        Self {
            parent,
            started_by: std::process::id(),
            requested: AtomicBool::new(false),
            too_costly: AtomicBool::new(false),
            #[cfg(feature = "metrics")]
            meter: Mutex::new(None),
        }
    }

    /// Counts it among the children of a function until its end is known, and measures what it has used then.
    #[cfg(feature = "metrics")]
    pub(super) fn measured_for(self, function: &'static str) -> Self {
        let meter = Mutex::new(Some(ChildMeter::begin(function)));
        Self { meter, ..self }
    }

    /// Counts it no more. Returns the meter the first time.
    #[cfg(feature = "metrics")]
    fn measured(&self) -> Option<ChildMeter> {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.take()
    }

    /// Reads what the keeper has reported.
    fn reported(&self, supervised: &Supervised) -> io::Result<Option<Outcome>> {
        let outcome = supervised.try_wait()?;
        #[cfg(feature = "metrics")]
        if let Some(outcome) = &outcome
            && let Some(meter) = self.measured()
            && let Outcome::Reported(report) = outcome
        {
            meter.end(Duration::from_nanos(report.cpu_time), Some(report.memory));
        }
        Ok(outcome)
    }

    /// Returns whether this process started it, and is not a copy of the one that did.
    pub(super) fn is_from_this_process(&self) -> bool {
        self.started_by == std::process::id()
    }

    /// Returns its process id, if it has started. Waits for the keeper's report if necessary.
    pub(crate) fn id(&self) -> Option<u32> {
        let _ = self.wait_until_started();
        let id = match &self.parent {
            Parent::Us(process) => Some(process.id),
            Parent::Keeper(supervised) => supervised.id(),
        };
        id.map(i32::unsigned_abs)
    }

    /// Returns the code that is mapped in its keeper, whose copy it is unless it was executed anew.
    pub(super) fn mapped(&self) -> Arc<[u8]> {
        match &self.parent {
            Parent::Us(_) => Arc::default(),
            Parent::Keeper(supervised) => Arc::clone(&supervised.mapped),
        }
    }

    /// Waits until it has started.
    pub(crate) fn wait_until_started(&self) -> Result<(), Error> {
        match &self.parent {
            Parent::Us(_) => Ok(()),
            Parent::Keeper(supervised) => supervised.wait_until_started(),
        }
    }

    /// Returns when it must have started, or never if it is known to have.
    pub(crate) fn start_by(&self) -> Deadline {
        match &self.parent {
            Parent::Us(_) => Deadline::NEVER,
            Parent::Keeper(supervised) => supervised.start_by(),
        }
    }

    /// Fails if it was not started, or if it is late.
    pub(crate) fn check_start(&self) -> Result<(), Error> {
        match &self.parent {
            Parent::Us(_) => Ok(()),
            Parent::Keeper(supervised) => supervised.check_start(),
        }
    }

    /// Reads what was reported about it, and returns whether it has ended. The descriptor may be
    /// readable for another reason.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.parent {
            Parent::Us(_) => poll::readable(self.as_fd(), Deadline::after(Duration::ZERO)).is_ok(),
            Parent::Keeper(supervised) => !matches!(self.reported(supervised), Ok(None)),
        }
    }

    /// Returns what reports its end. If it is not known to have started, and the report of that is
    /// not an end, this is the keeper's closing of its report socket.
    pub(super) fn end_entry(&self) -> libc::pollfd {
        let events = match &self.parent {
            Parent::Keeper(supervised) if supervised.id().is_none() => libc::POLLRDHUP,
            _ => libc::POLLIN,
        };
        poll::entry(self.as_fd(), events)
    }

    /// Returns what tells that it has ended and its status was taken, and nothing before.
    pub(crate) fn left_entry(&self) -> libc::pollfd {
        let events = match &self.parent {
            Parent::Us(_) => libc::POLLIN,
            Parent::Keeper(_) => libc::POLLRDHUP,
        };
        poll::entry(self.as_fd(), events)
    }

    /// Returns whether that has happened.
    pub(crate) fn has_left(&self) -> bool {
        let now = Deadline::after(Duration::ZERO);
        poll::poll(&mut [self.left_entry()], now).is_ok()
    }

    /// Returns whether it is a child of the keeper, which enforces its deadline and waits for it.
    pub(crate) fn is_supervised(&self) -> bool {
        matches!(self.parent, Parent::Keeper(_))
    }

    pub(crate) fn end(&self) -> &Arc<OwnedFd> {
        match &self.parent {
            Parent::Us(process) => &process.pidfd,
            Parent::Keeper(supervised) => supervised.reports(),
        }
    }

    /// Takes its status if it has ended.
    pub(crate) fn try_wait(&self) -> io::Result<Option<Ended>> {
        match &self.parent {
            #[cfg(not(feature = "metrics"))]
            Parent::Us(process) => process.try_wait(),
            #[cfg(feature = "metrics")]
            Parent::Us(process) => Ok(process.try_wait_with_usage()?.map(|(ended, used)| {
                if let Some(meter) = self.measured() {
                    meter.end(used.cpu_time, None);
                }
                ended
            })),
            Parent::Keeper(supervised) => {
                Ok(self.reported(supervised)?.map(|parting| match parting {
                    Outcome::Reported(departure) => departure.ended,
                    Outcome::NotStarted { .. } | Outcome::KeeperDied => Ended::Unknown,
                }))
            }
        }
    }

    /// Returns what the keeper reported about its end.
    pub(super) fn parting(&self) -> Option<Outcome> {
        match &self.parent {
            Parent::Us(_) => None,
            Parent::Keeper(supervised) => self.reported(supervised).unwrap_or(None),
        }
    }

    /// Returns whether it was killed for what its messages on a channel cost.
    pub(super) fn was_too_costly(&self) -> bool {
        self.too_costly.load(Ordering::Relaxed)
    }

    /// Returns whether this program killed it on request.
    pub(super) fn was_killed(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.requested.store(true, Ordering::Relaxed);
        self.signal_kill().map_err(|source| Error::Io {
            operation: "kill the child process",
            source,
        })
    }

    /// Sends SIGKILL, or asks the keeper to do that.
    pub(crate) fn signal_kill(&self) -> io::Result<()> {
        match &self.parent {
            Parent::Us(process) => process.signal(libc::SIGKILL),
            Parent::Keeper(supervised) => supervised.kill(),
        }
    }
}
