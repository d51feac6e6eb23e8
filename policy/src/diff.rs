//! Compares what two policies allow, not their lines.

use std::collections::BTreeMap;
use std::fmt;

use crate::Location;
use crate::bpf::Action;
use crate::bpf::compile::Verdict;
use crate::policy::Policy;
use crate::resolve;
use crate::settings::SETTINGS;
use crate::source::Place;
use crate::syscalls::{self, groups::NEVER};

/// The direction of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// More is allowed, or it cannot be proved that it is not.
    Wider,
    /// Less is allowed.
    Narrower,
    /// The same is allowed by another line, answered differently, or reported differently; or `check` is asked to
    /// leave out other advice.
    Moved,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Moved => "moved",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The direction of the change.
    pub direction: Direction,
    /// The calls, paths and settings that it concerns, in the policy's words.
    pub what: Vec<String>,
    /// The line that causes it: in the new policy, or in the old one if the new one has none.
    pub location: Option<Location>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what.join(", "))?;
        match &self.location {
            Some(location) => write!(f, " ({location})"),
            None => Ok(()),
        }
    }
}

/// Compares two policies.
///
/// A change counts as wider unless it is proved not to be, as for `within`. So a rewritten
/// condition can be wider and narrower at once.
///
/// ```
/// use crossmist_policy::{Policy, diff};
///
/// let (pure, parser) = (Policy::builtin("pure")?, Policy::builtin("parser")?);
/// let changes = diff::between(&pure, &parser);
/// assert!(changes.iter().any(|change| change.direction == diff::Direction::Wider));
/// assert!(diff::between(&parser, &parser).is_empty());
/// # Ok::<(), crossmist_policy::Report>(())
/// ```
pub fn between(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = excesses(Direction::Wider, new, old);
    changes.extend(excesses(Direction::Narrower, old, new));
    settings(old, new, &mut changes);
    answers(old, new, &mut changes);
    origins(old, new, &mut changes);
    allowances(old, new, &mut changes);
    changes.sort_by_key(|change| change.direction);
    changes
}

/// Returns the things that `policy` allows and `other` does not, as a change for each line.
fn excesses(direction: Direction, policy: &Policy, other: &Policy) -> Vec<Change> {
    let mut by_place = BTreeMap::<Place, Vec<String>>::new();
    for (place, what) in resolve::excesses(policy, other, policy.root) {
        // Settings are told with both values.
        if !SETTINGS
            .iter()
            .any(|setting| what.starts_with(&format!("`{} = ", setting.full_name())))
        {
            by_place.entry(place).or_default().push(what);
        }
    }
    let change = |(place, what)| Change {
        direction,
        what,
        location: (place != policy.root).then(|| policy.sources.locate(place)),
    };
    by_place.into_iter().map(change).collect()
}

fn settings(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    for (index, setting) in SETTINGS.iter().enumerate() {
        let (before, now) = (old.value(index), new.value(index));
        let direction = if now == before {
            continue;
        } else if setting.allows_more(now, before) {
            Direction::Wider
        } else if setting.allows_more(before, now) {
            Direction::Narrower
        } else {
            Direction::Moved
        };
        let place = new.places[index].map(|place| new.sources.locate(place));
        let values = [before, now].map(|value| setting.write(value));
        changes.push(Change {
            direction,
            what: vec![format!(
                "`{}` {} → {}",
                setting.full_name(),
                values[0],
                values[1]
            )],
            location: place.or_else(|| old.places[index].map(|place| old.sources.locate(place))),
        });
    }
}

/// How calls that neither allows are answered.
fn answers(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let mut by_direction = BTreeMap::<Direction, Vec<String>>::new();
    for call in syscalls::all()
        .iter()
        .filter(|call| !NEVER.contains(&call.name))
    {
        let [before, now] = [old, new].map(|policy| policy.verdict(call));
        let answer = |verdict: &Verdict| (verdict.rest != Action::Allow).then_some(verdict.rest);
        let (Some(before), Some(now)) = (answer(&before), answer(&now)) else {
            continue;
        };
        // A violation ends the process; an answer lets it go on.
        let ends = |action| matches!(action, Action::KillProcess | Action::Trap(_));
        let direction = match (ends(before), ends(now)) {
            _ if before == now => continue,
            (true, false) => Direction::Wider,
            (false, true) => Direction::Narrower,
            _ => Direction::Moved,
        };
        let what = format!("`{}` is {}, was {}", call.name, now, before);
        by_direction.entry(direction).or_default().push(what);
    }
    changes.extend(by_direction.into_iter().map(|(direction, what)| Change {
        direction,
        what,
        location: None,
    }));
}

