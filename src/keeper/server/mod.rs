//! The keeper's side: its life from `execve` to the end of the program.

mod ends;
mod heap;
mod requests;
mod setup;
mod start;
mod storm;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use self::storm::StormEnd;
use super::empty_network::EmptyNetwork;
use super::oom::OomScore;
use super::output::{Drained, Misuse, Output};
use super::protocol::{Cause, KILL, Report};
use super::undertaker::Undertaker;
use super::{Handshake, Kind};
use crate::confine::{Group, Origin};
use crate::sys::clock;
use crate::sys::epoll::Epoll;
use crate::sys::fork;
use crate::sys::poll::Deadline;
use crate::sys::process::Process;
use crate::sys::signals;
use crate::sys::socket::{self, Sender, Wait};
use crate::sys::timer;

/// The entry of a new child, which is given its launch socket and how it was made: see [`crate::child`].
pub(crate) type EnterChild = fn(OwnedFd, Origin) -> !;

/// Enters the starter of the keeper, which forks the keeper and ends, so that the keeper is no child of the
/// program's. Returns the status to exit with, in each of the processes.
pub(crate) fn enter(
    program: OwnedFd,
    kind: Kind,
    preload: Preload,
    enter_child: EnterChild,
) -> i32 {
    signals::reset_signals();
    let keeper = match fork::fork() {
        Ok(Some(_)) => return 0,
        Ok(None) => Keeper::new(program, kind, preload, enter_child),
        Err(error) => {
            Handshake::Failed(error.to_string()).send(program.as_fd());
            return 1;
        }
    };
    keeper.map_or(1, Keeper::serve)
}

/// Runs the function that a reference leads to.
type Preload = fn(u64) -> Result<(), String>;

struct Keeper {
    own_id: i32,
    program: OwnedFd,
    /// The program that may send requests. A process that has become another one, or another user, gets
    /// nothing.
    asker: Sender,
    /// A pidfd of this process, by which others see its end.
    own: OwnedFd,
    /// Readable once the program has ended, whoever else holds a copy of its socket.
    _program_ended: OwnedFd,
    enter_child: EnterChild,
    epoll: Epoll,
    /// `None` if there is no file of that.
    oom_score: Option<OomScore>,
    /// See [`super::restrictions`].
    witness: Option<Process>,
    kind: Kind,
    empty_network: EmptyNetwork,
    /// By number. A `BTreeMap`, since a `HashMap` would draw its keys here, and every child would
    /// have the same.
    children: BTreeMap<u32, Entry>,
    /// The number of the next child.
    next: u32,
    /// Of children that have ended, with something in them that is about to.
    groups: Vec<Group>,
    /// A child has left processes behind, and some of them may be there still.
    has_orphans: bool,
    /// When it lets another one take its place: before the kernel kills it for the processor time that it has
    /// used.
    retires_at: Option<Duration>,
    /// It accepts no more requests. It still completes those that it has accepted.
    is_closed: bool,
    /// It takes no more requests.
    is_retiring: bool,
    undertaker: Undertaker,
}

/// A child that is alive, as far as is known.
struct Entry {
    process: Process,
    /// The socket for its reports. If the program has closed the other end, the child runs on.
    reports: OwnedFd,
    drain: Option<Output>,
    /// At its end the child is to be killed.
    timer: Option<OwnedFd>,
    group: Option<Group>,
    deadline: Option<u64>,
    killed_for: Option<Cause>,
    may_fork: bool,
    /// It has ended, and is looked at again: what it has started is being ended, or a process that traces it gets
    /// its status first.
    is_pending: bool,
    /// The end of what it has started, once that has begun.
    storm_end: Option<StormEnd>,
    /// The socket on which the first process of its PID namespace, which is then `process`, reports how the
    /// child ended.
    ending: Option<OwnedFd>,
}

impl Entry {
    /// Returns whether a process is the child, or is there for its end.
    fn has(&self, process: libc::pid_t) -> bool {
        let helps = |end: &StormEnd| end.has(process);
        self.process.id == process || self.storm_end.as_ref().is_some_and(helps)
    }

    fn kill(&mut self, cause: Cause) {
        // It has the keeper's user, or the keeper has CAP_KILL (`User::choose`).
        let _ = self.process.signal(libc::SIGKILL);
        self.killed_for.get_or_insert(cause);
    }
}

/// How long the witness may take to end at the keeper's start, on a machine that is busy.
const WITNESS_TIME: Duration = Duration::from_secs(5);

/// How long others wait while what a child has left behind is ended.
const ORPHAN_TIME: Duration = Duration::from_millis(20);

/// How often what can't be waited for is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The subject of a wake-up. A child goes by its number, its stream and the program's orders for it by that
/// and a bit above.
const PROGRAM: u64 = u64::MAX;
const PROGRAM_ENDED: u64 = u64::MAX - 1;
const STREAM: u64 = 1 << 32;
const ORDERS: u64 = 1 << 33;
const TIMER: u64 = 1 << 34;

enum Served {
    Goes,
    /// This is the child.
    Child(OwnedFd, Origin),
    /// This is a child that is not to be.
    Unconnected,
    Ended,
}

