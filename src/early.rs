//! Entering child processes before `main`: the feature `early-entry`.
//!
//! A constructor in `.init_array` does what [`init`](crate::init) does. So a library can call
//! functions in children without the program around it knowing, and a plain `#[test]` can, too,
//! whose `main` belongs to the test runner.
//!
//! What a child then has not been through: Rust's runtime before `main` (its handler for stack
//! overflows; what is done about SIGPIPE is done here), and the constructors that come after this
//! one, such as those of C++ statics in linked libraries. A function that needs those must not
//! run in a program that enters its children so.
#![expect(
    unsafe_code,
    reason = "a constructor has to be placed in a section of its own"
)]

// SAFETY: the loader calls each function in `.init_array` once, before `main`, on the only thread.
// Rust's own constructor, which makes the arguments available to `std::env::args`, comes earlier:
// it has a priority, which this one hasn't. A panic doesn't get past `extern "C"`.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;

extern "C" fn enter() {
    crate::init();
}
