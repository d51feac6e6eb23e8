//! Limits that functions raise above those of their policies, as `check` and `explain` show them.

use crate::commands::package;

#[test]
fn a_reviewer_sees_what_a_function_raises() {
    let source = "#[crossmist::func(sandbox = \"parser\", raise(wall_time = \"5min\"))]\nfn a() {}\n\
                  #[crossmist::func(sandbox = \"parser\", wall_time = \"1s\")]\nfn b() {}\nfn main() {}\n";
    let folder = package("raised", &[], source);
    let raised = "`limits.wall_time` from 1min to 5min";
    let ran = folder.run(&["check"]);
    ran.ends(0).says(&[
        &format!("warning[C061]: `a` raises limits of `parser`: {raised}"),
        " --> src/main.rs:1:29",
    ]);
    // The control.
    assert!(!ran.err().contains("`b` raises"), "{}", ran.err());
    folder.run(&["check", "--strict"]).ends(1);
    folder
        .run(&["check", "--strict", "--allow", "C061"])
        .ends(0);
    let explained = folder.run(&["explain", "parser", "--format", "json"]);
    assert_eq!(explained.ends(0).json()["raised"][0]["function"], "a");
    folder
        .run(&["explain", "parser"])
        .ends(0)
        .says(&[&format!("`a` raises {raised}")]);
}
