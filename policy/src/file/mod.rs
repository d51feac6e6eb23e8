//! A policy file as it was written: the shape of the TOML, with the place of everything.
//!
//! The meaning of a value together with other files is the business of [`crate::resolve`].

mod allowance;
mod environment;
mod expectation;
mod filesystem;
mod known;
mod network;
mod syscalls;

pub(crate) use allowance::{Allowance, can_be_allowed};
pub(crate) use environment::{LandlockWish, RELAXATIONS, Relaxation, Variable, VariableKind};
pub(crate) use expectation::{Expectation, Outcome, call as parse_call, call_with_path};
pub(crate) use filesystem::{KERNEL_TREES, PathGrant, PathKind, WHY_NOT, bad_parts};
pub use filesystem::{is_of_each_process, kernel_tree};
pub(crate) use known::known_entry;
pub(crate) use network::{PortGrant, PortUse, Ports};
pub use syscalls::OnViolation;
pub(crate) use syscalls::{Entry, SyscallRules, Target, parse_entry};

use toml::de::DeTable;

use crate::diagnostic::Code;
use crate::reader::{Reader, Section};
use crate::settings::{Kind, SETTINGS, Value};
use crate::source::{At, Place, Problem};
use crate::steps::SecondNet;

/// The only version of the format so far.
const FORMAT: i64 = 1;

/// One file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) description: Option<At<String>>,
    pub(crate) extends: Vec<At<String>>,
    pub(crate) within: Option<At<String>>,
    pub(crate) variables: Vec<Variable>,
    /// Index into [`SETTINGS`] and value.
    pub(crate) settings: Vec<(usize, At<Value>)>,
    pub(crate) paths: Vec<PathGrant>,
    /// The reason for not confining it, if it isn't.
    pub(crate) filesystem_unconfined: Option<At<String>>,
    pub(crate) network_unconfined: Option<At<String>>,
    pub(crate) ports: Vec<PortGrant>,
    pub(crate) syscalls: SyscallRules,
    /// Capability numbers; `None` keeps all of them.
    pub(crate) capabilities: Vec<At<Option<u8>>>,
    /// The reason for keeping them.
    pub(crate) why_capabilities: Option<String>,
    pub(crate) inherit: Vec<At<String>>,
    pub(crate) set: Vec<(At<String>, At<String>)>,
    pub(crate) landlock: Option<At<LandlockWish>>,
    pub(crate) relax: Vec<At<Relaxation>>,
    pub(crate) require: Vec<At<SecondNet>>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) allowances: Vec<Allowance>,
}

/// Reads one file. Whatever is wrong with it goes into the list, all at once.
pub(crate) fn parse(number: u16, text: &str, problems: &mut Vec<Problem>) -> File {
    let mut reader = Reader {
        file: number,
        problems: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let broken = !errors.is_empty();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim_end().to_owned();
        reader.problem(Problem::new(
            Code::Syntax,
            Place::new(number, span),
            message,
        ));
    }
    // The apparent contents of a broken text give no reason for further complaints.
    let file = if broken {
        File::default()
    } else {
        read(&mut reader, table.get_ref())
    };
    problems.append(&mut reader.problems);
    file
}

fn read(reader: &mut Reader, table: &DeTable<'_>) -> File {
    let root = Section::new("", table, Place::new(reader.file, 0..0));
    let mut file = File::default();
    format(reader, &root);
    file.description = root.string(reader, "description");
    file.extends = root.strings(reader, "extends");
    file.within = root.string(reader, "within");
    if let Some(node) = root.key("expires")
        && !matches!(node.get_ref(), toml::de::DeValue::Datetime(_))
    {
        reader.expected("a date such as 2027-06-30", node);
    }
    if let Some(section) = root.section(reader, "variables") {
        file.variables = environment::variables(reader, &section);
    }
    if let Some(section) = root.section(reader, "filesystem") {
        filesystem::read(reader, section, &mut file);
    }
    if let Some(section) = root.section(reader, "network") {
        network::read(reader, section, &mut file);
    }
    if let Some(section) = root.section(reader, "scope") {
        settings(reader, &section, "scope", &mut file);
        section.finish(reader);
    }
    if let Some(section) = root.section(reader, "syscalls") {
        settings(reader, &section, "syscalls", &mut file);
        file.syscalls = syscalls::read(reader, section);
    }
    if let Some(section) = root.section(reader, "capabilities") {
        environment::capabilities(reader, section, &mut file);
    }
    if let Some(section) = root.section(reader, "limits") {
        if let Some(channel) = section.section(reader, "channel") {
            settings(reader, &channel, "limits.channel", &mut file);
            channel.finish(reader);
        }
        settings(reader, &section, "limits", &mut file);
        section.finish(reader);
    }
    if let Some(section) = root.section(reader, "namespaces") {
        settings(reader, &section, "namespaces", &mut file);
        section.finish(reader);
    }
    if let Some(section) = root.section(reader, "environment") {
        settings(reader, &section, "environment", &mut file);
        environment::read(reader, section, &mut file);
    }
    if let Some(section) = root.section(reader, "process") {
        settings(reader, &section, "process", &mut file);
        section.finish(reader);
    }
    if let Some(section) = root.section(reader, "kernel") {
        environment::kernel(reader, section, &mut file);
    }
    if let Some(node) = root.key("expect") {
        file.expectations = expectation::read(reader, node);
    }
    if let Some(node) = root.key("allow_lint") {
        file.allowances = allowance::read(reader, node);
    }
    root.finish(reader);
    file
}

fn format(reader: &mut Reader, root: &Section<'_, '_>) {
    let Some(node) = root.key("format") else {
        let problem = Problem::new(
            Code::Format,
            root.place,
            "the policy doesn't say its format",
        );
        return reader.problem(problem.help("begin it with `format = 1`"));
    };
    if let Some(format) = reader.integer(node)
        && format.value != FORMAT
    {
        let message = format!("format {} is not known to this version", format.value);
        reader
            .problem(Problem::new(Code::Format, format.place, message).help("write `format = 1`"));
    }
}

/// Reads every setting that belongs into a table.
fn settings(reader: &mut Reader, section: &Section<'_, '_>, table: &str, file: &mut File) {
    for (index, setting) in SETTINGS.iter().enumerate() {
        if setting.table != table {
            continue;
        }
        let Some(node) = section.key(setting.key) else {
            continue;
        };
        let written = match setting.kind {
            Kind::Size | Kind::Time | Kind::Choice(_) => reader.string(node),
            Kind::Count(_) => reader.integer(node).map(|count| At {
                value: count.value.to_string(),
                place: count.place,
            }),
            Kind::Switch(_) | Kind::Neutral => reader.boolean(node).map(|value| At {
                value: value.value.to_string(),
                place: value.place,
            }),
        };
        let Some(written) = written else { continue };
        match setting.read(&written.value) {
            Ok(value) => file.settings.push((
                index,
                At {
                    value,
                    place: written.place,
                },
            )),
            Err(message) => reader.problem(Problem::new(Code::BadValue, written.place, message)),
        }
    }
}
