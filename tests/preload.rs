//! Prepared state: a function that runs once, in a process whose forks run the calls.
#![expect(unsafe_code, reason = "what is prepared maps memory as C libraries do")]

use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

use crossmist::{Error, Pool, Receiver, channel, func};
use support::{Case, wait_until};

mod support;

/// The process that prepared the state, and the state.
static PREPARED: OnceLock<(u32, Vec<u64>)> = OnceLock::new();
static LAZY: LazyLock<Mutex<u32>> = LazyLock::new(|| Mutex::new(std::process::id()));
static LEFT_OPEN: OnceLock<i32> = OnceLock::new();

fn prepare_numbers() {
    let numbers = (0..1000).map(|number| number * number).collect();
    PREPARED
        .set((std::process::id(), numbers))
        .expect("it runs once");
    let _ = LazyLock::force(&LAZY);
    let file = File::open("/etc/passwd").expect("a file that everybody may read");
    LEFT_OPEN.set(file.into_raw_fd()).expect("it runs once");
}

type Seen = (u32, u32, u64);

fn seen(number: usize) -> Seen {
    let (process, numbers) = PREPARED.get().expect("prepared state");
    assert_eq!(*LAZY.lock().unwrap(), *process);
    (std::process::id(), *process, numbers[number])
}

#[func(sandbox = "parser", preload = prepare_numbers)]
fn square(number: usize) -> Seen {
    seen(number)
}

#[func(sandbox = "pure", preload = prepare_numbers)]
fn square_again(number: usize) -> Seen {
    seen(number)
}

#[func(sandbox = "parser")]
fn without_preload() -> bool {
    PREPARED.get().is_some()
}

#[func(sandbox = "parser", preload = prepare_numbers)]
fn is_left_open() -> bool {
    support::raw::is_open(*LEFT_OPEN.get().expect("prepared state"))
}

#[func(sandbox = "parser", preload = prepare_numbers)]
fn waits(mut go: Receiver<()>) -> Seen {
    go.recv().unwrap();
    seen(3)
}

fn state_is_prepared_once_and_shared() {
    assert!(PREPARED.get().is_none());
    let first = square.run(7).unwrap();
    let second = square.run(8).unwrap();
    let other = square_again.run(9).unwrap();
    assert_eq!((first.2, second.2, other.2), (49, 64, 81));
    // One process prepared it for all, and it is neither this one nor a child.
    assert_eq!((first.1, second.1), (other.1, other.1));
    assert!(first.1 != std::process::id() && first.1 != first.0);
    assert!(first.0 != second.0);
    assert!(PREPARED.get().is_none());
    assert!(!without_preload.run().unwrap());
}

fn descriptors_that_preload_leaves_open_are_closed_in_the_children() {
    assert!(!is_left_open.run().unwrap());
    // The control: such a number is open where it was opened.
    prepare_numbers();
    assert!(support::raw::is_open(*LEFT_OPEN.get().unwrap()));
}

fn it_can_be_prepared_ahead_and_anew() {
    crossmist::prepare(square).unwrap();
    let (_, before, _) = square.run(1).unwrap();
    crossmist::prepare(square).unwrap();
    assert_eq!(square.run(1).unwrap().1, before);
    let (mut go, rx) = channel().unwrap();
    let under_way = waits.spawn(rx).unwrap();
    crossmist::keeper::reload();
    let (_, after, _) = square.run(1).unwrap();
    assert_ne!(after, before);
    // Calls under way continue, and the old process ends after them.
    go.send(&()).unwrap();
    assert_eq!(under_way.join().unwrap().1, before);
    wait_until("the old process is gone", || {
        matches!(support::state(before), None | Some('Z'))
    });
    assert_eq!(square.run(1).unwrap().1, after);
}

static PREPARED_BY: OnceLock<u32> = OnceLock::new();

/// Says that it begins, and waits until it may go on.
fn prepare_when_told() {
    let folder = PathBuf::from(std::env::var_os("MYLIB_PREPARES_IN").expect("a folder"));
    if let Ok(mut begun) = File::create_new(folder.join("begun")) {
        begun.write_all(&std::process::id().to_le_bytes()).unwrap();
    }
    wait_until("it may go on", || folder.join("go-on").exists());
    PREPARED_BY.set(std::process::id()).unwrap();
}

#[func(sandbox = "parser", preload = prepare_when_told)]
fn prepared_by() -> u32 {
    *PREPARED_BY.get().expect("prepared state")
}

