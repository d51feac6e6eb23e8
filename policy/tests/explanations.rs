//! What is said of a denied call: in words, and true.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crossmist_policy::{Arch, BuiltinOnly, Compiled, Policy, bpf, syscalls};
use proptest::prelude::*;

fn compiled(name: &str) -> Compiled {
    Policy::builtin(name).unwrap().compile().unwrap()
}

fn number(name: &str) -> u32 {
    syscalls::find(name).unwrap().number(Arch::X86_64).unwrap()
}

#[test]
fn arguments_are_written_by_the_kernels_names() {
    let parser = compiled("parser");
    for (name, args, expected) in [
        (
            "socket",
            [2, 0x80801, 6, 0, 0, 0],
            "socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 6)",
        ),
        (
            "mmap",
            [0, 4096, 5, 0x22, u64::MAX, 0],
            "mmap(NULL, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)",
        ),
        (
            "openat",
            [(-100i64) as u64, 0x7000, 0x80000, 0, 0, 0],
            "openat(AT_FDCWD, 0x7000, O_RDONLY|O_CLOEXEC, 0o0)",
        ),
        ("prctl", [1, 0, 0, 0, 0, 0], "prctl(PR_SET_PDEATHSIG, "),
        (
            "clone",
            [0x1000_0011, 0, 0, 0, 0, 0],
            "clone(SIGCHLD|CLONE_NEWUSER, ",
        ),
        ("kill", [7, 9, 0, 0, 0, 0], "kill(7, SIGKILL)"),
        (
            "fchmodat",
            [(-100i64) as u64, 0, 0o755, 0, 0, 0],
            "fchmodat(AT_FDCWD, NULL, 0o755)",
        ),
    ] {
        let said = parser.explain(Arch::X86_64, number(name), args).call;
        assert!(said.starts_with(expected), "{said}");
    }
    let path = parser.explain_with_path(
        Arch::X86_64,
        number("unlinkat"),
        [3, 0x7000, 0x200, 0, 0, 0],
        Some(b"/tmp/\x1b\"x"),
    );
    assert_eq!(path.call, r#"unlinkat(3, "/tmp/\x1b\"x", AT_REMOVEDIR)"#);
    assert_eq!(
        parser.explain(Arch::X86_64, 9999, [0; 6]).call,
        "system call 9999"
    );
}

/// The filter of a policy that has these lines besides.
fn with(parent: &str, lines: &str) -> Result<bpf::Program, String> {
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{parent}\"]\n{lines}\n");
    let policy =
        Policy::from_toml(&BuiltinOnly, "more", &text).map_err(|error| error.to_string())?;
    let compiled = policy.compile().map_err(|error| error.to_string())?;
    Ok(compiled.program(Arch::X86_64).unwrap().clone())
}

/// What a filter answers to a call.
fn answer(program: &bpf::Program, number: u32, args: [u64; 6]) -> bpf::Action {
    let call = bpf::interpret::Call::new(Arch::X86_64, number, args);
    bpf::interpret::answer(&program.code, &call)
}

#[test]
fn what_would_allow_a_call_does() {
    let mut wrong = Vec::new();
    for parent in ["pure", "parser", "worker", "file-reader", "network-client"] {
        let policy = compiled(parent);
        let denying = policy.program(Arch::X86_64).unwrap();
        let mut made = BTreeMap::new();
        for call in syscalls::all() {
            let Some(number) = call.number(Arch::X86_64) else {
                continue;
            };
            for args in [[0; 6], [1, 1, 1, 1, 1, 1], [2, 1, 6, 0x1000, 0, 0]] {
                if answer(denying, number, args) == bpf::Action::Allow {
                    continue;
                }
                let Some(lines) = policy.explain(Arch::X86_64, number, args).allow_with else {
                    continue;
                };
                let program = made
                    .entry(lines.clone())
                    .or_insert_with(|| with(parent, &lines));
                let found = program
                    .as_ref()
                    .map(|program| answer(program, number, args));
                if found != Ok(bpf::Action::Allow) {
                    wrong.push(format!(
                        "{parent}: {}{args:?}: {lines}: {found:?}",
                        call.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn whatever_a_process_claims_can_be_said(
        number: u32, small in 0u32..600, args: [u64; 6],
        path in proptest::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        static PURE: LazyLock<Compiled> = LazyLock::new(|| compiled("pure"));
        let policy = &*PURE;
        for number in [number, small] {
            for arch in Arch::ALL {
                let said = policy.explain_with_path(arch, number, args, path.as_deref());
                prop_assert!(!said.call.is_empty() && said.call.chars().all(|c| !c.is_control()));
            }
        }
    }
}
