//! `within`: the proof that a policy allows no more than another one.
//!
//! A relation that can't be proved is an error, and never accepted. The proof is for every call alike:
//! whatever the caller binds to variables, and whatever stands in the environment, is the same for both
//! policies. So a variable of the ceiling's may be used if it has the same type here and
//!
//! * is `required`: its value is the caller's, who could give the ceiling the same one;
//! * or comes by `from_env` from the same variable of the environment;
//! * or has the same `default`, or one beneath it if the ceiling's path ends with the variable.
//!
//! The target of a path is known only at the call, which compares it with the ceiling again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::merge::names_in;
use super::{Family, Grant};
use crate::Arch;
use crate::condition::Condition;
use crate::diagnostic::{Code, Report};
use crate::file::{OnViolation, PathGrant, PortGrant, Ports, Variable, VariableKind};
use crate::names;
use crate::policy::{Capabilities, Policy};
use crate::settings::SETTINGS;
use crate::source::{At, Place, Problem};
use crate::syscalls::groups::Soft;

/// The excesses, each with its line.
type Excesses = Vec<(Place, String)>;

/// Holds a policy against its ceilings, and notes in it what those grant.
pub(super) fn check(
    family: &mut Family<'_>,
    policy: &mut Policy,
    ceilings: &[At<String>],
) -> Result<(), Report> {
    let mut noted = BTreeSet::new();
    for wanted in ceilings {
        let Some(ceiling) = find(family, wanted)? else {
            continue;
        };
        hold(family, policy, &ceiling, wanted);
        for (most, allowed) in policy.most.0.iter_mut().zip(&ceiling.values.0) {
            // It is within its own ceilings.
            *most = (*most).min(*allowed);
        }
        // It is to be looked at again when one of those changes.
        for path in &ceiling.watched {
            if !policy.watched.contains(path) {
                policy.watched.push(path.clone());
            }
        }
        for known in ceiling.as_ceiling().iter().chain(&ceiling.ceilings) {
            if noted.insert(known.name.clone()) {
                policy.ceilings.push(known.clone());
            }
        }
    }
    Ok(())
}

/// The policy that a ceiling is; none if that leads in a circle.
fn find(family: &mut Family<'_>, wanted: &At<String>) -> Result<Option<Rc<Policy>>, Report> {
    let mut ceilings = family.ceilings.clone();
    if ceilings.above.contains(&wanted.value) || ceilings.above.len() >= super::MAX_DEPTH {
        let message = "these ceilings lead in a circle";
        family
            .problems
            .push(Problem::new(Code::Cycle, wanted.place, message));
        return Ok(None);
    }
    if let Some(known) = ceilings.known.borrow().get(&wanted.value) {
        return Ok(Some(Rc::clone(known)));
    }
    ceilings.above.push(wanted.value.clone());
    let ceiling = Rc::new(super::by_name(family.library, &wanted.value, ceilings)?);
    let mut known = family.ceilings.known.borrow_mut();
    known.insert(wanted.value.clone(), Rc::clone(&ceiling));
    Ok(Some(ceiling))
}

fn hold(family: &mut Family<'_>, policy: &Policy, ceiling: &Policy, wanted: &At<String>) {
    let mut all = excesses(policy, ceiling, wanted.place);
    answers(policy, ceiling, &mut all);
    // One line can go too far in many ways.
    let mut by_place = BTreeMap::<Place, Vec<String>>::new();
    for (place, what) in all {
        by_place.entry(place).or_default().push(what);
    }
    for (place, all) in by_place {
        let what = match all.as_slice() {
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{first}, {second}, {third} and {} others", rest.len())
            }
            few => few.join(", "),
        };
        let message = format!("the ceiling `{}` doesn't allow {what}", wanted.value);
        family
            .problems
            .push(Problem::new(Code::NotWithin, place, message));
    }
}

