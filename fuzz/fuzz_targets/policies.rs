//! The text of a policy: read, compiled, explained, compared, and stored.
#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use crossmist_policy::{BuiltinOnly, Compiled, Policy, diff};

static PARSER: LazyLock<Policy> =
    LazyLock::new(|| Policy::builtin("parser").expect("a built-in policy"));

fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let policy = match Policy::from_toml(&BuiltinOnly, "fuzzed", &text) {
        Ok(policy) => policy,
        Err(report) => {
            assert!(!report.diagnostics().is_empty());
            for finding in report.diagnostics() {
                assert!(finding.line > 0 && finding.column > 0 && finding.length > 0);
            }
            let _ = report.to_string();
            return;
        }
    };
    let _ = policy.lint(|_| None);
    let _ = policy.overview();
    assert!(
        diff::between(&policy, &policy).is_empty(),
        "it differs from itself"
    );
    let _ = diff::between(&PARSER, &policy);
    for expected in policy.expected() {
        assert!(!expected.is.is_empty());
    }
    if let Ok(compiled) = policy.compile() {
        let bytes = compiled.to_bytes();
        assert_eq!(Compiled::from_bytes(&bytes).as_ref(), Ok(&compiled));
        // And what isn't one is refused, in whatever way.
        let _ = Compiled::from_bytes(&bytes[..bytes.len() / 2]);
    }
}

crossmist_fuzz::target!("policies", run);
