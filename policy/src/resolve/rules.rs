//! The rules of all files together about each system call.

use std::collections::BTreeMap;

use super::{Family, conflicts};
use crate::condition::Condition;
use crate::file::{Entry, PathKind, Target, known_entry};
use crate::names;
use crate::settings::Values;
use crate::source::Place;
use crate::syscalls::groups::{
    self, ALWAYS, EVERYTHING, Group, NEVER, SEAL_MEMORY, SEND_DESCRIPTORS, SOFT, Soft,
};
use crate::syscalls::{self, Syscall};

/// The rules about one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) allow: Vec<Grant>,
    pub(crate) deny: Vec<Grant>,
    pub(crate) soft: Vec<(Soft, Grant)>,
}

/// A condition, none for "always", and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) condition: Option<Condition>,
    pub(crate) origin: Origin,
}

impl Grant {
    /// Whether it is for functions that can send a descriptor by their types, and for no others.
    pub(crate) fn depends_on_types(&self) -> bool {
        let by_types = [Some(SEND_DESCRIPTORS), Some(SEAL_MEMORY)];
        self.origin.place.is_none() && by_types.contains(&self.origin.group)
    }
}

/// The line, and the group, that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `None` for what holds in every policy.
    pub(crate) place: Option<Place>,
    pub(crate) group: Option<&'static str>,
    /// The index of the member of the family; the last index stands for grants that hold in every policy.
    pub(super) member: usize,
}

impl Origin {
    /// A rule that was added where the policy is used.
    pub(crate) fn call_site() -> Self {
        Self {
            place: None,
            group: None,
            member: usize::MAX,
        }
    }
}

/// The rules by the name of the call.
pub(crate) type RuleMap = BTreeMap<&'static str, Rules>;

/// Puts the rules of all members together.
pub(super) fn collect(family: &mut Family<'_>, values: &Values) -> RuleMap {
    let mut map = RuleMap::new();
    let mut problems = Vec::new();
    let everything = family.members.iter().any(|member| {
        let mut allow = member.file.syscalls.allow.iter();
        allow.any(|entry| matches!(entry.target, Target::Group(g) if g.name == EVERYTHING))
    });
    let last = family.members.len() - 1;
    if !everything {
        let seal = makes_memory_objects(family).then_some(&SEAL_MEMORY);
        for name in ALWAYS.iter().chain([&SEND_DESCRIPTORS]).chain(seal) {
            let origin = Origin {
                place: None,
                group: None,
                member: last,
            };
            add_group(&mut map, groups::find(name), origin);
        }
    }
    if !values.is_strict("syscalls", "nested") {
        let origin = Origin {
            place: None,
            group: None,
            member: last,
        };
        add_group(&mut map, groups::find("@nested"), origin);
    }
    for (number, member) in family.members.iter().enumerate() {
        let rules = &member.file.syscalls;
        replace(family, &mut map, number);
        for entry in &rules.allow {
            conflicts::dangerous(rules, entry, &mut problems);
            let origin = Origin {
                place: Some(entry.place),
                group: None,
                member: number,
            };
            allow(&mut map, entry, origin);
        }
        for (place, group) in implied(family, number) {
            let origin = Origin {
                place: Some(place),
                group: None,
                member: number,
            };
            add_group(&mut map, groups::find(group), origin);
        }
        for entry in &rules.deny {
            let origin = Origin {
                place: Some(entry.place),
                group: None,
                member: number,
            };
            for (call, condition, origin) in expand(&entry.target, origin) {
                // A denied group means its names: a condition there narrows what is *allowed*.
                let condition = condition.filter(|_| origin.group.is_none());
                map.entry(call.name)
                    .or_default()
                    .deny
                    .push(Grant { condition, origin });
            }
        }
        for (soft, entry) in &rules.soft {
            let origin = Origin {
                place: Some(entry.place),
                group: None,
                member: number,
            };
            for (call, condition, origin) in expand(&entry.target, origin) {
                let condition = condition.filter(|_| origin.group.is_none());
                let grant = Grant { condition, origin };
                map.entry(call.name).or_default().soft.push((*soft, grant));
            }
        }
    }
    for (name, rules) in &mut map {
        conflicts::check(family, name, rules, &mut problems);
    }
    soften(&mut map, last);
    family.problems.append(&mut problems);
    map
}

/// Whether a line of any member allows what makes memory objects.
fn makes_memory_objects(family: &Family<'_>) -> bool {
    let origin = Origin::call_site();
    let files = family.members.iter().map(|member| &member.file);
    let mut entries = files.flat_map(|file| &file.syscalls.allow);
    entries.any(|entry| {
        let calls = expand(&entry.target, origin);
        calls.iter().any(|(call, ..)| call.name == "memfd_create")
    })
}

