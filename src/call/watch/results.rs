//! The results of the calls of a watched child.
//!
//! The kernel doesn't tell the result of a call that it lets continue. Whether there is something at its path before
//! and after it can be seen, once it is certain that the call is over: its thread asks again, waits in another call, or
//! has ended. If another thread, of this child or another one, was let change the same path meanwhile, only a change is
//! evidence, and nobody can tell whose.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossmist_policy::learn::Outcome;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::paths::{Paths, is_per_process};
use crate::sys::notify::Asked;
use crate::sys::system_files;

/// How many threads of a child are looked after at a time.
const MOST_THREADS: usize = 1024;

/// How many other calls a call finds out about before it is made: whether they are over. The others count as under way.
const MOST_CHECKS: usize = 64;

/// The thread that makes a call, and the number of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    pub(super) thread: u32,
    pub(super) number: u32,
}

impl From<&Asked> for Maker {
    fn from(asked: &Asked) -> Self {
        Self {
            thread: asked.thread,
            number: asked.number,
        }
    }
}

impl Maker {
    /// Whether the call is certainly over, since its thread waits in another call, or is gone. A thread that runs may
    /// be anywhere.
    fn is_past(self) -> bool {
        self.is_past_by(system_files::read(&format!("{}/syscall", self.thread)).ok())
    }

    /// The same by what `/proc` says of the thread: the number of the call that it waits in, -1 if it waits in none, or
    /// "running" (proc(5)). That nothing can be read does not say that the thread is gone: `/proc` may be missing, or
    /// hide it.
    fn is_past_by(self, state: Option<String>) -> bool {
        match state {
            Some(text) => {
                let number = text.split_whitespace().next();
                let number = number.and_then(|number| number.parse::<i64>().ok());
                number.is_some_and(|number| number != i64::from(self.number))
            }
            None => {
                let thread = i32::try_from(self.thread);
                thread.is_ok_and(|thread| kill(Pid::from_raw(thread), None) == Err(Errno::ESRCH))
            }
        }
    }
}

/// The calls of all children that are under way.
#[derive(Debug)]
struct Registry {
    together: Mutex<Together>,
    is_past: fn(Maker) -> bool,
}

static ALL: Registry = Registry::new(Maker::is_past);

impl Registry {
    const fn new(is_past: fn(Maker) -> bool) -> Self {
        let together = Together {
            calls: BTreeMap::new(),
            by_path: BTreeMap::new(),
            unknown: 0,
            next: 0,
        };
        Self {
            together: Mutex::new(together),
            is_past,
        }
    }

    /// No file is looked at while this is held: that may take long.
    fn lock(&self) -> MutexGuard<'_, Together> {
        self.together.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls that are under way at the same time, by number.
#[derive(Debug)]
struct Together {
    calls: BTreeMap<u64, Entry>,
    /// The calls that may still be under way, by each path that they name.
    by_path: BTreeMap<PathKey, Vec<u64>>,
    /// How many children have made a call that found no place. Where that is, and when it is over, isn't known.
    unknown: usize,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    maker: Maker,
    paths: Arc<Paths>,
    keys: Vec<PathKey>,
    /// Whether another call on the same paths was under way meanwhile.
    is_disturbed: bool,
    /// The state of the path when the call was found to be over, before any other call could change it.
    after: Option<Option<bool>>,
}

/// A path's components, each with a slash behind it: what lies in a folder begins with the folder's.
type PathKey = Arc<[u8]>;

fn key_of(path: &[u8]) -> PathKey {
    let mut key = Vec::with_capacity(path.len() + 1);
    for part in Path::new(OsStr::from_bytes(path)).components() {
        match part.as_os_str().as_bytes() {
            b"/" => {}
            part => key.extend_from_slice(part),
        }
        key.push(b'/');
    }
    key.into()
}

/// Returns the keys of what a call may change. If one of its paths isn't known, or may lead anywhere, that is anything.
fn keys_of(paths: &Paths) -> Vec<PathKey> {
    let all = || [&paths.path, &paths.other].into_iter().flatten();
    let goes_up = |path: &[u8]| {
        let mut parts = Path::new(OsStr::from_bytes(path)).components();
        parts.any(|part| part == Component::ParentDir)
    };
    let is_unsure = paths.path.is_none()
        || paths.misses_other
        || all().any(|path| is_per_process(path) || goes_up(path));
    match is_unsure {
        true => vec![Arc::from(b"/".as_slice())],
        false => all().map(|path| key_of(path)).collect(),
    }
}

impl Together {
    /// Returns the calls that may change something at a path: those on it, in it, and on what it lies in.
    fn meeting(&self, key: &PathKey) -> impl Iterator<Item = u64> {
        let ends = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        // The whole path is among those in it.
        let above = ends.map(|(end, _)| end + 1).filter(|end| *end < key.len());
        let above = above.filter_map(|end| self.by_path.get(key.get(..end)?));
        let from = (Bound::Included(&**key), Bound::Unbounded);
        let within = self.by_path.range::<[u8], _>(from);
        let within = within.take_while(|(other, _)| other.starts_with(key));
        above
            .chain(within.map(|(_, calls)| calls))
            .flatten()
            .copied()
    }

