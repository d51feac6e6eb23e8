//! Tests of one argument that can't hold together.

use std::collections::{BTreeMap, BTreeSet};

use super::{Relation, Test};

/// How many choices from the values that tests list are tried. Beyond it, the tests count as possible.
const MOST_CHOICES: usize = 4096;

/// The tests of a conjunction that exclude each other, by their places. A single one holds of no value.
pub(super) fn find(tests: &[Test]) -> Option<Vec<usize>> {
    let exclude = |places: &[usize]| {
        let chosen: Vec<_> = places.iter().map(|at| &tests[*at]).collect();
        exclude(&chosen)
    };
    let places = 0..tests.len();
    let alone = places.clone().map(|at| vec![at]);
    let pairs = places
        .clone()
        .flat_map(|later| (0..later).map(move |first| vec![first, later]))
        .filter(|pair| tests[pair[0]].arg == tests[pair[1]].arg);
    // The fewer, the easier to see.
    if let Some(few) = alone.chain(pairs).find(|few| exclude(few)) {
        return Some(few);
    }
    let groups = places.clone().map(|one| {
        let same = places.clone();
        same.filter(|place| tests[*place].arg == tests[one].arg)
            .collect::<Vec<_>>()
    });
    let mut group = groups.into_iter().find(|group| exclude(group))?;
    let mut at = 0;
    while at < group.len() {
        let mut fewer = group.clone();
        fewer.remove(at);
        match exclude(&fewer) {
            true => group = fewer,
            false => at += 1,
        }
    }
    Some(group)
}

/// Whether no value certainly meets all of these tests of one argument.
///
/// That is exact if all bounds and excluded values are of the same bits. Nothing is known about the process's own id.
fn exclude(tests: &[&Test]) -> bool {
    let mut lists = Vec::new();
    let mut ranges = BTreeMap::<u64, Range>::new();
    for test in tests {
        if let Relation::OneOf { values, own_pid } = &test.relation {
            if !own_pid {
                lists.push((test.mask, values.as_slice()));
            }
            continue;
        }
        let range = ranges.entry(test.mask).or_default();
        match &test.relation {
            Relation::OneOf { .. } => {}
            Relation::NoneOf { values, .. } => range.excluded.extend(values),
            Relation::Below(limit) => {
                range.below = Some(range.below.map_or(*limit, |below| below.min(*limit)));
            }
            Relation::AtLeast(least) => range.least = range.least.max(*least),
        }
    }
    let mut choices = MOST_CHOICES;
    !is_possible(&lists, Bits::default(), &ranges, &mut choices)
}

/// The part of a register that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    /// Which bits are known.
    known: u64,
    /// Their values.
    value: u64,
}

/// Whether a register with these bits can have a value of each list, and one in each range of its masked parts.
fn is_possible(
    lists: &[(u64, &[u64])],
    bits: Bits,
    ranges: &BTreeMap<u64, Range>,
    choices: &mut usize,
) -> bool {
    let Some(((mask, values), rest)) = lists.split_first() else {
        return ranges
            .iter()
            .all(|(mask, range)| range.has_value(*mask, bits));
    };
    values.iter().any(|own| {
        if *choices == 0 {
            return true;
        }
        *choices -= 1;
        let agrees = (own ^ bits.value) & mask & bits.known == 0;
        let bits = Bits {
            known: bits.known | mask,
            value: bits.value | own,
        };
        agrees && is_possible(rest, bits, ranges, choices)
    })
}

/// The values that a masked part may have.
#[derive(Debug, Default)]
struct Range {
    least: u64,
    below: Option<u64>,
    excluded: BTreeSet<u64>,
}

impl Range {
    /// Whether a register with these bits can have a part, under this mask, that is in the range.
    fn has_value(&self, mask: u64, bits: Bits) -> bool {
        let part = Bits {
            known: bits.known | !mask,
            value: bits.value & mask,
        };
        let mut next = part.least_from(self.least);
        // Each turn but the last passes a value that is excluded.
        while let Some(value) = next.filter(|value| self.below.is_none_or(|below| *value < below)) {
            if !self.excluded.contains(&value) {
                return true;
            }
            next = value
                .checked_add(1)
                .and_then(|least| part.least_from(least));
        }
        false
    }
}

