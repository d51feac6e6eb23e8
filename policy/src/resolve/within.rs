//! `within`: the proof that a policy allows no more than another one.
//!
//! What can't be proved is an error, never accepted.

use std::collections::BTreeMap;

use super::{Family, Grant};
use crate::Arch;
use crate::diagnostic::{Code, Report};
use crate::file::Ports;
use crate::policy::{Capabilities, Policy};
use crate::settings::SETTINGS;
use crate::source::{At, Place, Problem};

pub(super) fn check(
    family: &mut Family<'_>,
    policy: &Policy,
    wanted: &At<String>,
) -> Result<(), Report> {
    let mut above = family.ceilings.clone();
    if above.contains(&wanted.value) || above.len() >= super::MAX_DEPTH {
        let message = "these ceilings lead in a circle";
        family
            .problems
            .push(Problem::new(Code::Cycle, wanted.place, message));
        return Ok(());
    }
    above.push(wanted.value.clone());
    let ceiling = super::by_name(family.library, &wanted.value, above)?;
    // One line can go too far in many ways.
    let mut by_place = BTreeMap::<Place, Vec<String>>::new();
    for (place, what) in excesses(policy, &ceiling, wanted.place) {
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
    Ok(())
}

/// What a policy allows more than a ceiling, as far as can be proved, each with its line; `fallback`
/// stands in for what has none.
pub(crate) fn excesses(policy: &Policy, ceiling: &Policy, fallback: Place) -> Vec<(Place, String)> {
    let mut excesses = Vec::new();
    calls(policy, ceiling, fallback, &mut excesses);
    settings(policy, ceiling, fallback, &mut excesses);
    paths_and_ports(policy, ceiling, &mut excesses);
    if let (Capabilities::All, Capabilities::Only(_)) =
        (&policy.capabilities, &ceiling.capabilities)
    {
        excesses.push((fallback, "keeping all capabilities".to_owned()));
    }
    if let (Capabilities::Only(kept), Capabilities::Only(most)) =
        (&policy.capabilities, &ceiling.capabilities)
        && kept.iter().any(|capability| !most.contains(capability))
    {
        excesses.push((fallback, "keeping a capability".to_owned()));
    }
    if policy
        .inherit
        .iter()
        .any(|name| !ceiling.inherit.contains(name))
    {
        excesses.push((fallback, "inheriting an environment variable".to_owned()));
    }
    excesses
}

fn calls(policy: &Policy, ceiling: &Policy, fallback: Place, excesses: &mut Vec<(Place, String)>) {
    for (name, rules) in &policy.calls {
        if policy.is_denied(name) {
            continue;
        }
        let most = ceiling.calls.get(name);
        // What the ceiling denies again has to be denied here, too.
        let denied = most.is_some_and(|most| {
            let own = |deny: &Grant| rules.deny.iter().any(|d| d.condition == deny.condition);
            !most.deny.iter().all(own)
        });
        for grant in policy.grants(name, rules) {
            let covered = !denied
                && most.is_some_and(|most| {
                    let wide: Vec<_> = ceiling.grants(name, most).collect();
                    let always = wide.iter().any(|wide| wide.condition.is_none());
                    let conditions: Vec<_> =
                        wide.iter().filter_map(|w| w.condition.as_ref()).collect();
                    always
                        || grant.condition.as_ref().is_some_and(|condition| {
                            Arch::ALL
                                .iter()
                                .all(|arch| condition.implies(*arch, &conditions))
                        })
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

fn settings(
    policy: &Policy,
    ceiling: &Policy,
    fallback: Place,
    excesses: &mut Vec<(Place, String)>,
) {
    for (index, setting) in SETTINGS.iter().enumerate() {
        if policy.value(index) > ceiling.value(index) {
            let value = setting.write(policy.value(index));
            let place = policy.places[index].unwrap_or(fallback);
            excesses.push((place, format!("`{} = {value}`", setting.full_name())));
        }
    }
    for relaxed in &policy.relax {
        if !ceiling
            .relax
            .iter()
            .any(|known| known.value.what == relaxed.value.what)
        {
            excesses.push((relaxed.place, format!("relaxing `{}`", relaxed.value.what)));
        }
    }
}

fn paths_and_ports(policy: &Policy, ceiling: &Policy, excesses: &mut Vec<(Place, String)>) {
    if let (Some(own), None) = (
        &policy.filesystem_unconfined,
        &ceiling.filesystem_unconfined,
    ) {
        excesses.push((own.place, "an unconfined filesystem".to_owned()));
    }
    if let (Some(own), None) = (&policy.network_unconfined, &ceiling.network_unconfined) {
        excesses.push((own.place, "an unconfined network".to_owned()));
    }
    if ceiling.filesystem_unconfined.is_none() {
        for grant in &policy.paths {
            let beneath = |wide: &str| {
                let rest = grant.path.value.strip_prefix(wide.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let covered = ceiling
                .paths
                .iter()
                .any(|wide| wide.rights.contains(grant.rights) && beneath(&wide.path.value));
            if !covered {
                excesses.push((grant.path.place, format!("`{}`", grant.path.value)));
            }
        }
    }
    if ceiling.network_unconfined.is_none() {
        for grant in &policy.ports {
            let covered = ceiling.ports.iter().any(|wide| {
                wide.bind == grant.bind
                    && match (&grant.ports.value, &wide.ports.value) {
                        (Ports::Range(from, to), Ports::Range(least, most)) => {
                            least <= from && to <= most
                        }
                        (one, two) => one == two,
                    }
            });
            if !covered {
                excesses.push((grant.ports.place, "this port".to_owned()));
            }
        }
    }
}
