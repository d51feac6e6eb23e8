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
