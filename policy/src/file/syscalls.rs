//! `[syscalls]`: entries such as `"@threads"` and `"fallocate(mode == 0)"`.

use toml::de::DeValue;

use crate::condition::{self, Condition};
use crate::diagnostic::{Code, nearest};
use crate::names;
use crate::reader::{Node, Reader, Section};
use crate::source::{At, Place, Problem};
use crate::syscalls::groups::{self, Group, Soft};
use crate::syscalls::{self, SYSTEMD_GROUPS, Syscall};

/// The table.
#[derive(Debug, Default)]
pub(crate) struct SyscallRules {
    pub(crate) allow: Vec<Entry>,
    pub(crate) deny: Vec<Entry>,
    /// Names whose inherited conditions this file replaces by its own.
    pub(crate) replace: Vec<At<&'static Syscall>>,
    pub(crate) soft: Vec<(Soft, Entry)>,
    pub(crate) on_violation: Option<At<OnViolation>>,
    /// Reasons for what is dangerous, by name.
    pub(crate) reasons: Vec<(At<String>, String)>,
}

/// A name with perhaps a condition, and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) place: Place,
    pub(crate) why: Option<String>,
    /// `name(condition):ERRNO` in an allow list is a soft denial.
    pub(crate) answer: Option<Soft>,
}

/// The calls that an entry is about.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Group(&'static Group),
    Call(&'static Syscall, Option<Condition>),
}

impl Target {
    /// The name without the condition.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Group(group) => group.name,
            Self::Call(call, _) => call.name,
        }
    }
}

/// The result of a call that nothing allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// The process reports the call and dies; what honest code never calls kills it at once.
    Kill,
    /// The kernel kills the process, which gets to say nothing.
    KillSilent,
    /// SIGSYS is raised, for a handler of the user's own.
    Trap,
    /// The call fails with this error number.
    Errno(u16),
}

impl OnViolation {
    /// How much the answer lets pass, the strictest first.
    pub(crate) fn laxity(self) -> u8 {
        match self {
            Self::KillSilent => 0,
            Self::Kill => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
        }
    }
}

pub(super) fn read(reader: &mut Reader, section: Section<'_, '_>) -> SyscallRules {
    let mut rules = SyscallRules {
        allow: entries(reader, &section, "allow"),
        deny: entries(reader, &section, "deny"),
        ..SyscallRules::default()
    };
    for name in section.strings(reader, "replace") {
        match known(&name.value) {
            Ok(call) => rules.replace.push(At {
                value: call,
                place: name.place,
            }),
            Err(problem) => reader.problem(problem.at(name.place)),
        }
    }
    if let Some(table) = section.section(reader, "errno") {
        for (name, node) in table.entries(reader.file) {
            let Some(number) = names::errno(&name.value) else {
                let message = format!("unknown error number `{}`", name.value);
                let near = nearest(&name.value, names::errno_names());
                reader
                    .problem(Problem::new(Code::BadValue, name.place, message).did_you_mean(near));
                continue;
            };
            let items = reader.array(node);
            for node in items {
                if let Some(entry) = entry(reader, node) {
                    rules.soft.push((Soft::Errno(number), entry));
                }
            }
        }
    }
    if let Some(table) = section.section(reader, "dangerous") {
        for (name, node) in table.entries(reader.file) {
            if let Some(reason) = reader.string(node) {
                rules.reasons.push((name, reason.value));
            }
        }
    }
    if let Some(written) = section.string(reader, "on_violation") {
        match on_violation(&written.value) {
            Ok(value) => {
                rules.on_violation = Some(At {
                    value,
                    place: written.place,
                })
            }
            Err((code, message)) => reader.problem(Problem::new(code, written.place, message)),
        }
    }
    section.finish(reader);
    rules
}

fn on_violation(text: &str) -> Result<OnViolation, (Code, String)> {
    match text {
        "kill" => Ok(OnViolation::Kill),
        "kill-silent" => Ok(OnViolation::KillSilent),
        "trap" => Ok(OnViolation::Trap),
        "notify" | "log" => {
            let message = format!(
                "`{text}` is not done by this version: it needs a supervisor, or \
                                   lets the call happen"
            );
            Err((Code::Unsupported, message))
        }
        _ => match text.strip_prefix("errno:").and_then(names::errno) {
            Some(number) => Ok(OnViolation::Errno(number)),
            None => {
                let message =
                    "on_violation is \"kill\", \"kill-silent\", \"trap\" or \"errno:EPERM\"";
                Err((Code::BadValue, message.to_owned()))
            }
        },
    }
}

fn entries(reader: &mut Reader, section: &Section<'_, '_>, key: &'static str) -> Vec<Entry> {
    let nodes = section
        .key(key)
        .map(|node| reader.array(node))
        .unwrap_or_default();
    nodes
        .into_iter()
        .filter_map(|node| entry(reader, node))
        .collect()
}

