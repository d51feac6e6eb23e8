//! The program's side: starting the keeper, asking it for children, hearing of their ends.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::protocol::{Departure, Report, Request};
use super::{Credentials, Hello, execute};
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::program::{KEEPER_ARGUMENT, Program};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Process};
use crate::sys::socket::{self, Wait};

/// The keeper of this process.
#[derive(Debug)]
struct Keeper {
    /// The process that started it. A copy of that process made by `fork` has the socket, too, but
    /// not the right to use it: it is not the one whose end the keeper watches for.
    program: u32,
    socket: OwnedFd,
}

static KEEPER: Mutex<Option<Arc<Keeper>>> = Mutex::new(None);

/// How long a keeper may take to start, or to take a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a request is tried again that the kernel refuses for the moment.
const INTERVAL: Duration = Duration::from_millis(1);

/// Asks the keeper for a child that finds its launch message in `socket`, and waits until there is
/// one.
pub(crate) fn launch(
    executable: &Program,
    request: Request,
    socket: OwnedFd,
    deadline: Deadline,
) -> Result<Kept, Error> {
    let failed = |step| move |source| Error::Launch { step, source };
    let (reports, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
    let descriptors = [socket.as_fd(), theirs.as_fd()];
    let deadline = deadline.min(Deadline::after(PATIENCE));
    let request = request.to_bytes();

    let mut keeper = Keeper::get(executable)?;
    if let Err(error) = keeper.ask(&request, &descriptors, deadline) {
        // It was killed. Whoever has calls under way is told by their own sockets.
        if !matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) {
            return Err(failed("ask the keeper for a child")(error));
        }
        keeper.forget();
        keeper = Keeper::get(executable)?;
        keeper
            .ask(&request, &descriptors, deadline)
            .map_err(failed("ask the keeper for a child"))?;
    }
    // Their only holders are the keeper and the child from here on.
    drop((socket, theirs));
    match next_report(reports.as_fd(), deadline) {
        Ok((Some(Report::Started { process }), Some(pidfd))) => Ok(Kept {
            process: Process {
                id: process,
                pidfd: Arc::new(pidfd),
            },
            reports: Arc::new(reports),
            departure: Mutex::new(None),
        }),
        Ok((Some(Report::Failed { step, errno }), _)) => {
            Err(failed(step.name())(io::Error::from_raw_os_error(errno)))
        }
        Ok(_) => {
            keeper.forget();
            let source = io::Error::other("the keeper ended before it had made the child");
            Err(failed("ask the keeper for a child")(source))
        }
        Err(source) => Err(failed("wait for the keeper")(source)),
    }
}

