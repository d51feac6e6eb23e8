//! A source as the text of a policy.
//!
//! The text allows what the source allows, or less. It extends nothing if the source is a list of
//! what is allowed, so that it has only what is written in it and what every child needs; where the
//! source is a list of what is denied, it extends `pure` and takes the denied away from it.

use std::collections::{BTreeMap, BTreeSet};

use super::Imported;
use super::cover::Cover;
use super::groups::{self, NEEDED, is_needed};
use super::source::Source;
use super::text::Parts;
use crate::file::{is_of_each_process, kernel_tree, parse_entry};
use crate::resolve::needs_reason;
use crate::syscalls::groups::NEVER;
use crate::syscalls::{self, Syscall};

/// The policy that a policy with a list of denials extends, and the groups that it begins with.
const BASE: &str = "pure";
const BASE_GROUPS: &[&str] = &["@baseline", "@self"];

/// Groups that a list of calls alone can't give: Landlock, ports, limits or reasons go with them.
const NOT_BY_CALLS: &[&str] = &[
    "@runtime",
    "@channel",
    "@self",
    "@send-descriptors",
    "@baseline",
    "@nested",
    "@all",
    "@process",
    "@exec",
    "@threads",
    "@file-attr",
];

/// Calls that start processes or threads, for which a policy has limits besides.
const STARTING: &[&str] = &["clone", "clone3", "fork", "vfork"];

/// Writes the policy.
///
/// # Errors
///
/// If what has to be denied can't be said in a policy.
pub(super) fn write(mut source: Source, origin: &str) -> Result<Imported, String> {
    let mut parts = Parts {
        values: source.values.clone(),
        inherit: source.inherit.clone(),
        on_violation: source.on_violation.clone(),
        ..Parts::default()
    };
    if source.allows_rest {
        parts.extends = Some(BASE);
        take_away(&mut source, &mut parts);
    } else {
        allow(&mut source, &mut parts);
        narrow_self(&mut source, &mut parts);
    }
    grant_paths(&mut source, &mut parts);
    grant_ports(&mut source, &mut parts);
    answers(&source, &mut parts);
    let held: Vec<_> = needed_all_the_same(&source);
    if !held.is_empty() {
        source.remarks.push(format!(
            "Every child has what it needs to stay alive and to answer (@runtime, @channel). The source \
             allows less of these: {}.",
            held.join(", ")
        ));
    }
    parts.check(&mut source.notes)?;
    let notes = source.notes.len();
    Ok(Imported {
        text: parts.write(origin, &source.remarks, &source.notes),
        notes,
    })
}

/// Returns the groups that every child has and of which the source allows less.
fn needed_all_the_same(source: &Source) -> Vec<&'static str> {
    let mut cover = Cover::new(source);
    let entries = groups::entries(NEEDED);
    let beyond = entries.filter(|entry| !cover.fits(entry.call, entry.condition.as_ref()));
    let names: BTreeSet<_> = beyond.map(|entry| entry.call.name).collect();
    names.into_iter().collect()
}

/// Allows what a list of what is allowed has.
fn allow(source: &mut Source, parts: &mut Parts) {
    let mut notes = Vec::new();
    {
        let mut cover = Cover::new(source);
        let mut left: BTreeSet<&'static str> = source
            .mentioned()
            .filter(|name| !is_needed(name))
            .filter(|name| !source.allowed(name).iter().all(|arch| arch.is_never()))
            .collect();
        for flat in groups::all() {
            let by_path = flat.name.starts_with("@path") || flat.name.starts_with("@net");
            let named = flat.entries.iter().map(|entry| entry.call.name);
            let adds = named.clone().any(|name| left.contains(name));
            if by_path || !adds || NOT_BY_CALLS.contains(&flat.name) {
                continue;
            }
            let mut entries = flat.entries.iter();
            if entries.all(|entry| cover.fits(entry.call, entry.condition.as_ref())) {
                parts.allow.push(flat.name.to_owned());
                // The source may allow more of a call than the group, or than this of its groups.
                named.for_each(|name| {
                    let is_first = first_group(name) == Some(flat.name);
                    let by_form = cover.is_always(name) || source.narrowed.contains(name);
                    if is_first && by_form {
                        left.remove(name);
                    }
                });
            }
        }
        for name in left {
            let Some(call) = syscalls::find(name) else {
                continue;
            };
            for entry in entries_for(call, source, &mut cover, &mut notes) {
                match refused(&entry) {
                    Some(reason) => notes.push((entry, reason)),
                    None if !parts.allow.contains(&entry) => parts.allow.push(entry),
                    None => {}
                }
            }
        }
    }
    for (original, reason) in notes {
        source.note(original, reason);
    }
}

