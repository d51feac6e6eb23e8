//! The contents of another program's policy file, once it has been read whole.

use std::collections::{BTreeMap, BTreeSet};

use super::logic::Condition;
use crate::names;
use crate::syscalls::{self, Syscall};

/// The calls that a source allows, and its other settings.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The conditions under which each mentioned call may happen, by architecture.
    calls: BTreeMap<&'static str, [Condition; 2]>,
    /// Whether what it doesn't mention may happen.
    pub(super) allows_rest: bool,
    /// Calls that something narrowed by the way: a group's form is preferred to the condition itself.
    pub(super) narrowed: BTreeSet<&'static str>,
    /// Calls that fail with an error number.
    pub(super) answers: BTreeMap<&'static str, &'static str>,
    /// The result of all other calls: `errno:EPERM`.
    pub(super) on_violation: Option<String>,
    pub(super) paths: Vec<Path>,
    /// TCP ports that may be bound, each with the address families that may.
    pub(super) binds: BTreeSet<u16>,
    /// Names of variables that are taken over.
    pub(super) inherit: BTreeSet<String>,
    /// Keys with a value as it is written, by table.
    pub(super) values: BTreeMap<(&'static str, &'static str), String>,
    /// The parts that were not translated, with the reasons.
    pub(super) notes: Vec<(String, String)>,
    /// Remarks for a reader about how the file was read.
    pub(super) remarks: Vec<String>,
}

/// A path that may be used, with all beneath it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub(super) path: String,
    pub(super) writable: bool,
    pub(super) optional: bool,
}

impl Source {
    /// Returns the conditions under which a call may happen.
    pub(super) fn allowed(&self, name: &str) -> [Condition; 2] {
        self.calls.get(name).cloned().unwrap_or_else(|| self.rest())
    }

    fn rest(&self) -> [Condition; 2] {
        match self.allows_rest {
            true => [Condition::always(), Condition::always()],
            false => [Condition::never(), Condition::never()],
        }
    }

    /// The calls that it mentions.
    pub(super) fn mentioned(&self) -> impl Iterator<Item = &'static str> {
        self.calls.keys().copied()
    }

    pub(super) fn set(&mut self, call: &'static Syscall, allowed: [Condition; 2]) {
        self.calls.insert(call.name, allowed);
    }

    /// Lets a call happen only if a condition holds as well.
    pub(super) fn confine(&mut self, name: &str, to: &Condition) {
        let Some(call) = syscalls::find(name) else {
            return;
        };
        let allowed = self.allowed(name).map(|allowed| {
            // A condition that grows too long allows nothing.
            allowed.and(to).unwrap_or_default()
        });
        self.narrowed.insert(call.name);
        self.set(call, allowed);
    }

    /// Notes what has no counterpart.
    pub(super) fn note(&mut self, original: impl Into<String>, reason: impl Into<String>) {
        let note = (original.into(), reason.into());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Answers a call by an error number.
    pub(super) fn answer(&mut self, name: &str, number: u64) {
        let errno = u16::try_from(number).ok().and_then(names::errno_name);
        match (syscalls::find(name), errno) {
            (Some(call), Some(errno)) => drop(self.answers.insert(call.name, errno)),
            (Some(_), None) => self.note(
                format!("{name}: error number {number}"),
                "no error number that a policy has; the call is denied",
            ),
            (None, _) => {}
        }
    }

    /// Answers everything that isn't allowed by an error number.
    pub(super) fn answer_rest(&mut self, number: u64) {
        match u16::try_from(number).ok().and_then(names::errno_name) {
            Some(errno) => self.on_violation = Some(format!("errno:{errno}")),
            None => self.note(
                format!("error number {number} for what isn't allowed"),
                "no error number that a policy has; a denied call is a violation",
            ),
        }
    }

    /// Takes a limit, unless a smaller one is known.
    pub(super) fn limit(
        &mut self,
        key: &'static str,
        known: &mut BTreeMap<&'static str, u64>,
        number: u64,
        text: String,
    ) {
        if known.get(key).is_none_or(|known| number < *known) {
            known.insert(key, number);
            self.values.insert(("limits", key), text);
        }
    }
}
