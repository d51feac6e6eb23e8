//! Everything but the system calls: single values are inherited, lists are united.

use std::collections::BTreeMap;

use super::{Family, conflicts, rules, within};
use crate::diagnostic::{Code, Report};
use crate::expect;
use crate::file::{
    File, LandlockWish, OnViolation, Ports, Variable, VariableKind, WHY_NOT, bad_parts, kernel_tree,
};
use crate::policy::{Capabilities, Policy, Reason};
use crate::settings::{SETTINGS, Value, Values};
use crate::source::{At, Place, Problem};

/// Returns the reasons that a file gives for its lines.
fn reasons(file: &File) -> Vec<Reason> {
    let entries = file.syscalls.allow.iter();
    let calls = entries.filter_map(|entry| {
        let is_demanded =
            entry.answer.is_none() && conflicts::needs_reason(&entry.target).is_some();
        let text = match is_demanded {
            true => conflicts::reason_for(&file.syscalls, entry)?,
            false => entry.why.as_deref()?,
        };
        Some(Reason {
            place: entry.place,
            text: text.to_owned(),
            is_demanded,
        })
    });
    let paths = file.paths.iter();
    let paths = paths.filter_map(|grant| {
        Some(Reason {
            place: grant.path.place,
            text: grant.why.clone()?,
            is_demanded: false,
        })
    });
    let demanded = |place, text: &String| Reason {
        place,
        text: text.clone(),
        is_demanded: true,
    };
    let whole = [&file.filesystem_unconfined, &file.network_unconfined];
    let whole = whole.into_iter().flatten();
    let whole = whole.map(|reason| demanded(reason.place, &reason.value));
    let kept = file.capabilities.iter();
    let kept = kept.filter_map(|kept| {
        let why = file.why_capabilities.as_ref()?;
        Some(demanded(kept.place, why))
    });
    calls.chain(paths).chain(whole).chain(kept).collect()
}

