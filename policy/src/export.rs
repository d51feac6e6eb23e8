//! A policy's filter in the JSON of the seccompiler crate, which Firecracker reads.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Arch;
use crate::bpf::Action;
use crate::condition::{self, Relation};
use crate::file::OnViolation;
use crate::import::logic::{Condition, Op, Test, TooLong};
use crate::policy::Policy;
use crate::syscalls::{self, Syscall};

/// The most bits of a mask that a test for a difference is spread over.
const MOST_BITS: u32 = 12;

/// A filter for another program, and what it lacks of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The text.
    pub text: String,
    /// The things that the policy allows and the text does not, with the reasons.
    pub notes: Vec<String>,
}

impl Policy {
    /// Writes what the filter allows on an architecture as JSON for seccompiler.
    ///
    /// Such a filter has one answer for everything that it doesn't allow, so error numbers and emulated
    /// calls are lost. It allows what the policy's own filter allows, or less. Paths, ports, limits and the
    /// rest of the policy are no part of it.
    pub fn seccompiler_json(&self, arch: Arch) -> Exported {
        let mut notes = BTreeSet::new();
        let mut rules = Vec::new();
        for call in syscalls::all()
            .iter()
            .filter(|call| call.number(arch).is_some())
        {
            self.rules_for(call, arch, &mut rules, &mut notes);
        }
        let mismatch = match self.on_violation.value {
            OnViolation::Errno(number) => json!({ "errno": number }),
            OnViolation::Trap => json!("trap"),
            OnViolation::Kill | OnViolation::KillSilent => json!("kill_process"),
        };
        let filter = json!({
            self.name.as_str(): {
                "mismatch_action": mismatch,
                "match_action": "allow",
                "filter": rules,
            }
        });
        Exported {
            text: format!("{filter:#}\n"),
            notes: notes.into_iter().collect(),
        }
    }

    fn rules_for(
        &self,
        call: &Syscall,
        arch: Arch,
        rules: &mut Vec<Value>,
        notes: &mut BTreeSet<String>,
    ) {
        let name = call.name;
        match self.allowed_of(call, arch, notes) {
            Ok(allowed) if allowed.is_always() => rules.push(json!({ "syscall": name })),
            Ok(allowed) => {
                for tests in &allowed.0 {
                    match alternatives(tests) {
                        Some(alternatives) => rules.extend(
                            alternatives
                                .into_iter()
                                .map(|args| json!({ "syscall": name, "args": args })),
                        ),
                        None => {
                            notes.insert(format!("{name}: a test that seccompiler has not"));
                        }
                    }
                }
            }
            Err(TooLong) => {
                notes.insert(format!("{name}: more alternatives than a filter holds"));
            }
        }
    }

    /// Returns the conditions under which the filter allows a call: the first case that is met decides.
    fn allowed_of(
        &self,
        call: &Syscall,
        arch: Arch,
        notes: &mut BTreeSet<String>,
    ) -> Result<Condition, TooLong> {
        let verdict = self.verdict(call);
        let mut allowed = Condition::never();
        let mut denied = Condition::never();
        for (condition, action) in &verdict.cases {
            let (met, is_exact) = translated(condition, arch)?;
            if *action == Action::Allow {
                if !is_exact {
                    notes.insert(format!(
                        "{}: the process's own id isn't known to seccompiler",
                        call.name
                    ));
                }
                allowed.or(met.without(&denied)?);
            } else if is_exact {
                denied.or(met);
            } else {
                // It denies something that can't be said, so nothing behind it is allowed.
                return Ok(allowed);
            }
        }
        if verdict.rest == Action::Allow {
            allowed.or(denied.not()?);
        }
        Ok(allowed)
    }
}

/// A policy's condition without the process's own id, and whether that left anything out.
fn translated(condition: &condition::Condition, arch: Arch) -> Result<(Condition, bool), TooLong> {
    let mut all = Condition::never();
    let mut is_exact = true;
    for tests in condition.alternatives(arch) {
        let mut met = Condition::always();
        for test in tests {
            let one = |op, value| Test::new(usize::from(test.arg), op, test.mask, value);
            let each = |op, values: &[u64]| {
                values
                    .iter()
                    .map(|value| one(op, *value))
                    .collect::<Vec<_>>()
            };
            let own = match &test.relation {
                Relation::OneOf { values, own_pid } => {
                    is_exact &= !own_pid;
                    Condition::any(each(Op::Same, values))
                }
                // Without the id, every other value would be more than the policy allows.
                Relation::NoneOf { own_pid: true, .. } => {
                    is_exact = false;
                    Condition::never()
                }
                Relation::NoneOf { values, .. } => Condition::all(each(Op::Other, values)),
                Relation::Below(limit) => Condition::all(vec![one(Op::Below, *limit)]),
                Relation::AtLeast(limit) => Condition::all(vec![one(Op::AtLeast, *limit)]),
            };
            met = met.and(&own)?;
        }
        all.or(met);
    }
    Ok((all, is_exact))
}

/// Lists of arguments of which one has to be met; `None` if a test has no counterpart.
fn alternatives(tests: &[Test]) -> Option<Vec<Vec<Value>>> {
    let mut alternatives = vec![Vec::new()];
    for test in tests {
        let choices = choices(test)?;
        let longer = alternatives.iter().flat_map(|before: &Vec<Value>| {
            choices.iter().map(move |choice| {
                let mut args = before.clone();
                args.push(choice.clone());
                args
            })
        });
        alternatives = longer.collect();
        if alternatives.len() > 256 {
            return None;
        }
    }
    Some(alternatives)
}

/// Arguments of which one has to be met for a test.
fn choices(test: &Test) -> Option<Vec<Value>> {
    let (mask, value) = (test.mask[0], test.value[0]);
    let half = u64::from(u32::MAX);
    let length = if mask <= half { "dword" } else { "qword" };
    let arg = |op: Value, value: u64| json!({ "index": test.arg, "type": length, "op": op, "val": value });
    let whole = mask == half || mask == u64::MAX;
    Some(match test.op {
        Op::Same if whole => vec![arg(json!("eq"), value)],
        Op::Same => vec![arg(json!({ "masked_eq": mask }), value)],
        Op::Other if whole => vec![arg(json!("ne"), value)],
        // One of the bits is another one.
        Op::Other if mask.count_ones() <= MOST_BITS => {
            let bits = (0..64).map(|at| 1u64 << at).filter(|bit| mask & bit != 0);
            bits.map(|bit| arg(json!({ "masked_eq": bit }), !value & bit))
                .collect()
        }
        Op::Below if whole => vec![arg(json!("lt"), value)],
        Op::AtLeast if whole => vec![arg(json!("ge"), value)],
        _ => return None,
    })
}
