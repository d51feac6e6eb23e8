//! A policy as a reviewer wants to see it: what may be done, by which line, and what nobody prevents.
//!
//! Plain data, which the tools draw as a table, as a page, or as JSON.

use crate::bpf::Action;
use crate::condition::Condition;
use crate::diagnostic::Code;
use crate::file::Ports;
use crate::landlock::{Need, release_of_abi};
use crate::namespaces::Namespace;
use crate::policy::Policy;
use crate::settings::SETTINGS;
use crate::source::Location;
use crate::steps::{SecondNet, oldest_kernel};
use crate::syscalls::{self, Syscall};
use crate::{Arch, names};

const O_PATH: u64 = 0o10_000_000;

/// Everything about a policy.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// The policy's description.
    pub description: String,
    /// The files that it is made of: its own, then those that it extends.
    pub made_of: Vec<String>,
    /// The policies that it stays within: its own ceiling, and those of what it extends.
    pub within: Vec<String>,
    /// The least Landlock ABI that enforces it; 0 if it needs none.
    pub required_abi: u32,
    /// The parts that only Landlock denies, and the other demands on it.
    pub needs: Vec<Need>,
    /// The second nets that it uses, and the line that insists on one.
    pub second_nets: Vec<(SecondNet, Option<String>)>,
    /// The promises given up, with the reasons.
    pub relaxed: Vec<(String, String)>,
    /// The allowed uses of files, network and processes.
    pub grants: Vec<Grant>,
    /// Every call that isn't simply a violation, by name.
    pub calls: Vec<Call>,
    /// The single values: limits, process, environment.
    pub settings: Vec<Setting>,
    /// The things that are not protected, or only barely.
    pub residual: Vec<Residual>,
    /// The advice that the policy's own file allows.
    pub allowed_lints: Vec<AllowedLint>,
    /// The namespaces without which no child runs.
    pub namespaces: Vec<Namespace>,
}

/// Advice that is not given, by `[[allow_lint]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedLint {
    /// Its code.
    pub code: Code,
    /// The path, call or entry that it is about; `None` for the whole file.
    pub about: Option<String>,
    /// The reason that the file gives.
    pub why: String,
    /// The line.
    pub location: Location,
}

/// The part of the world that a grant is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Paths.
    Files,
    /// Sockets.
    Network,
    /// Threads, processes, programs, capabilities.
    Processes,
}

/// One line of what may be done; or that nothing may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The area that it belongs to.
    pub area: Area,
    /// The allowed use, such as `read`.
    pub what: String,
    /// With what, such as a path.
    pub subject: String,
    /// The layer that denies the rest.
    pub layer: String,
    /// The line that says so.
    pub location: Option<Location>,
    /// The reason that the line gives.
    pub why: Option<String>,
    /// Whether it is so dangerous that it needs a reason: a layer that is off, or capabilities that are kept.
    pub is_dangerous: bool,
}

impl Grant {
    fn new(area: Area, what: &str, subject: String, layer: impl Into<String>) -> Self {
        Self {
            area,
            what: what.to_owned(),
            subject,
            layer: layer.into(),
            location: None,
            why: None,
            is_dangerous: false,
        }
    }
}

/// The results of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// The answer if nothing below allows it; allowed if nothing else is said.
    pub otherwise: Action,
    /// The conditions under which it is allowed, and where each comes from.
    pub clauses: Vec<Clause>,
}

/// One way for a call to happen, or to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Whether it allows; otherwise it answers, as in `answer`.
    pub answer: Action,
    /// As it was written; `None` for always.
    pub condition: Option<String>,
    /// The line and the group.
    pub from: String,
    /// The reason that the file gives for the line.
    pub why: Option<String>,
    /// Whether it allows by a line that is so dangerous that it needs a reason.
    pub is_dangerous: bool,
}

/// A single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its full name, such as `limits.memory`.
    pub name: String,
    /// As one would write it.
    pub value: String,
    /// A sentence about it.
    pub about: &'static str,
    /// The line; `None` for the default.
    pub location: Option<Location>,
}

/// Something that an attacker in the sandbox may still do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residual {
    /// A description.
    pub what: &'static str,
    /// Whether it is left open.
    pub is_open: bool,
    /// Why, or by what it is closed.
    pub note: String,
}

