//! Branches off in child processes before `main`: the feature `early-entry`.
//!
//! A constructor in `.init_array` does what [`init`](crate::init) does. So a library can call
//! functions in children without the help of the program around it, and so can a plain `#[test]`,
//! whose `main` belongs to the test runner.
//!
//! Such a child has not run Rust's set-up before `main` (its handler for stack overflows; SIGPIPE
//! is handled here), or the constructors that come after this one, such as those of C++ statics in
//! linked libraries. If a function needs those, its program must not use this feature.
#![expect(
    unsafe_code,
    reason = "a constructor has to be placed in a section of its own"
)]

// SAFETY: the loader calls each function in `.init_array` once, before `main`, on the only thread.
// Rust's own constructor, which makes the arguments available to `std::env::args`, comes earlier:
// it has a priority, which this one does not have. A panic does not get past `extern "C"`.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;

extern "C" fn enter() {
    crate::init();
}
