//! Honest Rust under the built-in filters: what a parser does must work, and what it can't have
//! must come back as an error that it can handle.
//!
//! Each workload runs in a process of its own, which is this test program again.

#![expect(unsafe_code, reason = "the filter is loaded by hand")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crossmist_policy::{Arch, Policy};

/// The variable that says what to run in this process, as `policy/workload`.
const ASKED: &str = "CROSSMIST_TEST_WORKLOAD";

const WORKLOADS: &[(&str, fn())] = &[
    ("computing", computing),
    ("files-that-are-held", files_that_are_held),
    ("panicking", panicking),
    ("no-threads", no_threads),
    ("threads", threads),
    ("what-is-not-there", what_is_not_there),
    ("event-loop", event_loop),
    ("aborting", aborting),
];

#[test]
#[ignore = "no test of its own, but what `run` runs"]
fn in_a_process_of_its_own() {
    let asked = std::env::var(ASKED).unwrap();
    let (policy, name) = asked.split_once('/').unwrap();
    let (_, workload) = WORKLOADS.iter().find(|(known, _)| *known == name).unwrap();
    if policy != "none" {
        confine(policy);
    }
    workload();
}

/// How it ended, and what it said.
fn run(policy: &str, workload: &str) -> (ExitStatus, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "in_a_process_of_its_own",
        "--test-threads=1",
    ]);
    // A backtrace opens files, which has to be answered by errors.
    command.env("RUST_BACKTRACE", "1");
    let output = command
        .env(ASKED, format!("{policy}/{workload}"))
        .output()
        .unwrap();
    (
        output.status,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn works(policy: &str, workload: &str) {
    let (status, said) = run(policy, workload);
    assert!(
        status.success(),
        "{workload} under {policy}: {status}\n{said}"
    );
}

#[test]
fn every_policy_lets_compute_read_and_panic() {
    for policy in ["pure", "parser", "worker", "file-reader", "network-client"] {
        for workload in ["computing", "files-that-are-held", "panicking"] {
            works(policy, workload);
        }
    }
}

#[test]
fn threads_start_where_they_are_allowed_and_are_refused_kindly_elsewhere() {
    for policy in ["parser", "worker", "network-client"] {
        works(policy, "threads");
    }
    works("pure", "no-threads");
    assert!(
        !run("parser", "no-threads").0.success(),
        "the control is no control"
    );
}

#[test]
fn what_is_not_there_is_an_error_and_not_a_death() {
    for policy in ["pure", "parser"] {
        works(policy, "what-is-not-there");
    }
    assert!(
        !run("none", "what-is-not-there").0.success(),
        "the control is no control"
    );
}

#[test]
fn a_worker_can_wait_for_events() {
    works("worker", "event-loop");
    assert!(
        !run("pure", "event-loop").0.success(),
        "the control is no control"
    );
}

#[test]
fn abort_is_sigabrt_and_not_a_violation() {
    for policy in ["none", "pure", "parser"] {
        assert_eq!(
            run(policy, "aborting").0.signal(),
            Some(libc::SIGABRT),
            "{policy}"
        );
    }
}

fn computing() {
    let mut map = HashMap::new();
    for number in 0..10_000u64 {
        map.entry(number % 97)
            .or_insert_with(Vec::new)
            .push(format!("{number}"));
    }
    assert_eq!(map.len(), 97);
    let mut big: Vec<u64> = (0..4_000_000).rev().collect();
    big.sort_unstable();
    big.resize(8_000_000, 1);
    drop(big);
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    assert!(start.elapsed() >= Duration::from_millis(2));
}

/// Pipes are made before, by the test program's own input and output.
fn files_that_are_held() {
    let mut text = String::new();
    std::io::stdin().take(10).read_to_string(&mut text).unwrap();
    std::io::stdout().write_all(b"out\n").unwrap();
    std::io::stderr().write_all(b"err\n").unwrap();
    let mut cursor = std::io::Cursor::new(vec![1, 2, 3]);
    cursor.seek(SeekFrom::End(-1)).unwrap();
}

fn panicking() {
    let caught = std::panic::catch_unwind(|| panic!("on purpose"));
    assert!(caught.is_err());
}

fn no_threads() {
    let refused = std::thread::Builder::new()
        .spawn(|| ())
        .map(drop)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
}

fn threads() {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for number in 0..4usize {
            let sender = sender.clone();
            let thread = std::thread::Builder::new().name(format!("worker {number}"));
            let work = move || {
                let parts: Vec<Vec<u8>> = (0..200).map(|size| vec![1; size * 1000]).collect();
                sender
                    .send(parts.iter().map(Vec::len).sum::<usize>())
                    .unwrap();
            };
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    drop(sender);
    assert_eq!(receiver.iter().sum::<usize>(), 4 * 19_900_000);
    let panicked = std::thread::spawn(|| panic!("on purpose")).join();
    assert!(panicked.is_err());
}

fn what_is_not_there() {
    let denied = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    denied(std::fs::File::open("/etc/passwd").unwrap_err());
    denied(std::fs::metadata("/etc/passwd").unwrap_err());
    denied(std::fs::read_link("/proc/self/exe").unwrap_err());
    denied(std::env::current_dir().unwrap_err());
    // Whatever it answers, it asks the scheduler and opens files of cgroups on the way.
    let _ = std::thread::available_parallelism();
}

fn event_loop() {
    use std::os::unix::net::UnixStream;
    let (mut one, mut two) = UnixStream::pair().unwrap();
    one.write_all(b"x").unwrap();
    let mut byte = [0];
    two.read_exact(&mut byte).unwrap();
    // SAFETY: takes no pointer.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
}

fn aborting() {
    std::process::abort();
}

/// Confines every thread of this process.
fn confine(name: &str) {
    let policy = Policy::builtin(name).unwrap().compile().unwrap();
    let mut program = policy.program(Arch::host().unwrap()).unwrap().clone();
    program.patch(std::process::id());
    let mut code: Vec<libc::sock_filter> = program
        .code
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect();
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: takes no pointer.
    let privs = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(privs, 0);
    let (mode, flags) = (
        libc::SECCOMP_SET_MODE_FILTER,
        libc::SECCOMP_FILTER_FLAG_TSYNC,
    );
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let loaded = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    assert_eq!(loaded, 0);
}
