//! `test`: tests policies against their expectations.

use std::path::Path;
use std::process::ExitCode;

use anstream::eprintln;
use crossmist::SandboxPolicy;
use crossmist::testing::{Tried, judge, try_out};
use crossmist_policy::{Arch, BUILTIN, Expected, Policy, redundant};
use serde_json::json;

use super::{Outcome, no_sarif, print};
use crate::args::{Arguments, Format, Test};
use crate::report::{self, FINDINGS, GREEN, RED, YELLOW, count, paint};
use crate::workspace;

/// The result of one expectation.
struct Result {
    policy: String,
    expected: Expected,
    /// How it was tried.
    how: &'static str,
    outcome: std::result::Result<(), String>,
    /// It could not be tried here, which is not a failure.
    is_skipped: bool,
}

pub(super) fn run(arguments: &Arguments, options: &Test) -> Outcome {
    no_sarif(arguments)?;
    let mut results = Vec::new();
    let mut superfluous = Vec::new();
    let mut refused = 0;
    for (folder, names) in workspace::selected(arguments, &options.names)? {
        let library = workspace::library(&folder);
        for name in names {
            let policy = match Policy::load(&library, &name)
                .and_then(|policy| policy.compile().map(|_| policy))
            {
                Ok(policy) => policy,
                Err(report) => {
                    // A failed expectation is among them.
                    report::write(report.diagnostics(), Format::Human);
                    refused += 1;
                    continue;
                }
            };
            for expected in policy.expected() {
                results.push(Result {
                    policy: name.clone(),
                    how: "by the filter",
                    outcome: Ok(()),
                    is_skipped: false,
                    expected: expected.clone(),
                });
            }
            if options.live {
                live(&folder, &name, &policy, &mut results)?;
            }
            if options.redundant && !BUILTIN.iter().any(|(known, _)| *known == name) {
                match redundant(&library, &name) {
                    Ok(found) => superfluous.extend(found),
                    Err(report) => report::write(report.diagnostics(), Format::Human),
                }
            }
        }
    }
    let failed = results
        .iter()
        .filter(|result| result.outcome.is_err() && !result.is_skipped)
        .count();
    if arguments.format == Format::Json {
        let results = results.iter().map(|result| {
            json!({
                "policy": result.policy,
                "expect": result.expected.text,
                "is": result.expected.is,
                "location": result.expected.location.to_string(),
                "how": result.how,
                "skipped": result.is_skipped,
                "failure": result.outcome.as_ref().err(),
            })
        });
        let superfluous = superfluous.iter().map(|found| {
            json!({
                "entry": found.entry, "location": found.location.to_string(),
            })
        });
        print(&format!(
            "{:#}\n",
            json!({
                "results": results.collect::<Vec<_>>(),
                "redundant": superfluous.collect::<Vec<_>>(),
                "refused": refused,
            })
        ));
    } else {
        for result in &results {
            let (word, style) = match (&result.outcome, result.is_skipped) {
                (Ok(()), _) => ("ok", GREEN),
                (Err(_), true) => ("skipped", YELLOW),
                (Err(_), false) => ("FAILED", RED),
            };
            let reason = result
                .outcome
                .as_ref()
                .err()
                .map(|reason| format!(": {reason}"));
            print(&format!(
                "{} {} {}: {} is {}{}\n",
                paint(style, format!("{word:7}")),
                result.policy,
                result.how,
                result.expected.text,
                result.expected.is,
                reason.unwrap_or_default(),
            ));
        }
        for found in &superfluous {
            print(&format!(
                "{} {}: no expectation needs `{}`\n",
                paint(YELLOW, "redundant"),
                found.location,
                found.entry
            ));
        }
        let skipped = results.iter().filter(|result| result.is_skipped).count();
        eprintln!(
            "{} on {}: {failed} failed, {skipped} could not be tried, {} that none needs, {} refused",
            count(results.len(), "expectation", "expectations"),
            Arch::ALL.map(|arch| arch.to_string()).join(" and "),
            count(superfluous.len(), "grant", "grants"),
            count(refused, "policy", "policies"),
        );
    }
    let is_bad = failed > 0 || refused > 0 || !superfluous.is_empty();
    Ok(ExitCode::from(if is_bad { FINDINGS } else { 0 }))
}

/// Tries each expectation in a child under the policy.
fn live(
    folder: &Path,
    name: &str,
    policy: &Policy,
    results: &mut Vec<Result>,
) -> std::result::Result<(), report::Failure> {
    let sandbox = SandboxPolicy::load(folder, name)?;
    for expected in policy.expected() {
        let tried = try_out(&sandbox, &expected);
        results.push(Result {
            policy: name.to_owned(),
            how: "in a child",
            outcome: judge(&expected, &tried),
            is_skipped: matches!(tried, Tried::Unknown(_)),
            expected,
        });
    }
    Ok(())
}
