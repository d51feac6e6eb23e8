//! What a child has printed that is killed.

use std::time::Duration;

use crossmist::{Error, Pool, func};

use crate::between::printed;
use crate::cases;
use crate::hostile::keeper;
use crate::support::{Case, patience, raw};

/// Prints something, and then does not end by itself.
#[func(sandbox = "parser")]
fn prints_and_stays(how: String) -> String {
    eprintln!("{how}");
    if how == "answers" {
        let answer = crate::hostile::answer("by hand");
        raw::send(raw::launch_socket(), &answer).unwrap();
    }
    loop {
        std::thread::park();
    }
}

/// Enough for a child that the keeper only has to fork.
fn time() -> Duration {
    patience(Duration::from_secs(5))
}

fn is_late(result: &Result<String, Error>) -> bool {
    matches!(result, Err(Error::Deadline { .. }))
}

fn what_a_child_printed_that_stays_after_its_answer_is_shown() {
    let shown = printed(1, || {
        let answer = prints_and_stays.run("answers".to_owned());
        assert_eq!(answer.unwrap(), "by hand");
    });
    assert!(shown.ends_with(": answers\n"), "{shown:?}");

    let pool = Pool::of(prints_and_stays).workers(1).spares(1);
    let pool = pool.build().unwrap();
    let shown = printed(1, || {
        let answer = pool.run("answers".to_owned());
        assert_eq!(answer.unwrap(), "by hand");
    });
    assert!(shown.ends_with(": answers\n"), "{shown:?}");
}

fn what_a_child_printed_before_its_deadline_is_shown() {
    keeper();
    let shown = printed(1, || {
        let call = prints_and_stays.builder().deadline(time());
        assert!(is_late(&call.run("hangs".to_owned())));
    });
    assert!(shown.ends_with(": hangs\n"), "{shown:?}");

    let pool = Pool::of(prints_and_stays).workers(1).spares(1);
    let pool = pool.deadline(time()).build().unwrap();
    let shown = printed(1, || assert!(is_late(&pool.run("hangs".to_owned()))));
    assert!(shown.ends_with(": hangs\n"), "{shown:?}");
}

/// Its thread must not wait for that.
#[cfg(feature = "tokio")]
fn what_a_child_printed_whose_call_ran_in_a_runtime_is_shown() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    keeper();
    let shown = printed(1, || {
        let call = prints_and_stays.builder().deadline(time());
        let result = runtime.block_on(call.run_tokio("hangs".to_owned()));
        assert!(is_late(&result));
    });
    assert!(shown.ends_with(": hangs\n"), "{shown:?}");
}

#[cfg(not(feature = "tokio"))]
fn what_a_child_printed_whose_call_ran_in_a_runtime_is_shown() {}

pub(crate) const CASES: &[Case] = cases![
    what_a_child_printed_that_stays_after_its_answer_is_shown,
    what_a_child_printed_before_its_deadline_is_shown,
    what_a_child_printed_whose_call_ran_in_a_runtime_is_shown,
];
