//! Ends that follow from each other: of the program, the keeper, its children.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossmist::{Child, Error, func};

use crate::cases;
use crate::functions::{add, kill, long_sleep, parent, sleep};
use crate::support::{
    self, Case, patience, raw, state, stays, this_program, wait_until_ended, wait_until_gone,
    within,
};

pub(crate) const CASES: &[Case] = cases![
    a_keeper_with_little_processor_time_left_is_replaced,
    a_killed_program_takes_every_child_with_it,
    a_program_that_ends_takes_every_child_with_it,
    a_killed_keeper_takes_its_children_and_the_next_call_works,
    a_dropped_child_runs_on_until_its_deadline,
    a_child_that_is_killed_on_drop_is_gone,
    a_kill_handle_kills,
    the_program_has_no_children,
    a_forked_copy_has_a_keeper_of_its_own,
    a_prefork_server_of_four_calls,
    signals_from_a_terminal_leave_the_keeper_alone,
];

pub(crate) const HELPERS: &[Case] = cases![helper_holds_children, helper_calls_on_interrupt];

/// Starts children and says which they are, the keeper first; then waits.
fn helper_holds_children() {
    let children: Vec<_> = (0..5).map(|_| long_sleep()).collect();
    let keeper = parent(children[0].id().unwrap());
    let ids: Vec<String> = children
        .iter()
        .map(|child| child.id().unwrap().to_string())
        .collect();
    println!("{keeper} {}", ids.join(" "));
    if support::case_arguments() == ["end"] {
        return;
    }
    std::thread::sleep(stays());
}

fn helper(argument: &str) -> (std::process::Child, Vec<u32>) {
    let mut program = this_program("helper_holds_children")
        .arg(argument)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    let ids = line
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    (program, ids)
}

fn a_killed_program_takes_every_child_with_it() {
    let (mut program, ids) = helper("wait");
    assert_eq!(ids.len(), 6);
    assert!(ids.iter().all(|id| state(*id).is_some()));
    within(Duration::from_secs(1), || {
        program.kill().unwrap();
        program.wait().unwrap();
        all_gone(&ids);
    });
}

/// Waits for the end of a keeper and its children, for which it waits.
fn all_gone(ids: &[u32]) {
    ids[1..].iter().for_each(|id| wait_until_gone(*id));
    wait_until_ended(ids[0]);
}

fn a_program_that_ends_takes_every_child_with_it() {
    let (mut program, ids) = helper("end");
    within(Duration::from_secs(1), || {
        assert!(program.wait().unwrap().success());
        all_gone(&ids);
    });
}

fn a_killed_keeper_takes_its_children_and_the_next_call_works() {
    let children: Vec<_> = (0..3).map(|_| long_sleep()).collect();
    let ids: Vec<u32> = children.iter().filter_map(Child::id).collect();
    let keeper = parent(ids[0]);
    assert!(ids.iter().all(|id| parent(*id) == keeper));
    assert_ne!(keeper, std::process::id());
    kill(keeper, libc::SIGKILL);
    for child in children {
        let result = within(Duration::from_secs(1), || child.join());
        assert!(matches!(result, Err(Error::KeeperDied)), "{result:?}");
    }
    ids.iter().for_each(|id| wait_until_gone(*id));
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let next = long_sleep();
    assert_ne!(parent(next.id().unwrap()), keeper);
    next.kill().unwrap();
}

fn a_dropped_child_runs_on_until_its_deadline() {
    // A deadline counts from before the first child's keeper has been started.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    let child = sleep
        .builder()
        .deadline(patience(Duration::from_secs(4)))
        .spawn(stays())
        .unwrap();
    let id = child.id().unwrap();
    drop(child);
    std::thread::sleep(Duration::from_millis(100));
    assert!(state(id).is_some());
    within(Duration::from_secs(4), || wait_until_gone(id));
}

fn a_child_that_is_killed_on_drop_is_gone() {
    let child = sleep.builder().kill_on_drop(true).spawn(stays()).unwrap();
    let id = child.id().unwrap();
    drop(child);
    within(Duration::from_secs(1), || wait_until_gone(id));
}