fn what_was_being_prepared_is_prepared_anew_as_well() {
    let folder = std::env::temp_dir().join(format!("crossmist-prepares-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    crossmist::keeper::env("MYLIB_PREPARES_IN", &folder);
    let mut begun = Vec::new();
    let during = std::thread::scope(|scope| {
        let call = scope.spawn(|| prepared_by.run().unwrap());
        wait_until("it is being prepared", || {
            begun = std::fs::read(folder.join("begun")).unwrap_or_default();
            begun.len() == size_of::<u32>()
        });
        crossmist::keeper::reload();
        File::create(folder.join("go-on")).unwrap();
        call.join().unwrap()
    });
    let after = prepared_by.run().unwrap();
    assert_ne!(after.to_le_bytes(), begun[..]);
    // The control: then it is kept, also for the call that waited for it.
    assert_eq!((during, prepared_by.run().unwrap()), (after, after));
    std::fs::remove_dir_all(folder).unwrap();
}

fn no_call_fails_while_it_is_prepared_anew() {
    let done = AtomicU32::new(0);
    let call = || {
        assert_eq!(square.run(3).unwrap().2, 9);
        done.fetch_add(1, Ordering::SeqCst);
    };
    std::thread::scope(|scope| {
        let calls = [(); 4].map(|()| scope.spawn(|| (0..100).for_each(|_| call())));
        let are_over = || calls.iter().all(|calls| calls.is_finished());
        while !are_over() {
            let before = done.load(Ordering::SeqCst);
            crossmist::keeper::reload();
            while done.load(Ordering::SeqCst) == before && !are_over() {
                std::thread::yield_now();
            }
        }
    });
}

fn the_end_of_keepers_ends_those_that_were_replaced() {
    let (_go, rx) = channel().unwrap();
    let mut under_way = waits.spawn(rx).unwrap();
    let before = square.run(1).unwrap().1;
    crossmist::keeper::reload();
    assert_ne!(square.run(1).unwrap().1, before);
    // The control: it continues.
    assert!(matches!(under_way.try_join(), Ok(None)));
    crossmist::keeper::end();
    assert!(matches!(under_way.join(), Err(Error::KeeperDied)));
    wait_until("the old process is gone", || {
        matches!(support::state(before), None | Some('Z'))
    });
}

fn pools_share_it_and_replace_what_is_old() {
    let pool = Pool::of(square).workers(1).spares(2).build().unwrap();
    let (_, before, _) = pool.run(1).unwrap();
    assert_eq!(pool.run(1).unwrap().1, before);
    crossmist::keeper::reload();
    for _ in 0..4 {
        assert_ne!(pool.run(1).unwrap().1, before);
    }
}

fn prepare_slowly() {
    std::thread::sleep(Duration::from_millis(2500));
}

#[func(sandbox = "parser", wall_time = "2s", preload = prepare_slowly)]
fn prepared_slowly() -> u32 {
    7
}

/// A call has all of its time, although it is the first.
fn what_it_takes_to_prepare_is_no_time_of_a_call() {
    for _ in 0..10 {
        match prepared_slowly.run() {
            Ok(value) => return assert_eq!(value, 7),
            // On a busy machine this may be too little for the call itself.
            Err(Error::Deadline { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("no call was in time");
}

fn fails() -> Result<(), String> {
    Err(format!("no fonts in process {}", std::process::id()))
}

#[func(sandbox = "parser", preload = fails)]
fn never_prepared() {}

fn panics() {
    panic!("the fonts are broken");
}

#[func(sandbox = "parser", preload = panics)]
fn panicked() {}

fn exits() {
    std::process::exit(0);
}

#[func(sandbox = "parser", preload = exits)]
fn exited() {}

fn leaves_a_thread() {
    let (here, is_here) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("left-behind".to_owned())
        .spawn(move || {
            // It already has its name.
            here.send(()).unwrap();
            loop {
                std::thread::park();
            }
        })
        .unwrap();
    is_here.recv().unwrap();
}

#[func(sandbox = "parser", preload = leaves_a_thread)]
fn not_alone() {}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Preload { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn a_failure_says_what_failed() {
    let failed = reason(never_prepared.run());
    assert!(
        failed.contains("`fails` failed: no fonts in process"),
        "{failed}"
    );
    let panic = reason(panicked.run());
    assert!(
        panic.contains("`panics` panicked: the fonts are broken"),
        "{panic}"
    );
    assert!(panic.contains("tests/preload.rs:"), "{panic}");
    let exit = reason(exited.run());
    assert!(exit.contains("ended before it was done"), "{exit}");
    let threads = reason(not_alone.run());
    assert!(threads.contains("left-behind"), "{threads}");
    // Others are not affected.
    assert_eq!(square.run(4).unwrap().2, 16);
}

/// Every call gets the same error until it is tried again.
fn a_failure_is_not_repeated_by_every_call() {
    // It is tried again after 100 ms, which a busy machine may take between two calls.
    let mut first = reason(never_prepared.run());
    wait_until("two calls get the same error", || {
        let before = std::mem::replace(&mut first, reason(never_prepared.run()));
        first == before
    });
    wait_until("it is tried again", || {
        reason(never_prepared.run()) != first
    });
    let second = reason(never_prepared.run());
    // `reload` does not wait.
    crossmist::keeper::reload();
    assert_ne!(reason(never_prepared.run()), second);
}

#[func(sandbox = "parser", launch = "exec", preload = prepare_numbers)]
fn in_a_fresh_image() -> bool {
    PREPARED.get().is_some()
}

fn a_fresh_image_cannot_share_it() {
    match in_a_fresh_image.run() {
        Err(Error::Policy { reason, .. }) => assert!(reason.contains("launch"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

static HEAP: OnceLock<Vec<u8>> = OnceLock::new();

fn prepare_much() {
    HEAP.set(vec![7; 300 << 20]).expect("it runs once");
}

#[func(sandbox = "parser", memory = "64MiB", preload = prepare_much)]
fn allocates(mebibytes: usize) -> usize {
    let prepared = HEAP.get().expect("prepared state");
    let more = vec![prepared[prepared.len() - 1]; mebibytes << 20];
    more.iter().filter(|byte| **byte == 7).count() >> 20
}

/// The limit is about what a call asks for, beside what was prepared.
fn memory_counts_from_the_prepared_state() {
    assert_eq!(allocates.run(32).unwrap(), 32);
    let result = allocates.run(128);
    assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
}

/// Maps a page of a file, or of none, and leaves it mapped.
fn maps(file: Option<&File>, protection: i32, shared: bool) -> *mut libc::c_void {
    use std::os::fd::AsRawFd;
    let kind = if shared {
        libc::MAP_SHARED
    } else {
        libc::MAP_PRIVATE
    };
    let (flags, fd) = match file {
        Some(file) => (kind, file.as_raw_fd()),
        None => (kind | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    at
}

/// Of this program, as nothing else has written to it.
fn file(write: bool) -> File {
    let path = std::env::temp_dir().join(format!("crossmist-mapped-{}", std::process::id()));
    std::fs::write(&path, vec![b'x'; 4096]).unwrap();
    let mut options = File::options();
    let file = options.read(true).write(write).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn maps_shared_memory() {
    maps(None, libc::PROT_READ | libc::PROT_WRITE, true);
}

#[func(sandbox = "parser", preload = maps_shared_memory)]
fn beside_shared_memory() {}

/// It can't be written to until `mprotect`.
fn maps_a_file_for_reading() {
    maps(Some(&file(true)), libc::PROT_READ, true);
}

#[func(sandbox = "parser", preload = maps_a_file_for_reading)]
fn beside_a_file() {}

fn maps_what_nobody_shares() {
    let both = libc::PROT_READ | libc::PROT_WRITE;
    maps(None, both, false);
    maps(Some(&file(true)), both, false);
    maps(Some(&file(false)), libc::PROT_READ, true);
    let kept = maps(None, both, true);
    // SAFETY: the mapping that was just made.
    assert_eq!(unsafe { libc::madvise(kept, 4096, libc::MADV_DONTFORK) }, 0);
    let gone = maps(None, both, true);
    // SAFETY: nobody uses the mapping.
    assert_eq!(unsafe { libc::munmap(gone, 4096) }, 0);
}

#[func(sandbox = "parser", preload = maps_what_nobody_shares)]
fn beside_nothing_shared() -> bool {
    true
}

fn memory_that_children_would_share_is_refused() {
    for failed in [
        reason(beside_shared_memory.run()),
        reason(beside_a_file.run()),
    ] {
        for part in [
            "as shared",
            "MAP_PRIVATE",
            "MADV_DONTFORK",
            "before it returns",
        ] {
            assert!(failed.contains(part), "{part}: {failed}");
        }
    }
    assert!(reason(beside_a_file.run()).contains("crossmist-mapped-"));
    assert!(beside_nothing_shared.run().unwrap());
}

#[func(sandbox = "parser")]
fn hashes() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}

#[func(sandbox = "parser", preload = prepare_numbers)]
fn hashes_beside_state() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}

fn every_child_has_hash_keys_of_its_own() {
    let pool = Pool::of(hashes).workers(1).spares(2).build().unwrap();
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..3 {
        all.insert(hashes.run().unwrap());
        all.insert(hashes_beside_state.run().unwrap());
        all.insert(pool.run().unwrap());
    }
    assert_eq!(all.len(), 9);
}

const CASES: &[Case] = cases![
    state_is_prepared_once_and_shared,
    descriptors_that_preload_leaves_open_are_closed_in_the_children,
    it_can_be_prepared_ahead_and_anew,
    what_was_being_prepared_is_prepared_anew_as_well,
    no_call_fails_while_it_is_prepared_anew,
    the_end_of_keepers_ends_those_that_were_replaced,
    pools_share_it_and_replace_what_is_old,
    what_it_takes_to_prepare_is_no_time_of_a_call,
    a_failure_says_what_failed,
    a_failure_is_not_repeated_by_every_call,
    memory_counts_from_the_prepared_state,
    a_fresh_image_cannot_share_it,
    memory_that_children_would_share_is_refused,
    every_child_has_hash_keys_of_its_own,
];

#[crossmist::main]
fn main() {
    support::main(CASES, &[]);
}
