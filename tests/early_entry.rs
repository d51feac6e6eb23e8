//! The feature `early-entry`: plain tests under the stock runner call functions in children.

mod support;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crossmist::{Error, duplex, func};
use support::{raw, within};

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[test]
fn a_test_calls_functions() {
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add(5, 7), 12);
    let calls = (0..8).map(|number| std::thread::spawn(move || add.run(number, 1).unwrap()));
    let calls: Vec<_> = calls.collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.join().unwrap(), number as u64 + 1);
    }
}

#[func]
fn answer(mut chan: crossmist::Duplex<u64, u64>) {
    while let Some(number) = chan.recv().unwrap() {
        chan.send(&(number + 1)).unwrap();
    }
}

#[test]
fn channels_reach_its_children() {
    let (mut ours, theirs) = duplex::<u64, u64>().unwrap();
    let child = answer.spawn(theirs).unwrap();
    for number in 0..10 {
        assert_eq!(ours.request(&number).unwrap(), number + 1);
    }
    drop(ours);
    child.join().unwrap();
}

#[func]
fn panic_with(text: String) -> u64 {
    panic!("{text}")
}

#[func]
fn overflow(depth: u64) -> u64 {
    let place = std::hint::black_box([depth; 1000]);
    overflow(depth + 1) + place[0]
}

#[test]
fn its_children_fail_as_others_do() {
    let result = panic_with
        .builder()
        .stderr(crossmist::Stdio::Null)
        .run("text".to_owned());
    let Err(Error::Panicked(panic)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(panic.message.as_raw(), "text");
    assert!(panic.location.as_raw().starts_with("tests/early_entry.rs:"));
    // Rust's handler, which would say so first, is not there yet.
    let result = within(Duration::from_secs(20), || overflow.run(0));
    let Err(Error::Signalled { signal, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(signal, libc::SIGSEGV);
}

#[func]
fn print() -> Vec<String> {
    print!("without a line's end");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status
        .lines()
        .find(|line| line.starts_with("SigIgn:"))
        .unwrap();
    vec![ignored.to_owned()]
}

#[test]
fn its_children_print_and_ignore_sigpipe() {
    let (mut output, to_output) = std::io::pipe().unwrap();
    let result = print.builder().stdout(to_output).run().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "without a line's end");
    let mask = u64::from_str_radix(result[0].split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_ne!(mask & (1 << (libc::SIGPIPE - 1)), 0);
}

#[func]
fn add_further_down(depth: u64) -> u64 {
    match depth {
        0 => 1,
        depth => add_further_down.run(depth - 1).unwrap() + 1,
    }
}

#[test]
fn its_children_have_children() {
    assert_eq!(add_further_down.run(2).unwrap(), 3);
}

/// The program that the test below starts: this one, without a standard input.
#[test]
#[ignore = "started by another test"]
fn helper_reads_its_input() {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    assert_eq!(input, b"", "nothing, and not this executable");
    assert_eq!(
        add.builder()
            .stdin(crossmist::Stdio::Null)
            .run(5, 7)
            .unwrap(),
        12
    );
}

#[test]
fn a_program_without_standard_descriptors_keeps_them_free() {
    let output = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" --exact helper_reads_its_input --ignored <&-",
        ])
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_program_without_the_entry_in_its_main_has_no_second_main() {
    // The stock runner would print its list here.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--crossmist-child", "900", "add"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(102));
    assert_eq!(output.stdout, b"");
    let _ = raw::any_child();
}

// Every expectation of every built-in policy, in a child under that policy.
crossmist::policy_tests!(live);