/// `"name(condition)"`, or `{ call = "name(condition)", why = "…" }`.
fn entry(reader: &mut Reader, node: Node<'_, '_>) -> Option<Entry> {
    let (written, why) = if let DeValue::Table(_) = node.get_ref() {
        let table = reader.table("syscalls", node)?;
        let call = table.string(reader, "call");
        let why = table
            .string(reader, "why")
            .or_else(|| table.string(reader, "comment"));
        table.key("comment");
        let place = table.place;
        table.finish(reader);
        if call.is_none() {
            let message = "an entry in long form has a `call`";
            reader.problem(Problem::new(Code::BadValue, place, message));
        }
        (call?, why.map(|why| why.value))
    } else {
        (reader.string(node)?, None)
    };
    match parse_entry(&written.value) {
        Ok((target, answer)) => Some(Entry {
            target,
            place: written.place,
            why,
            answer,
        }),
        Err(mistake) => {
            reader.problem(mistake.at(written.place));
            None
        }
    }
}

/// A fault in an entry, with the bytes that it is in.
#[derive(Debug)]
pub(crate) struct BadEntry {
    code: Code,
    span: (usize, usize),
    message: String,
    help: Option<String>,
}

impl BadEntry {
    /// The words alone, if there is no file to point into.
    pub(crate) fn into_message(self) -> String {
        match self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message,
        }
    }

    pub(crate) fn at(self, place: Place) -> Problem {
        let place = place.within(self.span.0, self.span.1);
        let problem = Problem::new(self.code, place, self.message);
        match self.help {
            Some(help) => problem.help(help),
            None => problem,
        }
    }
}

/// Reads an entry: a group, or a call with perhaps a condition and an answer.
pub(crate) fn parse_entry(text: &str) -> Result<(Target, Option<Soft>), BadEntry> {
    let bad = |code, span, message: String, help| BadEntry {
        code,
        span,
        message,
        help,
    };
    if text.starts_with('@') {
        return match groups::find(text) {
            Some(group) => Ok((Target::Group(group), None)),
            None => Err(unknown_group(text)),
        };
    }
    let open = text.find('(').unwrap_or(text.len());
    let name = text[..open].trim_end();
    let call = known(name)?;
    if open == text.len() {
        return Ok((Target::Call(call, None), None));
    }
    let Some(close) = text.rfind(')') else {
        let message = "the bracket is never closed".to_owned();
        return Err(bad(Code::BadCondition, (open, open + 1), message, None));
    };
    let answer = match text[close + 1..].trim() {
        "" => None,
        rest => {
            let number = rest.strip_prefix(':').map(str::trim).and_then(names::errno);
            let Some(number) = number else {
                let message = "only `:` and an error number may follow the bracket".to_owned();
                return Err(bad(
                    Code::BadCondition,
                    (close + 1, text.len()),
                    message,
                    None,
                ));
            };
            Some(Soft::Errno(number))
        }
    };
    match condition::parse(&text[open + 1..close], call) {
        Ok(condition) => Ok((Target::Call(call, Some(condition)), answer)),
        Err(mistake) => {
            let span = (
                open + 1 + mistake.start,
                open + 1 + mistake.end.max(mistake.start + 1),
            );
            Err(bad(mistake.code, span, mistake.message, mistake.help))
        }
    }
}

/// Calls of architectures that aren't supported.
const FOREIGN: &[&str] = &[
    "mmap2",
    "fcntl64",
    "stat64",
    "fstat64",
    "fstatat64",
    "_llseek",
    "socketcall",
    "ipc",
    "waitpid",
    "send",
    "recv",
    "sigaction",
    "sigreturn",
    "riscv_hwprobe",
    "riscv_flush_icache",
    "cacheflush",
    "futex_time64",
    "clock_gettime64",
    "_newselect",
    "ugetrlimit",
    "arm_fadvise64_64",
];

fn known(name: &str) -> Result<&'static Syscall, BadEntry> {
    if let Some(call) = syscalls::find(name) {
        return Ok(call);
    }
    let span = (0, name.len().max(1));
    if FOREIGN.contains(&name) {
        let message = format!("`{name}` exists neither on x86_64 nor on aarch64");
        return Err(BadEntry {
            code: Code::ForeignSyscall,
            span,
            message,
            help: None,
        });
    }
    let near = nearest(name, syscalls::all().iter().map(|call| call.name));
    let help = near.map(|near| format!("did you mean `{near}`?"));
    let message = format!("unknown system call `{name}`");
    Err(BadEntry {
        code: Code::UnknownSyscall,
        span,
        message,
        help,
    })
}

fn unknown_group(text: &str) -> BadEntry {
    let span = (0, text.len());
    if let Some((_, instead)) = SYSTEMD_GROUPS.iter().find(|(name, _)| *name == text) {
        let message =
            format!("`{text}` is a group of systemd, which allows more than its name says");
        let help = Some(format!("the nearest here is {instead}"));
        return BadEntry {
            code: Code::SystemdGroup,
            span,
            message,
            help,
        };
    }
    let near = nearest(text, groups::all().iter().map(|group| group.name));
    let help = near.map(|near| format!("did you mean `{near}`?"));
    let message = format!("unknown group `{text}`");
    BadEntry {
        code: Code::UnknownGroup,
        span,
        message,
        help,
    }
}
