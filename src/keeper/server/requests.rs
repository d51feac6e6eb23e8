//! Requests for children: from the packet to a child that is watched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::super::init;
use super::super::output::Output;
use super::super::protocol::{Report, Request, StartMethod, StartStep};
use super::start::Forked;
use super::{Entry, Keeper, ORDERS, STREAM, Served, TIMER, tell};
use crate::confine::{Group, Namespace, Origin};
use crate::sys::confinement;
use crate::sys::fork::{self, ForkError, ForkStep};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Process};
use crate::sys::socket::{self, Wait};

/// In which process a fork into a PID namespace has returned.
enum Nest {
    /// There is none.
    None,
    /// In the keeper: the first process, and where that tells of the child.
    Outside(Process, OwnedFd),
    /// In the first process, with its end of that.
    Inside(OwnedFd),
}

impl Keeper {
    /// Forks the first process of a PID namespace, if one is wanted. That process continues as the keeper does.
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
            ..Origin::default()
        }
    }

    /// Takes one request.
    pub(super) fn request(&mut self) -> Served {
        let mut bytes = Vec::new();
        let room = Request::BYTES + 1;
        let packet =
            match socket::receive(self.program.as_fd(), &mut bytes, room, None, Wait::Never) {
                // No request is to come. The program's end would have closed both directions.
                Ok(packet)
                    if packet.bytes == 0
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
            StartMethod::Fork => match self.fork_child(group.as_ref()) {
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
            StartMethod::Execute => self
                .execute_child(group.as_ref(), &origin, socket.as_fd(), standard)
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
            is_pending: false,
            storm_end: None,
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
}

/// In a new child: makes descriptors its standard ones.
fn connect(standard: [Option<BorrowedFd<'_>>; 3]) -> io::Result<()> {
    (0..).zip(standard).try_for_each(|(number, descriptor)| {
        descriptor.map_or(Ok(()), |fd| confinement::set_standard(number, fd))
    })
}

/// Tells the program that there is no child, and why.
fn refuse(reports: BorrowedFd<'_>, step: StartStep, error: &io::Error) -> Served {
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    // Nobody may wait for it any more.
    let _ = tell(reports, &Report::Failed { step, errno }, &[]);
    Served::Goes
}
