//! The recipes of `policies/README.md`: each policy is taken out of the page as it stands there, and a real
//! function runs under it.

#[path = "../../../tests/support/mod.rs"]
#[macro_use]
mod support;

mod code;
mod files;
mod network;
mod owners;

use crossmist::{Error, SandboxPolicy};

fn main() {
    crossmist::init();
    support::main(
        support::all(&[files::CASES, network::CASES, code::CASES, owners::CASES]),
        &[],
    );
}

/// The policy of the recipe with this title.
#[track_caller]
fn recipe(title: &str) -> SandboxPolicy {
    policy(title, text_of(title))
}

/// The same with another text in one place: for controls.
#[track_caller]
fn recipe_with(title: &str, text: &str, other: &str) -> SandboxPolicy {
    let whole = text_of(title);
    assert_eq!(whole.matches(text).count(), 1, "{whole}");
    policy(title, &whole.replace(text, other))
}

#[track_caller]
fn text_of(title: &str) -> &'static str {
    let page = include_str!("../../../policies/README.md");
    let heading = format!("\n**{title}.**");
    let (_, rest) = page.split_once(&heading).expect("a recipe of this title");
    let rest = rest.split("\n**").next().unwrap_or(rest);
    let (_, rest) = rest.split_once("```toml\n").expect("a policy");
    rest.split("```").next().unwrap_or(rest)
}

#[track_caller]
fn policy(title: &str, text: &str) -> SandboxPolicy {
    let policy = SandboxPolicy::from_toml("recipe", text);
    policy.unwrap_or_else(|error| panic!("{title}: {error}"))
}

/// The call that a policy denied.
#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Violation(violation)) => violation.claim.expect("a claim").call,
        other => panic!("{other:?}"),
    }
}
