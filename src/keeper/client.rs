//! The program's side: starts the keeper, asks it for children, and reads its reports on them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::protocol::{ExitReport, KILL, RETIRE, Report, Request, StartStep};
use super::turn::Turn;
use super::{Credentials, Handshake, Kind, Restrictions, Surroundings, environment, execute};
use crate::confine::{Namespace, NewGroup, Wanted};
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::executable::{KEEPER_ARGUMENT, Program};
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{self, Ended};
use crate::sys::socket::{self, Wait};
use crate::sys::stream;
use crate::sys::system_files;
use crate::transport;

/// The keeper of this process.
#[derive(Debug)]
struct Keeper {
    /// The process that started it. A copy of that process made by `fork` also has the socket, but
    /// must not use it, because the keeper does not watch for the copy's end.
    program: u32,
    socket: OwnedFd,
    credentials: Credentials,
    surroundings: Surroundings,
    restrictions: Restrictions,
}

/// The keepers of this process.
static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers {
    by_kind: BTreeMap::new(),
    not_prepared: BTreeMap::new(),
    records: BTreeMap::new(),
    without_user_namespace: None,
});

#[derive(Debug)]
struct Keepers {
    by_kind: BTreeMap<Kind, Arc<Keeper>>,
    /// What could not be prepared, and until when it is not tried again.
    not_prepared: BTreeMap<Kind, NotPrepared>,
    /// The record of each function that prepares state, by its address. Each function that names it has a
    /// record of its own, and all use the first.
    records: BTreeMap<usize, u64>,
    /// The process that couldn't have one in a user namespace.
    without_user_namespace: Option<u32>,
}

#[derive(Clone, Debug)]
struct NotPrepared {
    reason: String,
    pause: Duration,
    until: Deadline,
}

/// The pauses after state could not be prepared, from the first to the longest. Meanwhile every call gets
/// the same error at once.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// How long it may take to prepare state.
const PRELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How often state was prepared anew.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Returns a number that changes when children that were started before should not be used any more.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

/// How long a keeper may take to start, or to take a request. If there are others before that, how long
/// it may take none of them.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks the keeper for a child that finds its launch message in `socket`. A later report says
/// whether it was started.
pub(crate) fn launch(
    executable: &Program,
    preload: Option<u64>,
    request: Request,
    socket: OwnedFd,
    timer: Option<BorrowedFd<'_>>,
    group: Option<NewGroup>,
    deadline: Deadline,
) -> Result<Supervised, Error> {
    let failed = |step| move |source| Error::Launch { step, source };
    let (reports, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
    let mut descriptors = vec![socket.as_fd(), theirs.as_fd()];
    descriptors.extend(timer);
    descriptors.extend(group.as_ref().and_then(NewGroup::directory));
    let start_by = deadline.min(Deadline::after(START_TIMEOUT));
    let (wanted, request) = (request.namespaces, request.to_bytes());

    let mut keeper = Keeper::suited(executable, preload, wanted, reports.as_fd(), start_by)?;
    if let Err(error) = keeper.ask(&request, &descriptors, start_by) {
        // The keeper was killed. Calls in progress learn of it through their own sockets.
        if !matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) {
            return Err(failed(ASK)(error));
        }
        keeper.forget();
        keeper = Keeper::suited(executable, preload, wanted, reports.as_fd(), start_by)?;
        let asked = keeper.ask(&request, &descriptors, start_by);
        asked.map_err(failed(ASK))?;
    }
    drop(descriptors);
    if let Some(group) = group {
        group.hand_over();
    }
    // From here on, only the keeper and the child hold them.
    let pace = Pace {
        requests: keeper.unreceived(),
        start_by,
    };
    Ok(Supervised {
        reports: Arc::new(reports),
        keeper: Arc::downgrade(&keeper),
        deadline,
        pace: Mutex::new(pace),
        id: OnceLock::new(),
        parting: Mutex::new(None),
    })
}

const ASK: &str = "ask the keeper for a child";

fn lock() -> MutexGuard<'static, Keepers> {
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the [keeper](crate::keeper) and every confined child of this program. The next call of a
/// confined function starts another keeper.
///
/// The keeper inherits restrictions, namespaces and more from the thread that starts it. Most later
/// changes are noticed at the next call. `SECURITY.md` lists those that are not. Call this function
/// after such a change.
///
/// Calls in progress fail with [`Error::KeeperDied`]. If there is no keeper, nothing happens.
pub fn end() {
    let kinds: Vec<Kind> = lock().by_kind.keys().copied().collect();
    kinds.into_iter().for_each(end_one);
    let mut keepers = lock();
    keepers.without_user_namespace = None;
    keepers.not_prepared.clear();
}