impl Bits {
    /// Returns the least number that has these bits and isn't less than `least`.
    fn least_from(self, least: u64) -> Option<u64> {
        let wrong = (least ^ self.value) & self.known;
        let Some(highest) = wrong.checked_ilog2() else {
            return Some(least);
        };
        // The bit that becomes 1 in place of a 0. What is above it stays, and what is below it is as small as can be.
        let raised = if self.value >> highest & 1 == 1 {
            highest
        } else {
            let above = !(u64::MAX >> (63 - highest));
            let free = !least & !self.known & above;
            (free != 0).then(|| free.trailing_zeros())?
        };
        let below = (1_u64 << raised) - 1;
        let kept = least & !(below | 1 << raised);
        Some(kept | 1 << raised | self.value & below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::syscalls::Width;

    /// Tests of a register of 8 bits, so that all of its values can be tried.
    fn test() -> impl Strategy<Value = Test> {
        let relation = (
            0..4,
            proptest::collection::vec(0..=255_u64, 1..4),
            any::<bool>(),
        );
        let mask = prop_oneof![Just(0xff_u64), 1..=255_u64];
        (mask, relation).prop_map(|(mask, (kind, mut values, whole))| {
            // Bounds of the whole are the common ones.
            let mask = if whole { 0xff } else { mask };
            values.iter_mut().for_each(|value| *value &= mask);
            values.sort_unstable();
            values.dedup();
            let own_pid = false;
            let relation = match kind {
                0 => Relation::Below(values[0]),
                1 => Relation::AtLeast(values[0]),
                2 => Relation::NoneOf { values, own_pid },
                _ => Relation::OneOf { values, own_pid },
            };
            Test {
                arg: 0,
                width: Width::Long,
                mask,
                relation,
            }
        })
    }

    fn can_hold(tests: &[Test], places: &[usize]) -> bool {
        let meets = |value: u64| {
            let holds = |at: &usize| tests[*at].holds(&[value, 0, 0, 0, 0, 0], 0);
            places.iter().all(holds)
        };
        (0..=255).any(meets)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_called_a_contradiction_is_one_and_bounds_of_the_same_bits_are_decided(
            tests in proptest::collection::vec(test(), 1..6)
        ) {
            let all: Vec<_> = (0..tests.len()).collect();
            let found = find(&tests);
            if let Some(places) = &found {
                prop_assert!(!can_hold(&tests, places), "{places:?}");
            }
            let lists = |test: &&Test| matches!(test.relation, Relation::OneOf { .. });
            let masks: BTreeSet<_> = tests.iter().filter(|test| !lists(test)).map(|test| test.mask).collect();
            if masks.len() <= 1 {
                prop_assert_eq!(found.is_none(), can_hold(&tests, &all));
                // It takes all of them.
                for left_out in found.iter().flatten() {
                    let rest = found.iter().flatten().filter(|at| *at != left_out);
                    let rest: Vec<_> = rest.copied().collect();
                    prop_assert!(can_hold(&tests, &rest), "{rest:?}");
                }
            }
        }

        #[test]
        fn the_least_number_with_some_bits_is_found(known: u8, value: u8, least in 0..=256_u64) {
            let known = u64::from(known) | !0xff;
            let value = u64::from(value) & known;
            let expected = (least..=255).find(|number| (number ^ value) & known == 0);
            prop_assert_eq!(Bits { known, value }.least_from(least), expected);
        }
    }

    #[test]
    fn lists_of_any_length_take_bounded_time() {
        let list = |shift: u32| Test {
            arg: 0,
            width: Width::Long,
            mask: 0xfff << shift,
            relation: Relation::OneOf {
                values: (0..4096).map(|value| value << shift).collect(),
                own_pid: false,
            },
        };
        let never = Test {
            mask: 1,
            relation: Relation::AtLeast(2),
            ..list(0)
        };
        let lists: Vec<_> = (0..5).map(|at| list(at * 12)).collect();
        let all: Vec<_> = lists.iter().chain([&never]).collect();
        // It gives up, although the last of them alone holds of nothing.
        assert!(!exclude(&all) && exclude(&[&never]));
        let all: Vec<_> = all.into_iter().cloned().collect();
        assert_eq!(find(&all), Some(vec![5]));
    }
}
