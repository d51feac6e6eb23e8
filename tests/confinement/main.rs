//! Confined children: denied actions, allowed actions, and how they end, with real children and the real
//! kernel.

mod attempt;
mod denied;
mod ends;
mod files;
mod forged;
mod limits;
mod passing;
mod reports;
mod status;
#[path = "../support/mod.rs"]
mod support;

fn main() {
    crossmist::init();
    support::main(
        support::all(&[
            denied::CASES,
            reports::CASES,
            forged::CASES,
            ends::CASES,
            status::CASES,
            passing::CASES,
            files::CASES,
            limits::CASES,
        ]),
        support::all(&[ends::HELPERS, status::HELPERS, passing::HELPERS]),
    );
}
