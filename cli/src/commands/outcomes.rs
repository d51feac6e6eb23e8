//! How the calls of a run ended, and in what two runs differ.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::report::{Failure, count};

/// How calls ended, by function and policy: in what way, with what text, in the order of the ways, since
/// threads end in any order.
#[derive(Debug, Default)]
pub(super) struct Outcomes(BTreeMap<(String, String), Vec<(String, String)>>);

/// A difference between two runs, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) text: String,
    /// Whether a function returned something else, and did not fail.
    pub(super) is_answer: bool,
}

impl From<String> for Difference {
    fn from(text: String) -> Self {
        Self {
            text,
            is_answer: false,
        }
    }
}

/// The most that is read of one run.
const MOST_BYTES: u64 = 256 << 20;

impl Outcomes {
    pub(super) fn read(&mut self, file: &Path) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        if std::fs::metadata(file)
            .map_err(|error| failed(&error))?
            .len()
            > MOST_BYTES
        {
            return Err(failed(&"too long").into());
        }
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        for line in text.lines() {
            // The last line of a program that was killed may be torn.
            let Ok(value) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let calls = self
                .0
                .entry((word("function"), word("policy")))
                .or_default();
            calls.push((word("is"), word("text")));
        }
        self.0.values_mut().for_each(|calls| calls.sort());
        Ok(())
    }

    /// In what a second run, confined by a policy, differs from this one.
    pub(super) fn differences(&self, second: &Self, policy: &str) -> Vec<Difference> {
        let mut differences: Vec<Difference> = Vec::new();
        let confined = |outcomes: &Self| {
            let all = outcomes.0.iter();
            let wanted = all.filter(|((_, known), _)| known == policy);
            let wanted = wanted.map(|((function, _), calls)| (function.clone(), calls.clone()));
            wanted.collect::<BTreeMap<_, _>>()
        };
        let (first, second) = (confined(self), confined(second));
        if second.is_empty() {
            let text = format!(
                "no function with the policy `{policy}` was called when the program was confined"
            );
            differences.push(text.into());
            return differences;
        }
        for (function, calls) in &second {
            let before = first.get(function).map_or(&[][..], Vec::as_slice);
            if before.len() != calls.len() {
                let text = format!(
                    "`{function}` was called {}, and {} when it was watched",
                    count(calls.len(), "time", "times"),
                    count(before.len(), "time", "times")
                );
                differences.push(text.into());
            }
            let mut left: Vec<&str> = before.iter().map(|(is, _)| is.as_str()).collect();
            for (is, text) in calls {
                let same = left.iter().position(|known| known == is);
                let is_denial = ["violation", "not confined"].contains(&is.as_str());
                match same {
                    Some(at) if !is_denial => {
                        left.swap_remove(at);
                    }
                    _ if is.starts_with("returned ") => differences.push(Difference {
                        text: format!(
                            "`{function}` gave an answer that it didn't give when it was watched (as does a \
                             function that depends on time, on chance, on the order of a hash table, or on files \
                             that the run before has left)"
                        ),
                        is_answer: true,
                    }),
                    _ => differences.push(format!("`{function}` fails now: {text}").into()),
                }
            }
        }
        for function in first
            .keys()
            .filter(|function| !second.contains_key(*function))
        {
            let text = format!("`{function}` was called when it was watched, and isn't now");
            differences.push(text.into());
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(calls: &[(&str, &str)]) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for (function, is) in calls {
            let key = ((*function).to_owned(), "p".to_owned());
            let calls = outcomes.0.entry(key).or_default();
            calls.push(((*is).to_owned(), "text".to_owned()));
        }
        outcomes
    }

    #[test]
    fn runs_are_the_same_if_every_call_ends_in_the_same_way() {
        let first = run(&[
            ("f", "returned 1"),
            ("f", "returned 2"),
            ("g", "panicked x"),
        ]);
        let same = run(&[
            ("g", "panicked x"),
            ("f", "returned 2"),
            ("f", "returned 1"),
        ]);
        assert_eq!(first.differences(&same, "p"), []);
        for (second, says) in [
            (run(&[]), "no function"),
            (
                run(&[
                    ("f", "returned 1"),
                    ("f", "returned 3"),
                    ("g", "panicked x"),
                ]),
                "an answer that",
            ),
            (
                run(&[("f", "returned 1"), ("f", "returned 2"), ("g", "violation")]),
                "`g` fails now: text",
            ),
            (
                run(&[("f", "returned 1"), ("g", "panicked x")]),
                "called 1 time, and 2 times",
            ),
            (
                run(&[("f", "returned 1"), ("f", "returned 2")]),
                "`g` was called when",
            ),
        ] {
            let found = first.differences(&second, "p");
            assert!(
                found.iter().any(|found| found.text.contains(says)),
                "{says}: {found:?}"
            );
            // Advice about other answers is for those.
            let answers = found.iter().filter(|found| found.is_answer);
            assert_eq!(answers.count(), usize::from(says == "an answer that"));
        }
        // A violation is one, although there was one before.
        let denied = run(&[("f", "violation")]);
        assert_eq!(denied.differences(&denied, "p").len(), 1);
    }
}
