//! Many calls, and that nothing is left of them.

use std::os::fd::{AsRawFd, OwnedFd};

use crossmist::{Error, Stdio};

use crate::cases;
use crate::functions::{add, ended, reverse, sleep_for, take};
use crate::panics::panic_in_a_way;
use crate::support::{self, Case, Holdings, wait_until_none_is_left};

pub(crate) const CASES: &[Case] = cases![
    many_calls_at_once_from_many_threads,
    a_thousand_calls_leave_nothing_behind,
    failing_calls_leave_nothing_behind,
    a_failing_case_fails_the_test_binary,
];

pub(crate) const HELPERS: &[Case] = cases![helper_that_fails];

fn many_calls_at_once_from_many_threads() {
    // Alive when it is dropped, so that the thread for such children is there from here on.
    drop(sleep_for.spawn(50).unwrap());
    wait_until_none_is_left();
    let before = Holdings::now();
    std::thread::scope(|scope| {
        for thread in 0..20 {
            scope.spawn(move || {
                for number in 0..10 {
                    let bytes = vec![thread as u8; (number * 40_000) as usize];
                    assert_eq!(add.run(thread, number).unwrap(), thread + number);
                    assert_eq!(reverse.run(bytes.clone()).unwrap(), bytes);
                    drop(add.spawn(1, 2).unwrap());
                }
            });
        }
    });
    wait_until_none_is_left();
    before.assert_same();
}

fn a_thousand_calls_leave_nothing_behind() {
    for _ in 0..50 {
        assert_eq!(add.run(1, 2).unwrap(), 3);
    }
    let before = Holdings::now();
    for number in 0..1000 {
        assert_eq!(add.run(number, 2).unwrap(), number + 2);
    }
    before.assert_same();
    before.assert_memory(1 << 20);
}

fn failing_calls_leave_nothing_behind() {
    let _ = ended("_exit", 3);
    let before = Holdings::now();
    for _ in 0..100 {
        let result = ended("_exit", 3);
        assert!(
            matches!(result, Err(Error::Exited { status: 3, .. })),
            "{result:?}"
        );
        let panicking = panic_in_a_way.builder().stderr(Stdio::Null);
        let result = panicking.run("str".to_owned());
        assert!(matches!(result, Err(Error::Panicked(_))), "{result:?}");
        let result = add.builder().current_dir("/nowhere").run(1, 2);
        let Err(Error::Launch { step, source, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(
            (step, source.raw_os_error()),
            ("change the working directory", Some(libc::ENOENT))
        );
        let (reader, writer) = std::io::pipe().unwrap();
        let (reader, writer): (OwnedFd, OwnedFd) = (reader.into(), writer.into());
        assert!(reader.as_raw_fd() != writer.as_raw_fd());
        let result = take.run(reader, writer);
        assert!(matches!(result, Err(Error::Exited { .. })), "{result:?}");
    }
    before.assert_same();
    before.assert_memory(1 << 20);
}

/// The runner of these tests itself: a failure is a failure of the whole.
fn a_failing_case_fails_the_test_binary() {
    let output = support::this_program("helper_that_fails").output().unwrap();
    assert_eq!(output.status.code(), Some(101));
    // And the runner of cases passes it on: here by a name that matches none, and one that fails.
    let program = std::fs::read_link("/proc/self/exe").unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "what_cannot_be_passed_to_a_program_is_an_error"])
        .env(support::FAIL_ALL, "1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(101));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 failed"), "{text}");
}

fn helper_that_fails() {
    panic!("on purpose");
}
