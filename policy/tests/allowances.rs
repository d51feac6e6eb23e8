//! `[[allow_lint]]`: advice that a policy's authors do not follow, with their reason.

use crossmist_policy::{BuiltinOnly, Code, Diagnostic, Policy, Severity};

/// A policy that grants two broad paths and has no limit on memory.
const WIDE: &str = "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
                    [filesystem]\nread = [\"/usr\", \"/srv\"]\n[limits]\nmemory = \"none\"\n\
                    [[expect]]\nsyscall = \"socket(AF_INET, SOCK_STREAM, 0)\"\nis = \"violation\"\n";

fn policy(allowances: &str) -> Policy {
    let text = format!("{WIDE}{allowances}");
    Policy::from_toml(&BuiltinOnly, "wide", &text).unwrap_or_else(|report| panic!("{report}"))
}

fn codes(found: &[Diagnostic]) -> Vec<Code> {
    found.iter().map(|finding| finding.code).collect()
}

fn advice(allowances: &str) -> Vec<Diagnostic> {
    policy(allowances).lint(|_| None).given
}

#[test]
fn allowed_advice_is_not_given_and_other_advice_is() {
    // The control.
    assert_eq!(
        codes(&advice("")),
        [Code::BroadPath, Code::BroadPath, Code::NoMemoryLimit]
    );
    let allowed = advice("[[allow_lint]]\nlint = \"C021\"\nwhy = \"fonts are all over it\"\n");
    assert_eq!(codes(&allowed), [Code::NoMemoryLimit]);
}

#[test]
fn an_allowance_can_be_about_one_path_alone() {
    let found =
        advice("[[allow_lint]]\nlint = \"C021\"\nabout = \"/usr\"\nwhy = \"locales and fonts\"\n");
    assert_eq!(codes(&found), [Code::BroadPath, Code::NoMemoryLimit]);
    assert!(found[0].message.contains("`/srv`"), "{}", found[0]);
}

#[test]
fn an_allowance_that_nothing_needs_is_advice_at_its_line() {
    for (allowance, says) in [
        ("lint = \"C030\"\nwhy = \"x\"\n", "C030 is allowed"),
        (
            "lint = \"C021\"\nabout = \"/opt\"\nwhy = \"x\"\n",
            "allowed for `/opt`",
        ),
    ] {
        let found = advice(&format!("[[allow_lint]]\n{allowance}"));
        let unneeded: Vec<_> = found
            .iter()
            .filter(|finding| finding.code == Code::UnusedAllowance)
            .collect();
        let [finding] = unneeded.as_slice() else {
            panic!("{found:?}");
        };
        assert!(finding.message.contains(says), "{finding}");
        assert!(finding.source_line.starts_with("lint = "), "{finding}");
        assert_eq!(finding.code.severity(), Severity::Warning);
    }
}

#[test]
fn advice_about_the_machine_may_be_allowed_for_other_machines() {
    let allowance = "[[allow_lint]]\nlint = \"C020\"\nwhy = \"a link on the servers\"\n";
    let foreign = |path: &str| (path == "/data").then(|| "is a symbolic link here".to_owned());
    let text = format!("{WIDE}{allowance}").replace("\"/srv\"", "\"/data\"");
    let policy = Policy::from_toml(&BuiltinOnly, "wide", &text).unwrap();
    let without = Policy::from_toml(&BuiltinOnly, "wide", &text.replace(allowance, "")).unwrap();
    assert!(codes(&without.lint(foreign).given).contains(&Code::ForeignPath));
    assert!(!codes(&policy.lint(foreign).given).contains(&Code::ForeignPath));
    // Where there is no link, the allowance stays as it is.
    assert!(!codes(&policy.lint(|_| None).given).contains(&Code::UnusedAllowance));
}

#[test]
fn an_allowance_about_a_path_that_is_not_granted_is_advice_on_every_machine() {
    let text = WIDE.replace("\"/srv\"", "\"/data\"");
    let unneeded = |about: &str| {
        let text = format!("{text}[[allow_lint]]\nlint = \"C020\"\n{about}why = \"x\"\n");
        let policy = Policy::from_toml(&BuiltinOnly, "wide", &text).unwrap();
        codes(&policy.lint(|_| None).given).contains(&Code::UnusedAllowance)
    };
    assert!(unneeded("about = \"/dataa\"\n"));
    // C021 is given for this one, wherever it leads.
    assert!(unneeded("about = \"/usr\"\n"));
    assert!(!unneeded("about = \"/data\"\n"));
    assert!(!unneeded(""));
}

#[test]
fn a_policy_that_nothing_names_can_say_why() {
    let allowance = "[[allow_lint]]\nlint = \"C050\"\nwhy = \"customers choose it\"\n";
    assert_eq!(codes(&policy("").lint_use(false).given), [Code::Unused]);
    assert_eq!(codes(&policy("").lint_use(true).given), []);
    assert_eq!(codes(&policy(allowance).lint_use(false).given), []);
    assert_eq!(
        codes(&policy(allowance).lint_use(true).given),
        [Code::UnusedAllowance]
    );
    // Its own name is what this advice is about, and no other.
    let about = |name: &str| allowance.replace("why", &format!("about = \"{name}\"\nwhy"));
    assert_eq!(codes(&policy(&about("wide")).lint_use(false).given), []);
    assert_eq!(
        codes(&policy(&about("other")).lint_use(false).given),
        [Code::Unused, Code::UnusedAllowance]
    );
}

#[test]
fn advice_that_is_allowed_is_counted() {
    let allowance = "[[allow_lint]]\nlint = \"C021\"\nwhy = \"x\"\n\
                     [[allow_lint]]\nlint = \"C050\"\nwhy = \"x\"\n";
    let allowed = policy(allowance).lint(|_| None).allowed;
    assert_eq!(codes(&allowed), [Code::BroadPath, Code::BroadPath]);
    let allowed = policy(allowance).lint_use(false).allowed;
    assert_eq!(codes(&allowed), [Code::Unused]);
    assert_eq!(codes(&policy("").lint(|_| None).allowed), []);
}

#[test]
fn an_allowance_has_a_reason_and_names_advice_about_policies() {
    for (allowance, says) in [
        ("lint = \"C021\"\n", "needs a reason"),
        ("lint = \"C021\"\nwhy = \" \"\n", "needs a reason"),
        ("why = \"x\"\n", "names a piece of advice"),
        (
            "lint = \"C999\"\nwhy = \"x\"\n",
            "there is no advice `C999`",
        ),
        ("lint = \"P051\"\nwhy = \"x\"\n", "P051 can't be allowed"),
        ("lint = \"C052\"\nwhy = \"x\"\n", "C052 can't be allowed"),
        ("lint = \"C060\"\nwhy = \"x\"\n", "C060 can't be allowed"),
        // A function raises a limit, and not its policy.
        ("lint = \"C061\"\nwhy = \"x\"\n", "check --allow C061"),
    ] {
        let text = format!("{WIDE}[[allow_lint]]\n{allowance}");
        let report = Policy::from_toml(&BuiltinOnly, "wide", &text).unwrap_err();
        let [mistake] = report.diagnostics() else {
            panic!("{report}");
        };
        assert_eq!(mistake.code, Code::BadAllowance);
        assert!(mistake.message.contains(says), "{mistake}");
    }
}

#[test]
fn a_reviewer_sees_what_is_allowed_and_why() {
    let allowance = "[[allow_lint]]\nlint = \"C031\"\nwhy = \"the control group bounds it\"\n";
    let [allowed] = &policy(allowance).overview().allowed_lints[..] else {
        panic!();
    };
    assert_eq!(
        (allowed.code, allowed.why.as_str(), &allowed.about),
        (Code::NoMemoryLimit, "the control group bounds it", &None)
    );
}

#[test]
fn allowances_are_the_files_own() {
    let text =
        "format = 1\ndescription = \"x\"\nextends = [\"base\"]\n[filesystem]\nread = [\"/opt\"]\n";
    struct Two;
    impl crossmist_policy::Library for Two {
        fn fetch(&self, name: &str) -> Result<crossmist_policy::Text, crossmist_policy::Missing> {
            match name {
                "base" => Ok(crossmist_policy::Text {
                    label: "base".to_owned(),
                    path: None,
                    text: format!("{WIDE}[[allow_lint]]\nlint = \"C021\"\nwhy = \"x\"\n"),
                }),
                name => BuiltinOnly.fetch(name),
            }
        }
    }
    let policy = Policy::from_toml(&Two, "below", text).unwrap();
    let found = codes(&policy.lint(|_| None).given);
    assert!(found.contains(&Code::BroadPath), "{found:?}");
}