/// Makes the policy of the last member.
pub(super) fn merge(mut family: Family<'_>) -> Result<Policy, Report> {
    let mut places = Vec::new();
    let mut values = Vec::new();
    for (index, setting) in SETTINGS.iter().enumerate() {
        let found = inherit(&mut family, &setting.full_name(), |member| {
            let own = member
                .file
                .settings
                .iter()
                .find(|(known, _)| *known == index);
            own.map(|(_, value)| value.clone())
        });
        values.push(
            found
                .as_ref()
                .map_or_else(|| setting.default_value(), |found| found.value),
        );
        places.push(found.map(|found| found.place));
    }
    let values = Values(values);
    let on_violation = inherit(&mut family, "syscalls.on_violation", |member| {
        member.file.syscalls.on_violation.clone()
    });
    let landlock = inherit(&mut family, "kernel.landlock", |member| {
        member.file.landlock.clone()
    });
    let variables = variables(&mut family);
    let calls = rules::collect(&mut family, &values);
    let mut problems = Vec::new();
    conflicts::limits(&family, &values.0, &places, &mut problems);
    family.problems.append(&mut problems);
    let files = family.members.iter().map(|member| &member.file);
    let capabilities = if files
        .clone()
        .any(|file| file.capabilities.iter().any(|c| c.value.is_none()))
    {
        Capabilities::All
    } else {
        let mut kept: Vec<u8> = files
            .clone()
            .flat_map(|file| file.capabilities.iter().filter_map(|c| c.value))
            .collect();
        kept.sort_unstable();
        kept.dedup();
        Capabilities::Only(kept)
    };
    let capability_lines = files.clone().flat_map(|file| file.capabilities.clone());
    let capability_lines = capability_lines.collect();
    let mut inherit: Vec<String> = files
        .clone()
        .flat_map(|file| file.inherit.iter().map(|name| name.value.clone()))
        .collect();
    inherit.sort();
    inherit.dedup();
    let mut set = BTreeMap::new();
    for (name, value) in files.clone().flat_map(|file| &file.set) {
        set.insert(&name.value, (name.clone(), value.value.clone()));
    }
    let set = set.into_values().collect();
    let paths = files.clone().flat_map(|file| file.paths.clone()).collect();
    let ports = files.clone().flat_map(|file| file.ports.clone()).collect();
    let relax = files.clone().flat_map(|file| file.relax.clone()).collect();
    let require = files.clone().flat_map(|file| &file.require);
    let require = require.map(|net| (net.value, Some(net.place))).collect();
    let filesystem_unconfined = files
        .clone()
        .find_map(|file| file.filesystem_unconfined.clone());
    let network_unconfined = files
        .clone()
        .find_map(|file| file.network_unconfined.clone());
    let root = family.members.last();
    // A policy's expectations and allowances are about itself: one that extends it is there to differ.
    let expectations = root
        .map(|member| member.file.expectations.clone())
        .unwrap_or_default();
    let allowances = root
        .map(|member| member.file.allowances.clone())
        .unwrap_or_default();
    let name = root.map(|member| member.name.clone()).unwrap_or_default();
    let root_number = root.map_or(0, |member| member.number);
    let description = root.and_then(|member| member.file.description.clone());
    // A policy also stays within the ceilings of those that it extends.
    let mut ceilings: Vec<At<String>> = Vec::new();
    for wanted in family.members.iter().rev().flat_map(|m| &m.file.within) {
        if !ceilings.iter().any(|known| known.value == wanted.value) {
            ceilings.push(wanted.clone());
        }
    }
    let mut policy = Policy {
        name,
        root: Place::new(root_number, 0..0),
        description: description.map(|text| text.value),
        most: Values(vec![Value::Unlimited; values.0.len()]),
        values,
        places,
        on_violation: on_violation.unwrap_or(At {
            value: OnViolation::Kill,
            place: Place::new(root_number, 0..0),
        }),
        variables,
        paths,
        filesystem_unconfined,
        ports,
        network_unconfined,
        calls,
        capabilities,
        capability_lines,
        inherit,
        set,
        landlock: landlock.unwrap_or(At {
            value: LandlockWish::Auto,
            place: Place::new(root_number, 0..0),
        }),
        relax,
        require,
        expectations,
        allowances,
        reasons: family
            .members
            .iter()
            .flat_map(|member| reasons(&member.file))
            .collect(),
        within: (ceilings.iter())
            .map(|ceiling| ceiling.value.clone())
            .collect(),
        ceilings: Vec::new(),
        watched: std::mem::take(&mut family.paths),
        sources: family.sources.clone(),
    };
    if family.problems.is_empty() {
        policy.check_needs(&mut family.problems);
        policy.check_requirements(&mut family.problems);
    }
    if family.problems.is_empty() {
        within::check(&mut family, &mut policy, &ceilings)?;
    }
    // A policy with mistakes in it can't be expected to do what it says.
    if family.problems.is_empty() {
        expect::check(&policy, &mut family.problems);
    }
    if family.problems.is_empty() {
        Ok(policy)
    } else {
        Err(family.report())
    }
}

/// The value of the member nearest to the policy; parents that disagree need a word from below.
fn inherit<T: Clone + PartialEq>(
    family: &mut Family<'_>,
    name: &str,
    own: impl Fn(&super::Member) -> Option<At<T>>,
) -> Option<At<T>> {
    let mut known: Vec<Option<At<T>>> = Vec::new();
    for member in &family.members {
        if let Some(value) = own(member) {
            known.push(Some(value));
            continue;
        }
        let mut from_parents = member
            .parents
            .iter()
            .filter_map(|parent| known[*parent].clone());
        let first = from_parents.next();
        if let Some(first) = &first
            && let Some(other) = from_parents.find(|other| other.value != first.value)
        {
            let extends = member
                .file
                .extends
                .first()
                .map_or(first.place, |entry| entry.place);
            let (one, two) = (
                family.sources.locate(first.place),
                family.sources.locate(other.place),
            );
            let message = format!("the parents disagree about `{name}`: {one} and {two}");
            let problem = Problem::new(Code::ParentsDisagree, extends, message);
            family
                .problems
                .push(problem.help("say here which it is to be"));
        }
        known.push(first);
    }
    known.pop().flatten()
}