impl Policy {
    /// Everything about the policy that a reviewer asks for.
    pub fn overview(&self) -> Overview {
        Overview {
            name: self.name.clone(),
            description: self.description.clone().unwrap_or_default(),
            made_of: self.sources.labels().map(str::to_owned).collect(),
            within: self.within.clone(),
            required_abi: self.required_abi(),
            needs: self.all_needs(),
            second_nets: self.nets_used(),
            relaxed: (self.relax.iter())
                .map(|relaxed| (relaxed.value.what.to_owned(), relaxed.value.reason.clone()))
                .collect(),
            grants: [
                self.files_granted(),
                self.network_granted(),
                self.processes_granted(),
            ]
            .concat(),
            calls: syscalls::all()
                .iter()
                .filter_map(|call| self.call(call))
                .collect(),
            settings: self.settings(),
            residual: self.residual(),
            allowed_lints: self.allowed_lints(),
            namespaces: (Namespace::ALL.into_iter())
                .filter(|namespace| self.has_own(*namespace))
                .collect(),
        }
    }

    fn nets_used(&self) -> Vec<(SecondNet, Option<String>)> {
        let required = self.requirements();
        let line = |net| required.iter().find(|required| required.net == net);
        let used = self.second_nets().into_iter();
        used.map(|net| (net, line(net).map(|required| required.line.clone())))
            .collect()
    }

    /// Returns the results of one call; `None` if it is a violation whatever its arguments.
    pub fn call(&self, call: &'static Syscall) -> Option<Call> {
        let verdict = self.verdict(call);
        let rules = self.calls.get(call.name);
        let mut clauses = Vec::new();
        let mut clause = |answer, grant: &crate::resolve::Grant| {
            let condition = grant
                .condition
                .as_ref()
                .map(|condition| condition.text.clone());
            let reason = grant.origin.place.and_then(|place| self.reason_at(place));
            let is_demanded = reason.is_some_and(|reason| reason.is_demanded);
            clauses.push(Clause {
                answer,
                condition,
                from: self.source_of(grant),
                why: reason.map(|reason| reason.text.clone()),
                is_dangerous: answer == Action::Allow && is_demanded,
            });
        };
        if let Some(rules) = rules {
            let violation = self.verdict_of_nothing(call);
            rules.deny.iter().for_each(|deny| clause(violation, deny));
            if !self.is_denied(call.name) {
                self.grants(call.name, rules)
                    .for_each(|grant| clause(Action::Allow, grant));
                // If it always happens, there is nothing to answer.
                let is_always = |grant: &crate::resolve::Grant| grant.condition.is_none();
                let answers = match self.grants(call.name, rules).any(is_always) {
                    true => &[][..],
                    false => &rules.soft,
                };
                for (soft, grant) in answers {
                    clause(crate::verdict::answer(*soft), grant);
                }
            }
        }
        let is_violation = matches!(verdict.rest, Action::KillProcess)
            || verdict.rest == Action::Trap(crate::bpf::TRAP_VIOLATION);
        match is_violation && clauses.is_empty() {
            true => None,
            false => Some(Call {
                name: call.name,
                otherwise: verdict.rest,
                clauses,
            }),
        }
    }

