//! Conditions on a system call's arguments: what they mean, apart from how they are written.
//!
//! A condition is a list of alternatives, each a list of tests that must all hold. Tests are kept
//! in the form that a filter can carry out: a masked part of one register against constants.

mod contradiction;
mod number;
mod parse;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use number::{Number, number};
pub(crate) use parse::parse;

use crate::Arch;
use crate::diagnostic::Code;
use crate::syscalls::Width;

/// A condition, worked out for every architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// As it was written, for people.
    pub(crate) text: String,
    alternatives: [Vec<Conjunction>; 2],
}

/// Tests that must all hold.
pub(crate) type Conjunction = Vec<Test>;

/// One argument, masked, against constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) arg: u8,
    pub(crate) width: Width,
    /// Never has a bit that the kernel doesn't look at.
    pub(crate) mask: u64,
    pub(crate) relation: Relation,
}

/// The relation that must hold for the masked value. All comparisons are unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// It is one of the values, or the process's own id.
    OneOf { values: Vec<u64>, own_pid: bool },
    /// It is none of them.
    NoneOf { values: Vec<u64>, own_pid: bool },
    /// It is less.
    Below(u64),
    /// It is as much or more.
    AtLeast(u64),
}

/// A mistake in a condition, with the bytes that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) code: Code,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// How many arguments are tried. A condition that half of all values meet passes once in 2^64 times.
const TRIES: u32 = 64;

impl Relation {
    /// Whether every value with this mask meets it.
    pub(super) fn is_certain(&self, mask: u64) -> bool {
        match self {
            Self::OneOf {
                values,
                own_pid: false,
            } => {
                let possible = 1_u64.checked_shl(mask.count_ones());
                possible == u64::try_from(values.len()).ok()
            }
            Self::Below(limit) => *limit > mask,
            Self::AtLeast(least) => *least == 0,
            Self::OneOf { .. } | Self::NoneOf { .. } => mask == 0,
        }
    }
}

impl Condition {
    /// The alternatives on one architecture.
    pub(crate) fn alternatives(&self, arch: Arch) -> &[Conjunction] {
        &self.alternatives[arch.index()]
    }

    /// Whether a call with these arguments meets the condition.
    pub(crate) fn holds(&self, arch: Arch, args: &[u64; 6], pid: u32) -> bool {
        let all = |tests: &Conjunction| tests.iter().all(|test| test.holds(args, pid));
        self.alternatives(arch).iter().any(all)
    }

    /// Whether some call with this value of this argument can meet the condition.
    pub(crate) fn admits(&self, arch: Arch, arg: u8, value: u64) -> bool {
        let mut args = [0; 6];
        args[usize::from(arg)] = value;
        let possible = |test: &Test| test.arg != arg || test.holds(&args, u32::MAX);
        self.alternatives(arch)
            .iter()
            .any(|tests| tests.iter().all(possible))
    }

    /// Whether some call with one of these bits set in this argument can meet the condition. It may
    /// say so wrongly, if tests of the argument exclude each other.
    pub(crate) fn admits_bit(&self, arch: Arch, arg: u8, bit: u64) -> bool {
        let possible = |test: &Test| match &test.relation {
            Relation::OneOf { values, own_pid } if test.arg == arg && test.mask & bit != 0 => {
                *own_pid || values.iter().any(|value| value & bit != 0)
            }
            _ => true,
        };
        self.alternatives(arch)
            .iter()
            .any(|tests| tests.iter().all(possible))
    }

    /// Whether the condition hardly restricts the call: arbitrary arguments meet it, each time that some are tried.
    /// Alternatives can add up to that, and so can a test that excludes a few values only.
    pub(crate) fn is_nearly_always_met(&self, arch: Arch) -> bool {
        // Numbers that nobody would compare an argument with, and in which each bit is set about as often as not
        // (SplitMix64).
        let mut state = 0_u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        (0..TRIES).all(|_| self.holds(arch, &std::array::from_fn(|_| next()), 1))
    }

    /// Whether every call that meets the condition has the process's own id in this argument.
    pub(crate) fn is_own_pid(&self, arch: Arch, arg: u8) -> bool {
        let own = |test: &Test| match &test.relation {
            Relation::OneOf { values, own_pid } => test.arg == arg && *own_pid && values.is_empty(),
            _ => false,
        };
        self.alternatives(arch)
            .iter()
            .all(|tests| tests.iter().any(own))
    }

    /// Whether whatever meets this condition certainly meets one of `wider`.
    ///
    /// It may fail to see that it does; it never says so wrongly.
    pub(crate) fn implies(&self, arch: Arch, wider: &[&Condition]) -> bool {
        let covered = |tests: &Conjunction| {
            let mut choices = wider
                .iter()
                .flat_map(|condition| condition.alternatives(arch));
            choices.any(|choice| {
                choice
                    .iter()
                    .all(|needed| tests.iter().any(|known| known.implies(needed)))
            })
        };
        self.alternatives(arch).iter().all(covered)
    }
}

impl Test {
    fn holds(&self, args: &[u64; 6], pid: u32) -> bool {
        let value = args[usize::from(self.arg)] & self.mask;
        let member = |values: &[u64], own_pid: bool| {
            values.contains(&value) || (own_pid && value == u64::from(pid))
        };
        match &self.relation {
            Relation::OneOf { values, own_pid } => member(values, *own_pid),
            Relation::NoneOf { values, own_pid } => !member(values, *own_pid),
            Relation::Below(limit) => value < *limit,
            Relation::AtLeast(limit) => value >= *limit,
        }
    }

    fn implies(&self, needed: &Self) -> bool {
        if self == needed {
            return true;
        }
        let decided = self.arg == needed.arg && needed.mask & !self.mask == 0;
        match &self.relation {
            Relation::OneOf {
                values,
                own_pid: false,
            } if decided => values.iter().all(|value| {
                let mut args = [0; 6];
                args[usize::from(self.arg)] = *value;
                !needed.names_own_pid() && needed.holds(&args, 0)
            }),
            _ => false,
        }
    }

    fn names_own_pid(&self) -> bool {
        matches!(
            self.relation,
            Relation::OneOf { own_pid: true, .. } | Relation::NoneOf { own_pid: true, .. }
        )
    }
}
