//! The keepers of this process: a list of them, the choice of one for a call, and their end.

use std::collections::BTreeMap;
#[cfg(feature = "metrics")]
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::packets::late;
use super::start::{Keeper, NotStarted, not_prepared, own_credentials};
use crate::confine::{Namespace, Wanted};
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
use crate::executable::Program;
use crate::keeper::Kind;
use crate::keeper::turn::Turn;
#[cfg(feature = "metrics")]
use crate::meters;
use crate::sys::poll::{self, Deadline};
use crate::sys::socket;

/// The keepers of this process.
static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers {
    by_kind: BTreeMap::new(),
    replaced: Vec::new(),
    not_prepared: BTreeMap::new(),
    records: BTreeMap::new(),
    without_user_namespace: None,
    #[cfg(feature = "metrics")]
    started: BTreeSet::new(),
});

#[derive(Debug)]
struct Keepers {
    by_kind: BTreeMap<Kind, Arc<Keeper>>,
    /// Those that take no more requests, and still have children.
    replaced: Vec<Arc<Keeper>>,
    /// The preparations that failed, and until when each is not tried again.
    not_prepared: BTreeMap<Kind, NotPrepared>,
    /// The record of each function that prepares state, by its address. Each function that names it has a
    /// record of its own, and all use the first.
    records: BTreeMap<usize, u64>,
    /// The process that couldn't have one in a user namespace.
    without_user_namespace: Option<u32>,
    /// The kinds of which there has been one.
    #[cfg(feature = "metrics")]
    started: BTreeSet<Kind>,
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
    keepers.replaced.drain(..).for_each(|keeper| keeper.end());
    keepers.without_user_namespace = None;
    keepers.not_prepared.clear();
}

/// Discards prepared state: the next call of a function with `preload` starts another process, which prepares
/// it again. Call this if the files that the state was read from have changed.
///
/// Calls in progress are not affected. Spare children of pools that share the old state are replaced.
pub fn reload() {
    let mut keepers = lock();
    keepers.not_prepared.clear();
    let is_prepared = |kind: &Kind| kind.preload.is_some();
    let kinds = keepers.by_kind.keys().copied().filter(is_prepared);
    for kind in kinds.collect::<Vec<_>>() {
        keepers.retire(kind);
    }
    // After that, so that no child of an old keeper has the new number. One that is being started has the old one as
    // well.
    GENERATION.fetch_add(1, Ordering::AcqRel);
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
    keeper.end();
}

impl Keepers {
    /// Has the keeper of a kind end after its last child.
    fn retire(&mut self, kind: Kind) {
        if let Some(keeper) = self.by_kind.remove(&kind)
            && keeper.program == std::process::id()
        {
            // It serves the requests that it has been sent. A thread that is about to send one learns that it is too
            // late.
            let writing = nix::sys::socket::Shutdown::Write;
            let _ = nix::sys::socket::shutdown(keeper.socket.as_raw_fd(), writing);
            self.replace(keeper);
        }
    }

    /// Takes a keeper that takes no more requests. It would end with its socket.
    fn replace(&mut self, keeper: Arc<Keeper>) {
        let has_ended = |keeper: &Keeper| poll::has_hung_up(keeper.socket.as_fd()).unwrap_or(true);
        self.replaced.push(keeper);
        self.replaced.retain(|keeper| !has_ended(keeper));
    }
}

impl Keeper {
    /// Returns the keeper that can make a child with these namespaces. That is one in a user namespace if
    /// this process has no right to create them.
    pub(super) fn suited(
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
        let keeper = match Self::start(executable, kind, generation(), deadline) {
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
        #[cfg(feature = "metrics")]
        let is_restart = !keepers.started.insert(kind);
        drop(keepers);
        drop(starting);
        // A subscriber may call a function that needs the keeper.
        #[cfg(feature = "tracing")]
        events::keeper_started();
        #[cfg(feature = "metrics")]
        if is_restart {
            meters::keeper_restarted();
        }
        Ok(keeper)
    }

    /// Returns the present keeper of a kind, if it fits this process.
    fn current(kind: Kind, socket: BorrowedFd<'_>) -> Result<Option<Arc<Self>>, Error> {
        let mut keepers = lock();
        let current = keepers.by_kind.get(&kind).cloned();
        if let Some(keeper) = &current
            && kind.preload.is_some()
            && keeper.generation != generation()
        {
            // It was being started when state was to be prepared anew.
            keepers.retire(kind);
            return Ok(None);
        }
        drop(keepers);
        match current {
            Some(keeper) if keeper.is_for_this_process(socket)? => Ok(Some(keeper)),
            _ => Ok(None),
        }
    }

    /// Ends it and its children, unless this process is a copy of the one that it was started for.
    fn end(&self) {
        if self.program == std::process::id() {
            // This process may have copies, which hold the socket open.
            let both = nix::sys::socket::Shutdown::Both;
            let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), both);
        }
    }

    /// Forgets a keeper that has died or takes no more requests, so that the next call starts another.
    pub(super) fn forget(self: &Arc<Self>) {
        let mut keepers = lock();
        keepers
            .by_kind
            .retain(|_, keeper| !Arc::ptr_eq(keeper, self));
        keepers.replace(Arc::clone(self));
    }
}
