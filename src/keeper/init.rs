//! The first process of a child's PID namespace.
//!
//! It is a copy of the keeper that does nothing but wait: for the child, whose end it reports, and for what
//! the child leaves behind, which becomes its. When it ends, the kernel kills everything in the namespace,
//! and the keeper hears of its end after that. The child itself can't be this process: the kernel drops
//! the signals that a first process raises for itself, `abort` among them.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};

use super::protocol::{ExitReport, Report};
use crate::sys::confinement::{self, Keepable};
use crate::sys::poll::{self, Deadline};
use crate::sys::privileges::Capabilities;
use crate::sys::process::{self, Consumption, Ended, Process};
use crate::sys::signals;
use crate::sys::socket::{self, Wait};

/// Memory and descriptors for waiting.
struct Waiting {
    child: Process,
    report: OwnedFd,
}

impl Keepable for Waiting {
    fn descriptors(&self) -> Vec<RawFd> {
        vec![self.child.pidfd.as_raw_fd(), self.report.as_raw_fd()]
    }
}

/// Waits for the child and ends. `keeper` is a pidfd of the keeper's.
pub(super) fn serve(child: Process, keeper: BorrowedFd<'_>, report: OwnedFd) -> ! {
    match die_with(keeper) {
        Ok(()) => confinement::keep_only(Waiting { child, report }, wait),
        // The child dies with this process, before it has looked at its arguments or later.
        Err(_) => process::leave(1),
    }
}

/// Has this process die with the keeper.
fn die_with(keeper: BorrowedFd<'_>) -> io::Result<()> {
    process::set_name(c"crossmist-init");
    confinement::die_with_parent()?;
    // The keeper may have ended before; its number tells nothing here.
    if poll::readable(keeper, Deadline::after(std::time::Duration::ZERO)).is_ok() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(())
}

fn wait(Waiting { child, report }: Waiting, closed: io::Result<()>) -> i32 {
    let ready = closed.and_then(|()| {
        signals::ignore(&signals::FROM_TERMINAL);
        Capabilities::clear_ambient()?;
        Capabilities::default().set()
    });
    match ready {
        Ok(()) => reap(&child, &report),
        Err(_) => 1,
    }
}

fn reap(child: &Process, report: &OwnedFd) -> i32 {
    loop {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let ended = match waitid(Id::All, flags) {
            Ok(ended) => ended.pid(),
            Err(nix::Error::EINTR) => continue,
            Err(_) => return 1,
        };
        match ended {
            Some(pid) if pid.as_raw() == child.id => break,
            Some(orphan) => {
                let _ = waitpid(orphan, None);
            }
            None => {}
        }
    }
    let (ended, used) = match child.try_wait_with_usage() {
        Ok(Some(status)) => status,
        _ => (Ended::Unknown, Consumption::default()),
    };
    let departure = Report::Ended(ExitReport {
        ended,
        killed_for: None,
        cpu_time: u64::try_from(used.cpu_time.as_nanos()).unwrap_or(u64::MAX),
        memory: used.memory,
        stderr: Vec::new(),
    });
    let bytes = departure.to_bytes();
    let sent = socket::send(report.as_fd(), &[IoSlice::new(&bytes)], &[], Wait::Never);
    i32::from(sent.is_err())
}

/// In the keeper, when the first process has ended: what it said of the child.
pub(super) fn departure(report: BorrowedFd<'_>) -> Option<ExitReport> {
    let mut bytes = Vec::new();
    socket::receive(report, &mut bytes, Report::BYTES, None, Wait::Never).ok()?;
    match Report::parse(&bytes)? {
        Report::Ended(departure) => Some(departure),
        _ => None,
    }
}
