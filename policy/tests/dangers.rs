//! The dangerous grants of a policy, which a reviewer reads first.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crossmist_policy::overview::Overview;
use crossmist_policy::{BuiltinOnly, Policy};

fn overview(rest: &str) -> Overview {
    let text = format!("format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n{rest}");
    let policy = Policy::from_toml(&BuiltinOnly, "p", &text);
    let policy = policy.unwrap_or_else(|report| panic!("{report}"));
    policy.overview()
}

/// The dangerous grants and calls, with their reasons.
fn dangers(overview: &Overview) -> Vec<(String, String)> {
    let grants = overview.grants.iter().filter(|grant| grant.is_dangerous);
    let grants = grants.map(|grant| (grant.subject.clone(), grant.why.clone()));
    let calls = overview.calls.iter().flat_map(|call| {
        let clauses = call.clauses.iter();
        let dangerous = clauses.filter(|clause| clause.is_dangerous);
        dangerous.map(|clause| (call.name.to_owned(), clause.why.clone()))
    });
    let all = grants.chain(calls);
    all.map(|(what, why)| (what, why.unwrap())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected.iter();
    owned
        .map(|(what, why)| ((*what).to_owned(), (*why).to_owned()))
        .collect()
}

#[test]
fn a_dangerous_call_is_listed_wherever_its_reason_stands() {
    let inline = overview("[syscalls]\nallow = [{ call = \"chroot\", why = \"a jail\" }]\n");
    let named = overview(
        "[syscalls]\nallow = [\"chroot\"]\n[syscalls.dangerous]\n\"chroot\" = \"a jail\"\n",
    );
    for overview in [inline, named] {
        assert_eq!(dangers(&overview), pairs(&[("chroot", "a jail")]));
    }
}

#[test]
fn every_call_of_a_dangerous_group_is_listed_with_the_reason_for_the_group() {
    let overview = overview(
        "[syscalls]\nallow = [\"@file-attr\"]\n[syscalls.dangerous]\n\"@file-attr\" = \"modes\"\n",
    );
    let found = dangers(&overview);
    assert!(found.contains(&("fchmod".to_owned(), "modes".to_owned())));
    assert!(found.iter().all(|(_, why)| why == "modes"), "{found:?}");
}

#[test]
fn every_call_that_changes_a_files_attributes_needs_a_reason_and_is_named_to_a_reviewer() {
    for name in [
        "chmod",
        "chown",
        "fchmod",
        "fchmodat",
        "fchmodat2",
        "fchown",
        "fchownat",
        "file_setattr",
        "fremovexattr",
        "fsetxattr",
        "futimesat",
        "lchown",
        "lremovexattr",
        "lsetxattr",
        "removexattr",
        "removexattrat",
        "setxattr",
        "setxattrat",
        "utime",
        "utimensat",
        "utimes",
    ] {
        let text =
            format!("format = 1\nextends = [\"parser\"]\n[syscalls]\nallow = [\"{name}\"]\n");
        let made = Policy::from_toml(&BuiltinOnly, "p", &text);
        let refused = made.map(drop).unwrap_err().to_string();
        assert!(refused.contains("needs a reason"), "{name}: {refused}");
        let allowed = overview(&format!(
            "[syscalls]\nallow = [{{ call = \"{name}\", why = \"w\" }}]\n"
        ));
        let mut open = allowed.residual.iter().filter(|residual| residual.is_open);
        assert!(
            open.any(|residual| residual.what == "modes and owners of files"
                && residual.note.contains(&format!("`{name}`"))),
            "{name}: {:?}",
            allowed.residual
        );
    }
}

#[test]
fn a_reason_for_something_harmless_does_not_make_it_dangerous() {
    let overview = overview(
        "[filesystem]\nread = [{ path = \"/usr/share/x\", why = \"tables\" }]\n\
         [syscalls]\nallow = [{ call = \"getppid\", why = \"a log\" }]\n",
    );
    assert_eq!(dangers(&overview), []);
    // The control: both reasons are known.
    let known = |name: &str| {
        let call = overview.calls.iter().find(|call| call.name == name);
        let mut clauses = call.unwrap().clauses.iter();
        clauses.any(|clause| clause.why.is_some())
    };
    assert!(known("openat") && known("getppid"));
}

#[test]
fn kept_capabilities_are_listed_with_their_reason_and_line() {
    let overview = overview("[capabilities]\nkeep = [\"NET_RAW\", \"CHOWN\"]\nwhy = \"a probe\"\n");
    assert_eq!(
        dangers(&overview),
        pairs(&[("CAP_NET_RAW", "a probe"), ("CAP_CHOWN", "a probe")])
    );
    let mut kept = overview.grants.iter().filter(|grant| grant.is_dangerous);
    assert!(kept.all(|grant| grant.location.as_ref().unwrap().to_string() == "p:5"));
}

#[test]
fn layers_that_are_off_are_listed() {
    let overview = Policy::builtin("unconfined").unwrap().overview();
    let off = overview.grants.iter().filter(|grant| grant.is_dangerous);
    let off: Vec<_> = off.map(|grant| grant.subject.as_str()).collect();
    assert_eq!(off, ["every path", "every socket", "every capability"]);
}
