//! The grants of a policy, each with its line and the layer of the kernel that enforces it.

use super::{Area, Grant};
use crate::file::Ports;
use crate::names;
use crate::namespaces::Namespace;
use crate::policy::Policy;

impl Policy {
    pub(super) fn files_granted(&self) -> Vec<Grant> {
        let grant = |what, subject, layer| Grant::new(Area::Files, what, subject, layer);
        if let Some(reason) = &self.filesystem_unconfined {
            return vec![Grant {
                location: Some(self.sources.locate(reason.place)),
                why: Some(reason.value.clone()),
                is_dangerous: true,
                ..grant("all", "every path".to_owned(), "nothing")
            }];
        }
        let mut grants: Vec<_> = (self.paths.iter())
            .map(|path| Grant {
                location: Some(self.sources.locate(path.path.place)),
                why: path.why.clone(),
                ..Grant::new(
                    Area::Files,
                    path.kind.key(),
                    path.path.value.clone(),
                    format!("Landlock {}", path.rights),
                )
            })
            .collect();
        let opens = ["openat", "open"].map(|name| self.can_happen(name, |_, _| true).is_some());
        let (subject, layer) = match opens.contains(&true) {
            true => ("every other path", "Landlock"),
            false => ("every path", "seccomp"),
        };
        grants.push(grant("denied", subject.to_owned(), layer));
        grants
    }

    pub(super) fn network_granted(&self) -> Vec<Grant> {
        let grant = |what, subject, layer| Grant::new(Area::Network, what, subject, layer);
        if let Some(reason) = &self.network_unconfined {
            return vec![Grant {
                location: Some(self.sources.locate(reason.place)),
                why: Some(reason.value.clone()),
                is_dangerous: true,
                ..grant("all", "every socket".to_owned(), "nothing")
            }];
        }
        let mut grants: Vec<_> = (self.ports.iter())
            .map(|port| {
                let (protocol, does) = port.used_for.words();
                let subject = match &port.ports.value {
                    Ports::Range(from, to) if from == to => format!("{protocol} port {from}"),
                    Ports::Range(from, to) => format!("{protocol} ports {from} to {to}"),
                    Ports::Variable(name) => format!("{protocol} port ${{{name}}}"),
                };
                Grant {
                    location: Some(self.sources.locate(port.ports.place)),
                    ..grant(does, subject, "Landlock")
                }
            })
            .collect();
        let sockets = self.can_happen("socket", |_, _| true).is_some();
        grants.push(match sockets {
            true if self.has_own(Namespace::Network) => grant(
                "denied",
                "every address".to_owned(),
                "a network namespace, seccomp",
            ),
            true => grant(
                "denied",
                match self.confines_udp() {
                    true => "other TCP and UDP ports, other families".to_owned(),
                    false => "other TCP ports, other families".to_owned(),
                },
                "Landlock, seccomp",
            ),
            false => grant("denied", "every socket".to_owned(), "seccomp"),
        });
        grants
    }

    pub(super) fn processes_granted(&self) -> Vec<Grant> {
        let grant = |what, subject, layer| Grant::new(Area::Processes, what, subject, layer);
        let count = |key| self.values.count("limits", key);
        let mut grants = Vec::new();
        grants.push(match count("threads") {
            0 | 1 => grant("denied", "threads".to_owned(), "seccomp"),
            most => grant(
                "start",
                format!("up to {most} threads"),
                "RLIMIT_NPROC, with a user of its own",
            ),
        });
        grants.push(match count("processes") {
            0 => grant("denied", "processes".to_owned(), "seccomp"),
            most => grant(
                "start",
                format!("up to {most} processes"),
                "RLIMIT_NPROC, with a user of its own",
            ),
        });
        let runs = self.can_happen("execve", |_, _| true);
        grants.push(match runs {
            Some(_) => grant("run", "programs by path".to_owned(), "Landlock"),
            None => grant("denied", "running programs".to_owned(), "seccomp"),
        });
        if self.capability_lines.is_empty() {
            grants.push(grant(
                "denied",
                "every capability".to_owned(),
                "all five sets, securebits",
            ));
        }
        let names: Vec<_> = names::capability_names().collect();
        for line in &self.capability_lines {
            let (subject, layer) = match line.value {
                None => ("every capability".to_owned(), "nothing"),
                Some(number) => match names.get(usize::from(number)) {
                    Some(name) => (format!("CAP_{name}"), "capabilities"),
                    None => (format!("capability {number}"), "capabilities"),
                },
            };
            let reason = self.reason_at(line.place);
            grants.push(Grant {
                location: Some(self.sources.locate(line.place)),
                why: reason.map(|reason| reason.text.clone()),
                is_dangerous: true,
                ..grant("keep", subject, layer)
            });
        }
        grants
    }

    /// The grants that reach a path. A path in a grant that names a variable is compared as it is
    /// written.
    pub fn grants_of_path(&self, path: &str) -> Vec<Grant> {
        let reaches = |granted: &str| {
            let rest = path.strip_prefix(granted.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut grants = self.files_granted();
        let unconfined = self.filesystem_unconfined.is_some();
        grants.retain(|grant| unconfined || grant.location.is_some() && reaches(&grant.subject));
        grants
    }
}