impl Keeper {
    /// The keeper; started, if there is none.
    fn get(executable: &Program) -> Result<Arc<Self>, Error> {
        let mut current = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(keeper) if keeper.program == std::process::id() => Ok(Arc::clone(keeper)),
            // The parent's keeper, in a copy of the parent, is dropped: closed, not ended.
            _ => {
                let keeper = Arc::new(Self::start(executable)?);
                *current = Some(Arc::clone(&keeper));
                #[cfg(feature = "tracing")]
                {
                    // A subscriber may call a function that needs the keeper.
                    drop(current);
                    events::keeper_started();
                }
                Ok(keeper)
            }
        }
    }

    /// Forgets a keeper that has died, so that the next call starts another.
    fn forget(self: &Arc<Self>) {
        let mut current = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|keeper| Arc::ptr_eq(keeper, self))
        {
            *current = None;
        }
    }

    fn start(executable: &Program) -> Result<Self, Error> {
        let failed = |step| move |source| Error::Launch { step, source };
        let (ours, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
        let starter = execute(
            executable,
            theirs,
            KEEPER_ARGUMENT,
            "crossmist-keeper",
            [None; 3],
        );
        let starter = starter.map_err(|error| Error::Launch {
            step: error.step,
            source: error.source,
        })?;
        // What the keeper waits for the end of.
        let program = std::process::id();
        let own = i32::try_from(program).unwrap_or(0);
        let pidfd = process::open_pidfd(own).map_err(failed("open a pidfd of this process"))?;
        // A keeper that couldn't start says so; if it can't even do that, the read tells.
        let greeting = [IoSlice::new(b"G")];
        let _ = socket::send(ours.as_fd(), &greeting, &[pidfd.as_fd()], Wait::Never);
        // The starter has forked the keeper and ended, or has failed: the keeper is not this
        // process's child, and nothing here waits for it.
        let _ = starter.wait();

        let mut hello = Vec::new();
        poll::readable(ours.as_fd(), Deadline::after(PATIENCE))
            .map_err(failed("wait for the keeper"))?;
        let received = socket::receive(ours.as_fd(), &mut hello, Hello::BYTES, None, Wait::Never);
        match received {
            // It has ended and left the greeting unread.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
            received => drop(received.map_err(failed("greet the keeper"))?),
        }
        let credentials = match Hello::parse(&hello) {
            Some(Hello::Ready(credentials)) => credentials,
            Some(Hello::Failed(reason)) => {
                return Err(failed("start the keeper")(io::Error::other(reason)));
            }
            None => {
                let source = io::Error::other(
                    "it ended before it was ready; it has none of this program's environment, so \
                     whatever that decides has to come after `crossmist::init`",
                );
                return Err(failed("start the keeper")(source));
            }
        };
        // An `execve` can give what the program has dropped.
        let own = Credentials::of_this_process().map_err(failed("read its own credentials"))?;
        if !credentials.is_at_most(&own) {
            let source = io::Error::other("it got more privileges than this program has");
            return Err(failed("start the keeper")(source));
        }
        Ok(Self {
            program,
            socket: ours,
        })
    }

    /// Sends a request, waiting where the keeper is busy.
    fn ask(
        &self,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        let parts = [IoSlice::new(request)];
        loop {
            match socket::send(self.socket.as_fd(), &parts, descriptors, Wait::Never) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll::writable(self.socket.as_fd(), deadline)?;
                }
                // Too many descriptors of this user are in flight, perhaps others' (unix(7)).
                Err(error)
                    if error.raw_os_error() == Some(libc::ETOOMANYREFS)
                        && !deadline.has_passed() =>
                {
                    std::thread::sleep(INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes the next report, waiting for it until `deadline`; none where the keeper has died.
fn next_report(
    reports: BorrowedFd<'_>,
    deadline: Deadline,
) -> io::Result<(Option<Report>, Option<OwnedFd>)> {
    let mut bytes = Vec::new();
    let packet = loop {
        match socket::receive(reports, &mut bytes, Report::BYTES, None, Wait::Never) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::readable(reports, deadline)?;
            }
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
            result => break result?,
        }
    };
    let mut descriptors = packet.descriptors.into_iter().flatten();
    let pidfd = descriptors.next().map(|fd| fd.into_owned());
    Ok((Report::parse(&bytes), pidfd))
}

/// A child of the keeper's, as the program sees it.
#[derive(Debug)]
pub(crate) struct Kept {
    process: Process,
    reports: Arc<OwnedFd>,
    /// What the keeper's last report said.
    departure: Mutex<Option<Parting>>,
}

/// How the last was heard of a child.
#[derive(Clone, Debug)]
pub(crate) enum Parting {
    Reported(Arc<Departure>),
    /// The keeper was killed, and the child with it.
    KeeperDied,
}

#[cfg(feature = "__fuzzing")]
impl Parting {
    pub(crate) fn ended(ended: crate::sys::process::Ended) -> Self {
        Self::Reported(Arc::new(Departure {
            ended,
            at_deadline: false,
            cpu_time: 0,
            stderr: Vec::new(),
        }))
    }
}

impl Kept {
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// What becomes readable when the child has ended and the keeper has said how.
    pub(crate) fn reports(&self) -> &Arc<OwnedFd> {
        &self.reports
    }

    /// How it ended, if that is known by now.
    pub(crate) fn try_wait(&self) -> io::Result<Option<Parting>> {
        let mut departure = self
            .departure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if departure.is_none() {
            let now = Deadline::after(Duration::ZERO);
            *departure = match next_report(self.reports.as_fd(), now) {
                Ok((Some(Report::Ended(ended)), _)) => Some(Parting::Reported(Arc::new(ended))),
                Ok(_) => Some(Parting::KeeperDied),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => None,
                Err(error) => return Err(error),
            };
        }
        Ok(departure.clone())
    }
}
