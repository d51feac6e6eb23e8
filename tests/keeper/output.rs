//! The output of children: nobody waits for it, and no other child has it.

use std::time::{Duration, Instant};

use crossmist::{Child, SandboxPolicy, func};

use crate::cases;
use crate::functions::{add, sleep};
use crate::support::{self, Case, patience, stays, this_program, wait_until_gone, within};

pub(crate) const CASES: &[Case] = cases![
    a_flood_of_standard_error_holds_nobody_up,
    the_output_of_one_child_is_in_no_other,
    a_flood_holds_up_no_deadline,
    a_reader_of_standard_error_that_stays_away_holds_nobody_up,
];

pub(crate) const HELPERS: &[Case] = cases![helper_floods, helper_shouts];

#[func(sandbox = dynamic)]
fn shouts(lines: u32) -> u32 {
    for line in 0..lines {
        eprintln!("{line} {}", "x".repeat(500));
    }
    lines
}

fn a_flood_of_standard_error_holds_nobody_up() {
    let mut quiet = this_program("a_flood_of_standard_error_holds_nobody_up");
    // The processor time of an emulated machine includes what others take of it, and a child whose output
    // costs that much is ended.
    let lines = support::repetitions(5000);
    if std::env::var_os("SHOUT").is_some() {
        let policy = support::builtin("parser");
        assert_eq!(shouts.sandbox(&policy).run(lines).unwrap(), lines);
        return;
    }
    let output = quiet.env("SHOUT", "1").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.trim_end().lines().last().unwrap();
    assert!(output.status.success(), "{last}");
    // The end of it is kept.
    assert!(text.len() < 80 << 10, "{}", text.len());
    assert!(last.contains(&format!("]: {} x", lines - 1)), "{last}");
}

/// Hides a secret, so that only its owner has it.
const MASK: u8 = 0x55;

#[func(sandbox = "parser")]
fn prints(hidden: Vec<u8>) {
    let secret: String = hidden.iter().map(|byte| char::from(byte ^ MASK)).collect();
    eprintln!("{secret}");
}

/// How often a secret is in this process's memory; with `plants` it is, at least once.
#[func(sandbox = dynamic)]
pub(crate) fn finds(hidden: Vec<u8>, plants: bool) -> usize {
    use std::os::unix::fs::FileExt;
    let planted: Vec<u8> = match plants {
        true => hidden.iter().map(|byte| byte ^ MASK).collect(),
        false => Vec::new(),
    };
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; (number(end) - number(start)) as usize];
        // The kernel's own pages can't be read.
        if memory.read_exact_at(&mut bytes, number(start)).is_ok() {
            let is_it = |window: &[u8]| window.iter().zip(&hidden).all(|(a, b)| *a == b ^ MASK);
            found += bytes
                .windows(hidden.len())
                .filter(|window| is_it(window))
                .count();
        }
    }
    std::hint::black_box(planted);
    found
}

fn the_output_of_one_child_is_in_no_other() {
    let secret = format!("the password is {}", std::process::id());
    let hidden: Vec<u8> = secret.bytes().map(|byte| byte ^ MASK).collect();
    let text = "format = 1\nextends = [\"unconfined\"]\n";
    let open = SandboxPolicy::from_toml("open", text).unwrap();
    // The control: where it is, it is found.
    assert!(finds.sandbox(&open).run(hidden.clone(), true).unwrap() > 0);
    for _ in 0..3 {
        prints.run(hidden.clone()).unwrap();
        assert_eq!(finds.sandbox(&open).run(hidden.clone(), false).unwrap(), 0);
    }
}

/// Writes to standard error without end, on two threads.
#[func(sandbox = "parser")]
fn floods() {
    use std::io::Write;
    let flood = || while std::io::stderr().write_all(&[b'x'; 60_000]).is_ok() {};
    std::thread::scope(|scope| {
        scope.spawn(flood);
        flood();
    });
}

fn a_flood_holds_up_no_deadline() {
    let output = this_program("helper_floods").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn helper_floods() {
    // Deadlines count from before the first child's keeper has been started.
    assert_eq!(add.run(1, 2).unwrap(), 3);
    // More of them than there are processors to stop at the same time.
    let children: Vec<_> = (0..4)
        .map(|_| {
            let deadline = patience(Duration::from_millis(500));
            floods.builder().deadline(deadline).spawn().unwrap()
        })
        .collect();
    let quiet = sleep
        .builder()
        .deadline(patience(Duration::from_millis(500)))
        .spawn(stays())
        .unwrap();
    let ids: Vec<_> = children
        .iter()
        .chain([&quiet])
        .filter_map(Child::id)
        .collect();
    // Nobody but the keeper looks after them.
    children.into_iter().for_each(std::mem::forget);
    std::mem::forget(quiet);
    within(Duration::from_secs(5), || {
        ids.into_iter().for_each(wait_until_gone)
    });
}

#[func(sandbox = "parser")]
fn newlines() {
    use std::io::Write;
    std::io::stderr().write_all(&[b'\n'; 64 << 10]).unwrap();
}

fn a_reader_of_standard_error_that_stays_away_holds_nobody_up() {
    let (reader, writer) = std::io::pipe().unwrap();
    let begun = Instant::now();
    let status = this_program("helper_shouts")
        .stderr(writer)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(
        begun.elapsed() < support::patience(Duration::from_secs(20)),
        "{:?}",
        begun.elapsed()
    );
    drop(reader);
    // A terminal says that it can be written to, and then waits.
    let terminal = nix::pty::openpty(None, None).unwrap();
    within(Duration::from_secs(5), || {
        let status = this_program("helper_shouts")
            .stderr(terminal.slave)
            .status();
        assert!(status.unwrap().success());
    });
    // And a pipe for many at once, of which all but one find it full.
    let (reader, writer) = std::io::pipe().unwrap();
    within(Duration::from_secs(5), || {
        let status = this_program("helper_shouts")
            .arg("together")
            .stderr(writer)
            .status();
        assert!(status.unwrap().success());
    });
    drop(reader);
}

fn helper_shouts() {
    if support::case_arguments() == ["together"] {
        let calls: Vec<_> = (0..16)
            .map(|_| std::thread::spawn(|| newlines.run().unwrap()))
            .collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
    }
    for _ in 0..3 {
        newlines.run().unwrap();
    }
}
