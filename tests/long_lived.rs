//! Confined children that live for many requests: the deadline of each, and what the program learns of their
//! ends.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Child, Duplex, Error, RequestTimer, UnsupportedKind, duplex, func};
use support::{
    Case, builtin, first_line, in_time, patience, state, stays, this_program, wait_until,
    wait_until_gone,
};

mod support;

const CASES: &[Case] = cases![
    a_worker_that_hangs_is_ended_although_the_program_is_stopped,
    a_worker_that_answers_in_time_outlives_many_deadlines,
    a_timer_that_is_not_stopped_ends_an_idle_worker,
    a_request_cannot_extend_the_deadline_of_the_call,
    a_deadline_of_a_request_holds_after_the_handle_is_dropped,
    a_timer_that_expires_before_the_child_has_started_ends_it,
    a_timer_serves_one_child,
    a_function_without_a_sandbox_has_no_request_timer,
    every_front_learns_that_a_request_was_late,
    every_front_learns_why_a_channel_has_failed,
    a_channel_that_has_not_failed_by_the_childs_end_is_the_reason_itself,
];

const HELPERS: &[Case] = cases![asks_and_is_stopped];

fn main() {
    crossmist::init();
    support::main(CASES, HELPERS);
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Adds one to each number, and hangs at 0.
#[func(sandbox = dynamic)]
fn serves(mut requests: Duplex<u64, u64>) {
    while let Ok(Some(number)) = requests.recv() {
        if number == 0 {
            hang();
        }
        requests.send(&(number + 1)).unwrap();
    }
}

#[func]
fn serves_unconfined(mut requests: Duplex<u64, u64>) {
    assert!(requests.recv().unwrap().is_none());
}

type Worker = (RequestTimer, Duplex<u64, u64>, Child<()>);

fn worker() -> Worker {
    let timer = RequestTimer::new().unwrap();
    let (ours, theirs) = duplex().unwrap();
    let child = serves
        .sandbox(&builtin("worker"))
        .request_timer(&timer)
        .spawn(theirs)
        .unwrap();
    (timer, ours, child)
}

/// One whose time is not taken by its start.
fn started_worker() -> Worker {
    let (timer, mut ours, child) = worker();
    assert_eq!(ours.request(&100).unwrap(), 101);
    (timer, ours, child)
}

#[track_caller]
fn assert_late(result: Result<(), Error>, time: Duration) {
    assert!(
        matches!(result, Err(Error::Deadline { after, .. }) if after == time),
        "{result:?}"
    );
}

/// Hangs a worker in its third request, and is stopped meanwhile, threads and all.
fn asks_and_is_stopped() {
    let (timer, mut ours, child) = started_worker();
    let time = patience(Duration::from_secs(3));
    for number in [1, 2] {
        timer.start(time).unwrap();
        assert_eq!(ours.request(&number).unwrap(), number + 1);
        timer.stop().unwrap();
    }
    timer.start(time).unwrap();
    ours.send(&0).unwrap();
    println!("{}", child.id().unwrap());
    std::io::stdout().flush().unwrap();
    assert!(ours.recv().unwrap().is_none());
    assert_late(child.join(), time);
}

fn a_worker_that_hangs_is_ended_although_the_program_is_stopped() {
    let mut program = this_program("asks_and_is_stopped")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let worker = first_line(&mut program).trim_end().parse().unwrap();
    let signal = |signal| {
        let pid = nix::unistd::Pid::from_raw(program.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    signal(nix::sys::signal::Signal::SIGSTOP);
    wait_until("it has stopped", || state(program.id()) == Some('T'));
    wait_until_gone(worker);
    assert_eq!(state(program.id()), Some('T'));
    signal(nix::sys::signal::Signal::SIGCONT);
    assert!(program.wait().unwrap().success());
}

/// [`a_timer_that_is_not_stopped_ends_an_idle_worker`] is the control.
fn a_worker_that_answers_in_time_outlives_many_deadlines() {
    let (timer, mut ours, child) = started_worker();
    let time = patience(Duration::from_secs(3));
    let begun = Instant::now();
    for number in 1.. {
        timer.start(time).unwrap();
        assert_eq!(ours.request(&number).unwrap(), number + 1);
        // The next request extends the deadline as well.
        if number % 2 == 0 {
            timer.stop().unwrap();
        }
        match number {
            // It may rest for longer than a request may take.
            2 => std::thread::sleep(time + time / 2),
            _ => std::thread::sleep(time / 100),
        }
        if begun.elapsed() > 4 * time {
            break;
        }
    }
    drop(ours);
    child.join().unwrap();
}

fn a_timer_that_is_not_stopped_ends_an_idle_worker() {
    let (timer, mut ours, child) = started_worker();
    let time = patience(Duration::from_secs(3));
    timer.start(time).unwrap();
    assert_eq!(ours.request(&7).unwrap(), 8);
    assert!(ours.recv().unwrap().is_none());
    assert_late(child.join(), time);
}

fn a_request_cannot_extend_the_deadline_of_the_call() {
    // A deadline counts from before the first child's keeper has been started.
    drop(started_worker());
    let time = Duration::from_secs(6);
    let policies = [
        (in_time("worker", time, ""), None),
        (builtin("worker"), Some(patience(time))),
    ];
    for (policy, deadline) in policies {
        let timer = RequestTimer::new().unwrap();
        let (mut ours, theirs) = duplex().unwrap();
        let call = serves.sandbox(&policy).request_timer(&timer);
        let call = match deadline {
            None => call,
            Some(time) => call.deadline(time),
        };
        timer.start(stays()).unwrap();
        let child = call.spawn(theirs).unwrap();
        assert_eq!(ours.request(&1).unwrap(), 2);
        ours.send(&0).unwrap();
        assert_late(child.join(), patience(time));
        // Nor does a request that was answered long before count as the late one.
        let timer = RequestTimer::new().unwrap();
        let (mut ours, theirs) = duplex().unwrap();
        let call = serves.sandbox(&policy).request_timer(&timer);
        let child = call.deadline(patience(time)).spawn(theirs).unwrap();
        assert_eq!(ours.request(&1).unwrap(), 2);
        timer.start(patience(time) / 2).unwrap();
        assert_eq!(ours.request(&1).unwrap(), 2);
        timer.stop().unwrap();
        assert_late(child.join(), patience(time));
    }
}

fn a_deadline_of_a_request_holds_after_the_handle_is_dropped() {
    let (timer, mut ours, child) = worker();
    assert_eq!(ours.request(&1).unwrap(), 2);
    let id = child.id().unwrap();
    // It hangs from then on, whatever comes first.
    ours.send(&0).unwrap();
    timer.start(Duration::from_millis(50)).unwrap();
    drop((child, timer));
    wait_until_gone(id);
}

fn a_timer_that_expires_before_the_child_has_started_ends_it() {
    let timer = RequestTimer::new().unwrap();
    timer.start(Duration::ZERO).unwrap();
    let (ours, theirs) = duplex().unwrap();
    let child = serves
        .sandbox(&builtin("worker"))
        .request_timer(&timer)
        .spawn(theirs)
        .unwrap();
    assert_late(child.join(), Duration::ZERO);
    drop(ours);
}

fn a_timer_serves_one_child() {
    let (timer, mut ours, child) = worker();
    let (_second, theirs) = duplex().unwrap();
    let refused = serves
        .sandbox(&builtin("worker"))
        .request_timer(&timer)
        .spawn(theirs);
    assert!(matches!(
        refused,
        Err(Error::Unsupported {
            kind: UnsupportedKind::TimerTaken,
            ..
        })
    ));
    assert_eq!(ours.request(&1).unwrap(), 2);
    drop(ours);
    child.join().unwrap();
}

fn a_function_without_a_sandbox_has_no_request_timer() {
    let timer = RequestTimer::new().unwrap();
    let (ours, theirs) = duplex().unwrap();
    let refused = serves_unconfined
        .builder()
        .request_timer(&timer)
        .spawn(theirs);
    assert!(matches!(
        refused,
        Err(Error::Unsupported {
            kind: UnsupportedKind::NoSandbox,
            ..
        })
    ));
    drop(ours);
    // The control.
    let (ours, theirs) = duplex().unwrap();
    drop(ours);
    serves_unconfined.run(theirs).unwrap();
    // A refused call does not use it up.
    let (ours, theirs) = duplex().unwrap();
    let call = serves.sandbox(&builtin("worker")).request_timer(&timer);
    drop(ours);
    call.run(theirs).unwrap();
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// The end of a worker that hangs in its second request, through a runtime's front.
macro_rules! late_in {
    ($runtime:ident, $spawn:ident, $time:expr) => {
        async {
            let timer = RequestTimer::new().unwrap();
            let (mut ours, theirs) = crossmist::$runtime::duplex::<u64, u64>().unwrap();
            let call = serves.sandbox(&builtin("worker")).request_timer(&timer);
            let child = call.$spawn(theirs.into()).await.unwrap();
            timer.start(stays()).unwrap();
            assert_eq!(ours.request(&1).await.unwrap(), 2);
            ours.send(&0).await.unwrap();
            timer.start($time).unwrap();
            assert!(ours.recv().await.unwrap().is_none());
            child.join().await
        }
    };
}

fn every_front_learns_that_a_request_was_late() {
    let time = Duration::from_millis(300);
    let (timer, mut ours, child) = worker();
    assert_eq!(ours.request(&1).unwrap(), 2);
    ours.send(&0).unwrap();
    timer.start(time).unwrap();
    assert!(ours.recv().unwrap().is_none());
    assert_late(child.join(), time);
    let late = tokio_runtime().block_on(late_in!(tokio, spawn_tokio, time));
    assert_late(late, time);
    let late = async_io::block_on(late_in!(smol, spawn_smol, time));
    assert_late(late, time);
}

/// Ends in the way that it is asked to.
#[func(sandbox = dynamic)]
fn ends(mut requests: Duplex<u64, u64>) {
    match requests.recv().unwrap() {
        Some(0) => drop(std::fs::create_dir("/nowhere/at/all")),
        Some(1) => panic!("no such request"),
        Some(2) => std::process::exit(3),
        Some(3) => hang(),
        // It returns, without an answer.
        Some(4) | None => {}
        // It closes the channel, and stays.
        Some(5) => {
            drop(requests);
            hang();
        }
        Some(number) => requests.send(&number).unwrap(),
    }
}

fn is_the_reason(request: u64, error: &Error, time: Duration) -> bool {
    match request {
        0 => matches!(error, Error::Violation(_)),
        1 => {
            matches!(error, Error::Panicked(panic) if panic.message.as_raw() == "no such request")
        }
        2 => matches!(error, Error::Exited { status: 3, .. }),
        3 => matches!(error, Error::Deadline { after, .. } if *after == time),
        _ => matches!(error, Error::Channel(ChannelError::NoAnswer)),
    }
}

/// The reason why a request got no answer, through a runtime's front.
macro_rules! reason_in {
    ($runtime:ident, $spawn:ident, $request:expr, $time:expr) => {
        async {
            let timer = RequestTimer::new().unwrap();
            let (mut ours, theirs) = crossmist::$runtime::duplex::<u64, u64>().unwrap();
            let call = ends.sandbox(&builtin("worker")).request_timer(&timer);
            let child = call.$spawn(theirs.into()).await.unwrap();
            if $request == 3 {
                timer.start($time).unwrap();
            }
            let error = ours.request(&$request).await.unwrap_err();
            child.explain(error).await
        }
    };
}

fn every_front_learns_why_a_channel_has_failed() {
    let time = Duration::from_millis(300);
    for request in 0..=5 {
        let timer = RequestTimer::new().unwrap();
        let (mut ours, theirs) = duplex().unwrap();
        let call = ends.sandbox(&builtin("worker")).request_timer(&timer);
        let child = call.spawn(theirs).unwrap();
        let id = child.id().unwrap();
        if request == 3 {
            timer.start(time).unwrap();
        }
        let error = ours.request(&request).unwrap_err();
        let reasons = [
            child.explain(error),
            tokio_runtime().block_on(reason_in!(tokio, spawn_tokio, request, time)),
            async_io::block_on(reason_in!(smol, spawn_smol, request, time)),
        ];
        for error in reasons {
            assert!(is_the_reason(request, &error, time), "{request}: {error:?}");
        }
        wait_until_gone(id);
    }
}

fn a_channel_that_has_not_failed_by_the_childs_end_is_the_reason_itself() {
    // The other end takes the answer for a text.
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    let child = ends.sandbox(&builtin("worker")).spawn(theirs).unwrap();
    let id = child.id().unwrap();
    let mut ours: Duplex<u64, String> = std::os::fd::OwnedFd::from(ours).try_into().unwrap();
    let error = ours.request(&u64::MAX).unwrap_err();
    assert!(matches!(error, ChannelError::Decode(_)), "{error:?}");
    let reason = child.explain(error);
    assert!(
        matches!(reason, Error::Channel(ChannelError::Decode(_))),
        "{reason:?}"
    );
    wait_until_gone(id);
    // A child that has been waited for has nothing more to say.
    let (ours, theirs) = duplex::<u64, u64>().unwrap();
    let mut child = ends.sandbox(&builtin("worker")).spawn(theirs).unwrap();
    drop(ours);
    assert!(matches!(child.join_timeout(stays()), Ok(Some(()))));
    let reason = child.explain(ChannelError::Closed);
    assert!(
        matches!(reason, Error::Channel(ChannelError::Closed)),
        "{reason:?}"
    );
}
