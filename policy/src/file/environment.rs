//! `[variables]`, `[environment]`, `[capabilities]`, `[kernel]`.

use super::{File, bad_parts};
use crate::diagnostic::{Code, nearest};
use crate::landlock::NEWEST_ABI;
use crate::names;
use crate::reader::{Node, Reader, Section};
use crate::source::{At, Problem};
use crate::steps::SecondNet;

/// A declared variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: At<String>,
    pub(crate) kind: VariableKind,
    /// Its value if nobody binds it.
    pub(crate) default: Option<At<String>>,
    /// The variable of the parent's environment that it is taken from.
    pub(crate) from_env: Option<String>,
}

/// The type of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VariableKind {
    Directory,
    File,
    Port,
}

/// The policy's demands on Landlock, beyond its needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LandlockWish {
    /// As far as the policy depends on it.
    Auto,
    /// At least this ABI.
    AtLeast(u32),
    /// Not at all, which is an error if it is load-bearing.
    Off,
}

impl LandlockWish {
    /// How much it asks for, the least first.
    pub(crate) fn strictness(self) -> u32 {
        match self {
            Self::Off => 0,
            Self::Auto => 1,
            Self::AtLeast(abi) => 1 + abi,
        }
    }
}

/// A promise that may be broken by a kernel that can't keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relaxation {
    pub(crate) what: &'static str,
    pub(crate) reason: String,
}

/// Everything that can be relaxed.
pub(crate) const RELAXATIONS: &[&str] = &[
    "landlock-fs",
    "landlock-fs-truncate",
    "landlock-ioctl",
    "landlock-net",
    "landlock-scope",
    "landlock-unix",
];

pub(super) fn variables(reader: &mut Reader, section: &Section<'_, '_>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (name, node) in section.entries(reader.file) {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.value.is_empty() || !name.value.chars().all(good) {
            let message = "a variable's name consists of lower-case letters, digits and `_`";
            reader.problem(Problem::new(Code::BadVariable, name.place, message));
        }
        variables.extend(variable(reader, name, node));
    }
    variables
}

fn variable(reader: &mut Reader, name: At<String>, node: Node<'_, '_>) -> Option<Variable> {
    let table = reader.table("variables", node)?;
    let kind = table.string(reader, "type");
    let default = table.key("default").and_then(|node| match node.get_ref() {
        toml::de::DeValue::Integer(number) => Some(At {
            value: number.as_str().to_owned(),
            place: reader.place(node),
        }),
        _ => reader.string(node),
    });
    let from_env = table.string(reader, "from_env").map(|name| name.value);
    let required = table.key("required").and_then(|node| reader.boolean(node));
    let place = table.place;
    table.finish(reader);
    let known = [
        ("dir", VariableKind::Directory),
        ("file", VariableKind::File),
        ("port", VariableKind::Port),
    ];
    let kind = kind.and_then(|kind| known.iter().find(|(word, _)| *word == kind.value));
    let Some((_, kind)) = kind else {
        let message = "a variable has `type = \"dir\"`, `\"file\"` or `\"port\"`";
        reader.problem(Problem::new(Code::BadVariable, place, message));
        return None;
    };
    let bindable = required.is_some_and(|required| required.value);
    if usize::from(bindable) + usize::from(default.is_some()) + usize::from(from_env.is_some()) != 1
    {
        let message = "a variable has exactly one of `required = true`, `default` and `from_env`";
        reader.problem(Problem::new(Code::BadVariable, place, message));
    }
    if let Some(default) = &default {
        check_default(reader, *kind, default);
    }
    Some(Variable {
        name,
        kind: *kind,
        default,
        from_env,
    })
}

/// A default is held to what a value has to be at the call.
fn check_default(reader: &mut Reader, kind: VariableKind, default: &At<String>) {
    let value = &default.value;
    let (code, message) = match kind {
        VariableKind::Port if value.parse::<u16>().is_err() => {
            let message = format!("`{value}` is not a port from 0 to 65535");
            (Code::BadPort, message)
        }
        VariableKind::Port => return,
        VariableKind::Directory | VariableKind::File => match bad_parts(value) {
            Some(mistake) => (Code::BadPath, format!("a path {mistake}")),
            None => return,
        },
    };
    reader.problem(Problem::new(code, default.place, message));
}

