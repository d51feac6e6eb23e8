//! How a child ends, told apart.

use std::time::{Duration, Instant};

use crossmist::{Error, Object, channel, func};

use crate::cases;
use crate::functions::{BEFORE_ENTRY, add, end, ended, linger, reverse, sleep_for};
use crate::support::{Case, Holdings, raw, wait_until_gone, within};

pub(crate) const CASES: &[Case] = cases![
    exit_codes_are_told_apart,
    signals_are_told_apart,
    a_kill_from_outside_is_a_signal_not_a_request,
    status_zero_without_an_answer_is_a_failure,
    an_answer_counts_though_the_child_lingers,
    an_answer_counts_though_the_child_crashes_after_it,
    a_child_that_closes_its_socket_and_stays_is_ended,
    an_end_is_noticed_while_arguments_are_sent,
    an_end_before_the_arguments_is_an_exit,
];

fn exit_codes_are_told_apart() {
    for code in [1, 2, 101, 102, 127, 255] {
        for way in ["exit", "_exit"] {
            let result = ended(way, code);
            let Err(Error::Exited { status, .. }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(status, code);
        }
    }
}

fn signals_are_told_apart() {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    for number in [
        libc::SIGABRT,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGSYS,
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGPIPE,
        libc::SIGALRM,
    ] {
        let result = ended("raise", number);
        let Err(Error::Signalled { signal, .. }) = result else {
            panic!("{number}: {result:?}");
        };
        assert_eq!(signal, number);
    }
    let result = ended("abort", 0);
    assert!(
        matches!(
            result,
            Err(Error::Signalled {
                signal: libc::SIGABRT,
                ..
            })
        ),
        "{result:?}"
    );
}

fn a_kill_from_outside_is_a_signal_not_a_request() {
    let child = sleep_for.spawn(60_000).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let result = child.join();
    assert!(
        matches!(
            result,
            Err(Error::Signalled {
                signal: libc::SIGKILL,
                core_dumped: false,
                ..
            })
        ),
        "{result:?}"
    );
}

fn status_zero_without_an_answer_is_a_failure() {
    let result = ended("_exit", 0);
    assert!(
        matches!(result, Err(Error::Exited { status: 0, .. })),
        "{result:?}"
    );
}

fn an_answer_counts_though_the_child_lingers() {
    let (tx, _rx) = channel().unwrap();
    let child = linger.spawn(tx).unwrap();
    let id = child.id().unwrap();
    let result = within(Duration::from_secs(5), || child.join());
    assert_eq!(result.unwrap().0, 7);
    wait_until_gone(id);
    // With a deadline it is the earlier of both, and the answer counts all the same. A busy machine
    // may take longer to answer, or to notice: then it is tried again.
    let quick = (0..20).any(|_| {
        let (tx, _rx) = channel().unwrap();
        let begun = Instant::now();
        match linger.builder().deadline(Duration::from_secs(1)).run(tx) {
            Ok(result) => assert_eq!(result.0, 7),
            Err(Error::Deadline { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        // Without a deadline, it lingers for two seconds.
        begun.elapsed() < Duration::from_millis(1800)
    });
    assert!(quick, "no deadline ended the wait for a child that lingers");
}

#[derive(Debug, Object)]
struct AbortsWhenDropped(u8);

impl Drop for AbortsWhenDropped {
    fn drop(&mut self) {
        if std::env::args().nth(1).is_some_and(|a| a.contains("child")) {
            raw::default_action(libc::SIGABRT);
            std::process::abort();
        }
    }
}

#[func]
fn crash_after_the_answer() -> AbortsWhenDropped {
    AbortsWhenDropped(5)
}

fn an_answer_counts_though_the_child_crashes_after_it() {
    assert_eq!(crash_after_the_answer.run().unwrap().0, 5);
}

fn a_child_that_closes_its_socket_and_stays_is_ended() {
    let child = end.spawn("close".to_owned(), 0).unwrap();
    let id = child.id().unwrap();
    let result = within(Duration::from_secs(5), || child.join());
    assert!(matches!(result, Err(Error::Silent)), "{result:?}");
    wait_until_gone(id);
}

pub(crate) fn large() -> Vec<u8> {
    vec![1; 4 << 20]
}

fn an_end_is_noticed_while_arguments_are_sent() {
    let before = Holdings::now();
    for way in ["exit", "leave another"] {
        let call = reverse.builder().env(BEFORE_ENTRY, way);
        let result = within(Duration::from_secs(4), || call.run(large()));
        assert!(
            matches!(result, Err(Error::Exited { status: 7, .. })),
            "{way}: {:?}",
            result.map(|bytes| bytes.len())
        );
    }
    before.assert_same();
}

fn an_end_before_the_arguments_is_an_exit() {
    for way in ["exit", "leave another"] {
        let call = add.builder().env(BEFORE_ENTRY, way);
        let result = within(Duration::from_secs(4), || call.run(1, 2));
        assert!(
            matches!(result, Err(Error::Exited { status: 7, .. })),
            "{result:?}"
        );
    }
}
