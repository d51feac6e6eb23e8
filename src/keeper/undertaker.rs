//! Closes streams that must not be closed in the keeper itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::sys::confinement::{self, Keepable};
use crate::sys::fork;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::Process;
use crate::sys::socket;

/// Streams whose queues hold descriptors that children have sent.
///
/// Closing the last copy of a lingering socket waits for its peer, unless the process is about to
/// exit. So another process gets the last copy, and exits.
#[derive(Default)]
pub(super) struct Undertaker {
    waiting: Vec<OwnedFd>,
    /// Processes that are exiting: those, and others of the keeper's.
    processes: Vec<Process>,
}

/// The things that the process that exits holds until the keeper has let go of the streams.
struct Burial {
    streams: Vec<OwnedFd>,
    theirs: OwnedFd,
}

impl Keepable for Burial {
    fn descriptors(&self) -> Vec<RawFd> {
        let streams = self.streams.iter().map(AsRawFd::as_raw_fd);
        streams.chain([self.theirs.as_raw_fd()]).collect()
    }
}

impl Undertaker {
    pub(super) fn take(&mut self, streams: impl IntoIterator<Item = OwnedFd>) {
        self.waiting.extend(streams);
    }

    /// The processes that are exiting, for more to be added.
    pub(super) fn ending(&mut self) -> &mut Vec<Process> {
        &mut self.processes
    }

    /// Does what there is to do, and returns whether more remains for later.
    pub(super) fn work(&mut self) -> bool {
        self.processes
            .retain(|process| matches!(process.try_wait(), Ok(None)));
        if !self.waiting.is_empty() {
            // There may be room for another process later.
            let process = self.bury().ok();
            self.processes.extend(process);
        }
        !(self.waiting.is_empty() && self.processes.is_empty())
    }

    /// Leaves all streams to a process that exits.
    fn bury(&mut self) -> io::Result<Process> {
        let (ours, theirs) = socket::pair()?;
        match fork::fork().map_err(|error| error.source)? {
            Some(process) => {
                self.waiting.clear();
                // It has the last copies now, and may exit.
                drop(ours);
                Ok(process)
            }
            None => {
                drop(ours);
                let streams = std::mem::take(&mut self.waiting);
                // Others wait for the keeper to close its descriptors.
                confinement::keep_only(Burial { streams, theirs }, |burial, closed| {
                    let waited = poll::readable(burial.theirs.as_fd(), Deadline::NEVER);
                    // The process takes the streams with it: to close them here could wait.
                    std::mem::forget(burial);
                    i32::from(closed.and(waited).is_err())
                })
            }
        }
    }

    /// Returns whether a child of the keeper is one of them.
    pub(super) fn has(&self, pid: i32) -> bool {
        self.processes.iter().any(|process| process.id == pid)
    }
}
