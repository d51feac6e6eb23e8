//! The built-in policies where programs run in containers: as root with few ids or few capabilities,
//! as PID 1, behind an engine's seccomp profile, with few descriptors, on a read-only root.
//!
//! `docs/containers.md` says what users are to do; each of its claims about this library is held here.

mod descriptors;
mod enter;
mod every_policy;
mod filters;
mod pid_1;
mod privileges;
#[path = "../support/mod.rs"]
mod support;

fn main() {
    crossmist::init();
    support::main(
        support::all(&[
            every_policy::CASES,
            privileges::CASES,
            pid_1::CASES,
            filters::CASES,
            descriptors::CASES,
        ]),
        support::all(&[
            every_policy::HELPERS,
            privileges::HELPERS,
            pid_1::HELPERS,
            filters::HELPERS,
            descriptors::HELPERS,
        ]),
    );
}
