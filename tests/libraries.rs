//! Calls that C libraries make on their own account, under every built-in policy: a question about oneself
//! gets an answer, and a call that a policy withholds comes back as an error that libraries know.
//!
//! The same program runs against other C libraries by `tests/libc/run`.

mod support;

#[path = "libraries/questions.rs"]
mod questions;

#[path = "libraries/calls.rs"]
mod calls;

#[path = "libraries/pools.rs"]
mod pools;

use calls::{
    a_client_makes_its_own_sockets_non_blocking, a_file_is_mapped_privately_and_by_those_who_share,
    a_lent_file_goes_on_appending, a_mode_is_changed_but_never_to_set_user_id,
    barriers_are_for_the_process_itself,
};
use crossmist::{Error, SandboxPolicy, func};
use pools::{
    a_pool_of_a_thread_a_processor_fits_the_limit,
    a_thread_beyond_the_limit_is_an_error_that_names_it,
    a_thread_where_there_are_none_is_an_error_that_names_the_limit,
};
use questions::{Expected, QUESTIONS, Question};
use support::Need;

fn main() {
    crossmist::init();
    support::main(
        cases![
            calls_that_libraries_make_on_their_own_account_are_answered_in_every_policy,
            every_question_stands_once_in_the_table,
            a_pool_of_a_thread_a_processor_fits_the_limit needs Root,
            a_thread_beyond_the_limit_is_an_error_that_names_it needs Root,
            a_thread_where_there_are_none_is_an_error_that_names_the_limit,
            a_client_makes_its_own_sockets_non_blocking needs Ports,
            a_lent_file_goes_on_appending needs Ports,
            a_mode_is_changed_but_never_to_set_user_id,
            a_file_is_mapped_privately_and_by_those_who_share,
            barriers_are_for_the_process_itself,
        ],
        cases![],
    );
}

/// The built-in policies that confine, but for one whose ports the kernel may be excused from denying.
fn confined_policies() -> Vec<(&'static str, SandboxPolicy)> {
    ["pure", "parser", "file-reader", "worker", "network-client"]
        .into_iter()
        .filter(|name| !(*name == "network-client" && Need::Ports.is_excused()))
        .map(|name| (name, SandboxPolicy::builtin(name).unwrap()))
        .collect()
}

#[func(sandbox = dynamic)]
fn confined(number: usize) -> Result<i64, i32> {
    (QUESTIONS[number].ask)()
}

#[func]
fn unconfined(number: usize) -> Result<i64, i32> {
    (QUESTIONS[number].ask)()
}

fn calls_that_libraries_make_on_their_own_account_are_answered_in_every_policy() {
    let policies = confined_policies();
    let mut wrong = Vec::new();
    for (number, question) in QUESTIONS.iter().enumerate() {
        // The control: it is the sandbox that makes the difference, where there is one.
        check(
            question,
            "unconfined",
            unconfined.run(number),
            &question.outside,
            &mut wrong,
        );
        for (name, policy) in &policies {
            let expected = question.under(name);
            let found = confined.sandbox(policy).run(number);
            check(question, name, found, expected, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(
    question: &Question,
    policy: &str,
    found: Result<Result<i64, i32>, Error>,
    expected: &Expected,
    wrong: &mut Vec<String>,
) {
    let text = match &found {
        Ok(found) if expected.allows(*found) => return,
        Ok(found) => format!("{found:?}"),
        Err(error) => error.to_string(),
    };
    wrong.push(format!(
        "{} under `{policy}`: {text}, not {expected:?}",
        question.name
    ));
}

fn every_question_stands_once_in_the_table() {
    let mut names: Vec<_> = QUESTIONS.iter().map(|question| question.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}
