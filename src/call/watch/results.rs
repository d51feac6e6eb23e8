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
mod tests {
    use std::io::{Read, Write};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A registry of its own, since tests run together. Threads from 100 on are past their calls.
    fn registry() -> &'static Registry {
        Box::leak(Box::new(Registry::new(|maker| maker.thread >= 100)))
    }

    fn at(path: impl Into<PathBuf>) -> Paths {
        Paths {
            path: Some(path.into().into_os_string().into_encoded_bytes()),
            ..Paths::default()
        }
    }

    fn by(thread: u32) -> Maker {
        Maker { thread, number: 7 }
    }

    /// A thread makes a call on a path, as the watch takes it in.
    fn begin<K>(calls: &mut UnderWay<K>, thread: u32, paths: Paths, key: K) {
        let place = calls.place(by(thread), &paths).unwrap();
        calls.begin(place, paths.is_there(), key);
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("crossmist-results-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_result_is_what_can_be_seen_and_no_guess() {
        let folder = folder("seen");
        let new = folder.join("new");
        let mut calls = UnderWay::among(registry());
        // One thread after the other.
        begin(&mut calls, 1, at(&new), "made");
        std::fs::write(&new, "").unwrap();
        assert_eq!(calls.made_by(1), Some(("made", Some(Outcome::Created))));
        assert_eq!(calls.made_by(1), None);
        begin(&mut calls, 1, at(&new), "found");
        assert_eq!(calls.made_by(1), Some(("found", Some(Outcome::Found))));
        begin(&mut calls, 1, at(folder.join("none")), "failed");
        assert_eq!(calls.made_by(1), Some(("failed", Some(Outcome::NotThere))));
        // Nobody can tell what is at this path.
        begin(&mut calls, 1, at(folder.join("x".repeat(300))), "unknown");
        assert_eq!(calls.made_by(1), Some(("unknown", None)));
        // Two at once, on a path and in it: only what has changed is known.
        begin(&mut calls, 1, at(&new), "first");
        begin(&mut calls, 2, at(new.join("x")), "second");
        begin(&mut calls, 3, at(folder.join("none")), "apart");
        assert_eq!(calls.made_by(2), Some(("second", None)));
        assert_eq!(calls.made_by(3), Some(("apart", Some(Outcome::NotThere))));
        std::fs::remove_file(&new).unwrap();
        assert_eq!(calls.made_by_any(), Some(("first", Some(Outcome::Removed))));
        assert_eq!(calls.made_by_any(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_each_process_finds_for_itself_is_not_compared() {
        let mut calls = UnderWay::among(registry());
        for (path, outcome) in [
            ("/proc/self/task/1", None),
            ("/proc/thread-self/fd/0", None),
            ("/proc/1/task/1", None),
            ("/dev/fd/12345", None),
            ("/dev//stdin", None),
            // The controls.
            ("/dev/none", Some(Outcome::NotThere)),
            ("/procs/self", Some(Outcome::NotThere)),
        ] {
            let place = calls.place(by(1), &at(path)).unwrap();
            calls.begin(place, Some(false), path);
            assert_eq!(calls.made_by(1), Some((path, outcome)));
        }
    }

    #[test]
    fn calls_meet_on_a_path_in_it_and_above_it_and_nowhere_else() {
        for (one, other, meet) in [
            ("/n/a", "/n/a", true),
            ("/n/a", "/n//a/./", true),
            ("/n/a", "/n/a/b", true),
            ("/n/a/b", "/n", true),
            ("/n/a", "/", true),
            // These may lead anywhere.
            ("/n/a", "/m/../x", true),
            ("/n/a", "/proc/1/task/1/cwd/x", true),
            ("/n/a", "/dev/fd/3/x", true),
            ("/n/a", "/n/ab", false),
            ("/n/a", "/n/a-b", false),
            ("/n/a/b", "/n/a/c", false),
        ] {
            let mut calls = UnderWay::among(registry());
            begin(&mut calls, 1, at(one), ());
            begin(&mut calls, 2, at(other), ());
            // The call moves something to its second path.
            let mut moves = at("/elsewhere");
            moves.other = at(other).path;
            let mut moved = UnderWay::among(registry());
            begin(&mut moved, 1, at(one), ());
            begin(&mut moved, 2, moves, ());
            for calls in [&mut calls, &mut moved] {
                let ((), outcome) = calls.made_by(1).unwrap();
                assert_eq!(outcome.is_none(), meet, "{one} {other}");
            }
        }
        // It moves something to where isn't known.
        for misses_other in [true, false] {
            let moves = Paths {
                misses_other,
                ..at("/elsewhere")
            };
            let mut calls = UnderWay::among(registry());
            begin(&mut calls, 1, at("/n/a"), ());
            begin(&mut calls, 2, moves, ());
            let ((), outcome) = calls.made_by(1).unwrap();
            assert_eq!(outcome.is_none(), misses_other);
        }
    }

    #[test]
    fn a_call_of_another_child_on_the_same_path_makes_a_result_unknown() {
        let folder = Path::new("/nowhere/of/two/children");
        let registry = registry();
        let (mut one, mut other) = (UnderWay::among(registry), UnderWay::among(registry));
        begin(&mut one, 1, at(folder), "one");
        begin(&mut other, 2, at(folder.join("x")), "other");
        begin(&mut other, 3, at("/nowhere/else"), "apart");
        assert_eq!(one.made_by(1), Some(("one", None)));
        assert_eq!(other.made_by(2), Some(("other", None)));
        assert_eq!(other.made_by(3), Some(("apart", Some(Outcome::NotThere))));
        // The control: one after the other.
        begin(&mut one, 1, at(folder), "again");
        assert_eq!(one.made_by(1), Some(("again", Some(Outcome::NotThere))));
        // A path that can't be read may be any.
        begin(&mut one, 1, at(folder), "beside");
        begin(&mut other, 2, Paths::default(), "unknown");
        assert_eq!(one.made_by(1), Some(("beside", None)));
        assert_eq!(other.made_by(2), Some(("unknown", None)));
        let all = registry.lock();
        assert!(all.calls.is_empty() && all.by_path.is_empty());
    }

    #[test]
    fn a_place_counts_from_before_its_path_is_looked_at() {
        let folder = folder("places");
        let path = folder.join("x");
        let registry = registry();
        let (mut one, mut other) = (UnderWay::among(registry), UnderWay::among(registry));
        // The other call begins and ends between the look at the path and the first call.
        let place = one.place(by(1), &at(&path)).unwrap();
        let existed = at(&path).is_there();
        begin(&mut other, 2, at(&path), ());
        std::fs::write(&path, "").unwrap();
        assert_eq!(other.made_by(2), Some(((), Some(Outcome::Created))));
        one.begin(place, existed, ());
        std::fs::remove_file(&path).unwrap();
        // It is not said to have found nothing.
        assert_eq!(one.made_by(1), Some(((), None)));
        // A call that wasn't made leaves nothing behind.
        drop(one.place(by(1), &at(&path)).unwrap());
        assert!(registry.lock().calls.is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_thread_that_is_past_its_call_disturbs_nothing_and_its_result_is_that_of_then() {
        let folder = folder("past");
        let path = folder.join("x");
        let mut calls = UnderWay::among(registry());
        begin(&mut calls, 100, at(&path), "past");
        begin(&mut calls, 1, at(&path), "next");
        std::fs::write(&path, "").unwrap();
        begin(&mut calls, 101, at(&folder), "found");
        std::fs::remove_file(&path).unwrap();
        begin(&mut calls, 102, at(&path), "last");
        // The one whose thread was in it when another began.
        assert_eq!(calls.made_by(1), Some(("next", None)));
        assert_eq!(
            calls.made_by(100),
            Some(("past", Some(Outcome::NotThere))),
            "it was over before the next began"
        );
        assert_eq!(calls.made_by(102), Some(("last", None)));
        // The control, without the one that is in its call.
        begin(&mut calls, 100, at(&path), "one");
        begin(&mut calls, 101, at(&path), "two");
        std::fs::write(&path, "").unwrap();
        begin(&mut calls, 102, at(&path), "three");
        std::fs::remove_file(&path).unwrap();
        let known = [
            (100, "one", Outcome::NotThere),
            (101, "two", Outcome::Created),
        ];
        for (thread, name, outcome) in known {
            assert_eq!(calls.made_by(thread), Some((name, Some(outcome))));
        }
        assert_eq!(calls.made_by(102), Some(("three", Some(Outcome::Removed))));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_thread_that_waits_in_another_call_is_past_and_one_that_waits_in_this_is_not() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        let waits = std::thread::spawn(move || {
            let own = nix::unistd::gettid().as_raw().unsigned_abs();
            send.send(own).unwrap();
            reader.read_exact(&mut [0]).unwrap();
        });
        let thread = receive.recv().unwrap();
        let number = u32::try_from(libc::SYS_read).unwrap();
        let in_read = Maker { thread, number };
        let in_mkdir = Maker {
            thread,
            number: u32::try_from(libc::SYS_mkdirat).unwrap(),
        };
        // Until it waits there.
        let state = || system_files::read(&format!("{thread}/syscall")).unwrap();
        while !state().starts_with(&format!("{number} ")) {
            std::thread::yield_now();
        }
        assert!(in_mkdir.is_past() && !in_read.is_past());
        writer.write_all(&[0]).unwrap();
        waits.join().unwrap();
        // Gone, which a moment after it was joined may not be.
        while !in_read.is_past() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_thread_of_which_nothing_can_be_read_is_past_only_if_it_is_gone() {
        let own = nix::unistd::gettid().as_raw().unsigned_abs();
        assert!(!by(own).is_past_by(None));
        // No thread has such a number.
        let none = i32::MAX.unsigned_abs();
        assert!(by(none).is_past_by(None));
        assert!(by(none).is_past());
        assert!(!by(u32::MAX).is_past_by(None));
    }

    #[test]
    fn threads_without_number_make_results_unknown_and_take_bounded_memory() {
        let none = Path::new("/nowhere/at/all");
        let registry = Box::leak(Box::new(Registry::new(|_| false)));
        let (mut calls, mut other) = (UnderWay::among(registry), UnderWay::among(registry));
        let threads = u32::try_from(MOST_THREADS).unwrap();
        for thread in 0..threads {
            begin(&mut calls, thread, at(none.join(thread.to_string())), ());
        }
        begin(&mut other, 1, at("/nowhere/else"), "beside");
        // One that is over makes room for one.
        assert_eq!(calls.made_by(0), Some(((), Some(Outcome::NotThere))));
        begin(&mut calls, 0, at(none.join("0")), ());
        assert_eq!(calls.made_if_full(), []);
        let elsewhere = at("/nowhere/third");
        assert!(calls.place(by(threads), &elsewhere).is_none());
        assert_eq!(calls.calls.len(), MOST_THREADS);
        assert_eq!(calls.made_by(1), Some(((), None)));
        // Those of another child are as uncertain, for as long as the first one lives.
        assert_eq!(other.made_by(1), Some(("beside", None)));
        begin(&mut other, 1, at("/nowhere/else"), "later");
        assert_eq!(other.made_by(1), Some(("later", None)));
        drop(calls);
        begin(&mut other, 1, at("/nowhere/else"), "after");
        assert_eq!(other.made_by(1), Some(("after", Some(Outcome::NotThere))));
    }

    #[test]
    fn threads_that_are_past_their_calls_make_room() {
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        let registry = Box::leak(Box::new(Registry::new(|maker| {
            LOOKS.fetch_add(1, Ordering::Relaxed);
            maker.thread < 10
        })));
        let mut calls = UnderWay::among(registry);
        let fill = |calls: &mut UnderWay<u32>, threads: std::ops::Range<usize>| {
            for thread in threads {
                let thread = u32::try_from(thread).unwrap();
                begin(calls, thread, at(format!("/nowhere/{thread}")), thread);
            }
        };
        fill(&mut calls, 0..MOST_THREADS - 1);
        assert_eq!(calls.made_if_full(), []);
        fill(&mut calls, MOST_THREADS - 1..MOST_THREADS);
        let made: Vec<_> = (0..10).map(|key| (key, Some(Outcome::NotThere))).collect();
        assert_eq!(calls.made_if_full(), made);
        // All the others are in their calls, so nobody looks again.
        fill(&mut calls, MOST_THREADS..MOST_THREADS + 10);
        assert_eq!(calls.made_if_full(), []);
        assert_eq!(LOOKS.load(Ordering::Relaxed), MOST_THREADS);
    }

    #[test]
    fn a_call_finds_out_about_a_bounded_number_of_others() {
        static LOOKS: AtomicUsize = AtomicUsize::new(0);
        let registry = Box::leak(Box::new(Registry::new(|_| {
            LOOKS.fetch_add(1, Ordering::Relaxed);
            true
        })));
        let folder = Path::new("/nowhere/in/a/folder");
        let mut calls = UnderWay::among(registry);
        let most = u32::try_from(MOST_CHECKS).unwrap();
        for thread in 0..=most {
            begin(&mut calls, thread, at(folder.join(thread.to_string())), ());
        }
        begin(&mut calls, 1000, at(folder), ());
        assert_eq!(LOOKS.load(Ordering::Relaxed), MOST_CHECKS);
        // The one too many counts as under way.
        assert_eq!(calls.made_by(most), Some(((), None)));
        assert_eq!(calls.made_by(1000), Some(((), None)));
        assert_eq!(calls.made_by(0), Some(((), Some(Outcome::NotThere))));
    }
}
