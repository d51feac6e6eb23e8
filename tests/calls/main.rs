//! Calls and children: how they are started, how they end, and that nothing is left of them.

mod deadlines;
mod ends;
mod environment;
mod functions;
mod handles;
mod leftovers;
mod panics;
#[path = "../support/mod.rs"]
mod support;
mod values;

#[crossmist::main]
fn main() {
    support::main(
        support::all(&[
            values::CASES,
            environment::CASES,
            handles::CASES,
            panics::CASES,
            ends::CASES,
            deadlines::CASES,
            leftovers::CASES,
        ]),
        support::all(&[leftovers::HELPERS]),
    );
}
