//! Groups of system call numbers that a filter tells apart by one test each.
//!
//! A search tree needs two tests to tell a single number from its neighbours, and a test for equality
//! needs one. So neighbours that are answered alike, but for a few, are one leaf of the tree.

use super::build::Label;

/// Neighbouring numbers, most of which lead to the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The first number.
    pub(crate) start: u32,
    /// The label that they lead to.
    pub(crate) common: Label,
    /// The numbers that lead elsewhere.
    pub(crate) others: Vec<(u32, Label)>,
}

/// The most numbers of a group that lead elsewhere: each is a test on the way of all numbers of the group.
const MOST: usize = 4;

/// Divides `ranges`, which hold where each begins and where it leads, into groups that need the fewest
/// tests.
pub(crate) fn groups(ranges: &[(u32, Label)]) -> Vec<Group> {
    // For the first ranges: how many tests they need, and where the group begins that they end with.
    let mut best = vec![(0, 0)];
    for end in 1..=ranges.len() {
        // A longer group has no fewer exceptions.
        let choices = (0..end).rev().map_while(|begin| {
            let (others, _) = fewest(ranges, begin, end)?;
            Some((best[begin].0 + 1 + others, begin))
        });
        // A group of one range is always possible. Of those that need as many tests, the longest is taken.
        let choice = choices.min_by_key(|(tests, begin)| (*tests, *begin));
        best.push(choice.unwrap_or_default());
    }
    let mut groups = Vec::new();
    let mut end = ranges.len();
    while end > 0 {
        let begin = best[end].1;
        groups.extend(group(ranges, begin, end));
        end = begin;
    }
    groups.reverse();
    groups
}

/// The group of these ranges, unless too many of its numbers lead elsewhere.
fn group(ranges: &[(u32, Label)], begin: usize, end: usize) -> Option<Group> {
    let (_, common) = fewest(ranges, begin, end)?;
    let others = (begin..end).filter(|at| ranges[*at].1 != common);
    let others = others.filter_map(|at| Some((ranges[at].0..ranges.get(at + 1)?.0, ranges[at].1)));
    Some(Group {
        start: ranges[begin].0,
        common,
        others: others
            .flat_map(|(numbers, label)| numbers.map(move |number| (number, label)))
            .collect(),
    })
}

/// Returns the label that most numbers of these ranges lead to, and how many lead elsewhere.
fn fewest(ranges: &[(u32, Label)], begin: usize, end: usize) -> Option<(usize, Label)> {
    let others = |common: Label| {
        let mut others = 0;
        for at in (begin..end).filter(|at| ranges[*at].1 != common) {
            // The last range continues to the largest number, and is no exception.
            let (next, _) = ranges.get(at + 1)?;
            others += (*next - ranges[at].0) as usize;
            if others > MOST {
                return None;
            }
        }
        Some((others, common))
    };
    let choices = (begin..end).filter_map(|at| others(ranges[at].1));
    choices.min_by_key(|(others, _)| *others)
}

#[cfg(test)]
mod tests {
    use super::super::build::Builder;
    use super::*;
    use crate::bpf::Action;

    /// Ranges that lead to these error numbers.
    fn ranges(of: &[(u32, u16)]) -> (Vec<(u32, Label)>, impl FnMut(u16) -> Label + use<>) {
        let mut build = Builder::default();
        let mut label = move |number| build.answer(Action::Errno(number));
        let ranges = of.iter().map(|(start, to)| (*start, label(*to))).collect();
        (ranges, label)
    }

    #[test]
    fn single_numbers_are_exceptions() {
        let (ranges, mut to) = ranges(&[(0, 1), (10, 2), (11, 1), (20, 3), (21, 1), (40, 2)]);
        let wanted = [
            Group {
                start: 0,
                common: to(1),
                others: vec![(10, to(2)), (20, to(3))],
            },
            Group {
                start: 40,
                common: to(2),
                others: vec![],
            },
        ];
        assert_eq!(groups(&ranges), wanted);
    }

    #[test]
    fn what_goes_on_to_the_last_number_is_no_exception() {
        let (ranges, mut to) = ranges(&[(0, 1), (u32::MAX - 1, 2)]);
        let found = groups(&ranges);
        assert!(found.iter().any(|group| group.common == to(2)), "{found:?}");
        assert_eq!(groups(&[]), []);
    }
}