/// Has prepared state prepared anew: the next call of a function with `preload` starts another process that
/// calls the function named there. For when the files that it read have changed.
///
/// Calls in progress are not affected. Spare children of pools that share the old state are replaced.
pub fn reload() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    let mut keepers = lock();
    keepers.not_prepared.clear();
    let is_prepared = |kind: &Kind| kind.preload.is_some();
    let old: Vec<Kind> = keepers
        .by_kind
        .keys()
        .copied()
        .filter(is_prepared)
        .collect();
    for kind in old {
        let Some(keeper) = keepers.by_kind.remove(&kind) else {
            continue;
        };
        if keeper.program == std::process::id() {
            // It ends after its last child.
            let order = [IoSlice::new(&[RETIRE])];
            let _ = socket::send(keeper.socket.as_fd(), &order, &[], Wait::Never);
        }
    }
}

/// Returns the record that stands for a function that prepares state.
pub(crate) fn shared_record(function: usize, record: u64) -> u64 {
    *lock().records.entry(function).or_insert(record)
}

/// Starts the keeper whose children share prepared state, if it is not there. What this takes is not part of
/// the time of a call.
pub(crate) fn prepare(executable: &Program, preload: u64, wanted: Wanted) -> Result<(), Error> {
    let (socket, _) = socket::pair().map_err(|source| Error::Launch {
        step: "make a pair of sockets",
        source,
    })?;
    let deadline = Deadline::after(PRELOAD_TIMEOUT);
    Keeper::suited(executable, Some(preload), wanted, socket.as_fd(), deadline).map(drop)
}

fn end_one(kind: Kind) {
    let Some(keeper) = lock().by_kind.remove(&kind) else {
        return;
    };
    // A copy of its process must not end it.
    if keeper.program == std::process::id() {
        // The process may have copies, which hold the socket open.
        let both = nix::sys::socket::Shutdown::Both;
        let _ = nix::sys::socket::shutdown(keeper.socket.as_raw_fd(), both);
    }
}

