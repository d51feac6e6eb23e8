//! What is exported for seccompiler, compiled by seccompiler itself, decides as the policy's own filter does.

use crossmist_policy::bpf::interpret::{Call, run};
use crossmist_policy::bpf::{Action, SAMPLE_PID};
use crossmist_policy::syscalls::{self, Syscall};
use crossmist_policy::{Arch, BuiltinOnly, Policy};
use proptest::prelude::*;
use seccompiler::{BpfProgram, compile_from_json};

use super::reach::{self, CALLS, arguments, call, value};

/// Calls whose arguments are tested here: of every width, and such as the bases allow, answer and deny.
const TESTED: &[&str] = &[
    "semctl",
    "shmat",
    "madvise",
    "fcntl",
    "ioctl",
    "mmap",
    "mprotect",
    "socket",
    "setsockopt",
    "fallocate",
    "clock_gettime",
    "getrandom",
    "sync_file_range",
    "epoll_create1",
    "eventfd2",
    "flock",
    "splice",
    "tgkill",
];

/// A line that allows, denies or answers a call under a condition.
fn line() -> impl Strategy<Value = (usize, String)> {
    let test = (0..5usize, 0..6usize, value(), value()).prop_map(|(arg, relation, one, other)| {
        match relation {
            0 => format!("a{arg} == {one:#x}"),
            1 => format!("a{arg} != {one:#x}"),
            2 => format!("a{arg} in {{{one:#x}, {other:#x}}}"),
            3 => format!("a{arg} & {one:#x} == {:#x}", one & other),
            4 => format!("a{arg} < {one:#x}"),
            _ => format!("a{arg} >= {one:#x}"),
        }
    });
    let tests = prop::collection::vec(test, 0..3);
    let kind = 0..4usize;
    (kind, prop::sample::select(TESTED), tests).prop_map(|(kind, name, tests)| {
        let entry = match tests.as_slice() {
            [] => name.to_owned(),
            tests => format!("{name}({})", tests.join(" && ")),
        };
        (kind, entry)
    })
}

/// The policy of the lines that the language takes, of those that are asked for.
fn policy(base: &str, lines: &[(usize, String)]) -> Option<Policy> {
    let written = |lines: &[&(usize, String)]| {
        let of = |kinds: &[usize]| {
            let entries = lines.iter().filter(|(kind, _)| kinds.contains(kind));
            let entries = entries.map(|(kind, entry)| match kind {
                0 => format!("{{ call = \"{entry}\", why = \"x\" }}"),
                _ => format!("\"{entry}\""),
            });
            entries.collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "format = 1\nextends = [\"{base}\"]\n[syscalls]\nallow = [{}]\ndeny = [{}]\n\
             errno.EACCES = [{}]\n",
            of(&[0, 1]),
            of(&[2]),
            of(&[3])
        );
        Policy::from_toml(&BuiltinOnly, "made", &text).ok()
    };
    let mut kept: Vec<&(usize, String)> = Vec::new();
    let mut made = None;
    for line in lines {
        kept.push(line);
        match written(&kept) {
            Some(policy) => made = Some(policy),
            None => drop(kept.pop()),
        }
    }
    made
}

/// Whether a filter lets a call happen.
fn allows(code: &BpfProgram, arch: Arch, call: &Syscall, args: [u64; 6]) -> Option<bool> {
    let returned = run(code, &Call::new(arch, call.number(arch)?, args)).unwrap();
    Some(Action::from_return(returned) == Some(Action::Allow))
}

/// Arguments around every number that the lines name.
fn near(lines: &[(usize, String)], tried: &[[u64; 6]]) -> Vec<[u64; 6]> {
    let mut all = tried.to_vec();
    let words = |text: &str| {
        let parts = text.split(|c: char| !c.is_ascii_alphanumeric());
        let numbers = parts.filter_map(|word| word.strip_prefix("0x"));
        let numbers = numbers.filter_map(|word| u64::from_str_radix(word, 16).ok());
        numbers.collect::<Vec<_>>()
    };
    for number in lines.iter().flat_map(|(_, entry)| words(entry)) {
        for at in 0..5 {
            for value in [number, number.wrapping_sub(1), number.wrapping_add(1)] {
                let mut args = tried[0];
                args[at] = value;
                all.push(args);
            }
        }
    }
    all
}

proptest! {
    #![proptest_config(reach::config())]

    #[test]
    fn the_exported_filter_decides_as_the_policys_own(
        base in prop::sample::select(vec!["pure", "parser", "worker", "file-reader"]),
        lines in prop::collection::vec(line(), 1..7),
        tried in prop::collection::vec(arguments(), 3),
    ) {
        let Some(policy) = policy(base, &lines) else { return Ok(()) };
        let compiled = policy.compile().unwrap();
        for arch in Arch::ALL {
            let exported = policy.seccompiler_json(arch);
            let mut theirs = compile_from_json(exported.text.as_bytes(), arch.target())
                .unwrap_or_else(|error| panic!("{error}\n{}", exported.text));
            let theirs = theirs.remove("made").unwrap();
            let mut ours = compiled.program(arch).unwrap().clone();
            ours.patch(SAMPLE_PID);
            let is_noted = |name: &str| {
                let beginning = format!("{name}: ");
                exported.notes.iter().any(|note| note.starts_with(&beginning))
            };
            for name in CALLS.iter().chain(TESTED) {
                for args in near(&lines, &tried) {
                    let (Some(own), Some(other)) =
                        (allows(&ours.code, arch, call(name), args), allows(&theirs, arch, call(name), args))
                    else {
                        continue;
                    };
                    // A note says that something is left out, so that less is allowed.
                    let agree = own == other || (is_noted(name) && own);
                    prop_assert!(
                        agree,
                        "{name} {args:x?} on {arch}: the policy says {own}, the export {other}\n{base} {lines:#?}\n{}",
                        exported.notes.join("\n")
                    );
                }
            }
        }
    }
}

#[test]
fn every_call_is_decided_alike_whatever_it_is() {
    for base in ["pure", "parser", "worker", "file-reader", "network-client"] {
        let policy = Policy::builtin(base).unwrap();
        let compiled = policy.compile().unwrap();
        let mut allowed = 0;
        for arch in Arch::ALL {
            let exported = policy.seccompiler_json(arch);
            let mut theirs = compile_from_json(exported.text.as_bytes(), arch.target()).unwrap();
            let theirs = theirs.remove(base).unwrap();
            let mut ours = compiled.program(arch).unwrap().clone();
            ours.patch(SAMPLE_PID);
            for call in syscalls::all() {
                let is_noted = exported
                    .notes
                    .iter()
                    .any(|note| note.starts_with(&format!("{}: ", call.name)));
                for args in [[0; 6], [1; 6], [2, 1, 6, 0x22, 0, 0], [u64::MAX; 6]] {
                    let own = allows(&ours.code, arch, call, args);
                    let other = allows(&theirs, arch, call, args);
                    assert!(
                        own == other || (is_noted && own == Some(true)),
                        "{base} {arch}: {} {args:x?}: {own:?}, {other:?}",
                        call.name
                    );
                    allowed += usize::from(other == Some(true));
                }
            }
        }
        assert!(allowed > 100, "{base}: only {allowed}");
    }
}