    /// Takes a call out of those that others can meet.
    fn close(&mut self, number: u64) {
        let keys = self
            .calls
            .get_mut(&number)
            .map(|entry| std::mem::take(&mut entry.keys));
        for key in keys.into_iter().flatten() {
            if let Some(calls) = self.by_path.get_mut(&key) {
                calls.retain(|other| *other != number);
                if calls.is_empty() {
                    self.by_path.remove(&key);
                }
            }
        }
    }

    fn disturb(&mut self, number: u64) {
        if let Some(entry) = self.calls.get_mut(&number) {
            entry.is_disturbed = true;
        }
    }
}

/// A call's place among those of all children.
#[derive(Debug)]
pub(super) struct Place {
    registry: &'static Registry,
    number: u64,
    maker: Maker,
    paths: Arc<Paths>,
}

impl Place {
    /// Takes a place, before anybody looks at what is at the paths. What is known of the others after that is from
    /// before the call.
    fn take(registry: &'static Registry, maker: Maker, paths: &Paths) -> Self {
        let keys = keys_of(paths);
        let paths = Arc::new(paths.clone());
        let mut all = registry.lock();
        let number = all.next;
        all.next += 1;
        let mut met: Vec<u64> = keys.iter().flat_map(|key| all.meeting(key)).collect();
        met.sort_unstable();
        met.dedup();
        for key in &keys {
            all.by_path.entry(Arc::clone(key)).or_default().push(number);
        }
        let entry = Entry {
            maker,
            paths: Arc::clone(&paths),
            keys,
            is_disturbed: all.unknown > 0 || met.len() > MOST_CHECKS,
            after: None,
        };
        all.calls.insert(number, entry);
        for other in met.iter().skip(MOST_CHECKS) {
            all.disturb(*other);
        }
        met.truncate(MOST_CHECKS);
        let checked = met.into_iter().filter_map(|number| {
            let entry = all.calls.get(&number)?;
            Some((number, entry.maker, Arc::clone(&entry.paths)))
        });
        let checked: Vec<_> = checked.collect();
        drop(all);
        for (other, maker, paths) in checked {
            // In this order: what is there is what the call has left.
            let after = (registry.is_past)(maker).then(|| paths.is_there());
            let mut all = registry.lock();
            // One that has been found to be over meanwhile was so before this one is made.
            let open = all.calls.get_mut(&other);
            let Some(open) = open.filter(|entry| entry.after.is_none()) else {
                continue;
            };
            match after {
                Some(_) => {
                    open.after = after;
                    all.close(other);
                }
                None => {
                    all.disturb(other);
                    all.disturb(number);
                }
            }
        }
        Self {
            registry,
            number,
            maker,
            paths,
        }
    }

    /// Returns what was at the path after the call, and whether that may be the work of another one.
    fn end(self) -> (Option<bool>, bool) {
        let now = self.paths.is_there();
        let all = self.registry.lock();
        match all.calls.get(&self.number) {
            Some(entry) => (entry.after.unwrap_or(now), entry.is_disturbed),
            None => (None, true),
        }
    }