/// Returns the excesses of a policy over a ceiling, as far as can be proved, each with its line. `fallback`
/// is the place of those that have none.
pub(crate) fn excesses(policy: &Policy, ceiling: &Policy, fallback: Place) -> Excesses {
    // Every field by its name: a new one is to be compared, or shown to grant nothing.
    let Policy {
        // Compared below.
        values: _,
        on_violation: _,
        variables: _,
        paths: _,
        filesystem_unconfined: _,
        ports: _,
        network_unconfined: _,
        calls: _,
        capabilities,
        inherit,
        set,
        landlock,
        relax,
        require,
        // The policy's name, and the places of its lines.
        name: _,
        root: _,
        description: _,
        places: _,
        // What uses of the policy may raise, which is compared there.
        most: _,
        reasons: _,
        capability_lines: _,
        watched: _,
        sources: _,
        // The policy's own expectations, allowances of advice, and ceilings.
        expectations: _,
        allowances: _,
        within: _,
        ceilings: _,
    } = policy;
    let mut excesses = Vec::new();
    calls(policy, ceiling, fallback, &mut excesses);
    settings(policy, ceiling, fallback, &mut excesses);
    paths(policy, ceiling, &mut excesses);
    ports(policy, ceiling, &mut excesses);
    match (capabilities, &ceiling.capabilities) {
        (Capabilities::All, Capabilities::Only(_)) => {
            excesses.push((fallback, "keeping all capabilities".to_owned()));
        }
        (Capabilities::Only(kept), Capabilities::Only(most))
            if kept.iter().any(|capability| !most.contains(capability)) =>
        {
            excesses.push((fallback, "keeping a capability".to_owned()));
        }
        _ => {}
    }
    if inherit.iter().any(|name| !ceiling.inherit.contains(name)) {
        excesses.push((fallback, "inheriting an environment variable".to_owned()));
    }
    for (name, value) in set {
        let is_same =
            |(known, most): &(At<String>, String)| known.value == name.value && most == value;
        if !ceiling.set.iter().any(is_same) {
            let what = format!("setting the environment's `{}`", name.value);
            excesses.push((name.place, what));
        }
    }
    if landlock.value.strictness() < ceiling.landlock.value.strictness() {
        let is_written = landlock.place != policy.root;
        let place = if is_written { landlock.place } else { fallback };
        excesses.push((place, "`kernel.landlock`".to_owned()));
    }
    for relaxed in relax {
        let mut known = ceiling.relax.iter();
        if !known.any(|known| known.value.what == relaxed.value.what) {
            excesses.push((relaxed.place, format!("relaxing `{}`", relaxed.value.what)));
        }
    }
    for needed in ceiling.requirements() {
        if !require.iter().any(|(net, _)| *net == needed.net) {
            excesses.push((fallback, format!("running without `{}`", needed.net)));
        }
    }
    excesses
}

fn calls(policy: &Policy, ceiling: &Policy, fallback: Place, excesses: &mut Vec<(Place, String)>) {
    for (name, rules) in &policy.calls {
        if policy.is_denied(name) {
            continue;
        }
        let most = ceiling.calls.get(name);
        // A call that the ceiling denies again has to be denied here as well.
        let denied = most.is_some_and(|most| {
            let own = |deny: &Grant| rules.deny.iter().any(|d| d.condition == deny.condition);
            !most.deny.iter().all(own)
        });
        for grant in policy.grants(name, rules) {
            let covered = !denied
                && most.is_some_and(|most| {
                    let wide: Vec<_> = ceiling.grants(name, most).collect();
                    covers(&wide, grant.condition.as_ref())
                });
            if !covered {
                let what = match &grant.condition {
                    Some(condition) => format!("`{name}({})`", condition.text),
                    None => format!("`{name}`"),
                };
                excesses.push((grant.origin.place.unwrap_or(fallback), what));
            }
        }
    }
    if policy.on_violation.value.laxity() > ceiling.on_violation.value.laxity() {
        excesses.push((
            policy.on_violation.place,
            "this answer to violations".to_owned(),
        ));
    }
}

/// Answers with which a process continues that the ceiling would end.
fn answers(policy: &Policy, ceiling: &Policy, excesses: &mut Excesses) {
    if let OnViolation::Errno(_) = ceiling.on_violation.value {
        return;
    }
    for (name, rules) in &policy.calls {
        let most = ceiling.calls.get(name);
        for (soft, grant) in &rules.soft {
            // A grant that every policy has has no place.
            let Some(place) = grant.origin.place else {
                continue;
            };
            let goes_on = most.is_some_and(|most| {
                let own = |deny: &Grant| rules.deny.iter().any(|d| d.condition == deny.condition);
                let allowed = ceiling.grants(name, most);
                let answered = most.soft.iter().map(|(_, grant)| grant);
                let wide: Vec<_> = allowed.chain(answered).collect();
                most.deny.iter().all(own) && covers(&wide, grant.condition.as_ref())
            });
            if !goes_on && !policy.is_denied(name) {
                let answer = match soft {
                    Soft::Errno(number) => names::errno_name(*number).unwrap_or("an error"),
                    Soft::Emulate => "emulation",
                };
                excesses.push((place, format!("answering `{name}` by {answer}")));
            }
        }
    }
}

/// Whether what has a condition, none for "always", is among what is granted.
fn covers(wide: &[&Grant], condition: Option<&Condition>) -> bool {
    let conditions: Vec<_> = wide.iter().filter_map(|w| w.condition.as_ref()).collect();
    let implies = |condition: &Condition| {
        let mut everywhere = Arch::ALL.iter();
        everywhere.all(|arch| condition.implies(*arch, &conditions))
    };
    wide.iter().any(|wide| wide.condition.is_none()) || condition.is_some_and(implies)
}

fn settings(
    policy: &Policy,
    ceiling: &Policy,
    fallback: Place,
    excesses: &mut Vec<(Place, String)>,
) {
    for (index, setting) in SETTINGS.iter().enumerate() {
        if setting.allows_more(policy.value(index), ceiling.value(index)) {
            let value = setting.write(policy.value(index));
            let place = policy.places[index].unwrap_or(fallback);
            excesses.push((place, format!("`{} = {value}`", setting.full_name())));
        }
    }
}

