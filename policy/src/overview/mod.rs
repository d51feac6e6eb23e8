//! A policy as a reviewer wants to see it: what may be done, by which line, and what nobody prevents.
//!
//! Plain data, which the tools draw as a table, as a page, or as JSON.

mod calls;
mod grants;
mod residual;

pub use self::calls::{parse_call, parse_call_with_path};
use crate::bpf::Action;
use crate::diagnostic::Code;
use crate::landlock::{Need, release_of_abi};
use crate::namespaces::Namespace;
use crate::policy::Policy;
use crate::settings::SETTINGS;
use crate::source::Location;
use crate::steps::{SecondNet, oldest_kernel};
use crate::syscalls;

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