fn a_kill_handle_kills() {
    let child = long_sleep();
    let handle = child.kill_handle();
    let killer = std::thread::spawn(move || handle.kill());
    let result = within(Duration::from_secs(1), || child.join());
    assert!(matches!(result, Err(Error::Killed)), "{result:?}");
    killer.join().unwrap().unwrap();
}

fn the_program_has_no_children() {
    raw::handle(libc::SIGCHLD);
    let child = long_sleep();
    // Neither the keeper nor its child: `wait` of the program finds none, and no signal came.
    assert_eq!(raw::any_child(), None);
    child.kill().unwrap();
    drop(child);
    // A program that ignores SIGCHLD loses nothing.
    raw::ignore(libc::SIGCHLD);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    let result = sleep
        .builder()
        .deadline(patience(Duration::from_secs(2)))
        .run(stays());
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

fn a_forked_copy_has_a_keeper_of_its_own() {
    let before = raw::in_fork(|| assert_eq!(add.run(1, 2).unwrap(), 3));
    assert_eq!(before, 0);
    let child = long_sleep();
    let keeper = parent(child.id().unwrap());
    let copy = raw::in_fork(|| {
        let own = long_sleep();
        assert_ne!(parent(own.id().unwrap()), keeper);
        own.kill().unwrap();
    });
    assert_eq!(copy, 0);
    // The end of the copy is not the end of the original, nor of its children.
    std::thread::sleep(Duration::from_millis(100));
    assert!(state(child.id().unwrap()).is_some());
    assert_eq!(add.run(5, 7).unwrap(), 12);
    child.kill().unwrap();
}

fn a_prefork_server_of_four_calls() {
    add.run(0, 0).unwrap();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            raw::fork(|| {
                for call in 0..20 {
                    assert_eq!(add.run(call, call).unwrap(), 2 * call);
                }
            })
        })
        .collect();
    for worker in workers {
        assert_eq!(raw::exit_status(worker), 0);
    }
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

/// Survives Ctrl-C, and finishes its call.
fn helper_calls_on_interrupt() {
    raw::ignore(libc::SIGINT);
    raw::ignore(libc::SIGTSTP);
    let child = sleep.spawn(Duration::from_millis(700)).unwrap();
    println!("ready");
    child.join().unwrap();
    assert_eq!(add.run(5, 7).unwrap(), 12);
}

fn signals_from_a_terminal_leave_the_keeper_alone() {
    let mut program: std::process::Child = {
        let mut command: Command = this_program("helper_calls_on_interrupt");
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    support::first_line(&mut program);
    let group = nix::unistd::Pid::from_raw(program.id().try_into().unwrap());
    for signal in [libc::SIGINT, libc::SIGTSTP] {
        let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
        nix::sys::signal::killpg(group, signal).unwrap();
    }
    assert!(program.wait().unwrap().success());
}

/// Prints more than anybody reads.
#[func(sandbox = "worker")]
fn floods() {
    for _ in 0..256 {
        nix::unistd::write(std::io::stderr(), &[b'x'; 64 << 10]).unwrap();
    }
}

fn a_keeper_with_little_processor_time_left_is_replaced() {
    use nix::sys::resource::{Resource, setrlimit};
    // For this process, and for the keeper. A quarter of it is for the calls in progress when the keeper
    // is replaced: on a slow machine, one of them takes seconds.
    let seconds = patience(Duration::from_secs(1)).as_secs().max(4);
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds).unwrap();
    let mut kept = long_sleep();
    let first = parent(kept.id().unwrap());
    let begun = std::time::Instant::now();
    loop {
        floods.run().unwrap();
        let next = long_sleep();
        let keeper = parent(next.id().unwrap());
        next.kill().unwrap();
        let result = next.join();
        assert!(matches!(result, Err(Error::Killed)), "{result:?}");
        if keeper != first {
            break;
        }
        assert!(begun.elapsed() < patience(Duration::from_secs(300)));
    }
    // Calls that it has accepted continue, until all is to end.
    assert!(matches!(kept.try_join(), Ok(None)));
    crossmist::keeper::end();
    let id = kept.id().unwrap();
    assert!(matches!(kept.join(), Err(Error::KeeperDied)));
    wait_until_gone(id);
    wait_until_ended(first);
}
