//! Options of unconfined children: death with the program, process groups.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crossmist::{Child, Error, UnusableKind, func};
use support::{state, this_program, wait_until, wait_until_gone};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_child_dies_with_its_program_if_it_is_asked_to,
            it_dies_when_the_program_exits_or_becomes_another,
            it_survives_the_thread_that_started_it,
            it_has_the_restrictions_of_the_thread_that_calls,
            it_dies_with_a_forked_copy_that_started_it,
            a_process_group_of_its_own_is_spared_by_ctrl_c,
            a_process_group_can_be_joined,
            a_confined_child_has_no_process_group_to_choose,
        ],
        cases![helper_holds_a_child, helper_interrupts_its_group],
    );
}

#[func]
fn stays(time: Duration) {
    std::thread::sleep(time);
}

#[func]
fn add(x: u64, y: u64) -> u64 {
    x + y
}

#[func(sandbox = "parser")]
fn stays_confined(time: Duration) {
    std::thread::sleep(time);
}

/// Starts a child as it is told, prints its number, and ends as it is told.
fn helper_holds_a_child() {
    let arguments = support::case_arguments();
    let child = match arguments[0].as_str() {
        "dies" => stays
            .builder()
            .kill_on_parent_death(true)
            .spawn(support::stays()),
        "lives" => stays.spawn(support::stays()),
        "confined" => stays_confined
            .builder()
            .kill_on_parent_death(true)
            .spawn(support::stays()),
        "stopped" => stays
            .builder()
            .kill_on_parent_death(true)
            .spawn(support::stays()),
        other => panic!("{other}"),
    };
    let child = child.unwrap();
    if arguments[0] == "stopped" {
        signal(child.id().unwrap(), libc::SIGSTOP);
        wait_until("it has stopped", || state(child.id().unwrap()) == Some('T'));
    }
    println!("{}", child.id().unwrap());
    match arguments[1].as_str() {
        "wait" => std::thread::sleep(support::stays()),
        "exit" => std::process::exit(0),
        "exec" => {
            use std::os::unix::process::CommandExt;
            panic!("{}", Command::new("sleep").arg("50").exec());
        }
        other => panic!("{other}"),
    }
}

fn signal(pid: u32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// The helper, and its child's number.
fn helper(how: &str, end: &str) -> (std::process::Child, u32) {
    let mut program = this_program("helper_holds_a_child")
        .args([how, end])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = support::first_line(&mut program);
    (program, line.trim().parse().unwrap())
}

fn a_child_dies_with_its_program_if_it_is_asked_to() {
    for how in ["dies", "stopped", "confined"] {
        let (mut program, child) = helper(how, "wait");
        assert!(state(child).is_some_and(|state| state != 'Z'), "{how}");
        program.kill().unwrap();
        program.wait().unwrap();
        wait_until("it died", || state(child).is_none_or(|state| state == 'Z'));
    }
    // The control: without the option it lives.
    let (mut program, child) = helper("lives", "wait");
    program.kill().unwrap();
    program.wait().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(state(child).is_some_and(|state| state != 'Z'));
    signal(child, libc::SIGKILL);
}

fn it_dies_when_the_program_exits_or_becomes_another() {
    for end in ["exit", "exec"] {
        let (mut program, child) = helper("dies", end);
        wait_until("it died", || state(child).is_none_or(|state| state == 'Z'));
        program.kill().unwrap();
        program.wait().unwrap();
    }
}

fn it_survives_the_thread_that_started_it() {
    let call = || {
        let child = stays
            .builder()
            .kill_on_parent_death(true)
            .spawn(support::stays());
        child.unwrap()
    };
    let child: Child<()> = std::thread::spawn(call).join().unwrap();
    let id = child.id().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(state(id).is_some_and(|state| state != 'Z'));
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
    // And calls as any other, from many threads.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let call = add.builder().kill_on_parent_death(true);
                assert_eq!(call.run(thread, 1).unwrap(), thread + 1);
            });
        }
    });
}

/// Whether this thread has no_new_privs, which it passes on as it does Landlock and seccomp.
#[func]
fn is_restricted() -> bool {
    nix::sys::prctl::get_no_new_privs().unwrap()
}