impl Keeper {
    /// Runs the keeper, and returns when the program has ended.
    fn serve(mut self) -> i32 {
        loop {
            // Each time, and not when nothing else happens: a child that never stops printing sees to
            // it that something does.
            self.kill_overdue();
            self.bury_pending();
            self.groups.retain(|group| !group.end());
            let is_burying = self.undertaker.work();
            if self.has_orphans {
                self.has_orphans = !self.end_orphans(Deadline::after(ORPHAN_TIME));
            }
            if !self.is_closed
                && self
                    .retires_at
                    .is_some_and(|most| clock::process_time() > most)
            {
                self.close();
            }
            if self.is_retiring
                && self.children.is_empty()
                && self.groups.is_empty()
                && !self.has_orphans
                && !is_burying
            {
                return self.end();
            }
            match self.epoll.wait(self.next_look(is_burying)) {
                Ok(Some(PROGRAM_ENDED)) => return self.end(),
                Ok(Some(PROGRAM)) if self.is_retiring => return self.end(),
                Ok(Some(PROGRAM)) => match self.request() {
                    Served::Goes => {}
                    Served::Child(socket, origin) => {
                        let enter_child = self.enter_child;
                        let origin = Origin {
                            network: self.empty_network.take(),
                            ..origin
                        };
                        // From here on this is a child. It owns nothing but its socket: the rest is
                        // forgotten, not dropped, since it is the keeper's; the descriptors are
                        // closed in one sweep.
                        std::mem::forget(self);
                        enter_child(socket, origin)
                    }
                    Served::Unconnected => {
                        std::mem::forget(self);
                        return 1;
                    }
                    Served::Ended => return self.end(),
                },
                Ok(Some(stream)) if stream & STREAM != 0 => self.drain(stream as u32),
                Ok(Some(orders)) if orders & ORDERS != 0 => self.obey(orders as u32),
                Ok(Some(timer)) if timer & TIMER != 0 => self.end_in_time(timer as u32),
                Ok(Some(child)) => self.bury(child as u32),
                // A deadline.
                Ok(None) => {}
                // EBADF and the like: the keeper is broken, and its end kills its children.
                Err(_) => return 1,
            }
        }
    }

    /// Has the program start another keeper for its next call.
    fn close(&mut self) {
        self.is_closed = true;
        let reading = nix::sys::socket::Shutdown::Read;
        // If it fails, the program has ended.
        let _ = nix::sys::socket::shutdown(self.program.as_raw_fd(), reading);
    }

    /// Takes no more requests, and ends after the last child.
    fn retire(&mut self) -> Served {
        // The program keeps its end, and hangs up if this keeper is to end with what it still has.
        let program = self.program.as_fd();
        if self.epoll.await_hang_up(program, PROGRAM).is_err() {
            return Served::Ended;
        }
        self.is_retiring = true;
        Served::Goes
    }

    /// Does what the program wants of a child.
    fn obey(&mut self, number: u32) {
        let Some(entry) = self.children.get(&number) else {
            return;
        };
        let mut order = Vec::new();
        match socket::receive(entry.reports.as_fd(), &mut order, 2, None, Wait::Never) {
            Ok(_) if order == [KILL] => {
                // It has the keeper's user, or the keeper has CAP_KILL (`User::choose`).
                let _ = entry.process.signal(libc::SIGKILL);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The handle was dropped, and the child runs on. There is nothing more to hear.
            _ => self.epoll.remove(entry.reports.as_fd()),
        }
    }

    /// Kills a child whose timer has ended.
    fn end_in_time(&mut self, number: u32) {
        let Some(entry) = self.children.get_mut(&number) else {
            return;
        };
        let Some(timer) = &entry.timer else { return };
        // The program may have set it anew meanwhile.
        if timer::has_ended(timer.as_fd()) {
            self.epoll.remove(timer.as_fd());
            entry.kill(Cause::Deadline);
        }
    }

    fn drain(&mut self, number: u32) {
        let Some(entry) = self.children.get_mut(&number) else {
            return;
        };
        let Some(drain) = &mut entry.drain else {
            return;
        };
        let drained = drain.advance();
        if drained != Drained::Open {
            self.epoll.remove(drain.as_fd());
        }
        if let Drained::Misused(misuse) = drained {
            entry.kill(match misuse {
                Misuse::Cost => Cause::OutputCost,
                Misuse::Descriptors => Cause::OutputDescriptors,
            });
        }
    }

    /// When there is something to do even if nothing happens, in nanoseconds from now.
    fn next_look(&self, is_burying: bool) -> Option<u64> {
        let now = clock::monotonic_nanos();
        let pending = self.children.values();
        let pending = pending.filter(|entry| entry.killed_for.is_none());
        let deadline = pending.filter_map(|entry| entry.deadline).min();
        let deadline =
            deadline.map(|at| u64::try_from(i128::from(at).saturating_sub(now)).unwrap_or(0));
        let is_ending = self.has_orphans || !self.groups.is_empty();
        let is_waiting =
            is_burying || is_ending || self.children.values().any(|entry| entry.is_pending);
        let interval = u64::try_from(LOOK_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        match is_waiting {
            true => Some(deadline.unwrap_or(u64::MAX).min(interval)),
            false => deadline,
        }
    }
}

/// Tells the program, unless it doesn't listen any more. Never waits: a report socket holds all its
/// reports.
fn tell(reports: BorrowedFd<'_>, report: &Report, stderr: &[u8]) -> io::Result<()> {
    let bytes = report.to_bytes();
    let parts = [IoSlice::new(&bytes), IoSlice::new(stderr)];
    socket::send(reports, &parts, &[], Wait::Never).map(drop)
}
