//! Messages of the macros about code that can't work: a file for each rule, and beside it the compiler's
//! output.
//!
//! After a change of a message, `TRYBUILD=overwrite cargo test --test ui` writes the new ones; read
//! them before they are committed. The texts are those of the compiler that CI uses.

#[test]
#[expect(
    unsafe_code,
    reason = "sets a variable for the compiler that it starts"
)]
fn ui() {
    // The cases are compiled as crates elsewhere.
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ui/policies");
    // SAFETY: the only test of this program, which has started no thread.
    unsafe { std::env::set_var("CROSSMIST_POLICY_DIR", policies) };
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/func/*.rs");
    cases.compile_fail("tests/ui/sandbox/*.rs");
    cases.compile_fail("tests/ui/object/*.rs");
    cases.compile_fail("tests/ui/trait/*.rs");
    cases.compile_fail("tests/ui/main/*.rs");
    cases.compile_fail("tests/ui/callback/*.rs");
}