/// The first group that a call is in, of those that are taken for calls alone.
fn first_group(name: &str) -> Option<&'static str> {
    let by_calls = |group: &&groups::Flat| {
        let by_path = group.name.starts_with("@path") || group.name.starts_with("@net");
        !by_path && !NOT_BY_CALLS.contains(&group.name)
    };
    let mut groups = groups::all().iter().filter(by_calls);
    let found = groups.find(|group| group.entries.iter().any(|entry| entry.call.name == name));
    found.map(|group| group.name)
}

/// The entries that allow as much of a call as the source does, as far as a policy can say it.
fn entries_for(
    call: &'static Syscall,
    source: &Source,
    cover: &mut Cover<'_>,
    notes: &mut Vec<(String, String)>,
) -> Vec<String> {
    let is_always = cover.is_always(call.name);
    if is_always || source.narrowed.contains(call.name) {
        // If all of it is allowed, the forms that do the work are enough.
        let usable = groups::all()
            .iter()
            .filter(|group| !NOT_BY_CALLS.contains(&group.name));
        for group in usable {
            let own = group
                .entries
                .iter()
                .filter(|entry| entry.call.name == call.name);
            let narrow = own.filter(|entry| entry.condition.is_some());
            let fitting = narrow.filter(|entry| cover.fits(call, entry.condition.as_ref()));
            let fitting: Vec<_> = fitting.map(|entry| entry.text.to_owned()).collect();
            if !fitting.is_empty() {
                return fitting;
            }
        }
        let mut itself = groups::entries(&["@self"]).filter(|entry| entry.call.name == call.name);
        match itself.next() {
            // Every policy has it.
            Some(_) if is_always => return Vec::new(),
            None if is_always => return vec![call.name.to_owned()],
            _ => {}
        }
    }
    let (conditions, untold) = cover.conditions(call);
    for reason in untold {
        notes.push((format!("a part of {}", call.name), reason));
    }
    conditions
        .iter()
        .map(|condition| format!("{}({condition})", call.name))
        .collect()
}

/// Why an entry isn't taken over although the source allows it.
fn refused(entry: &str) -> Option<String> {
    let (target, _) = match parse_entry(entry) {
        Ok(read) => read,
        Err(mistake) => return Some(mistake.into_message()),
    };
    if STARTING.contains(&target.name()) {
        return Some(
            "starting threads is `@threads` with `[limits] threads`, starting processes `@process` with \
             `[limits] processes`"
                .to_owned(),
        );
    }
    if NEVER.contains(&target.name()) {
        return Some(
            "no policy may allow it: with it a process steps around its confinement".to_owned(),
        );
    }
    let what = needs_reason(&target)?;
    Some(format!("{what} is dangerous: to allow it, say why"))
}

/// Takes from `@self`, which every policy has, what the source allows less of.
fn narrow_self(source: &mut Source, parts: &mut Parts) {
    let mut cover = Cover::new(source);
    for entry in groups::entries(&["@self"]) {
        let name = entry.call.name;
        if !is_needed(name) && !cover.fits(entry.call, entry.condition.as_ref()) {
            parts.replace.insert(name);
        }
    }
}

