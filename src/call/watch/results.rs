//! The results of the calls of a watched child.
//!
//! The kernel doesn't tell the result of a call that it lets continue. Whether there is something at its path before
//! and after it can be seen, once it is certain that the call is over: its thread asks again, or has ended. If another
//! thread, of this child or another one, was let change the same path meanwhile, only a change is evidence, and nobody
//! can tell whose.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crossmist_policy::learn::Outcome;

use super::paths::Paths;

/// How many threads of a child are looked after at a time.
const MOST_THREADS: usize = 1024;

/// The calls of all children that are under way.
static ALL: Mutex<Together> = Mutex::new(Together {
    calls: BTreeMap::new(),
    next: 0,
});

/// Calls that are under way at the same time, by number.
struct Together {
    /// The paths of each, and whether another call on them was under way meanwhile.
    calls: BTreeMap<u64, (Paths, bool)>,
    next: u64,
}

/// A call's place among those of all children.
#[derive(Debug)]
struct Place(u64);

impl Place {
    fn take(paths: Paths) -> Self {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let mut meets = false;
        for (other, is_disturbed) in all.calls.values_mut() {
            if other.meet(&paths) {
                (*is_disturbed, meets) = (true, true);
            }
        }
        let number = all.next;
        all.next += 1;
        all.calls.insert(number, (paths, meets));
        Self(number)
    }

    /// Whether a call of another thread on the same path was under way at the same time.
    fn is_disturbed(&self) -> bool {
        let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.calls.get(&self.0).is_none_or(|(_, is)| *is)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.calls.remove(&self.0);
    }
}

/// Calls that may change what is at their path, and whose results are not known yet, by thread. `K` names them.
#[derive(Debug)]
pub(super) struct UnderWay<K> {
    calls: BTreeMap<u32, Call<K>>,
    /// Whether there was one too many to look after.
    has_missed: bool,
}

#[derive(Debug)]
struct Call<K> {
    key: K,
    paths: Paths,
    /// `None` if that can't be found out.
    existed: Option<bool>,
    place: Place,
}

impl<K> Default for UnderWay<K> {
    fn default() -> Self {
        Self {
            calls: BTreeMap::new(),
            has_missed: false,
        }
    }
}

impl<K> UnderWay<K> {
    /// Takes in that a thread is about to make a call on these paths, and whether there is something at them.
    ///
    /// # Errors
    ///
    /// The name of the call if there are too many: it isn't known what comes of it.
    pub(super) fn begin(
        &mut self,
        thread: u32,
        paths: Paths,
        existed: Option<bool>,
        key: K,
    ) -> Result<(), K> {
        if self.calls.len() >= MOST_THREADS {
            self.has_missed = true;
            return Err(key);
        }
        let call = Call {
            key,
            existed,
            place: Place::take(paths.clone()),
            paths,
        };
        self.calls.insert(thread, call);
        Ok(())
    }

    /// Returns the call that a thread has made, and its result.
    pub(super) fn made_by(&mut self, thread: u32) -> Option<(K, Option<Outcome>)> {
        let call = self.calls.remove(&thread)?;
        Some(self.result(call))
    }

    /// Returns any of the calls, when no thread is left.
    pub(super) fn made_by_any(&mut self) -> Option<(K, Option<Outcome>)> {
        let (_, call) = self.calls.pop_first()?;
        Some(self.result(call))
    }

    fn result(&self, call: Call<K>) -> (K, Option<Outcome>) {
        let (Some(before), Some(after)) = (call.existed, call.paths.is_there()) else {
            return (call.key, None);
        };
        let outcome = Outcome::of(before, after);
        let is_change = [Outcome::Created, Outcome::Removed].contains(&outcome);
        let is_certain = is_change || !call.place.is_disturbed() && !self.has_missed;
        (call.key, is_certain.then_some(outcome))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn at(path: &Path) -> Paths {
        Paths {
            path: Some(path.to_owned().into_os_string().into_encoded_bytes()),
            ..Paths::default()
        }
    }

    #[test]
    fn a_result_is_what_can_be_seen_and_no_guess() {
        let folder = std::env::temp_dir().join(format!("crossmist-results-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let new = folder.join("new");
        let mut calls = UnderWay::default();
        // One thread after the other.
        calls.begin(1, at(&new), Some(false), "made").unwrap();
        std::fs::write(&new, "").unwrap();
        assert_eq!(calls.made_by(1), Some(("made", Some(Outcome::Created))));
        assert_eq!(calls.made_by(1), None);
        calls.begin(1, at(&new), Some(true), "found").unwrap();
        assert_eq!(calls.made_by(1), Some(("found", Some(Outcome::Found))));
        calls
            .begin(1, at(&folder.join("none")), Some(false), "failed")
            .unwrap();
        assert_eq!(calls.made_by(1), Some(("failed", Some(Outcome::NotThere))));
        // Nobody can tell what is at this path.
        calls
            .begin(1, at(&folder.join("x".repeat(300))), None, "unknown")
            .unwrap();
        assert_eq!(calls.made_by(1), Some(("unknown", None)));
        // Two at once, on a path and in it: only what has changed is known.
        calls.begin(1, at(&new), Some(true), "first").unwrap();
        calls
            .begin(2, at(&new.join("x")), Some(false), "second")
            .unwrap();
        calls
            .begin(3, at(&folder.join("none")), Some(false), "apart")
            .unwrap();
        assert_eq!(calls.made_by(2), Some(("second", None)));
        assert_eq!(calls.made_by(3), Some(("apart", Some(Outcome::NotThere))));
        std::fs::remove_file(&new).unwrap();
        assert_eq!(calls.made_by_any(), Some(("first", Some(Outcome::Removed))));
        assert_eq!(calls.made_by_any(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_call_of_another_child_on_the_same_path_makes_a_result_unknown() {
        let folder = Path::new("/nowhere/of/two/children");
        let (mut one, mut other) = (UnderWay::default(), UnderWay::default());
        one.begin(1, at(folder), Some(false), "one").unwrap();
        other
            .begin(2, at(&folder.join("x")), Some(false), "other")
            .unwrap();
        other
            .begin(3, at(Path::new("/nowhere/else")), Some(false), "apart")
            .unwrap();
        assert_eq!(one.made_by(1), Some(("one", None)));
        assert_eq!(other.made_by(2), Some(("other", None)));
        assert_eq!(other.made_by(3), Some(("apart", Some(Outcome::NotThere))));
        // The control: one after the other.
        one.begin(1, at(folder), Some(false), "again").unwrap();
        assert_eq!(one.made_by(1), Some(("again", Some(Outcome::NotThere))));
    }

    #[test]
    fn threads_without_number_make_results_unknown_and_take_bounded_memory() {
        let none = Path::new("/nowhere/at/all");
        let mut calls = UnderWay::default();
        let threads = u32::try_from(MOST_THREADS).unwrap();
        for thread in 0..threads {
            calls
                .begin(thread, at(&none.join(thread.to_string())), Some(false), ())
                .unwrap();
        }
        assert_eq!(calls.made_by(0), Some(((), Some(Outcome::NotThere))));
        calls.begin(0, at(none), Some(false), ()).unwrap();
        assert_eq!(calls.begin(threads, at(none), Some(false), ()), Err(()));
        assert_eq!(calls.calls.len(), MOST_THREADS);
        assert_eq!(calls.made_by(1), Some(((), None)));
    }
}
