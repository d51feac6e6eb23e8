//! What all files together say about each system call.

use std::collections::BTreeMap;

use super::Family;
use crate::condition::Condition;
use crate::diagnostic::Code;
use crate::file::{Entry, PathKind, SyscallRules, Target, parse_entry};
use crate::names;
use crate::settings::Values;
use crate::source::{Place, Problem};
use crate::syscalls::groups::{
    self, ALWAYS, DANGEROUS, DANGEROUS_UNFILTERED, EVERYTHING, Group, NEVER, SOFT, Soft,
};
use crate::syscalls::{self, Syscall};

/// What is said about one call.
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

/// The line, and the group, that says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `None` for what holds in every policy.
    pub(crate) place: Option<Place>,
    pub(crate) group: Option<&'static str>,
    /// Which member of the family; the last for what holds in every policy.
    member: usize,
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
        for name in ALWAYS {
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
            dangerous(rules, entry, &mut problems);
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
        check(family, name, rules, &mut problems);
    }
    soften(&mut map, last);
    family.problems.append(&mut problems);
    map
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
        let group = if grant.bind {
            "@net-tcp-server"
        } else {
            "@net-tcp-client"
        };
        groups.push((grant.ports.place, group));
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
            // A test shows that every entry of every group can be read.
            let entries = group
                .entries
                .iter()
                .filter_map(|entry| parse_entry(entry).ok());
            entries
                .flat_map(|(target, _)| expand(&target, origin))
                .collect()
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

/// Complains about what is forbidden, or dangerous and without a reason.
fn dangerous(rules: &SyscallRules, entry: &Entry, problems: &mut Vec<Problem>) {
    if entry.answer.is_some() {
        return;
    }
    let (name, condition) = match &entry.target {
        Target::Group(group) => (group.name, None),
        Target::Call(call, condition) => (call.name, condition.as_ref()),
    };
    if NEVER.contains(&name) {
        let message =
            format!("no policy may allow `{name}`: with it a process steps around its confinement");
        problems.push(Problem::new(Code::NeverAllowed, entry.place, message));
        return;
    }
    let unfiltered = DANGEROUS_UNFILTERED.contains(&name) && condition.is_none();
    let executable = ["mmap", "mprotect", "pkey_mprotect"].contains(&name)
        && condition.is_some_and(|c| crate::Arch::ALL.iter().any(|arch| c.admits(*arch, 2, 4)));
    if !(DANGEROUS.contains(&name) || unfiltered || executable) {
        return;
    }
    let reason = entry.why.as_ref().or_else(|| {
        rules
            .reasons
            .iter()
            .find(|(known, _)| known.value == name)
            .map(|(_, reason)| reason)
    });
    if reason.is_none_or(|reason| reason.trim().is_empty()) {
        let what = match (executable, unfiltered) {
            (true, _) => format!("`{name}` with PROT_EXEC"),
            (_, true) => format!("`{name}` without a condition"),
            _ => format!("`{name}`"),
        };
        let message = format!("{what} is dangerous and needs a reason");
        let help = format!("say why in `[syscalls.dangerous]`: `\"{name}\" = \"…\"`");
        problems.push(Problem::new(Code::MissingReason, entry.place, message).help(help));
    }
}

/// Complains about rules for one call that contradict each other.
fn check(family: &Family<'_>, name: &str, rules: &Rules, problems: &mut Vec<Problem>) {
    let explicit = |grant: &&Grant| grant.origin.group.is_none() && grant.origin.place.is_some();
    let always = rules.allow.iter().find(|grant| grant.condition.is_none());
    let sometimes = rules.allow.iter().filter(|grant| grant.condition.is_some());
    if let Some(always) = always {
        for conditional in sometimes {
            let Some(shown) = [always, conditional]
                .into_iter()
                .filter(explicit)
                .max_by_key(|g| g.origin.member)
            else {
                continue;
            };
            let Some(place) = shown.origin.place else {
                continue;
            };
            let message = if shown.condition.is_some() {
                format!(
                    "`{name}` is allowed without a condition elsewhere, so this one has no effect"
                )
            } else {
                format!("`{name}` is allowed with a condition elsewhere, which this makes useless")
            };
            let help = format!("if that is meant, say `replace = [\"{name}\"]`");
            problems.push(Problem::new(Code::ConditionWithoutEffect, place, message).help(help));
            break;
        }
    }
    for denied in rules.deny.iter().filter(|deny| deny.condition.is_none()) {
        let same = |grant: &&Grant| grant.origin.member == denied.origin.member;
        let below = |grant: &&Grant| family.descends(grant.origin.member, denied.origin.member);
        for allowed in rules.allow.iter().filter(explicit).filter(below) {
            let Some(place) = allowed.origin.place else {
                continue;
            };
            let by = denied
                .origin
                .place
                .map(|place| family.sources.locate(place).to_string());
            let by = by.unwrap_or_default();
            let (code, message) = if same(&allowed) {
                (
                    Code::AllowedAndDenied,
                    format!("`{name}` is both allowed and denied (at {by})"),
                )
            } else {
                (
                    Code::DeniedByAncestor,
                    format!("`{name}` is denied at {by}, and denial is final"),
                )
            };
            problems.push(Problem::new(code, place, message));
        }
    }
    for (at, (soft, grant)) in rules.soft.iter().enumerate() {
        let Some(place) = grant.origin.place else {
            continue;
        };
        let other = rules.soft[..at]
            .iter()
            .find(|(other, before)| other != soft && before.condition == grant.condition);
        if let Some((other, _)) = other {
            let message = format!(
                "`{name}` has two answers, {} and {}",
                word(*other),
                word(*soft)
            );
            problems.push(Problem::new(Code::AnswerConflict, place, message));
        }
        if let (None, Some(_), None) = (
            &grant.condition,
            always.filter(|g| explicit(g)),
            grant.origin.group,
        ) {
            let message = format!("`{name}` is allowed, so this answer is never given");
            problems.push(Problem::new(Code::AllowedAndDenied, place, message));
        }
    }
}

fn word(soft: Soft) -> String {
    match soft {
        Soft::Errno(number) => names::errno_name(number).unwrap_or("?").to_owned(),
        Soft::Emulate => "emulation".to_owned(),
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
            // A test shows that every entry can be read.
            let Ok((Target::Call(call, condition), _)) = parse_entry(entry) else {
                continue;
            };
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