/// Takes from `pure` what a list of what is denied has.
fn take_away(source: &mut Source, parts: &mut Parts) {
    let mut cover = Cover::new(source);
    for entry in groups::entries(BASE_GROUPS) {
        let name = entry.call.name;
        if is_needed(name) || cover.fits(entry.call, entry.condition.as_ref()) {
            continue;
        }
        match cover.denials(entry.call) {
            // `deny` comes before an answer, so an answered call is only not allowed any more.
            _ if source.answers.contains_key(name) && cover.is_never(name) => {
                parts.replace.insert(name);
            }
            Some(denials) => parts.deny.extend(denials),
            None => drop(parts.deny.insert(name.to_owned())),
        }
    }
    let denied = source.mentioned().filter(|name| {
        cover.is_never(name) && !is_needed(name) && !source.answers.contains_key(name)
    });
    parts.deny.extend(denied.map(str::to_owned));
}

/// Grants paths, as far as the calls that go with them are allowed.
fn grant_paths(source: &mut Source, parts: &mut Parts) {
    let kinds: [(&str, &[&str], bool); 3] = [
        ("read", &["@path-open", "@dir"], false),
        ("write", &["@path-write"], true),
        ("create", &["@path-write", "@path-create"], true),
    ];
    let mut notes = Vec::new();
    {
        let mut cover = Cover::new(source);
        let (own, paths): (BTreeSet<_>, BTreeSet<_>) =
            (source.paths.iter().cloned()).partition(|path| is_of_each_process(&path.path));
        notes.extend(own.into_iter().map(|path| {
            let reason = "each process finds its own there, and a policy would grant the program's";
            (format!("paths {}", path.path), reason.to_owned())
        }));
        for (kind, groups, writes) in kinds {
            let mut paths: Vec<_> = paths
                .iter()
                .filter(|path| path.writable || !writes)
                .collect();
            if let (true, Some(path)) = (
                writes,
                paths.iter().find(|path| kernel_tree(&path.path).is_some()),
            ) {
                notes.push((
                    format!("{kind} {}", path.path),
                    "a policy gives no way to write into /proc, /sys or /dev".to_owned(),
                ));
            }
            paths.retain(|path| !writes || kernel_tree(&path.path).is_none());
            let Some(path) = paths.first() else {
                continue;
            };
            match cover.denials_of(groups) {
                Ok(denials) => {
                    parts.deny.extend(denials);
                    let paths = paths.iter().map(|path| (path.path.clone(), path.optional));
                    parts.paths.entry(kind).or_default().extend(paths);
                }
                Err(call) => notes.push((
                    format!("{kind} {}", path.path),
                    format!("it brings `{call}`, of which the source allows less"),
                )),
            }
        }
    }
    for (original, reason) in notes {
        source.note(original, reason);
    }
}

/// Grants ports that may be bound, as far as the calls that go with them are allowed.
fn grant_ports(source: &mut Source, parts: &mut Parts) {
    if source.binds.is_empty() {
        return;
    }
    let denials = Cover::new(source).denials_of(&["@net-tcp-server"]);
    match denials {
        Ok(denials) => {
            parts.deny.extend(denials);
            parts.binds.clone_from(&source.binds);
        }
        Err(call) => source.note(
            "ports that may be bound",
            format!("they bring `{call}`, of which the source allows less"),
        ),
    }
}

/// The error numbers of calls that are never wholly allowed.
fn answers(source: &Source, parts: &mut Parts) {
    let mut cover = Cover::new(source);
    let mut answers: BTreeMap<&'static str, BTreeSet<&'static str>> = BTreeMap::new();
    for (name, errno) in &source.answers {
        if !is_needed(name) && !cover.is_always(name) && !parts.deny.contains(*name) {
            answers.entry(errno).or_default().insert(name);
        }
    }
    parts.answers = answers;
}
