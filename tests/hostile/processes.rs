//! Children that are traced, that become another program, or whose first thread is gone.

use std::time::Duration;

use crossmist::{Error, func};

use crate::cases;
use crate::peer::{Unharmed, add, answer, wait_until_dead};
use crate::support::{Case, raw, wait_until, within};

pub(crate) const CASES: &[Case] = cases![
    a_tracer_that_keeps_the_status_holds_nothing_up,
    a_child_that_becomes_another_program_gives_no_result,
    a_dead_leader_is_not_a_dead_child,
];

/// Is traced by a process that doesn't wait for it, and ends.
#[func]
fn be_traced(until: std::io::PipeReader) -> u64 {
    raw::be_traced_by_a_child(until);
    raw::exit(3)
}

fn a_tracer_that_keeps_the_status_holds_nothing_up() {
    // The kernel gives the status to the tracer first, and that one doesn't take it.
    let (until, tracers_stay) = std::io::pipe().unwrap();
    let again = until.try_clone().unwrap();
    let result = within(Duration::from_secs(1), || be_traced.run(until));
    assert!(matches!(result, Err(Error::StatusTaken)), "{result:?}");
    let call = be_traced.builder().kill_on_drop(true);
    let child = call.spawn(again).unwrap();
    wait_until_dead(child.id().unwrap());
    within(Duration::from_secs(1), || drop(child));
    // And nobody spins meanwhile.
    let before = raw::processor_time();
    std::thread::sleep(Duration::from_secs(1));
    let used = raw::processor_time() - before;
    assert!(used < Duration::from_millis(200), "{used:?}");
    assert_eq!(add.run(5, 7).unwrap(), 12);
    // Once the tracers are gone nothing is left.
    drop(tracers_stay);
    wait_until("all are gone", || raw::any_child().is_none());
}

#[func]
fn become_another(program: String) -> u64 {
    use std::os::unix::process::CommandExt;
    let _ = std::process::Command::new(program).arg("1").exec();
    raw::exit(9)
}

fn a_child_that_becomes_another_program_gives_no_result() {
    let unharmed = Unharmed::so_far();
    // Which would keep all that `yes` writes.
    let call = || become_another.builder().stdout(crossmist::Stdio::Null);
    let result = call().run("true".to_owned());
    assert!(
        matches!(result, Err(Error::Exited { status: 0, .. })),
        "{result:?}"
    );
    let result = within(Duration::from_secs(4), || call().run("yes".to_owned()));
    assert!(
        matches!(result, Err(Error::Silent | Error::Signalled { .. })),
        "{result:?}"
    );
    unharmed.check();
}

/// Ends its first thread and answers from another.
#[func]
fn answer_from_another_thread() -> u64 {
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_millis(200));
        raw::send(raw::launch_socket(), &answer(5)).unwrap();
        raw::exit(0)
    });
    raw::exit_thread()
}

fn a_dead_leader_is_not_a_dead_child() {
    let unharmed = Unharmed::so_far();
    assert_eq!(answer_from_another_thread.run().unwrap(), 5);
    unharmed.check();
}
