//! From files to a policy: parents are found, what they say is put together and checked.

mod conflicts;
mod merge;
mod rules;
mod within;

pub(crate) use conflicts::needs_reason;
pub(crate) use rules::{Grant, Origin, Rules};
pub(crate) use within::excesses;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::diagnostic::{Code, Report, nearest};
use crate::file::{self, File};
use crate::library::{self, BUILTIN, Library, Missing, Text};
use crate::policy::Policy;
use crate::redundant;
use crate::source::{At, MAX_FILE, Place, Problem, Source, Sources};

/// The most generations, and the most files altogether.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 64;

/// A file and the files it extends, which come before it in the list.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its number among the sources.
    pub(crate) number: u16,
    pub(crate) file: File,
    pub(crate) parents: Vec<usize>,
    /// Its parents, theirs, and so on.
    ancestors: BTreeSet<usize>,
}

/// All that takes part in a policy, parents first, the policy itself last.
pub(crate) struct Family<'l> {
    pub(crate) library: &'l dyn Library,
    pub(crate) sources: Sources,
    pub(crate) members: Vec<Member>,
    pub(crate) problems: Vec<Problem>,
    /// The files to watch.
    pub(crate) paths: Vec<std::path::PathBuf>,
    /// The names from the policy down to the one being read.
    chain: Vec<String>,
    pub(crate) ceilings: Ceilings,
}

/// The ceilings that are being checked and those that are known to be sound, so that each is read
/// once, however many ways lead to it.
#[derive(Clone, Default)]
pub(crate) struct Ceilings {
    /// Policies whose ceilings are being checked.
    above: Vec<String>,
    known: Rc<RefCell<BTreeMap<String, Rc<Policy>>>>,
}

impl Ceilings {
    /// Those of a policy.
    pub(crate) fn below(name: &str) -> Self {
        Self {
            above: vec![name.to_owned()],
            ..Self::default()
        }
    }
}

/// Reads the policy of a name.
pub(crate) fn by_name(
    library: &dyn Library,
    name: &str,
    ceilings: Ceilings,
) -> Result<Policy, Report> {
    let family = Family::new(library, ceilings);
    match fetch(library, name) {
        Ok(text) => family.root(name, text),
        Err(unfetched) => Err(family.unfetched(name, unfetched)),
    }
}

/// Reads a policy from a text; `name` is what it is called.
pub(crate) fn by_text(library: &dyn Library, name: &str, text: Text) -> Result<Policy, Report> {
    Family::new(library, Ceilings::default()).root(name, text)
}

/// Reads a policy without the grant at a place of its own file.
pub(crate) fn without(library: &dyn Library, name: &str, place: Place) -> Result<Policy, Report> {
    let mut family = Family::alone(library, name)?;
    if let Some(root) = family.members.last_mut() {
        redundant::take_out(&mut root.file, place);
    }
    merge::merge(family)
}

/// Returns the places of the grants in a policy's own file.
pub(crate) fn own_grants(library: &dyn Library, name: &str) -> Result<Vec<Place>, Report> {
    let family = Family::alone(library, name)?;
    let root = family.members.last();
    Ok(root
        .map(|root| redundant::places(&root.file))
        .unwrap_or_default())
}

/// That a name can't be a policy's.
pub(crate) fn no_name(name: &str) -> Report {
    let mut sources = Sources::default();
    let number = sources.add(Source {
        label: "the name of a policy".to_owned(),
        text: name.chars().filter(|c| !c.is_control()).take(64).collect(),
    });
    let place = Place::new(number.unwrap_or(0), 0..name.len().min(64));
    let message = "a policy's name consists of letters, digits, `-` and `_`";
    sources.report(vec![Problem::new(Code::UnknownParent, place, message)])
}

type Unfetched = (Code, String, Option<String>);

fn fetch(library: &dyn Library, name: &str) -> Result<Text, Unfetched> {
    if !library::is_name(name) {
        let message = "a policy's name consists of letters, digits, `-` and `_`".to_owned();
        return Err((Code::UnknownParent, message, None));
    }
    let found = library.fetch(name);
    if let Some(builtin_text) = library::builtin(name) {
        // A copy hides nothing, such as the original in this repository.
        if let Ok(text) = found.as_ref()
            && text.text != builtin_text
        {
            let message = format!(
                "`{name}` is a built-in policy, and {} would hide it",
                text.label
            );
            return Err((
                Code::ReservedName,
                message,
                Some("rename the file".to_owned()),
            ));
        }
        let label = format!("builtin:{name}");
        return Ok(Text {
            label,
            path: None,
            text: builtin_text.to_owned(),
        });
    }
    match found {
        Ok(text) if text.text.len() > MAX_FILE => {
            let message = format!("{} is larger than {} KiB", text.label, MAX_FILE / 1024);
            Err((Code::Unreadable, message, None))
        }
        Ok(text) => Ok(text),
        Err(Missing::NotFound(place)) => {
            let near = nearest(name, BUILTIN.iter().map(|(name, _)| *name));
            let names: Vec<_> = BUILTIN.iter().map(|(name, _)| *name).collect();
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "`cargo crossmist new {name}` begins one; the built-in ones are {}",
                    names.join(", ")
                ),
            };
            let message = format!("there is no policy `{name}`: looked for it at {place}");
            Err((Code::UnknownParent, message, Some(help)))
        }
        Err(Missing::Unreadable(message)) => Err((Code::Unreadable, message, None)),
    }
}