/// The groups that `[filesystem]` and `[network]` need to mean anything.
fn implied(family: &Family<'_>, member: usize) -> Vec<(Place, &'static str)> {
    let file = &family.members[member].file;
    let mut groups = Vec::new();
    for grant in &file.paths {
        let place = grant.path.place;
        match grant.kind {
            PathKind::Read => groups.extend([(place, "@path-open"), (place, "@dir")]),
            PathKind::Write => groups.push((place, "@path-write")),
            PathKind::Create => groups.extend([(place, "@path-write"), (place, "@path-create")]),
            PathKind::ConnectUnix => groups.push((place, "@net-unix")),
            PathKind::Execute | PathKind::IoctlDevice => {}
        }
    }
    for grant in &file.ports {
        groups.push((grant.ports.place, grant.used_for.group()));
    }
    for (setting, group) in [
        (("filesystem", "metadata"), "@path-stat"),
        (("network", "unix"), "@net-unix"),
    ] {
        let index = crate::settings::index_of(setting.0, setting.1);
        for (at, value) in &file.settings {
            if Some(*at) == index && value.value != crate::settings::Value::Bounded(0) {
                groups.push((value.place, group));
            }
        }
    }
    let mut seen = Vec::new();
    groups.retain(|(_, group)| {
        let new = !seen.contains(group);
        seen.push(*group);
        new
    });
    groups
}

/// The calls of an entry, with the condition that each carries there.
fn expand(target: &Target, origin: Origin) -> Vec<(&'static Syscall, Option<Condition>, Origin)> {
    match target {
        Target::Call(call, condition) => vec![(call, condition.clone(), origin)],
        Target::Group(group) if group.name == EVERYTHING => {
            let calls = syscalls::all()
                .iter()
                .filter(|call| !NEVER.contains(&call.name));
            let origin = Origin {
                group: Some(EVERYTHING),
                ..origin
            };
            calls.map(|call| (call, None, origin)).collect()
        }
        Target::Group(group) => {
            let origin = Origin {
                group: Some(group.name),
                ..origin
            };
            let entries = group.entries.iter();
            let entries = entries.filter_map(|entry| known_entry(entry));
            entries.flat_map(|target| expand(target, origin)).collect()
        }
    }
}

fn allow(map: &mut RuleMap, entry: &Entry, origin: Origin) {
    for (call, condition, origin) in expand(&entry.target, origin) {
        let rules = map.entry(call.name).or_default();
        let grant = Grant { condition, origin };
        match entry.answer {
            Some(soft) => rules.soft.push((soft, grant)),
            None => rules.add(grant),
        }
    }
}

fn add_group(map: &mut RuleMap, group: Option<&'static Group>, origin: Origin) {
    let Some(group) = group else { return };
    for (call, condition, origin) in expand(&Target::Group(group), origin) {
        map.entry(call.name)
            .or_default()
            .add(Grant { condition, origin });
    }
}

impl Rules {
    fn add(&mut self, grant: Grant) {
        // The same from two groups, or from a parent on two ways, is said once.
        let known = self.allow.iter().any(|known| {
            known.condition == grant.condition
                && known.origin.group.is_some() == grant.origin.group.is_some()
                && known.depends_on_types() == grant.depends_on_types()
        });
        if !known {
            self.allow.push(grant);
        }
    }
}

/// Takes away what the member's ancestors say about the names that it replaces.
fn replace(family: &Family<'_>, map: &mut RuleMap, member: usize) {
    let last = family.members.len() - 1;
    for name in &family.members[member].file.syscalls.replace {
        let Some(rules) = map.get_mut(name.value.name) else {
            continue;
        };
        let inherited = |grant: &Grant| {
            let from = grant.origin.member;
            (grant.origin.place.is_none() && from == last) || family.descends(member, from)
        };
        rules.allow.retain(|grant| !inherited(grant));
    }
}

/// Adds the answers that every policy has, behind those that the files give.
fn soften(map: &mut RuleMap, member: usize) {
    let origin = Origin {
        place: None,
        group: Some("@soft"),
        member,
    };
    for (answer, entries) in SOFT {
        let soft = match names::errno(answer) {
            Some(number) => Soft::Errno(number),
            None => Soft::Emulate,
        };
        for entry in *entries {
            let Some(Target::Call(call, condition)) = known_entry(entry) else {
                continue;
            };
            let condition = condition.clone();
            let rules = map.entry(call.name).or_default();
            let overridden = rules
                .soft
                .iter()
                .any(|(_, own)| own.condition.is_none() && own.origin.place.is_some());
            if !overridden {
                rules.soft.push((soft, Grant { condition, origin }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse_entry;

    #[test]
    fn every_entry_of_the_groups_and_of_the_soft_table_can_be_read() {
        let soft = SOFT.iter().flat_map(|(_, entries)| *entries);
        for entry in groups::all()
            .iter()
            .flat_map(|group| group.entries)
            .chain(soft)
        {
            assert!(parse_entry(entry).is_ok(), "{entry}");
        }
    }
}