fn it_has_the_restrictions_of_the_thread_that_calls() {
    let call = || is_restricted.builder().kill_on_parent_death(true).run();
    // The first call of all decides nothing for the others.
    assert!(!call().unwrap());
    let restricted = std::thread::spawn(move || {
        nix::sys::prctl::set_no_new_privs().unwrap();
        // The control: a child without the option.
        assert!(is_restricted.run().unwrap());
        call().unwrap()
    });
    assert!(restricted.join().unwrap());
    assert!(!call().unwrap());
}

fn it_dies_with_a_forked_copy_that_started_it() {
    // A call before the copy, which lacks its thread.
    let call = || add.builder().kill_on_parent_death(true);
    assert_eq!(call().run(1, 2).unwrap(), 3);
    let (reader, writer) = std::io::pipe().unwrap();
    let copy = support::raw::fork(move || {
        use std::io::Write;
        let child = stays
            .builder()
            .kill_on_parent_death(true)
            .spawn(support::stays())
            .unwrap();
        writeln!(&writer, "{}", child.id().unwrap()).unwrap();
        std::mem::forget(child);
    });
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert_eq!(support::raw::exit_status(copy), 0);
    wait_until_gone(line.trim().parse().unwrap());
    assert_eq!(call().run(1, 2).unwrap(), 3);
}

#[func]
fn finishes(mut go: crossmist::Receiver<()>) -> u64 {
    go.recv().unwrap();
    7
}

/// Handles Ctrl-C, and wants to finish the calls under way.
fn helper_interrupts_its_group() {
    support::raw::handle(libc::SIGINT);
    let start = |group: Option<i32>| {
        let (go, gone) = crossmist::channel().unwrap();
        let call = finishes.builder();
        let call = match group {
            Some(group) => call.process_group(group),
            None => call,
        };
        (go, call.spawn(gone).unwrap())
    };
    let (_kept, hit) = start(None);
    let (go, spared) = start(Some(0));
    let own = nix::unistd::getpgrp();
    nix::sys::signal::killpg(own, nix::sys::signal::Signal::SIGINT).unwrap();
    // The control: who is in the group dies of it.
    let result = hit.join();
    let Err(Error::Signalled { signal, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(signal, libc::SIGINT);
    drop(go);
    assert_eq!(spared.join().unwrap(), 7);
}

fn a_process_group_of_its_own_is_spared_by_ctrl_c() {
    use std::os::unix::process::CommandExt;
    let status = this_program("helper_interrupts_its_group")
        .process_group(0)
        .status();
    assert!(status.unwrap().success());
}

fn group_of(pid: u32) -> i32 {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    nix::unistd::getpgid(Some(pid)).unwrap().as_raw()
}

fn a_process_group_can_be_joined() {
    let first = stays
        .builder()
        .process_group(0)
        .spawn(support::stays())
        .unwrap();
    let group = i32::try_from(first.id().unwrap()).unwrap();
    assert_eq!(group_of(first.id().unwrap()), group);
    let second = stays
        .builder()
        .process_group(group)
        .spawn(support::stays())
        .unwrap();
    assert_eq!(group_of(second.id().unwrap()), group);
    first.kill().unwrap();
    second.kill().unwrap();
    // One that there isn't is an error that names the step.
    let result = stays
        .builder()
        .process_group(i32::MAX)
        .run(support::stays());
    let Err(Error::Launch { step, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(step, "move to its process group");
}

fn a_confined_child_has_no_process_group_to_choose() {
    let result = stays_confined
        .builder()
        .process_group(0)
        .run(support::stays());
    let Err(Error::Policy { kind, reason, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(kind, UnusableKind::Option);
    assert!(reason.contains("leave out `process_group`"), "{reason}");
    // It is in no group of this program's anyway.
    let child = stays_confined.spawn(support::stays()).unwrap();
    assert_ne!(
        group_of(child.id().unwrap()),
        nix::unistd::getpgrp().as_raw()
    );
    child.kill().unwrap();
}
