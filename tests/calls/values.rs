//! Arguments and results, and the limits on them.

use std::time::Duration;

use crossmist::{Error, Limits, Object, func};

use crate::cases;
use crate::functions::{add, repeat, reverse, same};
use crate::support::{Case, Holdings, state};

pub(crate) const CASES: &[Case] = cases![
    a_call_is_a_call_however_it_is_made,
    arguments_and_results_of_any_length_arrive,
    a_child_calls_functions_itself,
    limits_hold_for_arguments_and_answer,
    raised_limits_hold_in_the_child_too,
];

fn a_call_is_a_call_however_it_is_made() {
    let before = Holdings::now();
    assert_eq!(add(5, 7), 12);
    assert_eq!(add.run(5, 7).unwrap(), 12);
    assert_eq!(add.spawn(5, 7).unwrap().join().unwrap(), 12);
    assert_eq!(add.builder().run(5, 7).unwrap(), 12);
    let mut child = add.builder().spawn(5, 7).unwrap();
    let id = child.id().unwrap();
    assert_eq!(
        child.join_timeout(Duration::from_secs(20)).unwrap(),
        Some(12)
    );
    assert_eq!(state(id), None, "waited for");
    assert!(matches!(child.try_join(), Err(Error::AlreadyJoined)));
    drop(child);
    before.assert_same();
}

fn arguments_and_results_of_any_length_arrive() {
    // Around one packet, around a run that travels by itself, and far above both.
    for length in [0, 1, 65_535, 65_536, 204_767, 204_768, 204_769, 20 << 20] {
        let mut bytes: Vec<u8> = (0..length).map(|index: u32| (index % 251) as u8).collect();
        let answer = reverse.run(bytes.clone()).unwrap();
        bytes.reverse();
        assert!(answer == bytes, "{length} bytes");
    }
}

#[func]
fn add_further_down(depth: u32) -> Result<u64, String> {
    match depth {
        0 => Ok(1),
        depth => add_further_down
            .run(depth - 1)
            .map_err(|error| error.to_string())?
            .map(|sum| sum + 1),
    }
}

fn a_child_calls_functions_itself() {
    assert_eq!(add_further_down.run(2).unwrap(), Ok(3));
}

fn limits_hold_for_arguments_and_answer() {
    let limits = Limits::new().message_bytes(1000);
    let call = |bytes| reverse.builder().limits(limits).run(vec![1; bytes]);
    assert_eq!(call(900).unwrap().len(), 900);
    assert!(matches!(call(1001), Err(Error::Encode(_))));
    // The arguments fit, the answer doesn't.
    let call = repeat.builder().limits(limits);
    let result = call.run(2000);
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("repeat` has ")
            && error.contains("the caller allows 1000: raise `Limits::message_bytes`"),
        "{error}"
    );
}

#[derive(Debug, PartialEq, Object)]
pub(crate) struct Deep(Option<Box<Deep>>);

fn raised_limits_hold_in_the_child_too() {
    let mut deep = Deep(None);
    for _ in 0..200 {
        deep = Deep(Some(Box::new(deep)));
    }
    let limits = Limits::new().nesting(400);
    let result = same.builder().limits(limits).run(deep);
    let mut count = 0;
    let mut next = &result.unwrap();
    while let Deep(Some(inner)) = next {
        next = inner;
        count += 1;
    }
    assert_eq!(count, 200);
}
