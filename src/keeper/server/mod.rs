//! The keeper's side: its life from `execve` to the end of the program.

mod ends;
mod setup;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::empty_network::EmptyNetwork;
use super::init;
use super::oom::OomScore;
use super::output::{Drained, Misuse, Output};
use super::protocol::{Cause, KILL, RETIRE, Report, Request, StartMethod, StartStep};
use super::undertaker::Undertaker;
use super::{Handshake, Kind, environment, execute};
use crate::confine::{Group, Namespace, Origin};
use crate::executable::{CHILD_ARGUMENT, Program};
use crate::sys::clock;
use crate::sys::confinement;
use crate::sys::epoll::Epoll;
use crate::sys::fork::{self, ForkError, ForkStep};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Process};
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
    /// It has ended, and its status isn't to be had: a process that traces it gets that first.
    is_traced: bool,
    /// The socket on which the first process of its PID namespace, which is then `process`, reports how the
    /// child ended.
    ending: Option<OwnedFd>,
}

impl Entry {
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

/// In which process a fork into a PID namespace has returned.
enum Nest {
    /// There is none.
    None,
    /// In the keeper: the first process, and where that tells of the child.
    Outside(Process, OwnedFd),
    /// In the first process, with its end of that.
    Inside(OwnedFd),
}

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
            self.bury_traced();
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

    /// Forks the first process of a PID namespace, if one is wanted. That goes on as the keeper does.
    fn begin_pid_namespace(&self, request: &Request) -> io::Result<Nest> {
        let wanted = &request.namespaces;
        if !wanted.all().has(Namespace::Pid) {
            return Ok(Nest::None);
        }
        let (ours, theirs) = socket::pair()?;
        match fork::fork_into_pid_namespace() {
            Ok(Some(init)) => Ok(Nest::Outside(init, ours)),
            Ok(None) => Ok(Nest::Inside(theirs)),
            Err(_) if !wanted.required.has(Namespace::Pid) => Ok(Nest::None),
            Err(error) => Err(error),
        }
    }

    /// How its children are made.
    fn origin(&self) -> Origin {
        Origin {
            keeper: self.own_id,
            namespaces: self.kind.namespaces(),
            network: None,
            is_in_group: false,
        }
    }

