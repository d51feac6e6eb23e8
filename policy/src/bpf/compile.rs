//! From verdicts to a program: one tree over ranges of numbers, conditions at its leaves.
//!
//! Attaching a filter is the dearest step of confining a process and grows with the program, so
//! runs of neighbouring calls with the same answer are one range, and equal leaves are one piece.

use std::borrow::Borrow;
use std::collections::HashMap;

use super::build::{Builder, Label};
use super::group::{Group, groups};
use super::{ARCHITECTURE, Action, DEATH, NUMBER, Program, X32, op};
use crate::Arch;
use crate::condition::Condition;

/// The answer to a call: that of the first case whose condition holds, or else the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) cases: Vec<(Condition, Action)>,
    pub(crate) rest: Action,
}

impl Verdict {
    fn always(rest: Action) -> Self {
        Self {
            cases: Vec::new(),
            rest,
        }
    }
}

/// Numbers that nobody knows: the C library finds that the kernel is too old for them.
const UNKNOWN: Action = Action::Errno(38);

/// Makes the program for an architecture from the verdict on each of its calls, by number.
pub(crate) fn compile<V: Borrow<Verdict>>(arch: Arch, verdicts: &[(u32, V)]) -> Program {
    let unknown = Verdict::always(UNKNOWN);
    let kill = Verdict::always(Action::KillProcess);
    // Verdicts that come to the same code are the same. Which ones do is found out by a program that is
    // thrown away: in the one that is kept, each stands where it is used.
    let mut draft = Builder::default();
    let mut leaves: HashMap<Label, &Verdict> = HashMap::new();
    let mut ranges: Vec<(u32, Label)> = Vec::new();
    let mut expected = 0;
    let mut extend = |start: u32, verdict| {
        let label = leaf(&mut draft, arch, verdict);
        leaves.entry(label).or_insert(verdict);
        if ranges.last().is_none_or(|(_, last)| *last != label) {
            ranges.push((start, label));
        }
    };
    for (number, verdict) in verdicts {
        if *number > expected {
            extend(expected, &unknown);
        }
        extend(*number, verdict.borrow());
        expected = number + 1;
    }
    extend(expected, &unknown);
    extend(DEATH, &kill);
    extend(DEATH + 1, &unknown);
    // On other architectures a number with this bit is merely unknown.
    extend(X32, &kill);

    let mut build = Builder::default();
    let kill = build.answer(Action::KillProcess);
    let mut place = |build: &mut Builder, label: Label| match leaves.get(&label) {
        Some(verdict) => leaf(build, arch, verdict),
        None => kill,
    };
    let tree = search(&mut build, &groups(&ranges), &mut place);
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

/// A balanced search for the group that a number is in. `place` lays down where its members lead.
fn search(
    build: &mut Builder,
    groups: &[Group],
    place: &mut impl FnMut(&mut Builder, Label) -> Label,
) -> Label {
    match groups {
        [] => build.answer(Action::KillProcess),
        [only] => {
            let common = place(build, only.common);
            let others = only.others.iter().rev();
            others.fold(common, |no, (number, label)| {
                let yes = place(build, *label);
                build.test(op::EQUAL, *number, yes, no)
            })
        }
        _ => {
            let (left, right) = groups.split_at(groups.len() / 2);
            let middle = right[0].start;
            let above = search(build, right, place);
            let below = search(build, left, place);
            build.test(op::AT_LEAST, middle, above, below)
        }
    }
}
