//! On a kernel older than the library needs, every call is refused with an error that names the oldest
//! kernel that will do. On any other kernel the same calls succeed.

mod support;

use std::error::Error as _;

use crossmist::{Child, Error, SandboxPolicy, func};
use support::raw;

/// The oldest kernel that the library needs.
const OLDEST: Version = (5, 11);

/// Each built-in policy with the oldest kernel that can hold to it: the last two have Landlock confine
/// paths and ports.
const POLICIES: [(&str, Version); 6] = [
    ("pure", OLDEST),
    ("parser", OLDEST),
    ("worker", OLDEST),
    ("unconfined", OLDEST),
    ("file-reader", (5, 13)),
    ("network-client", (6, 7)),
];

/// Major and minor.
type Version = (u32, u32);

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_call_needs_the_kernel_that_its_error_names,
            a_confined_call_needs_the_kernel_that_its_error_names,
            a_call_under_any_built_in_policy_needs_the_kernel_that_its_error_names,
        ],
        &[],
    );
}

#[func]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[func(sandbox = "parser")]
fn parse(a: u64, b: u64) -> u64 {
    a + b
}

#[func(sandbox = dynamic)]
fn under_any(a: u64, b: u64) -> u64 {
    a + b
}

fn a_call_needs_the_kernel_that_its_error_names() {
    judge(OLDEST, add.run(5, 7));
    judge(OLDEST, add.builder().run(5, 7));
    judge(OLDEST, add.spawn(5, 7).and_then(Child::join));
}

fn a_confined_call_needs_the_kernel_that_its_error_names() {
    judge(OLDEST, parse.run(5, 7));
    judge(OLDEST, parse.builder().run(5, 7));
    judge(OLDEST, parse.spawn(5, 7).and_then(Child::join));
}

fn a_call_under_any_built_in_policy_needs_the_kernel_that_its_error_names() {
    for (name, oldest) in POLICIES {
        let policy = SandboxPolicy::builtin(name).unwrap();
        judge(oldest, under_any.sandbox(&policy).run(5, 7));
    }
}

/// Holds the result of a call, which needs a kernel, to what this kernel is.
#[track_caller]
fn judge(oldest: Version, result: Result<u64, Error>) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    if version(&release) >= oldest {
        assert_eq!(result.unwrap(), 12, "Linux {release}");
        return;
    }
    let error = result.expect_err("no call succeeds on this kernel");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    let (major, minor) = oldest;
    assert!(text.contains(&format!("Linux {major}.{minor}")), "{text}");
    assert_eq!(raw::any_child(), None, "a child is left");
    println!("{text}");
}

/// The version of a release such as `6.1.0-50-cloud-amd64`.
fn version(release: &str) -> Version {
    let mut parts = release
        .trim()
        .split(['.', '-', '+'])
        .map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}
