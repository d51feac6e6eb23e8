//! Tests of one argument that can't hold together.

use super::{Relation, Test};

/// The tests of a conjunction that exclude each other, by their places.
pub(super) fn find(tests: &[Test]) -> Option<Vec<usize>> {
    let places = 0..tests.len();
    let pairs = places
        .clone()
        .flat_map(|later| (0..later).map(move |first| [first, later]));
    let mut pairs = pairs.filter(|[first, later]| tests[*first].arg == tests[*later].arg);
    let pair = pairs.find(|[first, later]| exclude(&tests[*first], &tests[*later]));
    if let Some(pair) = pair {
        return Some(pair.to_vec());
    }
    // Several may leave nothing of the values that one of them lists.
    places.clone().find_map(|one| {
        let same = places
            .clone()
            .filter(|place| tests[*place].arg == tests[one].arg);
        let same: Vec<_> = same.collect();
        let all: Vec<_> = same.iter().map(|place| &tests[*place]).collect();
        (none_meets(&tests[one], &all) == Some(true)).then_some(same)
    })
}

/// Whether no value certainly meets both. Nothing is known about the process's own id.
fn exclude(one: &Test, other: &Test) -> bool {
    match (&one.relation, &other.relation) {
        (Relation::Below(limit), Relation::AtLeast(least))
        | (Relation::AtLeast(least), Relation::Below(limit)) => {
            one.mask == other.mask && least >= limit
        }
        _ => [(one, other), (other, one)]
            .iter()
            .any(|(one, other)| none_meets(one, &[other]) == Some(true)),
    }
}

/// Whether none of the values that a test lists certainly meets all others; `None` if it lists none.
fn none_meets(listing: &Test, others: &[&Test]) -> Option<bool> {
    let Relation::OneOf {
        values,
        own_pid: false,
    } = &listing.relation
    else {
        return None;
    };
    let possible = |value: &u64| {
        let meets = |test: &&Test| could_meet(*value, listing.mask, test);
        others.iter().all(meets)
    };
    Some(!values.iter().any(possible))
}

/// Whether a register that has these bits where `known` is set, and any others, could meet a test.
fn could_meet(value: u64, known: u64, test: &Test) -> bool {
    match &test.relation {
        Relation::OneOf { own_pid: true, .. } | Relation::NoneOf { own_pid: true, .. } => true,
        Relation::OneOf { values, .. } => {
            let shared = known & test.mask;
            values.iter().any(|own| (own ^ value) & shared == 0)
        }
        Relation::NoneOf { values, .. } => {
            test.mask & !known != 0 || !values.contains(&(value & test.mask))
        }
        Relation::Below(limit) => value & test.mask < *limit,
        Relation::AtLeast(least) => (value | !known) & test.mask >= *least,
    }
}
