//! The built-in policies: sound, as described, and pinned by golden files.
//!
//! `CROSSMIST_BLESS=1 cargo test -p crossmist-policy` writes the golden files anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/golden.rs"]
mod golden;

use crossmist_policy::bpf::disassemble::disassemble;
use crossmist_policy::{Arch, Compiled, Kernel, Policy, Unenforceable};
use golden::compare_with_file;

fn compiled(name: &str) -> Compiled {
    let policy = Policy::builtin(name).unwrap_or_else(|report| panic!("{report}"));
    policy.compile().unwrap()
}

#[test]
fn every_built_in_policy_meets_its_own_expectations() {
    for name in Policy::builtin_names() {
        let policy = Policy::builtin(name).unwrap_or_else(|report| panic!("{report}"));
        assert!(policy.description().is_some());
    }
}

#[test]
fn the_landlock_that_is_needed_is_what_only_landlock_denies() {
    let required = |name| compiled(name).required_abi();
    assert_eq!(required("pure"), 0);
    assert_eq!(required("parser"), 0);
    assert_eq!(required("worker"), 0);
    assert_eq!(required("file-reader"), 1);
    assert_eq!(required("network-client"), 4);
    assert_eq!(required("unconfined"), 0);
}

fn kernel(landlock_abi: u32) -> Kernel {
    Kernel {
        release: None,
        landlock_abi,
        denies_write_execute: true,
    }
}

#[test]
fn a_kernel_that_cannot_enforce_a_policy_is_refused_with_the_line() {
    let reader = compiled("file-reader");
    assert_eq!(reader.check_kernel(&kernel(1)), Ok(()));
    let refused = reader.check_kernel(&kernel(0)).unwrap_err();
    let Unenforceable::Landlock { kernel_abi, need } = &refused else {
        panic!("{refused}");
    };
    assert_eq!((*kernel_abi, need.what.as_str()), (0, "opening paths"));
    assert_eq!(need.location.file, "builtin:file-reader");
    assert!(refused.to_string().contains("Linux 5.13"), "{refused}");
    let client = compiled("network-client");
    assert_eq!(client.check_kernel(&kernel(4)), Ok(()));
    let refused = client.check_kernel(&kernel(3)).unwrap_err();
    assert!(refused.to_string().contains("needs ABI 4"), "{refused}");
}

#[test]
fn programs_are_sound_and_short() {
    for name in Policy::builtin_names() {
        for program in compiled(name).programs {
            assert!(program.is_sound(), "{name}");
            assert!(program.code.len() < 640, "{name}: {}", program.code.len());
        }
    }
}

#[test]
fn programs_do_not_change_unnoticed() {
    for name in Policy::builtin_names() {
        for program in compiled(name).programs {
            let file = format!("golden/{name}.{}.bpf", program.arch);
            compare_with_file(&file, &disassemble(&program));
        }
    }
}

#[test]
fn every_call_in_doubt_has_a_line_that_says_so() {
    let parser = compiled("parser");
    let explain = |number, args| parser.explain(Arch::X86_64, number, args);
    let socket = explain(41, [2, 1, 0, 0, 0, 0]);
    assert_eq!(socket.call, "socket(AF_INET, SOCK_STREAM, 0)");
    assert_eq!(
        socket.denied_by,
        "nothing in builtin:parser, builtin:pure allows it"
    );
    let help = socket.allow_with.unwrap();
    assert_eq!(
        help,
        "[network]\ntcp_connect = [443] # or whichever port it is"
    );
    let openat = explain(257, [0; 6]);
    assert!(
        openat.denied_by.contains("EACCES (every policy, @soft)"),
        "{}",
        openat.denied_by
    );
    assert_eq!(
        openat.allow_with.unwrap(),
        "[filesystem]\nread = [\"/the/path\"]"
    );
    let mmap = explain(9, [0, 4096, 7, 0x22, 0, 0]);
    assert!(
        mmap.denied_by.contains("builtin:pure:8, @memory"),
        "{}",
        mmap.denied_by
    );
    assert_eq!(explain(101, [0; 6]).allow_with, None);
}