impl<'l> Family<'l> {
    fn new(library: &'l dyn Library, ceilings: Ceilings) -> Self {
        Self {
            library,
            sources: Sources::default(),
            members: Vec::new(),
            problems: Vec::new(),
            paths: Vec::new(),
            chain: Vec::new(),
            ceilings,
        }
    }

    /// The family of a policy, read and not put together.
    fn alone(library: &'l dyn Library, name: &str) -> Result<Self, Report> {
        let mut family = Self::new(library, Ceilings::below(name));
        match fetch(library, name) {
            Ok(text) => match family.take_in(name, text) {
                Some(_) => Ok(family),
                None => Err(family.report()),
            },
            Err(unfetched) => Err(family.unfetched(name, unfetched)),
        }
    }

    /// The report on a policy that there isn't: the request itself stands in for a text to point at.
    fn unfetched(mut self, name: &str, (code, message, help): Unfetched) -> Report {
        let label = format!("policy `{name}`");
        let source = Source {
            label,
            text: String::new(),
        };
        let number = self.sources.add(source).unwrap_or(0);
        let problem = Problem::new(code, Place::new(number, 0..0), message);
        self.problems.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
        self.report()
    }

    fn report(self) -> Report {
        self.sources.report(self.problems)
    }

    fn root(mut self, name: &str, text: Text) -> Result<Policy, Report> {
        if self.take_in(name, text).is_none() {
            return Err(self.report());
        }
        merge::merge(self)
    }

    /// Reads a file and, before it, everything that it extends.
    fn take_in(&mut self, name: &str, text: Text) -> Option<usize> {
        self.paths.extend(text.path);
        let too_large = text.text.len() > MAX_FILE;
        let kept = if too_large { String::new() } else { text.text };
        let number = self.sources.add(Source {
            label: text.label,
            text: kept,
        })?;
        if too_large {
            let message = format!("the file is larger than {} KiB", MAX_FILE / 1024);
            self.problems.push(Problem::new(
                Code::Unreadable,
                Place::new(number, 0..0),
                message,
            ));
            return None;
        }
        let written = self.sources.file(number).text.clone();
        let file = file::parse(number, &written, &mut self.problems);
        self.chain.push(name.to_owned());
        let parents: Vec<usize> = file
            .extends
            .iter()
            .filter_map(|parent| self.parent(parent))
            .collect();
        self.chain.pop();
        let mut ancestors: BTreeSet<usize> = parents.iter().copied().collect();
        for parent in &parents {
            ancestors.extend(&self.members[*parent].ancestors);
        }
        self.members.push(Member {
            name: name.to_owned(),
            number,
            file,
            parents,
            ancestors,
        });
        Some(self.members.len() - 1)
    }

    fn parent(&mut self, wanted: &At<String>) -> Option<usize> {
        let name = &wanted.value;
        if let Some(at) = self.chain.iter().position(|above| above == name) {
            let circle = [&self.chain[at..], std::slice::from_ref(name)]
                .concat()
                .join(" → ");
            let message = format!("these policies extend each other in a circle: {circle}");
            self.problems
                .push(Problem::new(Code::Cycle, wanted.place, message));
            return None;
        }
        if let Some(known) = self.members.iter().position(|member| member.name == *name) {
            return Some(known);
        }
        if self.chain.len() >= MAX_DEPTH || self.members.len() >= MAX_FILES {
            let message = format!("more than {MAX_DEPTH} generations or {MAX_FILES} files");
            self.problems
                .push(Problem::new(Code::TooDeep, wanted.place, message));
            return None;
        }
        match fetch(self.library, name) {
            Ok(text) => self.take_in(name, text),
            Err((code, message, help)) => {
                let problem = Problem::new(code, wanted.place, message);
                self.problems.push(match help {
                    Some(help) => problem.help(help),
                    None => problem,
                });
                None
            }
        }
    }

    /// Whether `ancestor` is `member` or one of those it extends, however far up.
    pub(crate) fn descends(&self, member: usize, ancestor: usize) -> bool {
        member == ancestor || self.members[member].ancestors.contains(&ancestor)
    }
}
