//! Children that mean harm: they leave the library aside and use its sockets themselves.
//!
//! Whatever they do, the program gets an exact error in time, keeps its memory, its descriptors and
//! its signals, and its next call works.

mod descriptors;
mod exhaustion;
mod malformed;
mod peer;
mod processes;
mod sockets;
#[path = "../support/mod.rs"]
mod support;

#[crossmist::main]
fn main() {
    support::main(
        support::all(&[
            malformed::CASES,
            exhaustion::CASES,
            descriptors::CASES,
            sockets::CASES,
            processes::CASES,
        ]),
        &[],
    );
}
