//! Whether a source covers what a policy would allow, and what has to be denied if it doesn't.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::{self, is_needed};
use super::logic::{self, Conjunction};
use super::source::Source;
use super::words::{self, arches};
use crate::Arch;
use crate::condition::{self, Condition};
use crate::syscalls::{self, Syscall};

/// A source, with its conditions in the words of a policy.
pub(super) struct Cover<'s> {
    source: &'s Source,
    known: BTreeMap<&'static str, Known>,
}

/// The conditions under which one call may happen.
struct Known {
    allowed: [logic::Condition; 2],
    is_always: bool,
    is_never: bool,
    /// The alternatives on each architecture that can be said.
    told: [Vec<Condition>; 2],
}

impl<'s> Cover<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self {
            source,
            known: BTreeMap::new(),
        }
    }

    fn known(&mut self, call: &'static Syscall) -> &Known {
        let source = self.source;
        self.known.entry(call.name).or_insert_with(|| {
            let allowed = source.allowed(call.name);
            let own = |arch: Arch| &allowed[arch.index()];
            // A condition that every call meets by the bits that the kernel doesn't see is none.
            let always = |arch| {
                own(arch).is_always()
                    || own(arch).0.iter().any(|tests| {
                        words::allowed(call, tests).is_ok_and(|text| text.as_deref() == Some(""))
                    })
            };
            let told = Arch::ALL.map(|arch| {
                let texts = own(arch)
                    .0
                    .iter()
                    .filter_map(|tests| words::allowed(call, tests).ok()?);
                texts
                    .filter_map(|text| condition::parse(&text, call).ok())
                    .collect()
            });
            Known {
                is_always: arches(call).all(always),
                is_never: arches(call).all(|arch| own(arch).is_never()),
                told,
                allowed,
            }
        })
    }

    /// Whether the source allows a call whatever its arguments.
    pub(super) fn is_always(&mut self, name: &str) -> bool {
        syscalls::find(name).is_some_and(|call| self.known(call).is_always)
    }

    /// Whether the source denies a call whatever its arguments.
    pub(super) fn is_never(&mut self, name: &str) -> bool {
        syscalls::find(name).is_none_or(|call| self.known(call).is_never)
    }

    /// Whether the source certainly allows all that an entry of a policy does.
    pub(super) fn fits(&mut self, call: &'static Syscall, entry: Option<&Condition>) -> bool {
        let known = self.known(call);
        if known.is_always {
            return true;
        }
        arches(call).all(|arch| {
            let wider: Vec<_> = known.told[arch.index()].iter().collect();
            known.allowed[arch.index()].is_always()
                || entry.is_some_and(|entry| entry.implies(arch, &wider))
        })
    }

    /// The alternatives that hold on every architecture that has the call, and why others can't be said.
    pub(super) fn conditions(&mut self, call: &'static Syscall) -> (Vec<String>, Vec<String>) {
        let known = self.known(call);
        let mut told = Vec::new();
        let mut untold = Vec::new();
        let everywhere = |tests: &Conjunction| {
            arches(call).all(|arch| {
                let mut alternatives = known.allowed[arch.index()].0.iter();
                alternatives.any(|wider| wider.iter().all(|test| tests.contains(test)))
            })
        };
        let alternatives = arches(call).flat_map(|arch| &known.allowed[arch.index()].0);
        for tests in alternatives {
            if !everywhere(tests) {
                let reason = "it is allowed on one architecture only, and a policy holds on all";
                untold.push(reason.to_owned());
                continue;
            }
            match words::allowed(call, tests) {
                Ok(Some(text)) if !text.is_empty() && !told.contains(&text) => told.push(text),
                Ok(_) => {}
                Err(reason) => untold.push(reason),
            }
        }
        untold.dedup();
        (told, untold)
    }

    /// Entries that deny of a call what the source denies; `None` if that can't be said.
    pub(super) fn denials(&mut self, call: &'static Syscall) -> Option<Vec<String>> {
        let known = self.known(call);
        if known.is_never {
            return Some(vec![call.name.to_owned()]);
        }
        let mut denials = BTreeSet::new();
        for arch in arches(call) {
            for tests in known.allowed[arch.index()].not().ok()?.0 {
                match words::denied(call, &tests).ok()? {
                    Some(text) if text.is_empty() => drop(denials.insert(call.name.to_owned())),
                    Some(text) => drop(denials.insert(format!("{}({text})", call.name))),
                    None => {}
                }
            }
        }
        Some(denials.into_iter().collect())
    }

    /// Entries that deny of the calls of some groups what the source denies.
    ///
    /// # Errors
    ///
    /// The call of which that can't be said, or which a child can't do without.
    pub(super) fn denials_of(&mut self, groups: &[&str]) -> Result<Vec<String>, &'static str> {
        let mut denials = Vec::new();
        for entry in groups::entries(groups) {
            if self.fits(entry.call, entry.condition.as_ref()) {
                continue;
            }
            let name = entry.call.name;
            match self.denials(entry.call) {
                Some(more) if !is_needed(name) => denials.extend(more),
                _ => return Err(name),
            }
        }
        Ok(denials)
    }
}
