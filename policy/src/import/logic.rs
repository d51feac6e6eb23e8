//! Conditions as the sources have them: comparisons of whole registers, alternatives of conjunctions.
//!
//! The filters of all the sources compare the 64 bits that a program put into a register, of which the kernel
//! looks at fewer. [`Test::narrow`] gives the meaning of a test for a call as the kernel sees it.

use crate::Arch;

/// The most alternatives that a condition may grow to.
const MOST: usize = 128;

/// One comparison of a register, masked, with a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) arg: usize,
    pub(crate) op: Op,
    pub(crate) mask: [u64; 2],
    pub(crate) value: [u64; 2],
    /// Operator and operand in the words of a policy, if they are the same on every architecture only
    /// by their names.
    pub(crate) spelled: Option<String>,
}

/// The relation that must hold for the masked register. Order is without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Same,
    Other,
    Below,
    AtLeast,
}

/// The rest of a test, limited to the bits that the kernel looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrow {
    Always,
    Never,
    Test { mask: u64, value: u64 },
}

/// Tests that must all hold.
pub(crate) type Conjunction = Vec<Test>;

impl Test {
    pub(crate) fn new(arg: usize, op: Op, mask: u64, value: u64) -> Self {
        Self {
            arg,
            op,
            mask: [mask; 2],
            value: [value; 2],
            spelled: None,
        }
    }

    pub(crate) fn is(arg: usize, value: u64) -> Self {
        Self::new(arg, Op::Same, u64::MAX, value)
    }

    /// None of these bits.
    pub(crate) fn lacks(arg: usize, bits: u64) -> Self {
        Self::new(arg, Op::Same, bits, 0)
    }

    fn negated(&self) -> Self {
        let op = match self.op {
            Op::Same => Op::Other,
            Op::Other => Op::Same,
            Op::Below => Op::AtLeast,
            Op::AtLeast => Op::Below,
        };
        Self {
            op,
            spelled: None,
            ..self.clone()
        }
    }

    /// The test if the kernel looks at the bits `seen`, and the others are `unseen`.
    pub(crate) fn narrow(&self, arch: Arch, seen: u64, unseen: u64) -> Narrow {
        let (mask, value) = (self.mask[arch.index()], self.value[arch.index()]);
        let unseen = unseen & !seen & mask;
        let ordered = |below: Narrow, above: Narrow| match unseen.cmp(&(value & !seen)) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Greater => above,
            std::cmp::Ordering::Equal if value & seen == 0 => above,
            std::cmp::Ordering::Equal => Narrow::Test {
                mask: mask & seen,
                value: value & seen,
            },
        };
        let same = value & !mask == 0 && unseen == value & !seen;
        match self.op {
            Op::Below => ordered(Narrow::Always, Narrow::Never),
            Op::AtLeast => ordered(Narrow::Never, Narrow::Always),
            Op::Same if !same => Narrow::Never,
            Op::Other if !same => Narrow::Always,
            Op::Same if mask & seen == 0 => Narrow::Always,
            Op::Other if mask & seen == 0 => Narrow::Never,
            Op::Same | Op::Other => Narrow::Test {
                mask: mask & seen,
                value: value & seen,
            },
        }
    }
}

/// A condition: alternatives of conjunctions. Without an alternative it never holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition(pub(crate) Vec<Conjunction>);

/// A condition has grown beyond what a filter can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Condition {
    pub(crate) fn never() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn always() -> Self {
        Self(vec![Vec::new()])
    }

    pub(crate) fn all(tests: Conjunction) -> Self {
        Self(vec![tests])
    }

    /// Each of the tests by itself.
    pub(crate) fn any(tests: Vec<Test>) -> Self {
        Self(tests.into_iter().map(|test| vec![test]).collect())
    }

    pub(crate) fn is_always(&self) -> bool {
        self.0.iter().any(Vec::is_empty)
    }

    pub(crate) fn is_never(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn or(&mut self, other: Self) {
        for conjunction in other.0 {
            if !self.0.contains(&conjunction) {
                self.0.push(conjunction);
            }
        }
        if self.is_always() {
            *self = Self::always();
        }
    }

    pub(crate) fn and(&self, other: &Self) -> Result<Self, TooLong> {
        let mut both = Self::never();
        for left in &self.0 {
            for right in &other.0 {
                let mut conjunction = left.clone();
                for test in right {
                    if !conjunction.contains(test) {
                        conjunction.push(test.clone());
                    }
                }
                both.or(Self::all(conjunction));
                if both.0.len() > MOST {
                    return Err(TooLong);
                }
            }
        }
        Ok(both)
    }

    pub(crate) fn not(&self) -> Result<Self, TooLong> {
        let mut rest = Self::always();
        for conjunction in &self.0 {
            let fails = Self::any(conjunction.iter().map(Test::negated).collect());
            rest = rest.and(&fails)?;
        }
        Ok(rest)
    }

    /// Returns the calls that this allows and `other` does not; an error if the condition grows too long.
    pub(crate) fn without(&self, other: &Self) -> Result<Self, TooLong> {
        self.and(&other.not()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_see_decides_a_test_or_leaves_it() {
        let narrow = |op, value, unseen| {
            Test::new(0, op, u64::MAX, value).narrow(Arch::X86_64, 0xffff_ffff, unseen)
        };
        let test = |value| Narrow::Test {
            mask: 0xffff_ffff,
            value,
        };
        assert_eq!(narrow(Op::Same, 7, 0), test(7));
        assert_eq!(narrow(Op::Same, 1 << 32, 0), Narrow::Never);
        assert_eq!(narrow(Op::Other, 1 << 32, 0), Narrow::Always);
        assert_eq!(narrow(Op::Same, u64::MAX, u64::MAX), test(0xffff_ffff));
        assert_eq!(narrow(Op::Below, 1 << 32, 0), Narrow::Always);
        assert_eq!(narrow(Op::Below, 8, 0), test(8));
        assert_eq!(narrow(Op::AtLeast, 8, u64::MAX), Narrow::Always);
        assert_eq!(narrow(Op::AtLeast, 0, 0), Narrow::Always);
    }

    #[test]
    fn what_holds_and_does_not_hold_is_nothing() {
        let even = Condition::all(vec![Test::lacks(0, 1), Test::is(1, 3)]);
        let odd = even.not().unwrap_or_default();
        assert_eq!(odd.0.len(), 2);
        assert!(odd.not().is_ok_and(|twice| twice == even));
        assert!(Condition::always().not().is_ok_and(|none| none.is_never()));
        assert!(Condition::never().not().is_ok_and(|all| all.is_always()));
    }
}