/// Adds the things that are still allowed, but by another file or group.
fn origins(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let origins = |policy: &Policy, name: &str| {
        let rules = policy.calls.get(name)?;
        let mut origins: Vec<_> = policy
            .grants(name, rules)
            .map(|grant| {
                // A file of another revision is the same file.
                let file = grant.origin.place.map(|place| {
                    let file = policy.sources.locate(place).file;
                    file.rsplit('/').next().map(str::to_owned)
                });
                let condition = grant
                    .condition
                    .as_ref()
                    .map(|condition| condition.text.clone());
                (condition, grant.origin.group, file)
            })
            .collect();
        origins.sort();
        Some(origins).filter(|origins| !origins.is_empty())
    };
    let told: String = changes
        .iter()
        .flat_map(|change| &change.what)
        .cloned()
        .collect();
    let moved = syscalls::all().iter().filter(|call| {
        let [before, now] = [old, new].map(|policy| origins(policy, call.name));
        let is_told = || told.contains(&format!("`{}", call.name));
        before.is_some() && now.is_some() && before != now && !is_told()
    });
    let what: Vec<_> = moved.map(|call| format!("`{}`", call.name)).collect();
    if !what.is_empty() {
        changes.push(Change {
            direction: Direction::Moved,
            what,
            location: None,
        });
    }
}

/// Adds the advice that one of the policies allows by `[[allow_lint]]`, and the other doesn't.
fn allowances(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let mut compare = |policy: &Policy, other: &Policy, verb: &str| {
        for allowed in policy.allowed_lints() {
            let mut known = other.allowances.iter();
            if known.any(|known| (known.code, &known.about) == (allowed.code, &allowed.about)) {
                continue;
            }
            let about = match &allowed.about {
                Some(about) => format!("about `{about}`"),
                None => "about the whole file".to_owned(),
            };
            let reason = &allowed.why;
            changes.push(Change {
                direction: Direction::Moved,
                what: vec![format!("advice {} {about} {verb}: {reason}", allowed.code)],
                location: Some(allowed.location),
            });
        }
    };
    compare(new, old, "is allowed");
    compare(old, new, "is not allowed any more");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BuiltinOnly;

    #[test]
    fn tracing_is_neither_wider_nor_narrower() {
        let policy = |line: &str| {
            let text = format!(
                "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n[process]\n{line}\n"
            );
            Policy::from_toml(&BuiltinOnly, "own", &text)
                .unwrap_or_else(|report| panic!("{report}"))
        };
        let directions = |old: &Policy, new: &Policy| {
            let changes = between(old, new).into_iter();
            let changes = changes.map(|change| (change.direction, change.what));
            changes.collect::<Vec<_>>()
        };
        let [quiet, traced] = ["", "trace_denials = true"].map(policy);
        let what = |values: &str| vec![format!("`process.trace_denials` {values}")];
        assert_eq!(
            directions(&quiet, &traced),
            [(Direction::Moved, what("false → true"))]
        );
        assert_eq!(
            directions(&traced, &quiet),
            [(Direction::Moved, what("true → false"))]
        );
        // The control: another switch is wider.
        let open = policy("dumpable = true");
        assert_eq!(directions(&quiet, &open)[0].0, Direction::Wider);
    }

    #[test]
    fn datagrams_to_any_port_are_more_than_those_to_one() {
        let policy = |rest: &str| {
            let text = format!("format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n{rest}");
            Policy::from_toml(&BuiltinOnly, "udp", &text)
                .unwrap_or_else(|report| panic!("{report}"))
        };
        let port = policy("[network]\nudp_connect = [53]\n");
        let all = policy("[syscalls]\nallow = [{ call = \"@net-udp\", why = \"x\" }]\n");
        let none = policy("");
        let shown = |old: &Policy, new: &Policy| {
            let changes = between(old, new).into_iter();
            let changes = changes.map(|change| format!("{}: {change}", change.direction));
            changes.collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&port, &all),
            ["wider: datagrams to every port (udp:5)"]
        );
        assert_eq!(
            shown(&all, &port),
            ["narrower: datagrams to every port (udp:5)"]
        );
        // The control: where there were none, both are more.
        for new in [&port, &all] {
            let changes = shown(&none, new);
            assert!(
                changes.iter().all(|change| change.starts_with("wider")),
                "{changes:?}"
            );
            assert!(!changes.is_empty());
        }
    }

    #[test]
    fn advice_that_is_allowed_is_a_change() {
        let policy = |rest: &str| {
            let text = format!("format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n{rest}");
            Policy::from_toml(&BuiltinOnly, "p", &text).unwrap_or_else(|report| panic!("{report}"))
        };
        let shown = |old: &Policy, new: &Policy| {
            let changes = between(old, new).into_iter();
            let changes = changes.map(|change| format!("{}: {change}", change.direction));
            changes.collect::<Vec<_>>()
        };
        let none = policy("");
        let whole = policy("[[allow_lint]]\nlint = \"C021\"\nwhy = \"fonts\"\n");
        let one = policy("[[allow_lint]]\nlint = \"C021\"\nabout = \"/usr\"\nwhy = \"fonts\"\n");
        let reworded = policy("[[allow_lint]]\nlint = \"C021\"\nwhy = \"icons\"\n");
        assert_eq!(
            shown(&none, &whole),
            ["moved: advice C021 about the whole file is allowed: fonts (p:5)"]
        );
        assert_eq!(
            shown(&one, &whole),
            [
                "moved: advice C021 about the whole file is allowed: fonts (p:5)",
                "moved: advice C021 about `/usr` is not allowed any more: fonts (p:5)",
            ]
        );
        // The same advice for another reason.
        assert_eq!(shown(&whole, &reworded), [""; 0]);
    }
}
