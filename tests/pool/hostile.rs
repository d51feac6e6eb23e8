//! Hostile children of a pool: they can do nothing but end their own call.

use std::time::{Duration, Instant};

use crossmist::{Error, Pool, ProtocolError, Resource, SandboxPolicy, channel, func};

use crate::between::answers_on_time;
use crate::calls::{add, until_full};
use crate::cases;
use crate::support::{Case, patience, raw, state, wait_until, wait_until_ended};

/// Does what it is told, and answers with its argument unless it can't any more.
#[func(sandbox = dynamic)]
fn misbehave(how: String) -> String {
    match how.as_str() {
        "opens" => {
            let _ = std::fs::File::open("/etc/passwd").map_err(|error| error.raw_os_error());
            let _ = std::net::TcpStream::connect("127.0.0.1:1");
        }
        "panics" => panic!("on purpose"),
        "exits" => raw::exit(3),
        "is too long" => return "x".repeat(1000),
        "hangs" => loop {
            std::thread::park();
        },
        "loops" => {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(3600) {
                std::hint::black_box(begun);
            }
        }
        "answers first" => {
            // Its words before its answer are not part of the protocol.
            raw::send(raw::launch_socket(), b"garbage").unwrap();
        }
        "lingers" => {
            // Answers by hand, and does not end.
            let answer = answer("lingers");
            raw::send(raw::launch_socket(), &answer).unwrap();
            loop {
                std::thread::park();
            }
        }
        "answers twice" => {
            let answer = answer("first");
            raw::send(raw::launch_socket(), &answer).unwrap();
        }
        _ => {}
    }
    how
}

/// The message of an answer with a string.
pub(crate) fn answer(text: &str) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
    body.extend_from_slice(text.as_bytes());
    let mut message = vec![0xC1, 0, 0, 0];
    message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    message.extend_from_slice(&[0; 24]);
    message.extend_from_slice(&body);
    message
}

/// A policy with little time on a processor, and this much in all.
fn policy(time: Duration) -> SandboxPolicy {
    let time = time.as_millis();
    let text = format!(
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
         [limits]\nwall_time = \"{time}ms\"\ncpu_time = \"500ms\"\n"
    );
    SandboxPolicy::from_toml("hostile_pool", &text).unwrap()
}

fn a_bad_call_ends_nobody_elses() {
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .workers(2)
        .spares(2)
        .build()
        .unwrap();
    type Check = fn(&Result<String, Error>) -> bool;
    let bad: [(&str, Check); 5] = [
        ("opens", |result| matches!(result, Err(Error::Violation(_)))),
        ("panics", |result| matches!(result, Err(Error::Panicked(_)))),
        ("exits", |result| {
            matches!(result, Err(Error::Exited { status: 3, .. }))
        }),
        ("loops", |result| {
            matches!(
                result,
                Err(Error::Limit {
                    resource: Resource::CpuTime,
                    ..
                })
            )
        }),
        ("answers first", |result| {
            matches!(result, Err(Error::Malformed(ProtocolError::Short { .. })))
        }),
    ];
    for (how, is_expected) in bad {
        let result = pool.run(how.to_owned());
        assert!(is_expected(&result), "{how}: {result:?}");
        // The control: the same pool, and nothing of the last call.
        assert_eq!(pool.run("well".to_owned()).unwrap(), "well");
    }
    assert_eq!(pool.stats().failed, 5);
}

fn a_call_that_hangs_ends_in_time() {
    let policy = policy(patience(Duration::from_secs(4)));
    let pool = Pool::of(misbehave)
        .sandbox(&policy)
        .workers(1)
        .spares(1)
        .build()
        .unwrap();
    for _ in 0..3 {
        let result = pool.run("hangs".to_owned());
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
        assert_eq!(pool.run("well".to_owned()).unwrap(), "well");
    }
}

/// The worker is free for the next call as soon as the child has ended, and it ends by itself.
fn calls_without_a_result_hold_up_no_worker() {
    let limits = crossmist::Limits::new().message_bytes(512);
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .limits(limits)
        .workers(1)
        .spares(1)
        .build()
        .unwrap();
    type Check = fn(&Error) -> bool;
    let kinds: [(&str, Check); 2] = [
        ("panics", |error| matches!(error, Error::Panicked(_))),
        ("is too long", |error| {
            matches!(error, Error::ResultTooLarge { .. })
        }),
    ];
    for (how, is_expected) in kinds {
        let begun = Instant::now();
        for _ in 0..8 {
            let error = pool.run(how.to_owned()).unwrap_err();
            assert!(is_expected(&error), "{how}: {error:?}");
        }
        // A child that lingers is killed after two seconds.
        let took = begun.elapsed();
        assert!(took < patience(Duration::from_secs(14)), "{how}: {took:?}");
    }
}

/// At once, without a wait for the child's end, after which it is killed.
fn an_answer_counts_although_its_child_lingers() {
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .workers(1)
        .spares(1)
        .build()
        .unwrap();
    assert_eq!(pool.run("lingers".to_owned()).unwrap(), "lingers");
    assert_eq!(pool.run("well".to_owned()).unwrap(), "well");
    let keeper = keeper();
    drop(pool);
    wait_until("the child that lingers is gone", || {
        named(keeper, "misbehave").is_empty()
    });
}

/// However many calls there are.
fn children_that_linger_do_not_pile_up() {
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .workers(1)
        .spares(1)
        .build()
        .unwrap();
    let keeper = keeper();
    let mut most = 0;
    for _ in 0..60 {
        assert_eq!(pool.run("lingers".to_owned()).unwrap(), "lingers");
        // Some of them may come or go at this moment.
        let look = || named(keeper, "misbehave").len();
        most = most.max((0..5).map(|_| look()).min().unwrap_or_default());
    }
    // Four that linger, the spare, and those that come and go at this moment.
    assert!(most <= 12, "{most} children at once");
}

