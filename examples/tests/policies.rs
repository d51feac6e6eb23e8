//! The policies of the examples, held against what they expect of themselves.

crossmist::policy_tests!();

/// The control: a policy that expects what isn't so is told of.
#[test]
fn a_wrong_expectation_fails() {
    let folder = std::env::temp_dir().join(format!("crossmist-wrong-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), "[workspace]\n").unwrap();
    let text =
        "format = 1\nextends = [\"pure\"]\n[[expect]]\nsyscall = \"getpid()\"\nis = \"killed\"\n";
    std::fs::write(folder.join("policies/wrong.toml"), text).unwrap();
    let failures = crossmist::testing::test_policies(folder.to_str().unwrap(), false).unwrap_err();
    assert!(
        failures.contains("the policy `wrong`") && failures.contains("error[P090]"),
        "{failures}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
