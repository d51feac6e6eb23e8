//! Many calls, at once and one after the other.

use std::time::Duration;

use crossmist::{Child, Error, func};

use crate::cases;
use crate::functions::{add, long_sleep, parent, sleep};
use crate::support::{self, Case, Holdings, patience, state, stays, wait_until};

pub(crate) const CASES: &[Case] = cases![
    many_threads_call_at_once,
    two_hundred_children_live_at_once,
    thousands_of_calls_leave_nothing,
    deadlines_hold_while_all_threads_are_busy,
    large_arguments_and_answers_go_both_ways,
    a_kept_handle_costs_the_keeper_nothing,
];

#[func(sandbox = "worker")]
fn stays_until(mut gone: crossmist::Receiver<()>) {
    gone.recv().unwrap();
}

#[func(sandbox = dynamic)]
fn add_in_time(a: u64, b: u64) -> u64 {
    a + b
}

fn many_threads_call_at_once() {
    // Sixteen calls at once take longer on a slow machine.
    let policy = &support::builtin("pure");
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                for call in 0..25 {
                    let sum = add_in_time.sandbox(policy).run(thread, call);
                    assert_eq!(sum.unwrap(), thread + call);
                }
            });
        }
    });
}

fn two_hundred_children_live_at_once() {
    add.run(1, 1).unwrap();
    let holdings = Holdings::now();
    let mut children: Vec<_> = (0..200)
        .map(|_| {
            let (go, gone) = crossmist::channel().unwrap();
            (go, stays_until.spawn(gone).unwrap())
        })
        .collect();
    let alive = |child: &Child<()>| {
        let state = child.id().and_then(state);
        state.is_some_and(|state| state != 'Z')
    };
    if let Some(ended) = children.iter().position(|(_, child)| !alive(child)) {
        let (_go, child) = children.swap_remove(ended);
        panic!("a child ended: {:?}", child.join());
    }
    for (go, child) in children {
        drop(go);
        child.join().unwrap();
    }
    holdings.assert_same();
}

fn thousands_of_calls_leave_nothing() {
    let keeper = {
        let child = long_sleep();
        let keeper = parent(child.id().unwrap());
        child.kill().unwrap();
        keeper
    };
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{keeper}/{what}"))
            .unwrap()
            .count()
    };
    let memory = || -> usize {
        // Some kernels only estimate what `statm` says, but may not tell more of another process.
        match support::resident_bytes(&format!("/proc/{keeper}/smaps_rollup")) {
            Some(bytes) => bytes,
            None => {
                let statm = std::fs::read_to_string(format!("/proc/{keeper}/statm")).unwrap();
                statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
            }
        }
    };
    for call in 0..support::repetitions(500).into() {
        assert_eq!(add.run(call, 1).unwrap(), call + 1);
    }
    let children = || {
        let list = format!("/proc/{keeper}/task/{keeper}/children");
        std::fs::read_to_string(list).unwrap()
    };
    // The process that it leaves to be looked at has ended, and is the only one.
    wait_until("the keeper has no other", || {
        children().split_whitespace().count() == 1
    });
    let witness = children();
    assert_eq!(state(witness.trim().parse().unwrap()), Some('Z'));
    let (holdings, descriptors, resident) = (Holdings::now(), count("fd"), memory());
    for call in 0..support::repetitions(10_000).into() {
        assert_eq!(add.run(call, 1).unwrap(), call + 1);
    }
    holdings.assert_same();
    holdings.assert_memory(2 << 20);
    // When it was counted first, it may not have let go of the last child.
    wait_until("the keeper has let go", || count("fd") <= descriptors);
    assert!(
        memory() <= resident + (1 << 20),
        "{} then {}",
        resident,
        memory()
    );
    assert_eq!(children(), witness);
}

fn deadlines_hold_while_all_threads_are_busy() {
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let child = sleep
        .builder()
        .deadline(patience(Duration::from_secs(2)))
        .spawn(stays())
        .unwrap();
    let id = child.id().unwrap();
    // Nobody waits for it, and every processor has more to do than it can.
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        wait_until("its deadline ended it", || {
            state(id).is_none_or(|state| state == 'Z')
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(matches!(child.join(), Err(Error::Deadline { .. })));
}

#[func(sandbox = "pure")]
fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

fn large_arguments_and_answers_go_both_ways() {
    for length in [0, 1, 100_000, 300_000, 5 << 20] {
        let bytes: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        assert_eq!(echo.run(bytes.clone()).unwrap(), bytes, "{length}");
    }
}

/// How long a process has run on a processor, in ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = rest.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn a_kept_handle_costs_the_keeper_nothing() {
    let keeper = parent(long_sleep().id().unwrap());
    let child = sleep.spawn(Duration::ZERO).unwrap();
    let process = child.id().unwrap();
    support::wait_until_gone(process);
    // The keeper may still be about to report the end.
    std::thread::sleep(patience(Duration::from_millis(300)));
    let before = ticks(keeper);
    std::thread::sleep(Duration::from_secs(1));
    // A hundred, where it spins.
    assert!(ticks(keeper) - before < 10);
    child.join().unwrap();
}
