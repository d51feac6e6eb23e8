//! Programs laid down from their end to their beginning.
//!
//! Every jump of a filter goes forward. Built backwards, the target of a jump is always there
//! already, so its distance is known, and equal tails are shared instead of written twice.

use std::collections::HashMap;

use super::{ARGUMENTS, Action, BpfProgram, OWN_PID_PLACEHOLDER, op, sock_filter};
use crate::condition::{Conjunction, Relation, Test};

/// A place to go to, counted from the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Label(usize);

/// A piece of program that grows towards its beginning.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// In reverse, with the mark that the operand is the process's id.
    reversed: Vec<(sock_filter, bool)>,
    /// The first and the last place of each answer.
    returns: HashMap<u32, (Label, Label)>,
    /// Tests that are there already, by what they are and where they lead.
    tests: HashMap<(u16, u32, bool, Label, Label), Label>,
    /// Loads that are there already, by word, mask and what follows.
    loads: HashMap<(u32, u32, Label), Label>,
}

/// The longest way of a conditional jump.
const REACH: usize = u8::MAX as usize;

impl Builder {
    /// An answer: the same label for the same one.
    pub(crate) fn answer(&mut self, action: Action) -> Label {
        let value = action.to_return();
        if let Some((first, _)) = self.returns.get(&value) {
            return *first;
        }
        let label = self.push(op::RETURN, 0, 0, value, false);
        self.returns.insert(value, (label, label));
        label
    }