fn paths(policy: &Policy, ceiling: &Policy, excesses: &mut Excesses) {
    if ceiling.filesystem_unconfined.is_some() {
        return;
    }
    if let Some(own) = &policy.filesystem_unconfined {
        excesses.push((own.place, "an unconfined filesystem".to_owned()));
    }
    for grant in &policy.paths {
        let wide = ceiling.paths.iter();
        let wide = wide.filter(|wide| wide.rights.contains(grant.rights));
        let found: Vec<_> = wide
            .filter(|wide| is_beneath(&grant.path.value, &wide.path.value))
            .map(|wide| other_variable(policy, ceiling, wide))
            .collect();
        if found.is_empty() {
            excesses.push((grant.path.place, format!("`{}`", grant.path.value)));
        } else if let Some(Some(excess)) = found.iter().min_by_key(|excess| excess.is_some()) {
            excesses.push(excess.clone());
        }
    }
}

/// Whether a path is another one, or beneath it, as they are written.
fn is_beneath(path: &str, wide: &str) -> bool {
    let rest = path.strip_prefix(wide.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A variable in a ceiling's path that can stand for more here.
fn other_variable(policy: &Policy, ceiling: &Policy, wide: &PathGrant) -> Option<(Place, String)> {
    let path = wide.path.value.trim_end_matches('/');
    let names = names_in(path).unwrap_or_default();
    names.iter().enumerate().find_map(|(at, name)| {
        // If the path ends with the variable and has it only once, a value beneath that of the variable is
        // beneath the whole path.
        let is_end = at + 1 == names.len() && path.ends_with(&format!("${{{name}}}"));
        let is_only = names.iter().filter(|other| *other == name).count() == 1;
        wider(policy, ceiling, name, is_end && is_only)
    })
}

/// A variable, if it can stand for more here than in the ceiling.
fn wider(
    policy: &Policy,
    ceiling: &Policy,
    name: &str,
    may_be_beneath: bool,
) -> Option<(Place, String)> {
    let find = |policy: &'_ Policy| {
        let mut variables = policy.variables.iter();
        variables.find(|known| known.name.value == name).cloned()
    };
    let own = find(policy)?;
    if find(ceiling).is_some_and(|most| agrees(&own, &most, may_be_beneath)) {
        return None;
    }
    let (place, what) = match &own.default {
        Some(default) => (default.place, "default"),
        None => (own.name.place, "declaration"),
    };
    Some((place, format!("this {what} of `{name}`")))
}

fn agrees(own: &Variable, most: &Variable, may_be_beneath: bool) -> bool {
    if own.kind != most.kind {
        return false;
    }
    let default = own.default.as_ref().map(|default| default.value.as_str());
    let widest = most.default.as_ref().map(|default| default.value.as_str());
    match (&own.from_env, default) {
        (Some(from_env), _) => most.from_env.as_ref() == Some(from_env),
        (None, None) => true,
        (None, Some(default)) => widest.is_some_and(|widest| match own.kind {
            VariableKind::Port => default.parse::<u16>().ok() == widest.parse::<u16>().ok(),
            VariableKind::Directory | VariableKind::File => {
                let is_same = default.trim_end_matches('/') == widest.trim_end_matches('/');
                is_same || (may_be_beneath && is_beneath(default, widest))
            }
        }),
    }
}

fn ports(policy: &Policy, ceiling: &Policy, excesses: &mut Excesses) {
    if ceiling.network_unconfined.is_some() {
        return;
    }
    if let Some(own) = &policy.network_unconfined {
        excesses.push((own.place, "an unconfined network".to_owned()));
    }
    // Without ports of its own, a policy's datagrams go anywhere.
    if ceiling.confines_udp()
        && !policy.confines_udp()
        && let Some(grant) = policy.makes_udp_sockets()
    {
        let place = grant.origin.place.unwrap_or(policy.root);
        excesses.push((place, "datagrams to every port".to_owned()));
    }
    let all_datagrams = !ceiling.confines_udp() && ceiling.makes_udp_sockets().is_some();
    for grant in &policy.ports {
        if all_datagrams && grant.used_for.is_udp() {
            continue;
        }
        let covers = |wide: &&PortGrant| {
            wide.used_for == grant.used_for
                && match (&grant.ports.value, &wide.ports.value) {
                    (Ports::Range(from, to), Ports::Range(least, most)) => {
                        least <= from && to <= most
                    }
                    (one, two) => one == two,
                }
        };
        let excess = match (ceiling.ports.iter().find(covers), &grant.ports.value) {
            (None, _) => Some((grant.ports.place, "this port".to_owned())),
            (Some(_), Ports::Range(..)) => None,
            (Some(_), Ports::Variable(name)) => wider(policy, ceiling, name, false),
        };
        excesses.extend(excess);
    }
}