/// Why there is no keeper.
enum NotStarted {
    /// It can't have a user namespace of its own.
    NoUserNamespace(Error),
    /// What its children were to share could not be prepared.
    NotPrepared(String),
    Failed(Error),
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl NotStarted {
    fn into_error(self) -> Error {
        match self {
            Self::NoUserNamespace(error) | Self::Failed(error) => error,
            Self::NotPrepared(reason) => not_prepared(&reason),
        }
    }
}

impl Keeper {
    /// Returns the keeper that can make a child with these namespaces. That is one in a user namespace if
    /// this process has no right to create them.
    fn suited(
        executable: &Program,
        preload: Option<u64>,
        wanted: Wanted,
        socket: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> Result<Arc<Self>, Error> {
        let get = |in_user_namespace| {
            let kind = Kind {
                in_user_namespace,
                preload,
            };
            Self::get(executable, kind, socket, deadline)
        };
        let plain = || get(false).map_err(NotStarted::into_error);
        let needs_user = wanted.required.has(Namespace::User);
        let others = wanted.all().without(Namespace::User);
        let may_create = || -> Result<bool, Error> { Ok(own_credentials()?.may_administer()) };
        let is_helpful = !others.is_empty() && wanted.may_use_user && !may_create()?;
        if !needs_user && !wanted.if_possible.has(Namespace::User) && !is_helpful {
            return plain();
        }
        let is_optional = !needs_user && (!is_helpful || wanted.required.is_empty());
        if is_optional && lock().without_user_namespace == Some(std::process::id()) {
            return plain();
        }
        match get(true) {
            Err(NotStarted::NoUserNamespace(_)) if is_optional => {
                lock().without_user_namespace = Some(std::process::id());
                plain()
            }
            result => result.map_err(NotStarted::into_error),
        }
    }

    /// Returns the keeper of a kind, and starts it if there is none that fits this process in its
    /// present state. `socket` is one that was created for the call.
    fn get(
        executable: &Program,
        kind: Kind,
        socket: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> Result<Arc<Self>, NotStarted> {
        if let Some(keeper) = Self::current(kind, socket)? {
            return Ok(keeper);
        }
        // Another thread may take long to start one, but must not use up this call's time.
        let starting = Turn::take(kind, deadline).map_err(late)?;
        if let Some(keeper) = Self::current(kind, socket)? {
            return Ok(keeper);
        }
        // It has more rights than this process has now.
        end_one(kind);
        if let Some(last) = lock().not_prepared.get(&kind)
            && !last.until.has_passed()
        {
            return Err(not_prepared(&last.reason).into());
        }
        let keeper = match Self::start(executable, kind, deadline) {
            Err(NotStarted::NotPrepared(reason)) => {
                let mut keepers = lock();
                let last = keepers.not_prepared.get(&kind);
                let pause = last.map_or(LEAST_PAUSE, |last| last.pause.saturating_mul(2));
                let pause = pause.min(MOST_PAUSE);
                let failure = NotPrepared {
                    reason: reason.clone(),
                    pause,
                    until: Deadline::after(pause),
                };
                keepers.not_prepared.insert(kind, failure);
                return Err(not_prepared(&reason).into());
            }
            keeper => Arc::new(keeper?),
        };
        let mut keepers = lock();
        keepers.not_prepared.remove(&kind);
        keepers.by_kind.insert(kind, Arc::clone(&keeper));
        drop(keepers);
        drop(starting);
        // A subscriber may call a function that needs the keeper.
        #[cfg(feature = "tracing")]
        events::keeper_started();
        Ok(keeper)
    }

    /// Returns the present keeper of a kind, if it fits this process.
    fn current(kind: Kind, socket: BorrowedFd<'_>) -> Result<Option<Arc<Self>>, Error> {
        let current = lock().by_kind.get(&kind).cloned();
        match current {
            Some(keeper) if keeper.is_for_this_process(socket)? => Ok(Some(keeper)),
            _ => Ok(None),
        }
    }

    /// Returns whether this process is the one that it was started for, and has no fewer rights
    /// than that had.
    fn is_for_this_process(&self, socket: BorrowedFd<'_>) -> Result<bool, Error> {
        let own = own_credentials()?;
        Ok(self.program == std::process::id()
            && self.credentials.is_at_most(&own)
            && self.restrictions.cover_this_thread(&own)
            && self.surroundings == Surroundings::of_this_thread(socket))
    }

    /// Forgets a keeper that has died, so that the next call starts another.
    fn forget(self: &Arc<Self>) {
        lock()
            .by_kind
            .retain(|_, keeper| !Arc::ptr_eq(keeper, self));
    }

    fn start(executable: &Program, kind: Kind, deadline: Deadline) -> Result<Self, NotStarted> {
        let failed = |step| move |source| Error::Launch { step, source };
        let (ours, theirs) = socket::pair().map_err(failed("make a pair of sockets"))?;
        let surroundings = Surroundings::of_this_thread(ours.as_fd());
        // From the first packet on.
        socket::set_option(theirs.as_fd(), libc::SO_PASSCRED, 1).map_err(failed(
            "have the kernel tell the keeper who asks (SO_PASSCRED)",
        ))?;
        let null = system_files::null().map_err(failed("open /dev/null"))?;
        let starter = execute(
            executable,
            theirs,
            KEEPER_ARGUMENT,
            &kind.word(),
            &environment::for_keeper(),
            [Some(null.as_fd()); 3],
        );
        let starter = starter.map_err(|error| Error::Launch {
            step: error.step,
            source: error.source,
        })?;
        // The keeper waits for the end of this process.
        let program = std::process::id();
        let own = i32::try_from(program).unwrap_or(0);
        let pidfd = process::open_pidfd(own).map_err(failed("open a pidfd of this process"))?;
        // If the keeper could not start, it reports that. If it cannot even report, the read fails.
        let _ = send(ours.as_fd(), b"G", &[pidfd.as_fd()], deadline);
        // The starter has forked the keeper and ended, or has failed: the keeper is not this
        // process's child, and nothing here waits for it.
        if let Err(source) = poll::readable(starter.pidfd.as_fd(), deadline) {
            let _ = starter.signal(libc::SIGKILL);
            let _ = starter.wait();
            return Err(late(source).into());
        }
        let ended = starter.wait().unwrap_or(Ended::Unknown);

        let mut hello = Vec::new();
        if let Err(source) = poll::readable(ours.as_fd(), deadline) {
            return Err(match kind.preload {
                None => late(source).into(),
                // It ends by itself when it notices, or by its alarm.
                Some(_) => NotStarted::NotPrepared("it was not done in time".to_owned()),
            });
        }
        receive(ours.as_fd(), &mut hello, Handshake::BYTES).map_err(failed("greet the keeper"))?;
        let (credentials, witness) = match Handshake::parse(&hello) {
            Some(Handshake::Ready {
                credentials,
                witness,
            }) => (credentials, witness),
            Some(Handshake::Failed(reason)) => {
                return Err(failed("start the keeper")(io::Error::other(reason)).into());
            }
            Some(Handshake::NotPrepared(reason)) => return Err(NotStarted::NotPrepared(reason)),
            Some(Handshake::NoUserNamespace(reason)) => {
                let source = io::Error::other(format!(
                    "{reason}; the policy wants namespaces that this program has no right to create, or \
                     a user namespace itself: run the program with CAP_SYS_ADMIN, let it create user \
                     namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                     kernel.apparmor_restrict_unprivileged_userns; a container's filter), or say \
                     \"if-possible\" in `[namespaces]`"
                ));
                let step = "give the keeper a user namespace of its own (unshare)";
                return Err(NotStarted::NoUserNamespace(failed(step)(source)));
            }
            None if kind.preload.is_some() => {
                let reason = "the process ended before it was done: it exited, crashed, aborted, or took \
                              longer than a minute";
                return Err(NotStarted::NotPrepared(reason.to_owned()));
            }
            None => {
                let source = io::Error::other(format!(
                    "it ended before it was ready ({ended}). It has none of this program's \
                     environment, so what depends on that has to come after `crossmist::init`; and it \
                     is started below the root directory and with the restrictions as they are now, \
                     where perhaps a library is missing or can't be read"
                ));
                return Err(failed("start the keeper")(source).into());
            }
        };
        // An `execve` can give what the program has dropped.
        if !credentials.is_at_most(&own_credentials()?) {
            let source = io::Error::other("it got more privileges than this program has");
            return Err(failed("start the keeper")(source).into());
        }
        Ok(Self {
            program,
            socket: ours,
            credentials,
            surroundings,
            restrictions: Restrictions::of_this_thread(witness),
        })
    }

    /// Sends a request, and waits while the keeper is busy.
    fn ask(
        &self,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<()> {
        send(self.socket.as_fd(), request, descriptors, deadline)
    }

    /// Returns how much memory the requests take that it has not taken yet. It shrinks as it takes them.
    fn unreceived(&self) -> Option<usize> {
        stream::unreceived(self.socket.as_fd()).ok()
    }
}

fn not_prepared(reason: &str) -> Error {
    Error::Preload {
        reason: reason.to_owned(),
    }
}

fn own_credentials() -> Result<Credentials, Error> {
    Credentials::of_this_thread().map_err(|source| Error::Launch {
        step: "read its own credentials",
        source,
    })
}

fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    loop {
        match socket::send(socket, &parts, descriptors, Wait::Never) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::writable(socket, deadline)?;
            }
            Err(error) if transport::is_crowded(&error) && !deadline.has_passed() => {
                std::thread::sleep(transport::CROWD_INTERVAL);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes the next report. Returns `None` if the keeper has died, and EAGAIN if there is no report
/// yet.
fn next_report(reports: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut bytes = Vec::new();
    receive(reports, &mut bytes, Report::BYTES)?;
    Ok(Report::parse(&bytes))
}

/// Takes the next packet of the keeper. It is empty if the keeper has died.
fn receive(socket: BorrowedFd<'_>, bytes: &mut Vec<u8>, room: usize) -> io::Result<()> {
    loop {
        match socket::receive(socket, bytes, room, None, Wait::Never) {
            // It died with an unread request, which the kernel reports once. What it has sent is
            // still there.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {}
            result => return result.map(drop),
        }
    }
}

/// A child of the keeper, as the program sees it.
#[derive(Debug)]
pub(crate) struct Supervised {
    reports: Arc<OwnedFd>,
    keeper: Weak<Keeper>,
    /// When it must have ended, and so started.
    deadline: Deadline,
    /// Whether the keeper gets on with what it was asked for.
    pace: Mutex<Pace>,
    /// Its process id, once it was reported.
    id: OnceLock<i32>,
    /// What the keeper's last report said.
    parting: Mutex<Option<Outcome>>,
}

/// Whether the keeper gets on.
#[derive(Debug)]
struct Pace {
    /// What [`Keeper::unreceived`] was when it was last known to.
    requests: Option<usize>,
    /// When it must have started the child, unless it gets on with others.
    start_by: Deadline,
}

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

fn late(source: io::Error) -> Error {
    Error::Launch {
        step: "wait for the keeper",
        source,
    }
}
