//! Advice on a policy that works: what a careful reviewer would ask about.

use crate::Arch;
use crate::allowance::Advice;
use crate::diagnostic::Code;
use crate::file::{Target, parse_entry};
use crate::namespaces::Namespace;
use crate::policy::Policy;
use crate::resolve::Grant;
use crate::source::{Place, Problem};
use crate::syscalls::groups::{self, ALWAYS, EVERYTHING};
use crate::syscalls::{self, Syscall};

/// Folders that hold much of a machine.
const BROAD: &[&str] = &[
    "/", "/boot", "/dev", "/etc", "/home", "/mnt", "/opt", "/proc", "/root", "/run", "/srv",
    "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/run",
];

/// Whether a path holds much of a machine.
pub(crate) fn is_broad(path: &str) -> bool {
    let bare = match path.trim_end_matches('/') {
        "" => "/",
        bare => bare,
    };
    BROAD.contains(&bare)
}

/// Whether advice about a path depends on what the machine has there.
fn depends_on_machine(path: &str) -> bool {
    !is_broad(path) && !path.contains('$')
}

impl Policy {
    /// Returns advice about the policy's own file, and apart from it what the file allows by `[[allow_lint]]`.
    ///
    /// `inspect` looks at a path on the machine that the policy is for, and says what speaks against
    /// it; it is asked for paths without variables only.
    pub fn lint(&self, inspect: impl Fn(&str) -> Option<String>) -> Advice {
        let mut problems = Vec::new();
        let mut say =
            |code, place, message: String| problems.push(Problem::new(code, place, message));
        if self.description.is_none() {
            say(
                Code::NoDescription,
                self.root,
                "the policy doesn't say what it is for".into(),
            );
        }
        if self.expectations.is_empty() {
            let message =
                "the policy has no `[[expect]]`: begin with something that it must keep denying";
            say(Code::NoExpectations, self.root, message.into());
        }
        for call in syscalls::all() {
            for grant in self.own_entries(call) {
                let Some(place) = grant.origin.place else {
                    continue;
                };
                if let Some((code, message)) = self.about_entry(call, grant) {
                    say(code, place, message);
                }
            }
        }
        for grant in self
            .paths
            .iter()
            .filter(|grant| self.is_own(grant.path.place))
        {
            let path = grant.path.value.as_str();
            if is_broad(path) {
                let message = format!(
                    "`{path}` contains a large part of the machine: name the parts that are needed"
                );
                say(Code::BroadPath, grant.path.place, message);
            } else if depends_on_machine(path)
                && let Some(reason) = inspect(path)
            {
                say(
                    Code::ForeignPath,
                    grant.path.place,
                    format!("`{path}` {reason}"),
                );
            }
        }
        if self.filesystem_unconfined.is_none() {
            self.about_limits(&mut say);
        }
        let is_alone = self.has_own(Namespace::Network);
        if let (true, Some(port)) = (is_alone, self.ports.first()) {
            let message = "no port can be reached where `namespaces.network` is \"none\"";
            let place = self.own_place(Some(port.ports.place));
            say(Code::UnreachablePort, place, message.into());
        }
        let listens = |_: &_, _| true;
        if self.network_unconfined.is_none()
            && !is_alone
            && let Some(grant) = self.can_happen("listen", listens)
        {
            let message =
                "`listen` without `bind` uses a port that the kernel chooses, past Landlock";
            say(
                Code::LandlockGap,
                self.own_place(grant.origin.place),
                message.into(),
            );
        }
        let found = match problems.is_empty() {
            true => Vec::new(),
            false => self.sources.report(problems).diagnostics().to_vec(),
        };
        self.without_allowed(found)
    }

    /// Whether advice about a path that others can change could be given on some machine: for this path, or for
    /// any.
    pub(crate) fn may_be_foreign(&self, path: Option<&str>) -> bool {
        let mut own = (self.paths.iter()).filter(|grant| self.is_own(grant.path.place));
        own.any(|grant| {
            let granted = grant.path.value.as_str();
            depends_on_machine(granted) && path.is_none_or(|path| path == granted)
        })
    }

    fn about_limits(&self, say: &mut impl FnMut(Code, Place, String)) {
        for (key, code, message) in [
            (
                "wall_time",
                Code::NoTimeLimit,
                "only the child ends itself: set `wall_time`",
            ),
            (
                "memory",
                Code::NoMemoryLimit,
                "the child may take all memory: set `memory`",
            ),
        ] {
            if self.values.number("limits", key).is_none() {
                let index = crate::settings::index_of("limits", key);
                let place = index.and_then(|index| self.places[index]);
                say(code, self.own_place(place), message.to_owned());
            }
        }
        let bounds_memory = self.values.number("limits", "memory").is_some();
        if let (true, Some(grant)) = (bounds_memory, self.can_happen("memfd_create", |_, _| true)) {
            let message = "memory objects are not counted by `limits.memory`";
            say(
                Code::UncountedMemory,
                self.own_place(grant.origin.place),
                message.to_owned(),
            );
        }
    }

    /// Returns the entries of the policy's own file that allow a call by its name.
    fn own_entries(&self, call: &Syscall) -> impl Iterator<Item = &Grant> {
        let rules = self.calls.get(call.name);
        let grants = rules.into_iter().flat_map(|rules| &rules.allow);
        grants.filter(|grant| {
            grant.origin.group.is_none()
                && grant.origin.place.is_some_and(|place| self.is_own(place))
        })
    }

    fn about_entry(&self, call: &Syscall, grant: &Grant) -> Option<(Code, String)> {
        let name = call.name;
        let rules = self.calls.get(name)?;
        let said = rules.allow.iter().find(|other| {
            let same_file = other.origin.place.is_some_and(|place| self.is_own(place));
            let covers = other.condition.is_none() || other.condition == grant.condition;
            same_file && covers && other.origin.group.is_some()
        });
        if let Some(group) = said.and_then(|other| other.origin.group) {
            return Some((
                Code::InGroup,
                format!("`{group}` in this file already says that"),
            ));
        }
        if let Some(missing) = Arch::ALL.iter().find(|arch| call.number(**arch).is_none()) {
            return Some((Code::OneArchitecture, format!("{missing} has no `{name}`")));
        }
        if grant.condition.is_some() {
            return None;
        }
        let conditional = |entry: &&&str| {
            matches!(
                parse_entry(entry), Ok((Target::Call(known, Some(_)), _)) if known.name == name
            )
        };
        let group = groups::all().iter().find(|group| {
            !ALWAYS.contains(&group.name)
                && group.name != EVERYTHING
                && group.entries.iter().find(conditional).is_some()
        })?;
        if let Some(key) = groups::path_key(name) {
            let message = format!(
                "a filter sees no paths: `[filesystem] {key}` grants one, and allows what that takes; this \
                 allows all of `{name}`"
            );
            return Some((Code::Unconditional, message));
        }
        let entry = group.entries.iter().find(conditional)?;
        let message = format!(
            "`{}` allows `{entry}`; this allows all of `{name}`",
            group.name
        );
        Some((Code::Unconditional, message))
    }

    fn is_own(&self, place: Place) -> bool {
        place.file == self.root.file
    }

    /// A place in the policy's own file: the beginning, if there is no other.
    fn own_place(&self, place: Option<Place>) -> Place {
        place
            .filter(|place| self.is_own(*place))
            .unwrap_or(self.root)
    }
}
