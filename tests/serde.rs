//! `Serde<T>` in calls: what it can't carry is refused where it is sent, as an argument and as an answer.

mod support;

use crossmist::{EncodeErrorKind, Error, Serde, func};
use serde::{Deserialize, Serialize};

fn main() {
    crossmist::init();
    support::main(
        cases![
            an_argument_is_refused_before_a_child_is_started,
            an_answer_is_refused_in_the_child,
            what_can_be_carried_goes_both_ways,
        ],
        cases![],
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    quality: Option<u8>,
    level: u8,
}

fn without_quality() -> Options {
    Options {
        quality: None,
        level: 1,
    }
}

#[func]
fn echo(options: Serde<Options>) -> Serde<Options> {
    options
}

#[func(sandbox = "parser")]
fn answers() -> Serde<Options> {
    Serde(without_quality())
}

#[func]
fn answers_unconfined() -> Serde<Options> {
    Serde(without_quality())
}

fn an_argument_is_refused_before_a_child_is_started() {
    let result = echo.run(Serde(without_quality()));
    let Err(Error::Encode(error)) = result else {
        panic!("{result:?}");
    };
    let EncodeErrorKind::Refused { reason } = error.kind() else {
        panic!("{error}");
    };
    assert!(reason.contains("`Options::quality`"), "{reason}");
    assert_eq!(support::raw::any_child(), None);
}

fn an_answer_is_refused_in_the_child() {
    for result in [answers.run(), answers_unconfined.run()] {
        let Err(Error::BadResult { reason, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(reason.as_raw().contains("`Options::quality`"), "{reason}");
    }
}

fn what_can_be_carried_goes_both_ways() {
    let options = Options {
        quality: Some(0),
        level: 1,
    };
    let Serde(back) = echo.run(Serde(options.clone())).unwrap();
    assert_eq!(back, options);
}
