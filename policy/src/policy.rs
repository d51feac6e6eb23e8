//! A policy: checked and valid, whatever its source.

use std::path::PathBuf;

use crate::Arch;
use crate::compiled::Ceiling;
use crate::condition::Condition;
use crate::diagnostic::Report;
use crate::file::{
    Allowance, Expectation, LandlockWish, OnViolation, PathGrant, PortGrant, Relaxation, Variable,
};
use crate::library::{BUILTIN, BuiltinOnly, Library, Text};
use crate::resolve::{self, Ceilings, Grant, Rules};
use crate::settings::Values;
use crate::source::{At, Place, Sources};
use crate::steps::SecondNet;

/// A policy that has been checked. There is no way to hold an unchecked one.
///
/// It comes from a file ([`Policy::load`]), from a text ([`Policy::from_toml`]) or from the
/// built-in policies ([`Policy::builtin`]). [`Policy::narrow`] makes it stricter, and
/// [`Policy::compile`] compiles it for enforcement.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) name: String,
    /// The beginning of the policy's own file.
    pub(crate) root: Place,
    pub(crate) description: Option<String>,
    pub(crate) values: Values,
    /// The most that each value may be raised to where the policy is used: what all its ceilings allow.
    pub(crate) most: Values,
    /// The place of each value, if it was written in a file.
    pub(crate) places: Vec<Option<Place>>,
    pub(crate) on_violation: At<OnViolation>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) paths: Vec<PathGrant>,
    pub(crate) filesystem_unconfined: Option<At<String>>,
    pub(crate) ports: Vec<PortGrant>,
    pub(crate) network_unconfined: Option<At<String>>,
    pub(crate) calls: std::collections::BTreeMap<&'static str, Rules>,
    pub(crate) capabilities: Capabilities,
    /// The lines that keep them: numbers, and `None` for all.
    pub(crate) capability_lines: Vec<At<Option<u8>>>,
    pub(crate) inherit: Vec<String>,
    pub(crate) set: Vec<(At<String>, String)>,
    pub(crate) landlock: At<LandlockWish>,
    pub(crate) relax: Vec<At<Relaxation>>,
    /// The second nets that it insists on; without a place if the policy's user does.
    pub(crate) require: Vec<(SecondNet, Option<Place>)>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) allowances: Vec<Allowance>,
    pub(crate) reasons: Vec<Reason>,
    /// The policies that this one stays within: its own ceiling, and those of the policies that it
    /// extends.
    pub(crate) within: Vec<String>,
    /// The grants of those ceilings, and of their own ceilings.
    pub(crate) ceilings: Vec<Ceiling>,
    pub(crate) watched: Vec<PathBuf>,
    pub(crate) sources: Sources,
}

/// The reason that a file gives for one of its lines.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    pub(crate) place: Place,
    pub(crate) text: String,
    /// Whether the line is so dangerous that it needs one.
    pub(crate) is_demanded: bool,
}

/// The capabilities that a process keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// These, by number. Usually none.
    Only(Vec<u8>),
    /// All that it has. Only for policies that confine nothing.
    All,
}

impl Policy {
    /// Reads the policy `name` and everything that it extends from a library.
    ///
    /// ```no_run
    /// use crossmist_policy::{Folder, Policy};
    ///
    /// let policy = Policy::load(&Folder::new("policies"), "thumbnail")?;
    /// # Ok::<(), crossmist_policy::Report>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Report`] that lists everything that is wrong with the files.
    pub fn load(library: &dyn Library, name: &str) -> Result<Self, Report> {
        resolve::by_name(library, name, Ceilings::below(name))
    }

    /// Returns a built-in policy.
    ///
    /// # Errors
    ///
    /// A [`Report`] if there is no built-in policy of that name.
    pub fn builtin(name: &str) -> Result<Self, Report> {
        Self::load(&BuiltinOnly, name)
    }

    /// Reads a policy from a text, for example one written into an attribute.
    ///
    /// # Errors
    ///
    /// A [`Report`] that lists everything that is wrong with it.
    pub fn from_toml(library: &dyn Library, name: &str, text: &str) -> Result<Self, Report> {
        let text = Text {
            label: name.to_owned(),
            path: None,
            text: text.to_owned(),
        };
        resolve::by_text(library, name, text)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its description.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Returns the files that it was made of. Whatever uses the policy must be rebuilt if one of
    /// them changes.
    ///
    /// Built-in policies are part of this crate, and not in the list.
    pub fn files(&self) -> &[PathBuf] {
        &self.watched
    }

    /// Returns the policies that it extends or stays within, directly or not, except for built-in
    /// ones.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let names = self
            .watched
            .iter()
            .filter_map(|path| path.file_stem()?.to_str());
        names.filter(|name| *name != self.name)
    }

    /// Returns the names of the built-in policies.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(name, _)| *name)
    }

    /// Returns the grants of a call, without those that are denied again.
    ///
    /// Without threads the flags of a thread's `clone` are not allowed, without processes nothing
    /// that starts one, whichever group would.
    pub(crate) fn grants<'p>(
        &'p self,
        name: &str,
        rules: &'p Rules,
    ) -> impl Iterator<Item = &'p Grant> {
        let no_threads = self.values.count("limits", "threads") <= 1;
        let no_processes = self.values.count("limits", "processes") == 0;
        let clone = name == "clone";
        // The flags of `clone3` lie in memory, so nobody can see that it would start a thread only.
        // Without it the C library falls back to `clone`.
        let fork = ["fork", "vfork", "clone3"].contains(&name);
        rules.allow.iter().filter(move |grant| {
            let of_threads = grant.origin.group == Some("@threads");
            let starts_thread = clone && of_threads;
            let starts_process = fork || (clone && !of_threads);
            !(starts_thread && no_threads || starts_process && no_processes)
        })
    }

    /// The same policy for functions that can't send a descriptor by their types.
    pub(crate) fn without_descriptors(&self) -> Self {
        let mut policy = self.clone();
        for rules in policy.calls.values_mut() {
            rules.allow.retain(|grant| !grant.depends_on_types());
        }
        policy
    }

    /// The line and the group that a grant comes from, in words.
    pub(crate) fn source_of(&self, grant: &Grant) -> String {
        match (grant.origin.place, grant.origin.group) {
            (Some(place), Some(group)) => format!("{}, {group}", self.sources.locate(place)),
            (Some(place), None) => self.sources.locate(place).to_string(),
            (None, Some(group)) => format!("every policy, {group}"),
            (None, None) => "where the policy is used".to_owned(),
        }
    }

    /// Returns the reason for the line at a place.
    pub(crate) fn reason_at(&self, place: Place) -> Option<&Reason> {
        self.reasons.iter().find(|reason| reason.place == place)
    }

    /// Whether a call is denied whatever its arguments.
    pub(crate) fn is_denied(&self, name: &str) -> bool {
        let rules = self.calls.get(name);
        rules.is_some_and(|rules| rules.deny.iter().any(|deny| deny.condition.is_none()))
    }

    /// Returns the grants that let a call happen, on some architecture, with arguments that `possible` asks
    /// about.
    pub(crate) fn can_happen(
        &self,
        name: &str,
        possible: impl Fn(&Condition, Arch) -> bool,
    ) -> Option<&Grant> {
        if self.is_denied(name) {
            return None;
        }
        let rules = self.calls.get(name)?;
        self.grants(name, rules).find(|grant| {
            let possible = |condition| Arch::ALL.iter().any(|arch| possible(condition, *arch));
            grant.condition.as_ref().is_none_or(possible)
        })
    }
}