/// All declarations, and a complaint about each use of something that isn't declared.
fn variables(family: &mut Family<'_>) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for member in &family.members {
        for declared in &member.file.variables {
            variables.retain(|known| known.name.value != declared.name.value);
            variables.push(declared.clone());
        }
    }
    let mut problems = Vec::new();
    let mut uses: Vec<(String, bool, Place)> = Vec::new();
    for file in family.members.iter().map(|member| &member.file) {
        for grant in &file.paths {
            match names_in(&grant.path.value) {
                Ok(names) => uses.extend(
                    names
                        .into_iter()
                        .map(|name| (name, false, grant.path.place)),
                ),
                Err(message) => {
                    problems.push(Problem::new(Code::BadVariable, grant.path.place, message));
                }
            }
        }
        for grant in &file.ports {
            if let Ports::Variable(name) = &grant.ports.value {
                uses.push((name.clone(), true, grant.ports.place));
            }
        }
    }
    for (name, port, place) in uses {
        let message = match variables.iter().find(|known| known.name.value == name) {
            None => format!("the variable `{name}` isn't declared"),
            Some(known) if (known.kind == VariableKind::Port) != port => {
                format!("the variable `{name}` is declared as something else")
            }
            Some(_) => continue,
        };
        let problem = Problem::new(Code::BadVariable, place, message);
        let help = format!("declare it: `[variables] {name} = {{ type = …, required = true }}`");
        problems.push(problem.help(help));
    }
    defaults(family, &variables, &mut problems);
    family.problems.append(&mut problems);
    variables
}

/// Complains about defaults that make a path of a grant that may not be written there.
fn defaults(family: &Family<'_>, variables: &[Variable], problems: &mut Vec<Problem>) {
    let files = family.members.iter().map(|member| &member.file);
    for grant in files.flat_map(|file| &file.paths) {
        // Without a default it is held to this at the call.
        let Some((path, Some(default))) = with_defaults(&grant.path.value, variables) else {
            continue;
        };
        let line = family.sources.locate(grant.path.place);
        let mistake = match path.starts_with('/') {
            true => bad_parts(&path),
            false => Some("is absolute"),
        };
        if let Some(mistake) = mistake {
            let message = format!("this makes `{path}` of {line}, and a path {mistake}");
            problems.push(Problem::new(Code::BadPath, default.place, message));
        } else if grant.writes()
            && let Some(tree) = kernel_tree(&path)
        {
            let message = format!("writing at `{path}`, as {line} says, reaches into `{tree}`");
            let problem = Problem::new(Code::WritesKernelTree, default.place, message);
            problems.push(problem.help(WHY_NOT));
        }
    }
}

/// A path with the defaults of its variables, and the last of those; `None` if one has no default.
fn with_defaults<'v>(
    path: &str,
    variables: &'v [Variable],
) -> Option<(String, Option<&'v At<String>>)> {
    let (mut whole, mut last, mut rest) = (String::new(), None, path);
    while let Some((before, after)) = rest.split_once('$') {
        whole.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            whole.push('$');
            rest = after;
            continue;
        }
        let (name, after) = after.strip_prefix('{')?.split_once('}')?;
        let known = variables.iter().find(|known| known.name.value == name)?;
        let default = known.default.as_ref()?;
        // As at the call: a folder may be named with a slash at its end.
        whole.push_str(match after.starts_with('/') {
            true => default.value.strip_suffix('/').unwrap_or(&default.value),
            false => &default.value,
        });
        last = Some(default);
        rest = after;
    }
    whole.push_str(rest);
    Some((whole, last))
}

/// The variables in a path; `$$` is a dollar.
pub(crate) fn names_in(path: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = path;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            names.push(name.to_owned());
            rest = after;
        } else {
            return Err("a variable is written `${name}`, a dollar `$$`".to_owned());
        }
    }
    Ok(names)
}

impl Policy {
    /// A limit that nothing was said about is never looser than the default.
    pub(crate) fn value(&self, index: usize) -> Value {
        self.values.0[index]
    }
}
