//! The table of verdicts against the filters that are loaded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use crossmist_policy::bpf::{Action, Program, TRAP_EMULATE, TRAP_VIOLATION, sock_filter};
use crossmist_policy::syscalls::verdicts::{self, Answer};
use crossmist_policy::{Arch, Policy, errno, syscalls};

/// Every answer that a filter has for a number, whatever the arguments: both ways of each test on an
/// argument are gone.
fn answers(program: &Program, number: u32) -> BTreeSet<u32> {
    const LOAD: u16 = 0x20;
    const AND: u16 = 0x54;
    const RETURN: u16 = 0x06;
    const JUMP: u16 = 0x05;
    const EQUAL: u16 = 0x15;
    const GREATER: u16 = 0x25;
    const AT_LEAST: u16 = 0x35;
    const ANY_BIT: u16 = 0x45;
    // Of `seccomp_data`: the number, then the architecture; arguments lie behind.
    let known = |offset| match offset {
        0 => Some(number),
        4 => Some(program.arch.audit()),
        _ => None,
    };
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut left = vec![(0usize, None)];
    while let Some((at, value)) = left.pop() {
        if !seen.insert((at, value)) {
            continue;
        }
        let sock_filter { code, jt, jf, k } = program.code[at];
        let next = at + 1;
        let decided = |holds: fn(u32, u32) -> bool| value.map(|value| holds(value, k));
        let decision = match code {
            LOAD => {
                left.push((next, known(k)));
                continue;
            }
            AND => {
                left.push((next, value.map(|value| value & k)));
                continue;
            }
            RETURN => {
                found.insert(k);
                continue;
            }
            JUMP => {
                left.push((next + k as usize, value));
                continue;
            }
            EQUAL => decided(|value, k| value == k),
            GREATER => decided(|value, k| value > k),
            AT_LEAST => decided(|value, k| value >= k),
            ANY_BIT => decided(|value, k| value & k != 0),
            other => panic!("an instruction {other:#x}"),
        };
        if decision != Some(false) {
            left.push((next + usize::from(jt), value));
        }
        if decision != Some(true) {
            left.push((next + usize::from(jf), value));
        }
    }
    found
}

fn expected(answers: &[Answer]) -> BTreeSet<u32> {
    let action = |answer: &Answer| match answer {
        Answer::Allowed => Action::Allow,
        Answer::Errno(name) => Action::Errno(errno(name).unwrap()),
        Answer::Emulated => Action::Trap(TRAP_EMULATE),
        Answer::Violation => Action::Trap(TRAP_VIOLATION),
        Answer::Killed => Action::KillProcess,
    };
    answers
        .iter()
        .map(|answer| action(answer).to_return())
        .collect()
}

#[test]
fn every_call_has_one_verdict_and_a_reason() {
    for call in syscalls::all() {
        let rows = verdicts::all().iter();
        let rows = rows.filter(|verdict| verdict.calls.contains(&call.name));
        assert_eq!(rows.count(), 1, "{}", call.name);
    }
    for verdict in verdicts::all() {
        assert!(
            verdict.calls.is_sorted_by(|a, b| a < b),
            "{:?}",
            verdict.calls
        );
        assert!(verdict.why.len() > 10, "{:?}", verdict.calls);
        for call in verdict.calls {
            assert!(syscalls::find(call).is_some(), "{call}");
        }
    }
}

#[test]
fn the_filters_answer_as_the_verdicts_say() {
    let mut wrong = Vec::new();
    for policy in ["pure", "parser"] {
        let compiled = Policy::builtin(policy).unwrap().compile().unwrap();
        for arch in Arch::ALL {
            let program = compiled.program(arch).unwrap();
            for call in syscalls::all() {
                let Some(number) = call.number(arch) else {
                    continue;
                };
                let verdict = verdicts::find(call).unwrap();
                let said = match verdict.parser {
                    Some(parser) if policy == "parser" => parser,
                    _ => verdict.pure,
                };
                let found = answers(program, number);
                if found != expected(said) {
                    let found: Vec<_> = found.into_iter().filter_map(Action::from_return).collect();
                    wrong.push(format!(
                        "{} in {policy}, {arch}: {found:?}, not {said:?}",
                        call.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
