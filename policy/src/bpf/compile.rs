//! From verdicts to a program: one tree over ranges of numbers, conditions at its leaves.
//!
//! Attaching a filter is the dearest step of confining a process and grows with the program, so
//! runs of neighbouring calls with the same answer are one range, and equal leaves are one piece.

use super::build::{Builder, Label};
use super::{ARCHITECTURE, Action, DEATH, NUMBER, Program, X32, op};
use crate::Arch;
use crate::condition::Condition;

/// What happens on a call: the first case whose condition holds, else the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) cases: Vec<(Condition, Action)>,
    pub(crate) rest: Action,
}

/// Numbers that nobody knows: the C library finds that the kernel is too old for them.
const UNKNOWN: Action = Action::Errno(38);

/// Makes the program for an architecture from the verdict on each of its calls, by number.
pub(crate) fn compile(arch: Arch, verdicts: &[(u32, Verdict)]) -> Program {
    let mut build = Builder::default();
    let kill = build.answer(Action::KillProcess);
    let mut ranges: Vec<(u32, Label)> = Vec::new();
    let mut expected = 0;
    let mut extend = |start: u32, label: Label| match ranges.last() {
        Some((_, last)) if *last == label => {}
        _ => ranges.push((start, label)),
    };
    for (number, verdict) in verdicts {
        if *number > expected {
            extend(expected, build.answer(UNKNOWN));
        }
        extend(*number, leaf(&mut build, arch, verdict));
        expected = number + 1;
    }
    extend(expected, build.answer(UNKNOWN));
    extend(DEATH, kill);
    extend(DEATH + 1, build.answer(UNKNOWN));
    // On other architectures a number with this bit is merely unknown.
    extend(X32, kill);
    let tree = search(&mut build, &ranges);
    let number = build.load(NUMBER, tree);
    let checked = build.test(op::EQUAL, arch.audit(), number, kill);
    let start = build.load(ARCHITECTURE, checked);
    let (code, own_pid) = build.finish(start);
    Program {
        arch,
        code,
        own_pid,
    }
}

fn leaf(build: &mut Builder, arch: Arch, verdict: &Verdict) -> Label {
    let rest = build.answer(verdict.rest);
    verdict
        .cases
        .iter()
        .rev()
        .fold(rest, |no, (condition, action)| {
            let yes = build.answer(*action);
            condition
                .alternatives(arch)
                .iter()
                .rev()
                .fold(no, |no, tests| build.conjunction(tests, yes, no))
        })
}

/// A balanced search: `ranges` hold where each begins and where it leads.
fn search(build: &mut Builder, ranges: &[(u32, Label)]) -> Label {
    match ranges {
        [] => build.answer(Action::KillProcess),
        [(_, only)] => *only,
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let middle = right[0].0;
            let above = search(build, right);
            let below = search(build, left);
            build.test(op::AT_LEAST, middle, above, below)
        }
    }
}
