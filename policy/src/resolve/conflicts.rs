//! Rules that are forbidden, need a reason, or contradict each other.

use super::{Family, Grant, Rules};
use crate::condition::Condition;
use crate::diagnostic::Code;
use crate::file::{Entry, SyscallRules, Target};
use crate::names;
use crate::settings::{SETTINGS, Value, index_of};
use crate::source::{Place, Problem};
use crate::syscalls::groups::{self, DANGEROUS, DANGEROUS_UNFILTERED, NEVER, Soft};

/// The bit of `prot`, which is argument 2 of every call that has it.
const PROT_EXEC: u64 = 4;

/// Complains about what is forbidden, or dangerous and without a reason.
pub(super) fn dangerous(rules: &SyscallRules, entry: &Entry, problems: &mut Vec<Problem>) {
    if entry.answer.is_some() {
        return;
    }
    let name = entry.target.name();
    if NEVER.contains(&name) {
        let message =
            format!("no policy may allow `{name}`: a process could escape its confinement with it");
        problems.push(Problem::new(Code::NeverAllowed, entry.place, message));
        return;
    }
    let Some(what) = needs_reason(&entry.target) else {
        return;
    };
    if reason_for(rules, entry).is_none_or(|reason| reason.trim().is_empty()) {
        let message = format!("{what} is dangerous and needs a reason");
        let help = format!("say why in `[syscalls.dangerous]`: `\"{name}\" = \"…\"`");
        problems.push(Problem::new(Code::MissingReason, entry.place, message).help(help));
    }
}

/// Returns the reason for an entry: its own, or the one that `[syscalls.dangerous]` gives for its name.
pub(super) fn reason_for<'r>(rules: &'r SyscallRules, entry: &'r Entry) -> Option<&'r str> {
    let name = entry.target.name();
    let named = rules.reasons.iter().find(|(known, _)| known.value == name);
    let reason = entry.why.as_ref().or(named.map(|(_, reason)| reason));
    reason.map(String::as_str)
}

/// Returns the part of an entry that is so dangerous that it needs a reason, in words.
pub(crate) fn needs_reason(target: &Target) -> Option<String> {
    let name = target.name();
    let (is_call, condition) = match target {
        Target::Group(_) => (false, None),
        Target::Call(_, condition) => (true, condition.as_ref()),
    };
    let admits_code = |condition: &Condition| {
        let mut arches = crate::Arch::ALL.iter();
        arches.any(|arch| condition.admits_bit(*arch, 2, PROT_EXEC))
    };
    let hardly_restricts = |condition: &Condition| {
        let mut arches = crate::Arch::ALL.iter();
        arches.any(|arch| condition.is_nearly_always_met(*arch))
    };
    if ["mmap", "mprotect", "pkey_mprotect"].contains(&name) && condition.is_some_and(admits_code) {
        Some(format!("`{name}` with PROT_EXEC"))
    } else if DANGEROUS_UNFILTERED.contains(&name) && condition.is_none() {
        Some(format!("`{name}` without a condition"))
    } else if DANGEROUS_UNFILTERED.contains(&name) && condition.is_some_and(hardly_restricts) {
        Some(format!(
            "`{name}` with a condition that hardly restricts it"
        ))
    } else if DANGEROUS.contains(&name) {
        Some(format!("`{name}`"))
    } else {
        let group = is_call.then(|| groups::dangerous_group(name)).flatten()?;
        Some(format!("`{name}`, as a part of `{group}`,"))
    }
}

/// Complains about rules for one call that contradict each other.
pub(super) fn check(family: &Family<'_>, name: &str, rules: &Rules, problems: &mut Vec<Problem>) {
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
            let help = match groups::path_key(name) {
                _ if shown.condition.is_some() => format!(
                    "take it out; if only this is to be allowed, say `replace = [\"{name}\"]`"
                ),
                Some(key) => format!(
                    "take it out, and grant the path: `[filesystem] {key} = [\"/the/path\"]` allows what it takes"
                ),
                None => format!("if that is meant, say `replace = [\"{name}\"]`"),
            };
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

/// Complains about grants that a limit takes the meaning from: threads and processes of which there
/// may be none. Below the file that gives the group, such a limit is a way of taking it back.
pub(super) fn limits(
    family: &Family<'_>,
    values: &[Value],
    places: &[Option<Place>],
    problems: &mut Vec<Problem>,
) {
    let starting: [(&[&str], _, _); 2] = [
        (&["@threads"], "threads", 1),
        (
            &["@process", "clone", "clone3", "fork", "vfork"],
            "processes",
            0,
        ),
    ];
    for (names, key, most) in starting {
        let Some(index) = index_of("limits", key) else {
            continue;
        };
        if values[index] > Value::Bounded(most) {
            continue;
        }
        let setter = places[index].and_then(|place| {
            family
                .members
                .iter()
                .position(|member| member.number == place.file)
        });
        for (number, member) in family.members.iter().enumerate() {
            let taken_back = setter.is_some_and(|at| at != number && family.descends(at, number));
            let mut entries = member.file.syscalls.allow.iter();
            let entry = entries
                .find(|entry| entry.answer.is_none() && names.contains(&entry.target.name()));
            if let Some(entry) = entry.filter(|_| !taken_back) {
                let value = SETTINGS[index].write(values[index]);
                let name = entry.target.name();
                let message = format!("`{name}` is allowed, but `limits.{key}` is {value}");
                let help = format!("say how many: `[limits] {key} = …`");
                problems
                    .push(Problem::new(Code::AllowedAndDenied, entry.place, message).help(help));
            }
        }
    }
}
