//! Tests of one argument that can't hold together.

use super::{Relation, Test};

/// The two tests of a conjunction that exclude each other, by their places.
pub(super) fn find(tests: &[Test]) -> Option<(usize, usize)> {
    let pairs = (0..tests.len()).flat_map(|later| (0..later).map(move |first| (first, later)));
    let mut pairs = pairs.filter(|(first, later)| tests[*first].arg == tests[*later].arg);
    pairs.find(|(first, later)| exclude(&tests[*first], &tests[*later]))
}

/// Whether no value certainly meets both. Nothing is known about the process's own id.
fn exclude(one: &Test, other: &Test) -> bool {
    let values = |test: &Test| match &test.relation {
        Relation::OneOf {
            values,
            own_pid: false,
        } => Some(values.clone()),
        _ => None,
    };
    match (values(one), values(other)) {
        // On the bits that both look at, no two values agree.
        (Some(first), Some(second)) => {
            let shared = one.mask & other.mask;
            !first
                .iter()
                .any(|first| second.iter().any(|second| (first ^ second) & shared == 0))
        }
        (Some(values), None) => none_meets(&values, one.mask, other),
        (None, Some(values)) => none_meets(&values, other.mask, one),
        (None, None) => match (&one.relation, &other.relation) {
            (Relation::Below(limit), Relation::AtLeast(least))
            | (Relation::AtLeast(least), Relation::Below(limit)) => {
                one.mask == other.mask && least >= limit
            }
            _ => false,
        },
    }
}

/// Whether none of the values, which are known in the bits of `known`, meets a test.
fn none_meets(values: &[u64], known: u64, test: &Test) -> bool {
    let decided = test.mask & !known == 0 && !test.names_own_pid();
    decided
        && !values.iter().any(|value| {
            let mut args = [0; 6];
            args[usize::from(test.arg)] = *value;
            test.holds(&args, 0)
        })
}
