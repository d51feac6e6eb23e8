//! Pools: children that wait for calls, and what hostile ones can do to a pool.

#[path = "../support/mod.rs"]
mod support;

mod attributes;
mod between;
mod calls;
mod hostile;
mod last_words;
mod life;
mod retries;
mod reuse;

#[crossmist::main]
fn main() {
    support::main(
        support::all(&[
            attributes::CASES,
            between::CASES,
            calls::CASES,
            hostile::CASES,
            last_words::CASES,
            life::CASES,
            retries::CASES,
            reuse::CASES,
        ]),
        life::HELPERS,
    );
}