/// Even if no other call comes, and the thread of the pool had them in hand no more than the callers had.
fn children_that_linger_end_without_another_call() {
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .workers(8)
        .spares(1)
        .build()
        .unwrap();
    let keeper = keeper();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        assert_eq!(pool.run("lingers".to_owned()).unwrap(), "lingers");
                    }
                });
            }
        });
        wait_until("the spare is left", || {
            named(keeper, "misbehave").len() <= 1
        });
    }
}

/// Neither answer reaches another call.
fn a_second_answer_reaches_nobody() {
    let pool = Pool::of(misbehave)
        .sandbox(&policy(patience(Duration::from_secs(60))))
        .workers(1)
        .spares(1)
        .build()
        .unwrap();
    for _ in 0..10 {
        let result = pool.run("answers twice".to_owned());
        assert!(
            matches!(&result, Ok(text) if text == "first")
                || matches!(result, Err(Error::Malformed(ProtocolError::Surplus))),
            "{result:?}"
        );
        assert_eq!(pool.run("well".to_owned()).unwrap(), "well");
    }
}

#[func(sandbox = "parser")]
fn tells_who_its_parent_is(mut go: crossmist::Receiver<()>) {
    go.recv().unwrap();
}

/// The keeper of this process.
pub(crate) fn keeper() -> u32 {
    let (_go, rx) = channel().unwrap();
    let child = tells_who_its_parent_is
        .builder()
        .kill_on_drop(true)
        .spawn(rx)
        .unwrap();
    parent(child.id().unwrap()).unwrap()
}

fn parent(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Children of a keeper with this name.
pub(crate) fn named(keeper: u32, name: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| {
        let comm = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        comm.trim_end() == name
            && parent(*id) == Some(keeper)
            && state(*id).is_some_and(|state| state != 'Z')
    })
    .collect()
}

pub(crate) fn kill(id: u32, signal: nix::sys::signal::Signal) {
    let id = nix::unistd::Pid::from_raw(id.try_into().unwrap());
    nix::sys::signal::kill(id, signal).unwrap();
}

#[func(sandbox = "parser")]
fn spare_of_ours(number: u64) -> u64 {
    number
}

/// Killed by the kernel for want of memory, say.
fn a_spare_that_dies_is_replaced_and_no_call_notices() {
    let pool = Pool::of(spare_of_ours)
        .workers(1)
        .spares(2)
        .build()
        .unwrap();
    let keeper = keeper();
    for round in 0..40 {
        until_full(&pool, 2);
        for id in named(keeper, "spare_of_ours") {
            // The child of the last call may have ended by itself.
            let pid = nix::unistd::Pid::from_raw(id.try_into().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            // The thread that takes care of the pool may not know it yet.
            wait_until("it is dead", || matches!(state(id), None | Some('Z')));
        }
        assert_eq!(pool.run(round).unwrap(), round);
    }
    assert_eq!(pool.stats().failed, 0);
    assert!(pool.stats().died_idle > 0);
}

fn a_spare_that_stops_is_ended_by_the_deadline_of_its_call() {
    let time = patience(Duration::from_secs(2));
    let pool = Pool::of(spare_of_ours)
        .workers(1)
        .spares(1)
        .deadline(time)
        .build()
        .unwrap();
    until_full(&pool, 1);
    let spares = named(keeper(), "spare_of_ours");
    assert_eq!(spares.len(), 1);
    for id in spares {
        kill(id, nix::sys::signal::Signal::SIGSTOP);
        wait_until("it has stopped", || state(id) == Some('T'));
    }
    let result = pool.run(1);
    assert!(
        matches!(result, Err(Error::Deadline { after, .. }) if after == time),
        "{result:?}, {:?}",
        pool.stats()
    );
    assert_eq!(pool.run(2).unwrap(), 2);
}

fn a_killed_keeper_costs_only_the_calls_under_way() {
    let pool = Pool::of(answers_on_time).workers(2).spares(2);
    let pool = pool.build().unwrap();
    let others = Pool::of(add).workers(2).spares(2).build().unwrap();
    until_full(&pool, 2);
    let (tell, mut told) = channel().unwrap();
    let (_go, rx) = channel().unwrap();
    let under_way = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.run(tell, rx))
    };
    told.recv().unwrap().unwrap();
    let (tell, _told) = channel().unwrap();
    let (mut go, rx) = channel().unwrap();
    let keeper = keeper();
    kill(keeper, nix::sys::signal::Signal::SIGKILL);
    let result = under_way.join().unwrap();
    assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
    // Until then, it may still take a request, which ends with it.
    wait_until_ended(keeper);
    go.send(&()).unwrap();
    assert!(pool.run(tell, rx).is_ok());
    for number in 0..20 {
        assert_eq!(others.run(number, 1).unwrap(), number + 1);
    }
}

pub(crate) const CASES: &[Case] = cases![
    a_bad_call_ends_nobody_elses,
    a_call_that_hangs_ends_in_time,
    calls_without_a_result_hold_up_no_worker,
    an_answer_counts_although_its_child_lingers,
    children_that_linger_do_not_pile_up,
    children_that_linger_end_without_another_call,
    a_second_answer_reaches_nobody,
    a_spare_that_dies_is_replaced_and_no_call_notices,
    a_spare_that_stops_is_ended_by_the_deadline_of_its_call,
    a_killed_keeper_costs_only_the_calls_under_way,
];
