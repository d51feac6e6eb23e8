//! Explanations of denied calls: in words, and true.

use std::sync::LazyLock;

use crossmist_policy::{Arch, BuiltinOnly, Compiled, Policy, syscalls};
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
            "socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, IPPROTO_TCP)",
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

/// A policy that has these lines besides.
fn with(parent: &str, lines: &str) -> Result<Compiled, String> {
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"{parent}\"]\n{lines}\n");
    let policy =
        Policy::from_toml(&BuiltinOnly, "more", &text).map_err(|error| error.to_string())?;
    policy.compile().map_err(|error| error.to_string())
}

#[test]
fn nothing_is_proposed_against_a_line_that_denies() {
    let text =
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[syscalls]\ndeny = [\"flock\"]\n";
    let policy = Policy::from_toml(&BuiltinOnly, "strict", text)
        .unwrap()
        .compile()
        .unwrap();
    let said = policy.explain(Arch::X86_64, number("flock"), [0; 6]);
    assert!(said.denied_by.contains("denied (strict:5"), "{said:?}");
    assert_eq!(said.allow_with, None);
    // If no line denies it, there is still an explanation.
    let parser = compiled("parser").explain(Arch::X86_64, number("flock"), [0; 6]);
    assert!(parser.allow_with.is_some());
}

#[test]
fn a_path_is_proposed_only_where_a_reader_sees_it_whole() {
    let parser = compiled("parser");
    let propose = |flags, path: &[u8]| {
        let args = [(-100i64) as u64, 0x7000, flags, 0, 0, 0];
        parser
            .explain_with_path(Arch::X86_64, number("openat"), args, Some(path))
            .allow_with
    };
    let known = "[filesystem]\nread = [\"/usr/share/x.dat\"]";
    assert_eq!(propose(0, b"/usr/share/x.dat").as_deref(), Some(known));
    let unknown = "[filesystem]\nread = [\"/the/path\"]";
    for path in [
        "/a/../etc",
        "/a/./b",
        "/a*",
        "relative",
        "/a\"]",
        "/${x}",
        "/a\u{202e}b",
        "/a\u{200b}",
        "/a b",
        "//proc/self/mem",
        "",
    ] {
        assert_eq!(
            propose(0, path.as_bytes()).as_deref(),
            Some(unknown),
            "{path:?}"
        );
    }
    for path in ["/proc/self/mem", "/sys/x", "/dev/mem"] {
        assert_eq!(propose(1, path.as_bytes()), None, "{path}");
    }
}

proptest! {
    #[test]
    fn whatever_path_is_proposed_is_a_policys(
        path in "/(proc|dev|etc|a b|[a-z.*$]{1,4}|\\PC{1,3})(/[a-z.]{0,3}){0,3}", flags in 0u64..0o2000,
    ) {
        static PURE: LazyLock<Compiled> = LazyLock::new(|| compiled("pure"));
        let args = [(-100i64) as u64, 0x7000, flags, 0, 0, 0];
        let said = PURE.explain_with_path(Arch::X86_64, number("openat"), args, Some(path.as_bytes()));
        if let Some(lines) = said.allow_with {
            prop_assert!(lines.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()));
            prop_assert!(with("pure", &lines).is_ok(), "{}: {:?}", lines, with("pure", &lines));
        }
    }

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
