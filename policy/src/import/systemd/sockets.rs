//! The sockets that a unit may create, and the ports that it may bind.

use std::collections::BTreeSet;

use super::super::logic::{Condition, Op, Test};
use super::super::source::Source;
use super::Unit;

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// Address families by name, as far as programs have them.
#[rustfmt::skip]
const FAMILIES: &[(&str, u64)] = &[
    ("AF_UNIX", 1), ("AF_LOCAL", 1), ("AF_INET", AF_INET), ("AF_AX25", 3), ("AF_IPX", 4), ("AF_APPLETALK", 5),
    ("AF_X25", 9), ("AF_INET6", AF_INET6), ("AF_DECnet", 12), ("AF_KEY", 15), ("AF_NETLINK", 16),
    ("AF_PACKET", 17), ("AF_RDS", 21), ("AF_PPPOX", 24), ("AF_LLC", 26), ("AF_CAN", 29), ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31), ("AF_IUCV", 32), ("AF_ALG", 38), ("AF_NFC", 39), ("AF_VSOCK", 40), ("AF_KCM", 41),
    ("AF_QIPCRTR", 42), ("AF_SMC", 43), ("AF_XDP", 44),
];

pub(super) fn read(unit: &Unit, source: &mut Source) {
    families(unit, source);
    ports(unit, source);
}

/// `RestrictAddressFamilies=`: the first assignment says whether it lists what is allowed.
fn families(unit: &Unit, source: &mut Source) {
    let mut listed: Option<(bool, BTreeSet<u64>)> = None;
    let mut unknown_denied = false;
    for value in unit.of("RestrictAddressFamilies") {
        if value == "none" {
            listed = Some((true, BTreeSet::new()));
            continue;
        }
        let (inverted, names) = match value.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, value.as_str()),
        };
        let (allows, numbers) = listed.get_or_insert_with(|| (!inverted, BTreeSet::new()));
        for name in names.split_whitespace() {
            let found = FAMILIES.iter().find(|(known, _)| *known == name);
            let number = found
                .map(|(_, number)| *number)
                .or_else(|| name.parse().ok());
            match number {
                Some(number) if *allows == inverted => drop(numbers.remove(&number)),
                Some(number) => drop(numbers.insert(number)),
                None if inverted => {
                    unknown_denied = true;
                    source.note(
                        name,
                        "no address family that is known here; no socket can be made",
                    );
                }
                None => source.note(name, "no address family that is known here"),
            }
        }
    }
    let is_family = |op, number: &u64| Test::new(0, op, u64::MAX, *number);
    let allowed = match listed {
        _ if unknown_denied => Condition::never(),
        None => return,
        Some((true, numbers)) => Condition::any(
            numbers
                .iter()
                .map(|number| is_family(Op::Same, number))
                .collect(),
        ),
        Some((false, numbers)) => Condition::all(
            numbers
                .iter()
                .map(|number| is_family(Op::Other, number))
                .collect(),
        ),
    };
    source.confine("socket", &allowed);
}

/// TCP ports of `SocketBindAllow=`, if nothing else stands between the unit and the port.
fn ports(unit: &Unit, source: &mut Source) {
    for value in unit.of("SocketBindAllow") {
        let original = format!("SocketBindAllow={value}");
        if let Some(option) = in_the_way(unit) {
            source.note(
                original,
                format!("{option} restricts it in a way that a policy has not"),
            );
            continue;
        }
        let mut parts: Vec<_> = value.split(':').collect();
        let port = parts.pop().and_then(|port| port.parse::<u16>().ok());
        let families = [("ipv4", AF_INET6), ("ipv6", AF_INET)];
        let family = parts
            .first()
            .and_then(|first| families.iter().find(|(name, _)| name == first));
        if family.is_some() {
            parts.remove(0);
        }
        match (port, parts.as_slice()) {
            (Some(port), [] | ["tcp"]) if port != 0 => {
                source.binds.insert(port);
                // The port would be granted for both families.
                if let Some((_, other)) = family {
                    let not_other = Test::new(0, Op::Other, u64::MAX, *other);
                    source.confine("socket", &Condition::all(vec![not_other]));
                }
            }
            _ => source.note(original, "only single TCP ports can be granted"),
        }
    }
}

/// An option that makes the network of the unit another one, or filters what goes over it.
fn in_the_way(unit: &Unit) -> Option<&'static str> {
    let switches = ["PrivateNetwork"];
    let set = [
        "NetworkNamespacePath",
        "JoinsNamespaceOf",
        "IPAddressDeny",
        "IPIngressFilterPath",
        "IPEgressFilterPath",
        "BPFProgram",
        "RestrictNetworkInterfaces",
    ];
    let switch = switches.into_iter().find(|option| unit.is_on(option));
    switch.or_else(|| set.into_iter().find(|option| !unit.of(option).is_empty()))
}
