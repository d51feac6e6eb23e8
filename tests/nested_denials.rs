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
            a_shared_mapping_whose_flags_or_length_may_not_be_private_is_a_violation,
            the_metadata_of_a_descriptor_that_may_not_be_asked_for_is_a_violation,
            a_file_whose_flags_or_length_may_not_be_asked_for_is_not_lengthened,
            flags_that_may_not_be_asked_for_are_not_set,
            a_call_fails_as_the_call_that_would_answer_it,
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

/// Asserts that a call ended in a violation, and that the child reported a call that begins so.
#[track_caller]
fn assert_violation<T: std::fmt::Debug>(result: Result<T, Error>, beginning: &str) {
    match result {
        Err(Error::Violation(violation)) => {
            let call = violation.claim.unwrap().call;
            assert!(call.starts_with(beginning), "{call}");
        }
        other => panic!("{other:?}"),
    }
}

/// Returns a policy that extends another one by these lines under `[syscalls]`.
fn policy(extends: &str, lines: &str) -> SandboxPolicy {
    let text = format!(
        "format = 1\nextends = [\"{extends}\"]\n[limits]\nfile_size = \"1MiB\"\n[syscalls]\n{lines}\n"
    );
    SandboxPolicy::from_toml("own", &text).unwrap()
}

/// Makes one call on a lent file, and returns its error number, or 0.
#[func(sandbox = dynamic)]
fn calls(file: File, number: i64, mut arguments: [u64; 6], at: usize) -> i32 {
    arguments[at] = file.as_raw_fd() as u64;
    let result = raw::call(number, arguments);
    result.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0)
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
    assert_violation(
        maps.sandbox(&pure).run(file()),
        "mmap(NULL, 1, PROT_READ, MAP_SHARED",
    );
    // The control: a policy that lets files be mapped privately answers it by that.
    let parser = SandboxPolicy::builtin("parser").unwrap();
    assert_eq!(maps.sandbox(&parser).run(file()).unwrap(), Some(b'x'));
}

fn a_shared_mapping_whose_flags_or_length_may_not_be_private_is_a_violation() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, [b'x'; 8192]).unwrap();
    let mapped = |policy: &SandboxPolicy, flags: i32, length: u64| {
        let (prot, flags) = (libc::PROT_READ as u64, flags as u64);
        let arguments = [0, length, prot, flags, 0, 0];
        let file = File::open(&path).unwrap();
        calls
            .sandbox(policy)
            .run(file, libc::SYS_mmap, arguments, 4)
    };
    let narrow = policy(
        "pure",
        "allow = [\"mmap(prot == PROT_READ && flags == MAP_PRIVATE && len <= 4096)\"]",
    );
    let parser = SandboxPolicy::builtin("parser").unwrap();
    let (populate, reserve_none) = (libc::MAP_POPULATE, libc::MAP_NORESERVE);
    for (more, length) in [
        (populate, 4096),
        (reserve_none, 4096),
        (populate | reserve_none, 4096),
        (0, 8192),
    ] {
        let flags = libc::MAP_SHARED | more;
        let denied = mapped(&narrow, flags, length);
        assert_violation(
            denied,
            &format!("mmap(NULL, {length}, PROT_READ, MAP_SHARED"),
        );
        // The control: a policy that allows the private mapping with the same flags and length.
        assert_eq!(mapped(&parser, flags, length).unwrap(), 0);
    }
    // What the policy does allow privately is still answered.
    assert_eq!(mapped(&narrow, libc::MAP_SHARED, 4096).unwrap(), 0);
}

/// Asks for a descriptor's metadata in the way of older C libraries.
#[func(sandbox = dynamic)]
fn measures(file: File) -> i32 {
    let mut room = [0u64; 64];
    let (fd, path, flags) = (file.as_raw_fd() as u64, c"", libc::AT_EMPTY_PATH as u64);
    let (path, room) = (path.as_ptr() as u64, room.as_mut_ptr() as u64);
    let result = raw::call(libc::SYS_newfstatat, [fd, path, room, flags, 0, 0]);
    result.map_or_else(|error| error.raw_os_error().unwrap_or(0), |_| 0)
}

fn the_metadata_of_a_descriptor_that_may_not_be_asked_for_is_a_violation() {
    let file = || File::open("/dev/null").unwrap();
    let denied = policy("pure", "deny = [\"fstat\"]");
    assert_violation(measures.sandbox(&denied).run(file()), "newfstatat(");
    // The control: `pure` itself answers it.
    let pure = SandboxPolicy::builtin("pure").unwrap();
    assert_eq!(measures.sandbox(&pure).run(file()).unwrap(), 0);
}

fn a_file_whose_flags_or_length_may_not_be_asked_for_is_not_lengthened() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    let lengthen = |policy: &SandboxPolicy| {
        let file = File::create(&path).unwrap();
        let arguments = [0, 100, 0, 0, 0, 0];
        calls
            .sandbox(policy)
            .run(file, libc::SYS_ftruncate, arguments, 0)
    };
    let length = || std::fs::metadata(&path).unwrap().len();
    for call in ["fcntl", "fstat", "pwrite64"] {
        let denied = policy("pure", &format!("deny = [\"{call}\"]"));
        assert_violation(lengthen(&denied), "ftruncate(");
        assert_eq!(length(), 0, "{call}");
    }
    // The control: the same policy without that line lengthens it.
    assert_eq!(lengthen(&policy("pure", "")).unwrap(), 0);
    assert_eq!(length(), 100);
}

fn flags_that_may_not_be_asked_for_are_not_set() {
    let set = |policy: &SandboxPolicy| {
        let flags = libc::O_NONBLOCK as u64;
        let arguments = [0, libc::F_SETFL as u64, flags, 0, 0, 0];
        let file = File::open("/dev/null").unwrap();
        calls
            .sandbox(policy)
            .run(file, libc::SYS_fcntl, arguments, 0)
    };
    let denied = policy("pure", "deny = [\"fcntl(cmd == F_GETFL)\"]");
    assert_violation(set(&denied), "fcntl(");
    // The control: the flags can be asked for, and may not be set.
    assert_eq!(set(&policy("pure", "")).unwrap(), libc::EPERM);
}

fn a_call_fails_as_the_call_that_would_answer_it() {
    let file = || File::open("/dev/null").unwrap();
    let answered = policy("pure", "replace = [\"fstat\"]\nerrno.ENOSYS = [\"fstat\"]");
    let result = measures.sandbox(&answered).run(file());
    assert_eq!(result.unwrap(), libc::ENOSYS);
    // The control: `fstat` itself is answered so.
    let asks = calls
        .sandbox(&answered)
        .run(file(), libc::SYS_fstat, [0; 6], 0);
    assert_eq!(asks.unwrap(), libc::ENOSYS);
}
