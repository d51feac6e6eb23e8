//! Calls that the handler of SIGSYS answers by other calls, which may themselves be denied.

mod support;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use crossmist::{Error, SandboxPolicy, func};
use support::{Directory, raw};

fn main() {
    crossmist::init();
    support::main(
        cases![
            flags_that_may_not_be_set_are_an_error_in_a_traced_child_too,
            a_shared_mapping_that_may_not_be_a_private_one_is_a_violation,
        ],
        cases![helper_sets_flags],
    );
}

/// Makes a lent file non-blocking, several times.
#[func(sandbox = "parser")]
fn sets_flags(file: File) -> Vec<i32> {
    let set = |_| {
        let flags = libc::O_NONBLOCK as u64;
        let number = file.as_raw_fd() as u64;
        let result = raw::call(
            libc::SYS_fcntl,
            [number, libc::F_SETFL as u64, flags, 0, 0, 0],
        );
        result.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0)
    };
    (0..3).map(set).collect()
}

fn helper_sets_flags() {
    let file = || File::open("/dev/null").unwrap();
    assert_eq!(sets_flags.run(file()).unwrap(), [libc::EPERM; 3]);
    // The control: without confinement, it is done.
    assert_eq!(sets_flags.call_unconfined(file()), [0; 3]);
}

fn flags_that_may_not_be_set_are_an_error_in_a_traced_child_too() {
    for value in ["0", "1"] {
        let mut helper = Command::new(std::env::current_exe().unwrap());
        helper.args(["--case", "helper_sets_flags"]);
        let output = helper
            .env("CROSSMIST_TRACE_DENIALS", value)
            .output()
            .unwrap();
        assert!(output.status.success(), "{value}: {output:?}");
    }
}

/// Maps a file for reading, shared with others, and reads its first byte.
#[func(sandbox = dynamic)]
fn maps(file: File) -> Option<u8> {
    raw::map_shared(&file).ok()?.first().copied()
}

fn a_shared_mapping_that_may_not_be_a_private_one_is_a_violation() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let file = || File::open(&path).unwrap();
    let pure = SandboxPolicy::builtin("pure").unwrap();
    match maps.sandbox(&pure).run(file()) {
        Err(Error::Violation(violation)) => {
            let call = violation.claim.unwrap().call;
            assert!(
                call.starts_with("mmap(") && call.contains("MAP_SHARED"),
                "{call}"
            );
        }
        other => panic!("{other:?}"),
    }
    // The control: a policy that lets files be mapped privately answers it by that.
    let parser = SandboxPolicy::builtin("parser").unwrap();
    assert_eq!(maps.sandbox(&parser).run(file()).unwrap(), Some(b'x'));
}