pub(super) fn capabilities(reader: &mut Reader, section: Section<'_, '_>, file: &mut File) {
    let mut kept = Vec::new();
    for name in section.strings(reader, "keep") {
        let number = names::capability(&name.value);
        if number.is_none() && name.value != "*" {
            let message = format!("unknown capability `{}`", name.value);
            let bare = name.value.trim_start_matches("CAP_");
            let problem = Problem::new(Code::BadValue, name.place, message);
            reader.problem(problem.did_you_mean(nearest(bare, names::capability_names())));
            continue;
        }
        kept.push(At {
            value: number,
            place: name.place,
        });
    }
    let why = section.string(reader, "why");
    if let (Some(first), None) = (kept.first(), &why) {
        let message = "keeping capabilities needs a reason";
        let problem = Problem::new(Code::MissingReason, first.place, message);
        reader.problem(problem.help("add `why = \"…\"` to `[capabilities]`"));
    }
    section.finish(reader);
    file.capabilities = kept;
    file.why_capabilities = why.map(|why| why.value);
}

pub(super) fn read(reader: &mut Reader, section: Section<'_, '_>, file: &mut File) {
    file.inherit = section.strings(reader, "inherit");
    for name in &file.inherit {
        let stem = name.value.trim_end_matches('*');
        if stem.is_empty() || stem.contains('*') {
            let message =
                "what is inherited is a name, or the beginning of names with a `*` behind";
            reader.problem(Problem::new(Code::BadValue, name.place, message));
        }
        let loaders = ["LD_", "GLIBC_TUNABLES", "MALLOC_", "RUST_"];
        if name.value.ends_with('*')
            && loaders
                .iter()
                .any(|l| l.starts_with(stem) || stem.starts_with(l))
        {
            let message = format!(
                "`{}` would take in variables that steer the loader, the allocator \
                                   or `std`",
                name.value
            );
            reader.problem(Problem::new(Code::BadValue, name.place, message));
        }
    }
    if let Some(set) = section.section(reader, "set") {
        for (name, node) in set.entries(reader.file) {
            if let Some(value) = reader.string(node) {
                if name.value.contains(['=', '\0']) || value.value.contains('\0') {
                    let message = "not a possible environment variable";
                    reader.problem(Problem::new(Code::BadValue, name.place, message));
                }
                file.set.push((name, value));
            }
        }
    }
    section.finish(reader);
}

pub(super) fn kernel(reader: &mut Reader, section: Section<'_, '_>, file: &mut File) {
    if let Some(node) = section.key("landlock") {
        let wish = match node.get_ref() {
            toml::de::DeValue::String(text) if text.as_ref() == "auto" => Some(LandlockWish::Auto),
            toml::de::DeValue::String(text) if text.as_ref() == "off" => Some(LandlockWish::Off),
            toml::de::DeValue::Integer(number) => match number.as_str().parse() {
                Ok(abi @ 1..=NEWEST_ABI) => Some(LandlockWish::AtLeast(abi)),
                _ => None,
            },
            _ => None,
        };
        match wish {
            Some(value) => {
                file.landlock = Some(At {
                    value,
                    place: reader.place(node),
                })
            }
            None => {
                let expected = format!("\"auto\", \"off\" or an ABI from 1 to {NEWEST_ABI}");
                reader.expected(&expected, node);
            }
        }
    }
    let items = section
        .key("relax")
        .map(|node| reader.array(node))
        .unwrap_or_default();
    for node in items {
        let Some(table) = reader.table("kernel.relax", node) else {
            continue;
        };
        let what = table.string(reader, "what");
        let reason = table.string(reader, "reason");
        let place = table.place;
        table.finish(reader);
        let known = what.and_then(|w| RELAXATIONS.iter().find(|known| **known == w.value));
        match (known, reason) {
            (Some(what), Some(reason)) if !reason.value.trim().is_empty() => {
                let value = Relaxation {
                    what,
                    reason: reason.value,
                };
                file.relax.push(At { value, place });
            }
            _ => {
                let message = format!(
                    "a relaxation names what it gives up (one of {}) and a reason",
                    RELAXATIONS.join(", ")
                );
                reader.problem(Problem::new(Code::BadRelaxation, place, message));
            }
        }
    }
    for name in section.strings(reader, "require") {
        match SecondNet::from_name(&name.value) {
            Some(value) => file.require.push(At {
                value,
                place: name.place,
            }),
            None => {
                let names = || SecondNet::ALL.into_iter().map(SecondNet::name);
                let known: Vec<_> = names().collect();
                let message = format!(
                    "`{}` isn't a second net; the second nets are {}",
                    name.value,
                    known.join(", ")
                );
                let problem = Problem::new(Code::BadRequirement, name.place, message);
                reader.problem(problem.did_you_mean(nearest(&name.value, names())));
            }
        }
    }
    section.finish(reader);
}
