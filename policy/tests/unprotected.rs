//! The gaps that a policy opens by its grants come ahead of those that every policy has.

use crossmist_policy::{BuiltinOnly, Policy};

/// Returns the gaps of a policy, in its order.
fn open(lines: &str) -> Vec<&'static str> {
    let text = format!("format = 1\nextends = [\"file-reader\"]\n{lines}");
    let policy = Policy::from_toml(&BuiltinOnly, "one", &text);
    let policy = policy.unwrap_or_else(|report| panic!("{report}"));
    let residual = policy.overview().residual;
    residual
        .iter()
        .filter(|residual| residual.is_open)
        .map(|residual| residual.what)
        .collect()
}

#[test]
fn each_wide_grant_comes_first_and_only_where_it_is_granted() {
    let without = open("");
    for (what, lines) in [
        ("much that can be read", "[filesystem]\nread = [\"/\"]\n"),
        (
            "much that can be written",
            "[filesystem]\nwrite = [\"/srv\"]\n",
        ),
        (
            "executable memory",
            "[syscalls]\nallow = [{ call = \"mprotect(prot only PROT_READ|PROT_EXEC)\", why = \"a compiler\" }]\n\
             [process]\ndeny_write_execute = false\n",
        ),
        (
            "modes and owners of files",
            "[syscalls]\nallow = [{ call = \"@file-attr\", why = \"an archive has modes\" }]\n",
        ),
        ("memory", "[limits]\nmemory = \"none\"\n"),
        ("its identity", "[process]\nuser = \"same\"\n"),
    ] {
        assert!(!without.contains(&what), "{what}");
        assert_eq!(open(lines).first(), Some(&what), "{lines}");
    }
    let narrow = open("[filesystem]\nread = [\"/usr/share/fonts\"]\nwrite = [\"/srv/spool\"]\n");
    assert!(
        !narrow.iter().any(|what| what.starts_with("much")),
        "{narrow:?}"
    );
}

#[test]
fn what_is_made_without_bound_and_what_was_passed_is_named() {
    let makes = open("[filesystem]\ncreate = [\"/srv/spool\"]\n");
    assert!(makes.contains(&"the number of files") && makes.contains(&"links"));
    assert!(open("").contains(&"passed descriptors") && !open("").contains(&"the number of files"));
    let denied =
        open("[syscalls]\nallow = [{ call = \"@file-attr\", why = \"an archive has modes\" }]\n");
    assert!(denied.contains(&"modes and owners of files"));
    let builtin = Policy::builtin("unconfined").unwrap().overview();
    assert!(
        builtin
            .residual
            .iter()
            .any(|residual| residual.what == "modes and owners of files")
    );
}