    fn has_path(&self) -> bool {
        self.paths.path.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.registry.lock();
        all.close(self.number);
        all.calls.remove(&self.number);
    }
}

/// Calls that may change what is at their path, and whose results are not known yet, by thread. `K` names them.
#[derive(Debug)]
pub(super) struct UnderWay<K> {
    calls: BTreeMap<u32, Call<K>>,
    registry: &'static Registry,
    /// Whether there was one too many to look after.
    has_missed: bool,
    /// Whether most threads were in their calls when there were too many.
    is_busy: bool,
}

#[derive(Debug)]
struct Call<K> {
    key: K,
    /// `None` if that can't be found out.
    existed: Option<bool>,
    place: Place,
}

impl<K> Default for UnderWay<K> {
    fn default() -> Self {
        Self::among(&ALL)
    }
}

impl<K> UnderWay<K> {
    fn among(registry: &'static Registry) -> Self {
        Self {
            calls: BTreeMap::new(),
            registry,
            has_missed: false,
            is_busy: false,
        }
    }

    /// Takes a place for a call, before anybody looks at its paths. Returns `None` if there are too many: it isn't known
    /// what comes of the call, nor of any beside it while this child lives.
    pub(super) fn place(&mut self, maker: Maker, paths: &Paths) -> Option<Place> {
        let is_known = self.calls.contains_key(&maker.thread);
        if self.calls.len() < MOST_THREADS || is_known {
            return Some(Place::take(self.registry, maker, paths));
        }
        if !self.has_missed {
            self.has_missed = true;
            let mut all = self.registry.lock();
            all.unknown += 1;
            for entry in all.calls.values_mut() {
                // What is over is not disturbed any more.
                entry.is_disturbed |= entry.after.is_none();
            }
        }
        None
    }

    /// Takes in that a call is about to be made, and whether there is something at its path.
    pub(super) fn begin(&mut self, place: Place, existed: Option<bool>, key: K) {
        // What is there after it is looked for by this process, which would compare its own with another one's.
        let path = place.paths.path.as_deref();
        let existed = existed.filter(|_| !path.is_some_and(is_per_process));
        let call = Call {
            key,
            existed,
            place,
        };
        self.calls.insert(call.place.maker.thread, call);
    }

    /// Returns the call that a thread has made, and its result.
    pub(super) fn made_by(&mut self, thread: u32) -> Option<(K, Option<Outcome>)> {
        let call = self.calls.remove(&thread)?;
        Some(result(call))
    }

    /// Returns any of the calls, when no thread is left.
    pub(super) fn made_by_any(&mut self) -> Option<(K, Option<Outcome>)> {
        let (_, call) = self.calls.pop_first()?;
        Some(result(call))
    }

    /// Returns the calls that are over, if there are too many to look after another one.
    pub(super) fn made_if_full(&mut self) -> Vec<(K, Option<Outcome>)> {
        if self.calls.len() < MOST_THREADS || self.is_busy || self.has_missed {
            return Vec::new();
        }
        let is_past = self.registry.is_past;
        let past = self
            .calls
            .extract_if(.., |_, call| is_past(call.place.maker));
        let past: Vec<_> = past.map(|(_, call)| result(call)).collect();
        // It takes a while to look at all of them, which is not to be done for each call.
        self.is_busy = self.calls.len() > MOST_THREADS / 2;
        past
    }
}

impl<K> Drop for UnderWay<K> {
    fn drop(&mut self) {
        if self.has_missed {
            self.registry.lock().unknown -= 1;
        }
    }
}

fn result<K>(call: Call<K>) -> (K, Option<Outcome>) {
    let has_path = call.place.has_path();
    let (after, is_disturbed) = call.place.end();
    let (Some(before), Some(after), true) = (call.existed, after, has_path) else {
        return (call.key, None);
    };
    let outcome = Outcome::of(before, after);
    let is_change = [Outcome::Created, Outcome::Removed].contains(&outcome);
    (call.key, (is_change || !is_disturbed).then_some(outcome))
}

#[cfg(test)]
mod tests;
