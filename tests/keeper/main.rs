//! The process that makes and watches confined children: its life, its death, its load.

mod descendants;
mod functions;
mod lifetimes;
mod load;
mod output;
#[path = "../support/mod.rs"]
mod support;
mod surroundings;
mod waiting;

use std::time::Duration;

fn main() {
    if waiting::start_is_slow() {
        std::thread::sleep(Duration::from_secs(20));
    }
    crossmist::init();
    support::main(
        support::all(&[
            lifetimes::CASES,
            load::CASES,
            output::CASES,
            descendants::CASES,
            waiting::CASES,
            surroundings::CASES,
        ]),
        support::all(&[
            lifetimes::HELPERS,
            output::HELPERS,
            descendants::HELPERS,
            waiting::HELPERS,
        ]),
    );
}
