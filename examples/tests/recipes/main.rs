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
    let page = include_str!("../../../policies/README.md");
    let heading = format!("\n**{title}.**");
    let (_, rest) = page.split_once(&heading).expect("a recipe of this title");
    let rest = rest.split("\n**").next().unwrap_or(rest);
    let (_, rest) = rest.split_once("```toml\n").expect("a policy");
    let text = rest.split("```").next().unwrap_or(rest);
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
