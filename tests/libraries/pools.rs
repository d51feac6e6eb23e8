//! Threads: pools that take one for each processor, and what is said where there are no more.

#![expect(unsafe_code, reason = "it asks the C library directly")]

use std::sync::{Arc, Barrier};

use crossmist::{Error, SandboxPolicy, func};

fn limited(threads: usize) -> SandboxPolicy {
    let text = format!("format = 1\nextends = [\"parser\"]\n[limits]\nthreads = {threads}\n");
    SandboxPolicy::from_toml("limited", &text).unwrap()
}

/// As rayon and tokio do: as many as there is parallelism for, all at once, beside the one that waits.
#[func(sandbox = dynamic)]
fn pool() -> Result<(usize, i64), String> {
    let count = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    let meeting = Arc::new(Barrier::new(count.get() + 1));
    let mut threads = Vec::new();
    for number in 0..count.get() {
        let meeting = Arc::clone(&meeting);
        let thread = std::thread::Builder::new().spawn(move || {
            meeting.wait();
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => return Err(format!("thread {number} of {count}: {error}")),
        }
    }
    meeting.wait();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    // SAFETY: takes a number.
    let told = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    Ok((count.get(), told))
}

#[func(sandbox = dynamic)]
fn parallelism() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

#[func(sandbox = dynamic)]
fn starts(count: usize) {
    let meeting = Arc::new(Barrier::new(count + 1));
    for _ in 0..count {
        let meeting = Arc::clone(&meeting);
        // Its panic says why.
        std::thread::spawn(move || meeting.wait());
    }
    meeting.wait();
}

pub(crate) fn a_pool_of_a_thread_a_processor_fits_the_limit() {
    let processors = processors();
    for threads in [2, 3, 4, 16] {
        let (found, told) = pool.sandbox(&limited(threads)).run().unwrap().unwrap();
        // One is the thread that the function runs on, and one is left for a blocking call of a runtime.
        let room = threads.saturating_sub(2).max(1);
        assert_eq!(found, processors.min(room), "{threads}");
        assert_eq!(told, found as i64);
    }
    // Without threads, it runs wherever there is room.
    let pure = SandboxPolicy::builtin("pure").unwrap();
    assert_eq!(parallelism.sandbox(&pure).run().unwrap(), processors);
    // The program's own threads run where they did.
    assert_eq!(self::processors(), processors);
}

/// Those that this thread may run on. A confined child can't read how much of them its control group has.
fn processors() -> usize {
    use nix::sched::{CpuSet, sched_getaffinity};
    let allowed = sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    (0..CpuSet::count())
        .filter(|number| allowed.is_set(*number).unwrap())
        .count()
}

pub(crate) fn a_thread_beyond_the_limit_is_an_error_that_names_it() {
    starts.sandbox(&limited(4)).run(3).unwrap();
    let text = panicked(starts.sandbox(&limited(4)).run(4));
    assert!(
        text.contains("`threads = 4` of the policy `limited`"),
        "{text}"
    );
}

pub(crate) fn a_thread_where_there_are_none_is_an_error_that_names_the_limit() {
    let pure = SandboxPolicy::builtin("pure").unwrap();
    let text = panicked(starts.sandbox(&pure).run(1));
    assert!(
        text.contains("the policy `pure` lets it start no threads"),
        "{text}"
    );
}

#[track_caller]
fn panicked(result: Result<(), Error>) -> String {
    match result {
        Err(error @ Error::Panicked(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