    /// A load, and then on to `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.masked(offset, u32::MAX, next)
    }

    /// A comparison of what was loaded.
    pub(crate) fn test(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        self.branch(code, k, false, yes, no)
    }

    fn branch(&mut self, code: u16, k: u32, own_pid: bool, yes: Label, no: Label) -> Label {
        let key = (code, k, own_pid, yes, no);
        if let Some(label) = self.tests.get(&key) {
            return *label;
        }
        let (near_yes, near_no) = (self.nearer(yes), self.nearer(no));
        let here = self.reversed.len();
        // `nearer` keeps both within reach.
        let way = |to: Label| u8::try_from(here - to.0).unwrap_or(u8::MAX);
        let label = self.push(code, way(near_yes), way(near_no), k, own_pid);
        self.tests.insert(key, label);
        label
    }

    /// The same place, or one that does the same, with room to bring another one nearer too.
    fn nearer(&mut self, label: Label) -> Label {
        let reachable = |from: usize, to: Label| from - to.0 + 2 < REACH;
        if reachable(self.reversed.len(), label) {
            return label;
        }
        let target = self.reversed[label.0 - 1].0.clone();
        match self.returns.get(&target.k) {
            Some((_, last))
                if target.code == op::RETURN && reachable(self.reversed.len(), *last) =>
            {
                *last
            }
            Some((first, _)) if target.code == op::RETURN => {
                let first = *first;
                let copy = self.push(op::RETURN, 0, 0, target.k, false);
                self.returns.insert(target.k, (first, copy));
                copy
            }
            _ => self.jump(label),
        }
    }

    fn jump(&mut self, label: Label) -> Label {
        let way = self.reversed.len() - label.0;
        // A program is far shorter than 2^32.
        self.push(
            op::JUMP,
            0,
            0,
            u32::try_from(way).unwrap_or(u32::MAX),
            false,
        )
    }

    fn fall_through(&mut self, next: Label) {
        if next.0 != self.reversed.len() {
            self.jump(next);
        }
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32, own_pid: bool) -> Label {
        self.reversed
            .push((sock_filter { code, jt, jf, k }, own_pid));
        Label(self.reversed.len())
    }

    /// Tests that must all hold.
    pub(crate) fn conjunction(&mut self, tests: &Conjunction, yes: Label, no: Label) -> Label {
        tests
            .iter()
            .rev()
            .fold(yes, |next, test| self.argument(test, next, no))
    }

    /// A test of an argument, the half of the register that matters first.
    fn argument(&mut self, test: &Test, yes: Label, no: Label) -> Label {
        match &test.relation {
            Relation::OneOf { values, own_pid } => self.member(test, values, *own_pid, yes, no),
            Relation::NoneOf { values, own_pid } => self.member(test, values, *own_pid, no, yes),
            Relation::AtLeast(limit) => self.order(test, *limit, yes, no),
            Relation::Below(limit) => self.order(test, *limit, no, yes),
        }
    }

    fn member(
        &mut self,
        test: &Test,
        values: &[u64],
        own_pid: bool,
        yes: Label,
        no: Label,
    ) -> Label {
        let (low_mask, high_mask) = halves(test.mask);
        // Values that share their upper half are tested together.
        let mut uppers: Vec<u32> = values.iter().map(|value| halves(*value).1).collect();
        if own_pid {
            uppers.push(0);
        }
        uppers.sort_unstable();
        uppers.dedup();
        uppers.iter().rev().fold(no, |no, upper| {
            let lowers = values.iter().filter(|value| halves(**value).1 == *upper);
            let mut next = no;
            if own_pid && *upper == 0 {
                next = self.branch(op::EQUAL, OWN_PID_PLACEHOLDER, true, yes, next);
            }
            let lowers: Vec<u32> = lowers.map(|value| halves(*value).0).collect();
            let low = self.lower(test.arg, low_mask, &lowers, yes, next);
            if high_mask == 0 {
                return low;
            }
            let high = self.test(op::EQUAL, *upper, low, no);
            self.masked(offset(test.arg) + 4, high_mask, high)
        })
    }

    /// The lower half is one of `values`.
    fn lower(&mut self, arg: u8, mask: u32, values: &[u32], yes: Label, no: Label) -> Label {
        if mask == 0 {
            return yes;
        }
        // Any of these bits: one instruction does, without a change to what is loaded.
        if values == [0] && mask != u32::MAX {
            let any = self.test(op::ANY_BIT, mask, no, yes);
            return self.load(offset(arg), any);
        }
        let chain = runs(values).iter().rev().fold(no, |next, &(first, last)| {
            match (first, last - first) {
                (_, 0) => self.test(op::EQUAL, first, yes, next),
                (0, _) => self.test(op::GREATER, last, next, yes),
                (_, 1) => {
                    let second = self.test(op::EQUAL, last, yes, next);
                    self.test(op::EQUAL, first, yes, second)
                }
                _ => {
                    let end = self.test(op::GREATER, last, next, yes);
                    self.test(op::AT_LEAST, first, end, next)
                }
            }
        });
        self.masked(offset(arg), mask, chain)
    }

    fn order(&mut self, test: &Test, limit: u64, yes: Label, no: Label) -> Label {
        let (low_mask, high_mask) = halves(test.mask);
        let (low_limit, high_limit) = halves(limit);
        let low = self.test(op::AT_LEAST, low_limit, yes, no);
        let low = self.masked(offset(test.arg), low_mask, low);
        if high_mask == 0 {
            return low;
        }
        let same = self.test(op::EQUAL, high_limit, low, no);
        let high = self.test(op::GREATER, high_limit, yes, same);
        self.masked(offset(test.arg) + 4, high_mask, high)
    }

    fn masked(&mut self, offset: u32, mask: u32, next: Label) -> Label {
        let key = (offset, mask, next);
        if let Some(label) = self.loads.get(&key) {
            return *label;
        }
        self.fall_through(next);
        if mask != u32::MAX {
            self.push(op::AND, 0, 0, mask, false);
        }
        let label = self.push(op::LOAD, 0, 0, offset, false);
        self.loads.insert(key, label);
        label
    }

    /// The program that begins at the label laid down last, and where the process's id goes.
    pub(crate) fn finish(mut self, start: Label) -> (BpfProgram, Vec<u16>) {
        self.fall_through(start);
        let own_pid = self.reversed.iter().rev().enumerate();
        let own_pid = own_pid.filter(|(_, (_, own_pid))| *own_pid);
        let own_pid = own_pid
            .filter_map(|(at, _)| u16::try_from(at).ok())
            .collect();
        let code = self
            .reversed
            .iter()
            .rev()
            .map(|(instruction, _)| instruction.clone())
            .collect();
        (code, own_pid)
    }
}

/// Values as runs of neighbours, each by its first and last.
fn runs(values: &[u32]) -> Vec<(u32, u32)> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((_, last)) if value - *last <= 1 => *last = value,
            _ => runs.push((value, value)),
        }
    }
    runs
}

/// The lower and the upper half. Both supported architectures are little-endian.
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn offset(arg: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(arg)
}
