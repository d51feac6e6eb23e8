//! What the macros say of code that can't work: a file a rule, and beside it what the compiler
//! says.
//!
//! After a change of a message, `TRYBUILD=overwrite cargo test --test ui` writes the new ones; read
//! them before they are committed. The texts are those of the compiler that CI uses.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/func/*.rs");
    cases.compile_fail("tests/ui/object/*.rs");
    cases.compile_fail("tests/ui/trait/*.rs");
    cases.compile_fail("tests/ui/main/*.rs");
}
