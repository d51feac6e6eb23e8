//! `[network]`: ports and socket families.

use toml::de::DeValue;

use super::{File, filesystem, settings};
use crate::diagnostic::Code;
use crate::landlock::{NET_BIND_TCP, NET_BIND_UDP, NET_CONNECT_SEND_UDP, NET_CONNECT_TCP};
use crate::reader::{Node, Reader, Section};
use crate::source::{At, Problem};

/// Ports that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortGrant {
    pub(crate) ports: At<Ports>,
    pub(crate) used_for: PortUse,
}

/// The use that a policy makes of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortUse {
    TcpConnect,
    TcpBind,
    UdpConnect,
    UdpBind,
}

impl PortUse {
    pub(crate) const ALL: [Self; 4] = [
        Self::TcpConnect,
        Self::TcpBind,
        Self::UdpConnect,
        Self::UdpBind,
    ];

    /// The key of `[network]` that grants it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp_connect",
            Self::TcpBind => "tcp_bind",
            Self::UdpConnect => "udp_connect",
            Self::UdpBind => "udp_bind",
        }
    }

    /// Landlock's right.
    pub(crate) fn right(self) -> u64 {
        match self {
            Self::TcpConnect => NET_CONNECT_TCP,
            Self::TcpBind => NET_BIND_TCP,
            Self::UdpConnect => NET_CONNECT_SEND_UDP,
            Self::UdpBind => NET_BIND_UDP,
        }
    }

    /// The calls that it takes.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::TcpConnect => "@net-tcp-client",
            Self::TcpBind => "@net-tcp-server",
            Self::UdpConnect | Self::UdpBind => "@net-udp",
        }
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::UdpConnect | Self::UdpBind)
    }

    /// The protocol and what is done, in words.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::TcpConnect => ("TCP", "connect"),
            Self::TcpBind => ("TCP", "bind"),
            Self::UdpConnect => ("UDP", "send"),
            Self::UdpBind => ("UDP", "bind"),
        }
    }
}

/// The granted ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// From the first to the last, both included.
    Range(u16, u16),
    /// The value of a variable.
    Variable(String),
}

/// The most ports that a range may cover: each becomes a rule of the kernel's.
const MAX_RANGE: u16 = 64;

pub(super) fn read(reader: &mut Reader, section: Section<'_, '_>, file: &mut File) {
    settings(reader, &section, "network", file);
    for used_for in PortUse::ALL {
        let items = section
            .key(used_for.key())
            .map(|node| reader.array(node))
            .unwrap_or_default();
        for node in items {
            match ports(reader, node) {
                Some(value) => {
                    let ports = At {
                        value,
                        place: reader.place(node),
                    };
                    file.ports.push(PortGrant { ports, used_for });
                }
                None => {
                    let message = format!(
                        "expected a port from 0 to 65535, \"${{variable}}\", or \
                                           {{ from = …, to = … }} of at most {MAX_RANGE} ports"
                    );
                    reader.problem(Problem::new(Code::BadPort, reader.place(node), message));
                }
            }
        }
    }
    for (key, harmless) in [("udp", "none"), ("netlink", "none")] {
        if let Some(node) = section.key(key)
            && !matches!(node.get_ref(), DeValue::String(text) if text.as_ref() == harmless)
        {
            let message = format!("`{key}` can only be \"none\" in this version");
            let problem = Problem::new(Code::Unsupported, reader.place(node), message);
            reader.problem(problem.help(match key {
                "udp" => "list ports in `udp_connect` and `udp_bind`, or pass the child a connected socket",
                _ => "pass the child a connected socket instead",
            }));
        }
    }
    if let Some(node) = section.key("resolve_dns")
        && reader.boolean(node).is_some_and(|on| on.value)
    {
        let message = "names can't be resolved in a confined child by this version";
        let problem = Problem::new(Code::Unsupported, reader.place(node), message);
        reader.problem(problem.help("resolve the name in the parent and pass the address"));
    }
    file.network_unconfined = section.string(reader, "unconfined");
    filesystem::reason(reader, file.network_unconfined.as_ref());
    section.finish(reader);
}

fn ports(reader: &mut Reader, node: Node<'_, '_>) -> Option<Ports> {
    let port = |node: Node<'_, '_>| match node.get_ref() {
        DeValue::Integer(number) => number.as_str().parse::<u16>().ok(),
        _ => None,
    };
    match node.get_ref() {
        DeValue::Integer(_) => port(node).map(|port| Ports::Range(port, port)),
        DeValue::String(text) => {
            let name = text.strip_prefix("${")?.strip_suffix('}')?;
            Some(Ports::Variable(name.to_owned()))
        }
        DeValue::Table(_) => {
            let table = reader.table("network", node)?;
            let (from, to) = (
                table.key("from").and_then(port)?,
                table.key("to").and_then(port)?,
            );
            table.finish(reader);
            (from <= to && to - from < MAX_RANGE).then_some(Ports::Range(from, to))
        }
        _ => None,
    }
}
