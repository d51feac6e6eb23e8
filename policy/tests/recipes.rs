//! Each policy in the pages for people who write them is one: pasted alone, it is read and compiled.

use crossmist_policy::{BuiltinOnly, Policy};

#[test]
fn every_snippet_is_a_policy_when_it_is_pasted_alone() {
    let page = include_str!("../../policies/README.md");
    let blocks = page.split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("```").next().unwrap_or(rest))
        .collect();
    assert!(blocks.len() >= 9, "only {}", blocks.len());
    for block in blocks {
        let policy = Policy::from_toml(&BuiltinOnly, "pasted", block);
        let policy = policy.unwrap_or_else(|report| panic!("{report}\n{block}"));
        assert!(policy.compile().is_ok(), "{block}");
    }
}