    fn files_granted(&self) -> Vec<Grant> {
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

    fn network_granted(&self) -> Vec<Grant> {
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

    fn processes_granted(&self) -> Vec<Grant> {
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

    fn settings(&self) -> Vec<Setting> {
        let settings = SETTINGS.iter().enumerate();
        let one = |(index, setting): (usize, &crate::settings::Setting)| Setting {
            name: setting.full_name(),
            value: setting.write(self.value(index)),
            about: setting.about,
            location: self.places[index].map(|place| self.sources.locate(place)),
        };
        let mut settings: Vec<_> = settings.map(one).collect();
        let none = |list: String| {
            if list.is_empty() {
                "none".to_owned()
            } else {
                list
            }
        };
        let set: Vec<_> = self
            .set
            .iter()
            .map(|(name, value)| format!("{}={value}", name.value))
            .collect();
        for (name, value, about) in [
            (
                "environment.inherit",
                none(self.inherit.join(", ")),
                "Variables inherited from the program's environment.",
            ),
            (
                "environment.set",
                none(set.join(", ")),
                "Variables set for the child.",
            ),
        ] {
            settings.push(Setting {
                name: name.to_owned(),
                value,
                about,
                location: None,
            });
        }
        settings
    }

    fn residual(&self) -> Vec<Residual> {
        const SOCK_DGRAM: u64 = 2;
        let happens = |name: &str| self.can_happen(name, |_, _| true).is_some();
        let any = |names: &[&str]| names.iter().any(|name| happens(name));
        let one = |what, is_open, open: &str, closed: &str| Residual {
            what,
            is_open,
            note: if is_open { open } else { closed }.to_owned(),
        };
        let counted = |always: bool| {
            let calls = syscalls::all().iter().filter(|call| happens(call.name));
            let verdicts = calls.map(|call| self.verdict(call).rest == Action::Allow);
            verdicts.filter(|is_always| *is_always == always).count()
        };
        let udp = self.can_happen("socket", |condition, arch| {
            condition.admits(arch, 1, SOCK_DGRAM)
        });
        let is_alone = self.has_own(Namespace::Network);
        let shares = any(&["memfd_create"]);
        let names_places = [("open", 1), ("openat", 2)].iter().any(|(name, flags)| {
            let admits = |condition: &Condition, arch| condition.admits_bit(arch, *flags, O_PATH);
            self.can_happen(name, admits).is_some()
        });
        let inspects = names_places
            || any(&[
                "access",
                "faccessat",
                "faccessat2",
                "file_getattr",
                "getxattr",
                "getxattrat",
                "lgetxattr",
                "listxattr",
                "listxattrat",
                "llistxattr",
                "lstat",
                "newfstatat",
                "readlink",
                "readlinkat",
                "stat",
                "statfs",
                "statx",
            ]);
        let fresh = self.values.is_strict("process", "launch");
        let speculates = !self.values.is_strict("process", "spec_allow");
        let grouped = self.has_control_group();
        let may_thread = self.values.count("limits", "threads") > 1;
        let many = may_thread && !grouped;
        let mut residual = self.open_by_grants();
        residual.extend([
            one(
                "its answer",
                true,
                "it may be a lie: only its shape is checked",
                "",
            ),
            one(
                "timing",
                true,
                "others can measure how long its work takes, and it can measure theirs",
                "",
            ),
            one(
                "passed descriptors",
                true,
                "each allows what it was opened for, whatever paths the policy grants",
                "",
            ),
            Residual {
                what: "the kernel",
                is_open: true,
                note: format!(
                    "{} calls always, {} by their arguments: a bug in one of these is a way out",
                    counted(true),
                    counted(false)
                ),
            },
            one(
                "metadata",
                inspects && !self.has_own(Namespace::Mount),
                "whether a path exists, and its size and times, for any path: Landlock doesn't restrict that",
                match inspects {
                    true => "only granted paths exist (a mount namespace)",
                    false => "no path can be inspected (seccomp)",
                },
            ),
            one(
                "UDP",
                udp.is_some() && !is_alone && !self.confines_udp(),
                "any address and port: Landlock restricts it only for policies that grant UDP ports",
                match (is_alone, self.confines_udp()) {
                    (true, _) => "no address can be reached (a network namespace)",
                    (false, true) => "only granted ports are reached (Landlock ABI 10)",
                    (false, false) => "no datagram socket can be made (seccomp)",
                },
            ),
            one(
                "listening",
                happens("listen") && !is_alone,
                "`listen` without `bind` uses a port that the kernel chooses, past Landlock",
                match is_alone {
                    true => "nobody can connect to it (a network namespace)",
                    false => "nothing can listen (seccomp)",
                },
            ),
            one(
                "signals to others",
                !self.values.is_strict("scope", "signal")
                    && !self.has_own(Namespace::Pid)
                    && any(&["kill", "tkill", "pidfd_send_signal"]),
                "any process of the same user can be signalled",
                "none outside can be signalled",
            ),
            one(
                "memory that is shared",
                shares && !grouped,
                "memory objects don't count towards `limits.memory`, but in a control group \
                 (`limits.control_group`)",
                if shares {
                    "memory objects count (memory.max)"
                } else {
                    "none can be made (seccomp)"
                },
            ),
            one(
                "memory that was prepared",
                !fresh && !grouped,
                "what `preload` has written doesn't count towards `limits.memory`, nor does a child's copy of it: \
                 a child may write to all of it",
                if grouped {
                    "copies of it count (memory.max)"
                } else {
                    "there is none (execve)"
                },
            ),
            one(
                "the kernel's memory",
                any(&["epoll_create1", "socketpair", "socket", "pipe2"]) && !grouped,
                "sockets, pipes and the watches of epolls don't count towards `limits.memory`; \
                 `limits.open_files` bounds how many there are, and each epoll can watch all of them. The \
                 more watch a socket, the longer one packet to it takes, also for its other side",
                if grouped {
                    "it counts (memory.max)"
                } else {
                    "little can be made that takes some (seccomp)"
                },
            ),
            one(
                "locks on files",
                any(&["flock"]),
                "a lock on a passed file holds for everybody who has it",
                "none can be taken (seccomp)",
            ),
            one(
                "the address-space layout",
                !fresh,
                "it is that of the program's keeper and of its other children; `[process] launch = \
                 \"exec\"` gives it one of its own",
                "it is its own, by execve",
            ),
            one(
                "speculation",
                speculates,
                "the kernel's mitigations for filtered processes are off (`spec_allow`)",
                "mitigated as for any filtered process",
            ),
            one(
                "the number of threads",
                many,
                "`limits.threads` binds only a child with a user of its own, as under root, or with a \
                 control group (`limits.control_group`)",
                if may_thread {
                    "bounded (pids.max)"
                } else {
                    "none can be started (seccomp)"
                },
            ),
        ]);
        if let Some(more) = self.residual_of_processes() {
            residual.push(more);
        }
        residual.extend(self.residual_of_files());
        for relaxed in &self.relax {
            residual.push(Residual {
                what: relaxed.value.what,
                is_open: true,
                note: format!("given up on kernels that lack it: {}", relaxed.value.reason),
            });
        }
        residual
    }
}

impl Policy {
    /// Returns the remaining risk of processes that a child starts.
    fn residual_of_processes(&self) -> Option<Residual> {
        let is_open = !self.has_control_group() && !self.has_own(Namespace::Pid);
        let note = match is_open {
            true => {
                "the keeper ends them after the child, one by one, and what forks faster than that may \
                 outlive the program; if the child has a user of its own, as under root, or a control group \
                 (`limits.control_group`), they end all at once"
            }
            false => "they end all at once (a control group, or a PID namespace)",
        };
        (self.values.count("limits", "processes") > 0).then(|| Residual {
            what: "the processes that it starts",
            is_open,
            note: note.to_owned(),
        })
    }

    /// Whether no call is made without a control group.
    fn has_control_group(&self) -> bool {
        self.values.is_strict("limits", "control_group")
    }

    /// Returns the remaining risks of files that a child creates.
    fn residual_of_files(&self) -> Vec<Residual> {
        const MAKE_SYM: u64 = 1 << 12;
        const MAKE: u64 = 0x7f << 6;
        let makes = |rights: u64| {
            self.paths
                .iter()
                .any(|path| path.rights.bits() & rights != 0)
        };
        let makes = |rights| self.filesystem_unconfined.is_some() || makes(rights);
        let one = |what, note: &str| Residual {
            what,
            is_open: true,
            note: note.to_owned(),
        };
        let number = makes(MAKE).then(|| {
            one(
                "the number of files",
                "`limits.file_size` bounds each file that it makes; nothing bounds how many: make them on a \
                 file system of their own, or with a quota",
            )
        });
        let links = makes(MAKE_SYM).then(|| {
            one(
                "links",
                "it can leave symbolic links to any place: whoever opens what it made should follow none \
                 (O_NOFOLLOW, RESOLVE_NO_SYMLINKS)",
            )
        });
        number.into_iter().chain(links).collect()
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

impl Overview {
    /// The least kernel that enforces the policy, in words.
    pub fn runs_on(&self) -> String {
        let insists = |(net, line): &(SecondNet, Option<String>)| line.as_ref().map(|_| *net);
        let insists = self.second_nets.iter().filter_map(insists);
        let by_nets = insists.map(|net| net.step().since);
        let namespaces = self.namespaces.iter().map(|namespace| namespace.step());
        let by_namespaces = namespaces.flatten().map(|step| step.since);
        let landlock = match self.required_abi {
            0 => oldest_kernel(),
            abi => release_of_abi(abi),
        };
        let least = by_nets
            .chain(by_namespaces)
            .chain([landlock, oldest_kernel()])
            .max();
        let least = least.unwrap_or(landlock);
        match self.required_abi {
            0 => format!("{least} or newer, with or without Landlock"),
            abi => format!("{least} or newer, with Landlock ABI {abi}"),
        }
    }
}

impl Call {
    /// Whether it is allowed always, sometimes, or never.
    pub fn allowed(&self) -> Option<bool> {
        let mut allowing = self
            .clauses
            .iter()
            .filter(|clause| clause.answer == Action::Allow);
        match self.otherwise == Action::Allow {
            true => Some(true),
            false => allowing.next().map(|_| false),
        }
    }

    /// Whether an architecture has the call at all.
    pub fn exists_on(&self, arch: Arch) -> bool {
        syscalls::find(self.name).is_some_and(|call| call.number(arch).is_some())
    }
}

/// A call as one writes it, such as `socket(AF_INET, SOCK_STREAM, 0)`, with its arguments on an
/// architecture; those that are left out are 0.
///
/// # Errors
///
/// A description of the part that can't be read.
pub fn parse_call(text: &str, arch: Arch) -> Result<(&'static Syscall, [u64; 6]), String> {
    let (call, args) = crate::file::parse_call(text)?;
    Ok((call, args[arch.index()]))
}

/// The same for a call whose path may be written out, such as `openat(AT_FDCWD, "/etc/passwd", O_RDONLY)`, with
/// the path.
///
/// # Errors
///
/// A description of the part that can't be read.
pub fn parse_call_with_path(
    text: &str,
    arch: Arch,
) -> Result<(&'static Syscall, [u64; 6], Option<String>), String> {
    let (call, args, path) = crate::file::call_with_path(text)?;
    Ok((call, args[arch.index()], path))
}
