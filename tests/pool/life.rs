//! The life of a pool: idle times, its end, and a program that changes under it.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crossmist::{Error, Pool, func};

use crate::calls::until_full;
use crate::cases;
use crate::hostile::{keeper, kill, named};
use crate::support::{Case, first_line, patience, state, this_program, wait_until};

#[func(sandbox = "parser")]
fn idle_for_now(number: u64) -> u64 {
    number
}

fn dropping_a_pool_ends_its_children() {
    let keeper = keeper();
    let pool = Pool::of(idle_for_now).workers(2).spares(4).build().unwrap();
    until_full(&pool, 4);
    assert_eq!(named(keeper, "idle_for_now").len(), 4);
    let clone = pool.clone();
    drop(pool);
    assert_eq!(clone.run(5).unwrap(), 5);
    drop(clone);
    wait_until("the spares are gone", || {
        named(keeper, "idle_for_now").is_empty()
    });
}

fn spares_that_nobody_needs_are_released_and_come_back() {
    let keeper = keeper();
    let pool = Pool::of(idle_for_now)
        .spares(3)
        .idle_time(Duration::from_millis(50))
        .build()
        .unwrap();
    wait_until("they are released", || {
        pool.stats().spares == 0 && named(keeper, "idle_for_now").is_empty()
    });
    assert!(pool.stats().released > 0);
    assert_eq!(pool.run(7).unwrap(), 7);
    assert_eq!(pool.stats().misses, 1);
}

fn a_closed_pool_takes_no_call() {
    let keeper = keeper();
    let pool = Pool::of(idle_for_now).build().unwrap();
    pool.close();
    assert!(matches!(pool.run(1), Err(Error::PoolClosed)));
    wait_until("the spares are gone", || {
        named(keeper, "idle_for_now").is_empty()
    });
}

#[func(sandbox = "parser")]
fn rests(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// Calls, and is stopped meanwhile, threads and all.
fn calls_and_stops() {
    let deadline = patience(Duration::from_secs(2));
    let pool = Pool::of(rests)
        .workers(1)
        .spares(1)
        .deadline(deadline)
        .build()
        .unwrap();
    until_full(&pool, 1);
    let calling = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.run(3600))
    };
    wait_until("it runs", || pool.stats().running == 1);
    println!("{}", keeper());
    std::io::stdout().flush().unwrap();
    let result = calling.join().unwrap();
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

fn a_deadline_holds_although_the_program_is_stopped() {
    let mut program = this_program("calls_and_stops")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let keeper = first_line(&mut program).trim_end().parse().unwrap();
    kill(program.id(), nix::sys::signal::Signal::SIGSTOP);
    wait_until("it has stopped", || state(program.id()) == Some('T'));
    // The keeper ends the one that rests; the next spare has nothing to do with it.
    let resting = || {
        named(keeper, "rests").into_iter().any(|id| {
            let wchan = std::fs::read_to_string(format!("/proc/{id}/wchan")).unwrap_or_default();
            wchan.contains("nanosleep")
        })
    };
    wait_until("the child has been ended", || !resting());
    assert_eq!(state(program.id()), Some('T'));
    kill(program.id(), nix::sys::signal::Signal::SIGCONT);
    assert!(program.wait().unwrap().success());
}

#[func(sandbox = "parser")]
fn own_user_of_child() -> Vec<u32> {
    vec![
        nix::unistd::getuid().as_raw(),
        nix::unistd::geteuid().as_raw(),
    ]
}

/// A spare has the rights that the program had when it was started, and is not for one that has fewer.
fn a_program_that_gives_up_rights_has_no_spares_with_them() {
    let keeper = keeper();
    let pool = Pool::of(own_user_of_child)
        .workers(1)
        .spares(2)
        .build()
        .unwrap();
    until_full(&pool, 2);
    let before = named(keeper, "own_user_of_chi");
    assert_eq!(before.len(), 2);
    nix::unistd::setgid(nix::unistd::Gid::from_raw(54_321)).unwrap();
    nix::unistd::setuid(nix::unistd::Uid::from_raw(54_321)).unwrap();
    assert_eq!(pool.run().unwrap(), [54_321, 54_321]);
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses), (0, 1));
    wait_until("the old spares are gone", || {
        named(keeper, "own_user_of_chi")
            .iter()
            .all(|id| !before.contains(id))
    });
    assert_eq!(pool.run().unwrap(), [54_321, 54_321]);
}

#[func(sandbox = "parser")]
fn processors() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

fn a_thread_on_other_processors_gets_another_child() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let pool = Pool::of(processors).spares(2).build().unwrap();
    until_full(&pool, 2);
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let allowed: Vec<usize> = (0..CpuSet::count())
        .filter(|number| allowed.is_set(*number).unwrap())
        .collect();
    let mut one = CpuSet::new();
    one.set(allowed[0]).unwrap();
    sched_setaffinity(this, &one).unwrap();
    assert_eq!(pool.run().unwrap(), 1);
    assert_eq!(pool.stats().hits, u64::from(allowed.len() == 1));
}

/// The copy of a program has no thread of the pool, and no keeper.
fn a_forked_copy_starts_its_own_children() {
    let pool = Pool::of(idle_for_now).workers(1).spares(1).build().unwrap();
    until_full(&pool, 1);
    let status = crate::support::raw::in_fork(|| {
        assert_eq!(pool.run(5).unwrap(), 5);
        assert_eq!(pool.stats().spares, 0);
    });
    assert_eq!(status, 0);
    assert_eq!(pool.run(6).unwrap(), 6);
}

/// Nothing stays behind of calls, spares and pools.
fn pools_leave_nothing_behind() {
    let keeper = keeper();
    let used = || {
        let pool = Pool::of(idle_for_now).workers(2).spares(2).build().unwrap();
        for number in 0..20 {
            assert_eq!(pool.run(number).unwrap(), number);
        }
    };
    used();
    wait_until("all have ended", || {
        named(keeper, "idle_for_now").is_empty()
    });
    let before = crate::support::Holdings::settled();
    for _ in 0..5 {
        used();
    }
    wait_until("all have ended", || {
        named(keeper, "idle_for_now").is_empty()
    });
    before.assert_same();
}

pub(crate) const CASES: &[Case] = cases![
    dropping_a_pool_ends_its_children,
    spares_that_nobody_needs_are_released_and_come_back,
    a_closed_pool_takes_no_call,
    a_deadline_holds_although_the_program_is_stopped,
    a_program_that_gives_up_rights_has_no_spares_with_them needs Root,
    a_thread_on_other_processors_gets_another_child,
    a_forked_copy_starts_its_own_children,
    pools_leave_nothing_behind,
];

pub(crate) const HELPERS: &[Case] = cases![calls_and_stops];