    /// Takes one request.
    fn request(&mut self) -> Served {
        let mut bytes = Vec::new();
        let room = Request::BYTES + 1;
        let packet =
            match socket::receive(self.program.as_fd(), &mut bytes, room, None, Wait::Never) {
                // The program would have closed both directions.
                Ok(packet)
                    if packet.bytes == 0
                        && self.is_closed
                        && poll::events(self.program.as_fd(), 0) & libc::POLLHUP == 0 =>
                {
                    return self.retire();
                }
                Ok(packet) if packet.bytes == 0 => return Served::Ended,
                Ok(packet) => packet,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Served::Goes,
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    return Served::Ended;
                }
                // The descriptor table is full, for one: the request's descriptors are closed, and the
                // program sees the end of the report socket.
                Err(_) => return Served::Goes,
            };
        if packet.sender != Some(self.asker) {
            // It has given up its user, and what took it over must not get it back here; or another
            // process has its socket.
            return Served::Ended;
        }
        if bytes == [RETIRE] {
            return self.retire();
        }
        let mut descriptors = packet.descriptors.into_iter().flatten();
        let mut next = || descriptors.next().map(|fd| fd.into_owned());
        let (Some(socket), Some(reports)) = (next(), next()) else {
            return Served::Goes;
        };
        let Some(request) = Request::parse(&bytes) else {
            return Served::Goes;
        };
        let timer = match request.has_timer {
            false => None,
            true => match next() {
                None => return Served::Goes,
                timer => timer,
            },
        };
        let group = next().map(Group::new);
        if request.may_fork
            && !request.namespaces.required.has(Namespace::Pid)
            && let Err(error) = fork::children_of_this_thread()
        {
            return refuse(reports.as_fd(), StartStep::ListChildren, &error);
        }
        if let (Some(own), Some(program)) = (&mut self.oom_score, request.oom_score)
            && let Err(error) = own.follow(program)
        {
            return refuse(reports.as_fd(), StartStep::OomScore, &error);
        }
        // The caller has given up, and a call that nobody waits for must not run.
        if poll::readable(reports.as_fd(), Deadline::after(Duration::ZERO)).is_ok() {
            return Served::Goes;
        }
        let drain = match request.piped.is_none() {
            true => Ok(None),
            false => Output::new().map(Some),
        };
        let drain = match drain {
            Ok(drain) => drain,
            Err(error) => return refuse(reports.as_fd(), StartStep::Watch, &error),
        };
        let standard = request.piped.each(drain.as_ref().map(Output::writing));
        let standard = standard.map(Option::flatten);
        self.empty_network.prepare(&request.namespaces);
        let nest = match self.begin_pid_namespace(&request) {
            Ok(nest) => nest,
            Err(error) => return refuse(reports.as_fd(), StartStep::PidNamespace, &error),
        };
        let (origin, report) = match nest {
            Nest::None => (self.origin(), None),
            Nest::Outside(init, ending) => {
                return self.admit(init, Some(ending), reports, drain, timer, group, request);
            }
            Nest::Inside(report) => {
                let origin = self.origin();
                let namespaces = origin.namespaces.with(Namespace::Pid);
                let origin = Origin {
                    keeper: 1,
                    namespaces,
                    ..origin
                };
                (origin, Some(report))
            }
        };
        let started = match request.launch {
            StartMethod::Fork => match fork_child(group.as_ref()) {
                Ok(Forked::Child { is_in_group }) => {
                    let connected = connect(standard);
                    // As for `self`, below.
                    std::mem::forget((drain, reports, report, timer, group));
                    return match connected {
                        Ok(()) => Served::Child(
                            socket,
                            Origin {
                                is_in_group,
                                ..origin
                            },
                        ),
                        Err(_) => Served::Unconnected,
                    };
                }
                Ok(Forked::Keeper(process)) => Ok(process),
                Err(ForkError { step, source }) => Err(match step {
                    ForkStep::CountThreads | ForkStep::Fork => (StartStep::Fork, source),
                    ForkStep::OpenPidfd => (StartStep::OpenPidfd, source),
                }),
            },
            StartMethod::Execute => Program::open()
                .map_err(io::Error::other)
                .and_then(|program| {
                    let (environment, word) = (environment::of_keeper(), origin.to_word());
                    let role = CHILD_ARGUMENT;
                    execute(&program, socket, role, &word, &environment, standard)
                        .map_err(|error| error.source)
                })
                .map_err(|error| (StartStep::Execute, error)),
        };
        if let Some(report) = report {
            // This is the first process of the namespace, and whatever it was copied with is the keeper's.
            match started {
                Ok(child) => init::serve(child, self.own.as_fd(), report),
                Err(_) => process::leave(1),
            }
        }
        match started {
            Ok(process) => self.admit(process, None, reports, drain, timer, group, request),
            Err((step, error)) => refuse(reports.as_fd(), step, &error),
        }
    }

    /// Notes down a new child, and tells of it.
    fn admit(
        &mut self,
        process: Process,
        ending: Option<OwnedFd>,
        reports: OwnedFd,
        drain: Option<Output>,
        timer: Option<OwnedFd>,
        group: Option<Group>,
        request: Request,
    ) -> Served {
        let number = self.next;
        let watch = || {
            self.epoll.add(process.pidfd.as_fd(), number.into())?;
            self.epoll
                .add(reports.as_fd(), ORDERS | u64::from(number))?;
            if let Some(timer) = &timer {
                self.epoll.add(timer.as_fd(), TIMER | u64::from(number))?;
            }
            match &drain {
                Some(drain) => self.epoll.add(drain.as_fd(), STREAM | u64::from(number)),
                None => Ok(()),
            }
        };
        if let Err(error) = watch() {
            // A child whose end nobody would notice must not be.
            let _ = process.signal(libc::SIGKILL);
            let _ = process.wait();
            return refuse(reports.as_fd(), StartStep::Watch, &error);
        }
        let started = Report::Started {
            process: process.id,
        };
        if tell(reports.as_fd(), &started, &[]).is_err() {
            // The caller has given up in this moment.
            let _ = process.signal(libc::SIGKILL);
        }
        let entry = Entry {
            process,
            reports,
            drain,
            timer,
            group,
            deadline: request.deadline,
            killed_for: None,
            // Processes that it leaves behind in a namespace of its own end with that.
            may_fork: request.may_fork && ending.is_none(),
            is_traced: false,
            ending,
        };
        self.children.insert(number, entry);
        // Four thousand million children later the first ones are long gone.
        self.next = self.next.wrapping_add(1);
        while self.children.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
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
            is_burying || is_ending || self.children.values().any(|entry| entry.is_traced);
        let interval = u64::try_from(LOOK_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        match is_waiting {
            true => Some(deadline.unwrap_or(u64::MAX).min(interval)),
            false => deadline,
        }
    }
}

/// In which process a fork has returned.
enum Forked {
    Keeper(Process),
    Child { is_in_group: bool },
}

/// Forks a child, into its control group if it has one. If the kernel, or a container's filter, does not let a
/// process begin there, the child joins it.
fn fork_child(group: Option<&Group>) -> Result<Forked, ForkError> {
    let (forked, is_in_group) = match group.map(Group::fork) {
        Some(Ok(forked)) => (forked, true),
        Some(Err(_)) | None => (fork::fork()?, false),
    };
    Ok(forked.map_or(Forked::Child { is_in_group }, Forked::Keeper))
}

/// In a new child: makes descriptors its standard ones.
fn connect(standard: [Option<BorrowedFd<'_>>; 3]) -> io::Result<()> {
    (0..).zip(standard).try_for_each(|(number, descriptor)| {
        descriptor.map_or(Ok(()), |fd| confinement::set_standard(number, fd))
    })
}

/// Tells who asked that there is no child, and why.
fn refuse(reports: BorrowedFd<'_>, step: StartStep, error: &io::Error) -> Served {
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    // Nobody may wait for it any more.
    let _ = tell(reports, &Report::Failed { step, errno }, &[]);
    Served::Goes
}

/// Tells the program, unless it doesn't listen any more. Never waits: a report socket holds all its
/// reports.
fn tell(reports: BorrowedFd<'_>, report: &Report, stderr: &[u8]) -> io::Result<()> {
    let bytes = report.to_bytes();
    let parts = [IoSlice::new(&bytes), IoSlice::new(stderr)];
    socket::send(reports, &parts, &[], Wait::Never).map(drop)
}
