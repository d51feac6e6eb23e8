//! From what a function was seen to do to a policy that allows it.
//!
//! A recording says which calls the function made, with their arguments and paths. What the base
//! policy allows is taken away; the rest becomes groups if most of a group was seen, else single
//! calls with the arguments that were seen, and paths. What is dangerous, or was only tried, becomes a
//! comment with its evidence: a person decides.
//!
//! A recording covers what was run, and nothing else.

mod calls;
pub(crate) mod elsewhere;
pub(crate) mod paths;
mod record;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::bpf::{Action, Program, TRAP_EMULATE, compile};
use crate::compiled::Compiled;
use crate::compiled::words;
use crate::diagnostic::Report;
use crate::file::Ports;
use crate::kernel::Kernel;
use crate::library::Library;
use crate::policy::Policy;
use crate::propose::entry::SELECTORS;
use crate::syscalls::{self, Syscall, Width};
use crate::{Arch, bpf::compile::Verdict};

use self::elsewhere::{Loaded, loads_code};
pub use self::record::{
    Outcome, PathArguments, Record, can_change, follows_last, makes, maps_code, opens_library,
    path_arguments,
};

/// The results of learning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The policy's text.
    pub toml: String,
    /// How many of its lines allow something.
    pub granted: usize,
    /// The calls that were seen and are not allowed, each with the reason.
    pub left_out: Vec<String>,
    /// Accesses that no line can grant, with the advice for each.
    pub notes: Vec<String>,
    /// The same lines, to be added to a policy that there is.
    pub additions: Vec<Addition>,
    /// The kernels that can't enforce the base policy itself. No line was judged by them.
    pub not_judged_by: Vec<Kernel>,
    /// The `[[expect]]` tables that hold the policy to them, each without its heading.
    pub expected: Vec<String>,
}

/// A line to be added to a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The table, such as `filesystem` or `syscalls.errno`.
    pub table: &'static str,
    /// The key in it, which has a list; in `limits`, a single value.
    pub key: &'static str,
    /// The value as it is written.
    pub value: String,
    /// The evidence for it; empty for a limit.
    pub evidence: String,
}

/// A filter for a process that is being watched: what every policy allows happens, and everything
/// else is up to a supervisor.
pub fn watching(arch: Arch) -> Option<Program> {
    let pure = Policy::builtin("pure").ok()?;
    let mut verdicts: Vec<_> = syscalls::all()
        .iter()
        .filter_map(|call| {
            let mut verdict: Verdict = pure.verdict(call);
            verdict.cases.retain(|(_, action)| *action == Action::Allow);
            if verdict.rest != Action::Allow {
                verdict.rest = Action::Notify;
            }
            Some((call.number(arch)?, verdict))
        })
        .collect();
    verdicts.sort_by_key(|(number, _)| *number);
    Some(compile::compile(arch, &verdicts))
}

/// The arguments of a call that say what it is to do: flags, kinds, commands. The others, such as
/// addresses and lengths, are 0.
pub fn significant(call: &Syscall, arguments: [u64; 6]) -> [u64; 6] {
    let mut kept = [0; 6];
    for (at, (name, width)) in call.args.iter().enumerate() {
        if SELECTORS.contains(name) && *width != Width::Pointer {
            kept[at] = arguments[at] & width.mask();
        }
    }
    kept
}

/// Whether no policy may allow a call, so that nobody need see what comes of it.
pub fn is_forbidden(call: &Syscall) -> bool {
    syscalls::groups::NEVER.contains(&call.name)
}

/// Whether a call is to be answered as if the kernel were too old for it, as it is under every policy
/// that doesn't allow it: what is done in its place is what has to be learned.
pub fn is_unknown(call: &Syscall) -> bool {
    let answers = syscalls::groups::SOFT.iter();
    let unknown = answers.filter(|(answer, _)| *answer == "ENOSYS");
    unknown
        .flat_map(|(_, names)| *names)
        .any(|name| *name == call.name)
        && !calls::NO_SUBSTITUTE.contains(&call.name)
}

/// A line of the new policy with its evidence.
#[derive(Clone, Debug)]
struct Line {
    /// The value, or the text of a comment.
    text: String,
    evidence: String,
    /// The expectation of a policy that has it: the lines of an `[[expect]]`.
    expect: Option<String>,
}

/// Everything that goes into the new policy.
#[derive(Debug, Default)]
struct Proposal {
    /// Entries of `[syscalls] allow`.
    calls: Vec<Line>,
    /// Entries of `[syscalls.errno]`, by the number's name.
    answers: BTreeMap<&'static str, Vec<Line>>,
    /// Paths by the key that they stand under.
    paths: BTreeMap<&'static str, Vec<Line>>,
    ports: BTreeMap<&'static str, BTreeMap<u16, String>>,
    /// Keys of `[limits]`.
    limits: BTreeMap<&'static str, String>,
    left_out: Vec<Line>,
    /// Advice about what can't be granted, in sentences.
    notes: Vec<String>,
    expected: Vec<String>,
}

/// Makes a policy that allows what was seen, and extends `base`.
///
/// `kernels` are those that the policy has to run on. What one of them can't enforce is left out, and the reason names it.
/// One that can't enforce the base policy itself is named in the result, and judges nothing.
/// The records may be of several runs. Their strings are a process's word: they stand in the text only if a reader sees
/// them whole.
///
/// # Errors
///
/// If the base policy has mistakes.
pub fn learn(
    library: &dyn Library,
    base: &str,
    records: &[Record],
    runs: usize,
    kernels: &[Kernel],
) -> Result<Learned, Report> {
    let policy = Policy::load(library, base)?;
    let (records, loaded) = merge_and_take_code(records);
    let mut proposal = Proposal::default();
    let rest = paths::take(&policy, &records, &loaded, &mut proposal);
    calls::take(&policy, &records, &rest, &mut proposal);
    elsewhere::name_other_ways(&policy, &records, &loaded, &mut proposal);
    // What the base itself lacks on a kernel is no fault of the lines.
    let can_enforce = |kernel: &&Kernel| policy.check_kernel(kernel).is_ok();
    let (judges, not_judged_by): (Vec<_>, Vec<_>) = kernels.iter().partition(can_enforce);
    let mut proposal = usable(library, base, proposal, &judges);
    let paths = proposal.paths.values().flatten();
    let expected = paths
        .chain(&proposal.calls)
        .filter_map(|line| line.expect.clone());
    let mut expected: Vec<_> = expected.collect();
    expected.dedup();
    for expect in expected {
        proposal.expected.push(expect);
        // Flags that have other numbers elsewhere are no expectation for everywhere.
        let text = write(base, &proposal, 1, 0);
        if Policy::from_toml(library, "learned", &text).is_err() {
            proposal.expected.pop();
        }
    }
    let granted = proposal.calls.len()
        + proposal.answers.values().map(Vec::len).sum::<usize>()
        + proposal.paths.values().map(Vec::len).sum::<usize>()
        + proposal.ports.values().map(BTreeMap::len).sum::<usize>()
        + usize::from(proposal.only_raises_threads());
    let seen: u64 = records.iter().map(|record| record.count).sum();
    Ok(Learned {
        toml: write(base, &proposal, runs, seen),
        granted,
        left_out: (proposal.left_out.iter())
            .map(|line| format!("{}: {}", line.text, line.evidence))
            .collect(),
        notes: proposal.notes.clone(),
        additions: proposal.additions(),
        not_judged_by: not_judged_by.into_iter().cloned().collect(),
        expected: proposal.expected,
    })
}

/// The grants of a policy's own file that nothing of what was seen needs.
///
/// # Errors
///
/// If the policy has mistakes.
pub fn unneeded(
    library: &dyn Library,
    name: &str,
    records: &[Record],
) -> Result<Vec<crate::Redundant>, Report> {
    let records = merge(records);
    let policy = Policy::load(library, name)?;
    let allowed = |policy: &Policy| {
        let does = |record: &&Record| happens(policy, record);
        records.iter().filter(does).count()
    };
    let all = allowed(&policy);
    let mut found = Vec::new();
    for place in crate::resolve::own_grants(library, name)? {
        let is_needed = match crate::resolve::without(library, name, place) {
            Ok(less) => allowed(&less) < all,
            Err(_) => true,
        };
        if !is_needed {
            let entry = policy.sources.text_at(place).trim_matches(['"', '\'']);
            found.push(crate::Redundant {
                entry: entry.to_owned(),
                location: policy.sources.locate(place),
            });
        }
    }
    Ok(found)
}

/// Returns the calls that succeeded on their paths, or have none, and that the policy doesn't let happen, each as the
/// call and its path. Calls that libraries are known to do without are left out.
///
/// # Errors
///
/// If the policy has mistakes.
pub fn denied_now(
    library: &dyn Library,
    name: &str,
    records: &[Record],
    kernel: Option<&Kernel>,
) -> Result<Vec<String>, Report> {
    let policy = Policy::load(library, name)?;
    let compiled = policy.compile()?;
    let filter = calls::Filter::of(&policy);
    let (records, loaded) = merge_and_take_code(records);
    // It is told of with the code, if that is what is denied.
    let tells_of_code = denies_code(&policy, &records);
    let found = records.iter().filter(|record| {
        let is_unknown = syscalls::find(&record.call).is_none_or(is_unknown);
        match &record.path {
            _ if is_unknown => false,
            Some(path) => {
                !paths::is_noise(record, path, &loaded, tells_of_code)
                    && record.has_succeeded()
                    && !happens(&policy, record)
            }
            // The filter sees no port.
            None if record.port.is_some() => !happens(&policy, record),
            // Nothing tells whether it succeeded, but a call that ends the function did not do so before.
            None => {
                let answer = filter.as_ref().and_then(|filter| filter.answer(record));
                match answer {
                    None | Some(Action::Allow | Action::Trap(TRAP_EMULATE)) => false,
                    _ if calls::maps_a_library(record) && tells_of_code => false,
                    // A function that goes on after it does something else than it did.
                    Some(Action::Errno(_)) => calls::NO_SUBSTITUTE.contains(&record.call.as_str()),
                    Some(_) => true,
                }
            }
        }
    });
    // What the same line would allow is told of once.
    let mut alike = BTreeMap::<(&str, String), Vec<&Record>>::new();
    for record in found {
        let cure = cure(&compiled, record, kernel).unwrap_or_default();
        alike.entry((&record.call, cure)).or_default().push(record);
    }
    let shown = alike.into_iter().map(|((call, cure), records)| {
        let mut paths = records.iter().filter_map(|record| record.path.as_deref());
        let first = paths.next().map_or_else(String::new, |path| {
            let path: String = path.escape_debug().take(200).collect();
            format!(" \"{path}\"")
        });
        let more = match paths.count() {
            0 => String::new(),
            1 => " and another path".to_owned(),
            count => format!(" and {count} other paths"),
        };
        format!("{call}{first}{more}: {}{cure}", evidence(&records))
    });
    Ok(shown.collect())
}

/// The versions of Landlock that tell ports apart.
const ABI_OF_TCP: u32 = 4;
const ABI_OF_UDP: u32 = 10;

/// Returns the line that allows what was seen, and its danger; and what to do instead.
fn cure(policy: &Compiled, record: &Record, kernel: Option<&Kernel>) -> Option<String> {
    /// `socket(AF_INET, SOCK_DGRAM, 0)`, whose dangers are those of a port of UDP.
    const DATAGRAMS: (&str, [u64; 6]) = ("socket", [2, 2, 0, 0, 0, 0]);
    let arch = Arch::host()?;
    let (name, arguments) = match record.port.filter(|_| record.is_udp) {
        Some(_) => DATAGRAMS,
        None => (record.call.as_str(), record.arguments_with_length()),
    };
    let number = syscalls::find(name)?.number(arch)?;
    let path = record.path.as_deref().map(str::as_bytes);
    let explained = policy.explain_on(kernel, arch, number, arguments, path);
    let line = match record.port {
        // The port is known, and the filter sees none: it may allow the call for another one.
        Some(port) => {
            let needed = if record.is_udp {
                ABI_OF_UDP
            } else {
                ABI_OF_TCP
            };
            kernel
                .is_none_or(|kernel| kernel.landlock_abi >= needed)
                .then(|| format!("[network] {} = [{port}]", record.port_use().key()))
        }
        None => explained.allow_with.map(|line| line.replace('\n', " ")),
    };
    let line = line.map(|line| format!("; to allow it: {line}"));
    let caution = explained.caution.filter(|_| line.is_some());
    let caution = caution.map(|caution| format!(" (careful: {caution})"));
    let instead = explained
        .instead
        .map(|instead| format!("; instead: {instead}"));
    Some(
        [line, caution, instead]
            .map(Option::unwrap_or_default)
            .concat(),
    )
}

/// Returns the paths at which something was created, or to which it was moved, each behind the folder that it is in.
pub fn created(records: &[Record]) -> Vec<&str> {
    paths::made(records).into_iter().collect()
}

/// Whether code was loaded that a policy doesn't let be loaded.
fn denies_code(policy: &Policy, records: &[Record]) -> bool {
    let mut loads = records.iter().filter(|record| loads_code(record));
    loads.any(|record| !happens(policy, record))
}

/// Whether a policy lets happen what was seen.
fn happens(policy: &Policy, record: &Record) -> bool {
    let Some(call) = syscalls::find(&record.call) else {
        return false;
    };
    let arch = Arch::host().unwrap_or(Arch::X86_64);
    let mut possible = policy
        .calls
        .get(call.name)
        .into_iter()
        .flat_map(|rules| policy.grants(call.name, rules));
    let by_filter = !policy.is_denied(call.name)
        && possible.any(|grant| match &grant.condition {
            Some(condition) => condition.holds(arch, &record.arguments, u32::MAX),
            None => true,
        });
    let has = |path: &String, key: &str| {
        let granted = policy.grants_of_path(path);
        granted
            .iter()
            .any(|grant| grant.what == key || grant.what == "all")
    };
    let by_path = match (&record.path, paths::keys(record).as_slice()) {
        (Some(path), keys) if !keys.is_empty() => keys.iter().all(|key| has(path, key)),
        (Some(path), _) if record.call == "connect" => has(path, "connect_unix"),
        (Some(_), _) if record::changes(&record.call) => {
            record.paths().all(|path| has(path, "create"))
        }
        _ => true,
    };
    let by_port = record.port.is_none_or(|port| {
        let used_for = record.port_use();
        policy.network_unconfined.is_some() || policy.ports.iter().any(|grant| {
            grant.used_for == used_for && matches!(grant.ports.value, Ports::Range(from, to) if (from..=to).contains(&port))
        })
    });
    by_filter && by_path && by_port
}

/// Leaves out the lines that no policy can have, or that this base can't have: the reader knows.
fn usable(library: &dyn Library, base: &str, proposal: Proposal, kernels: &[&Kernel]) -> Proposal {
    let mistake = |proposal: &Proposal| {
        let text = write(base, proposal, 1, 0);
        match Policy::from_toml(library, "learned", &text) {
            Ok(policy) => kernels.iter().find_map(|kernel| {
                let error = policy.check_kernel(kernel).err()?;
                Some(match kernel.release {
                    Some(release) => format!("{release}: {error}"),
                    None => error.to_string(),
                })
            }),
            Err(report) => {
                let first = report.diagnostics().first();
                Some(first.map_or_else(String::new, |first| first.message.clone()))
            }
        }
    };
    if mistake(&proposal).is_none() {
        return proposal;
    }
    let mut kept = Proposal {
        limits: proposal.limits,
        left_out: proposal.left_out,
        notes: proposal.notes,
        ..Proposal::default()
    };
    for (key, lines) in proposal.paths {
        for line in lines {
            kept.paths.entry(key).or_default().push(line);
            if let Some(mistake) = mistake(&kept)
                && let Some(line) = kept.paths.entry(key).or_default().pop()
            {
                kept.leave_out(format!("{key} {}", line.text), &line.evidence, &mistake);
            }
        }
    }
    for (key, ports) in proposal.ports {
        for (port, evidence) in ports {
            kept.ports.entry(key).or_default().insert(port, evidence);
            if let Some(mistake) = mistake(&kept)
                && let Some(evidence) = kept.ports.entry(key).or_default().remove(&port)
            {
                kept.leave_out(format!("{key} {port}"), &evidence, &mistake);
            }
        }
    }
    for line in proposal.calls {
        kept.calls.push(line);
        if let Some(mistake) = mistake(&kept)
            && let Some(line) = kept.calls.pop()
        {
            kept.leave_out(line.text, &line.evidence, &mistake);
        }
    }
    for (errno, lines) in proposal.answers {
        for line in lines {
            kept.answers.entry(errno).or_default().push(line);
            if let Some(mistake) = mistake(&kept)
                && let Some(line) = kept.answers.entry(errno).or_default().pop()
            {
                kept.leave_out(line.text, &line.evidence, &mistake);
            }
        }
    }
    kept.answers.retain(|_, lines| !lines.is_empty());
    kept.paths.retain(|_, lines| !lines.is_empty());
    kept.ports.retain(|_, ports| !ports.is_empty());
    kept
}

impl Proposal {
    /// Whether it allows more threads, and the calls that start them are allowed already.
    fn only_raises_threads(&self) -> bool {
        let starts = self.calls.iter().any(|line| line.text == "\"@threads\"");
        self.limits.contains_key("threads") && !starts
    }

    fn additions(&self) -> Vec<Addition> {
        let add = |table, key, value: &str, evidence: &str| Addition {
            table,
            key,
            value: value.to_owned(),
            evidence: evidence.to_owned(),
        };
        let paths = self.paths.iter().flat_map(|(key, lines)| {
            let lines = lines.iter();
            lines.map(|line| add("filesystem", *key, &line.text, &line.evidence))
        });
        let ports = self.ports.iter().flat_map(|(key, ports)| {
            let ports = ports.iter();
            ports.map(|(port, evidence)| add("network", *key, &port.to_string(), evidence))
        });
        let calls = self.calls.iter();
        let calls = calls.map(|line| add("syscalls", "allow", &line.text, &line.evidence));
        let answers = self.answers.iter().flat_map(|(errno, lines)| {
            let lines = lines.iter();
            lines.map(|line| add("syscalls.errno", *errno, &line.text, &line.evidence))
        });
        let limits = self.limits.iter();
        let limits = limits.map(|(key, value)| add("limits", *key, value, ""));
        paths
            .chain(ports)
            .chain(calls)
            .chain(answers)
            .chain(limits)
            .collect()
    }

    fn leave_out(&mut self, text: String, evidence: &str, mistake: &str) {
        self.left_out.push(Line {
            text,
            evidence: format!("{evidence} ({mistake})"),
            expect: None,
        });
    }
}

/// The records of several runs, each thing once.
fn merge(records: &[Record]) -> Vec<Record> {
    let mut merged = BTreeMap::<_, Record>::new();
    for record in records {
        let key = (
            record.call.clone(),
            record.arguments,
            record.path.clone(),
            record.other.clone(),
            record.port,
            record.is_udp,
        );
        let known = merged.entry(key).or_insert_with(|| Record {
            count: 0,
            ..record.clone()
        });
        known.count = known.count.saturating_add(record.count);
        // What is to be made where something is in one run is made in another one.
        match makes(&record.call) {
            true => known.exists &= record.exists,
            false => known.exists |= record.exists,
        }
        known.replaces &= record.replaces;
        known.was_loaded &= record.was_loaded;
        known.threads = known.threads.max(record.threads);
        known.result = Outcome::together(known.result, record.result);
        if known.seen_at.is_none() {
            known.seen_at.clone_from(&record.seen_at);
        }
    }
    merged.into_values().collect()
}

/// Returns each thing once, and the files that code was loaded from. Calls that map code are told apart by their
/// arguments only: no policy grants one by its file.
fn merge_and_take_code(records: &[Record]) -> (Vec<Record>, Loaded) {
    let loaded = Loaded::of(records);
    let mut records = records.to_vec();
    for record in records.iter_mut().filter(|record| loads_code(record)) {
        record.path = None;
    }
    (merge(&records), loaded)
}

/// Returns an expectation that a call stays allowed, as it was seen.
fn expectation(record: &Record) -> String {
    let last = record.arguments.iter().rposition(|argument| *argument != 0);
    let shown = last.map_or(0, |last| last + 1);
    let (call, arch) = (
        syscalls::find(&record.call),
        Arch::host().unwrap_or(Arch::X86_64),
    );
    let arguments = (0..shown).map(|at| match call.filter(|call| at < call.args.len()) {
        Some(call) => words::argument(call, arch, &record.arguments, at, None),
        None => format!("{:#x}", record.arguments[at]),
    });
    let arguments: Vec<_> = arguments.collect();
    format!(
        "syscall = \"{}({})\"\nis = \"allowed\"\n",
        record.call,
        arguments.join(", ")
    )
}

/// How often, and from where first.
fn evidence(records: &[&Record]) -> String {
    let count: u64 = records.iter().map(|record| record.count).sum();
    let from = records.iter().find_map(|record| record.seen_at.as_deref());
    match from.filter(|from| is_plain(from)) {
        Some(from) => format!("{count}×, first at {from}"),
        None => format!("{count}×"),
    }
}

/// Whether a reader sees a text whole, and it ends nothing that it stands in.
fn is_plain(text: &str) -> bool {
    text.len() < 512
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !text.contains(['"', '\\'])
}

fn write(base: &str, proposal: &Proposal, runs: usize, seen: u64) -> String {
    let runs = match runs {
        1 => "1 run".to_owned(),
        runs => format!("{runs} runs"),
    };
    let calls = if seen == 1 { "call" } else { "calls" };
    let mut text = format!(
        "# Learned from {runs} ({seen} {calls} that {base} doesn't simply allow): review before use.\n\
         # It covers only what was run.\n\
         format = 1\n\
         description = \"Learned; say here what it is for\"\n\
         extends = [\"{base}\"]\n"
    );
    // Writing to a string can't fail.
    let list = |text: &mut String, key: &str, lines: &[Line]| {
        let _ = writeln!(text, "{key} = [");
        for line in lines {
            let _ = writeln!(text, "    {}, # {}", line.text, line.evidence);
        }
        text.push_str("]\n");
    };
    if !proposal.paths.is_empty() {
        text.push_str("\n[filesystem]\n");
        for (key, lines) in &proposal.paths {
            list(&mut text, key, lines);
        }
    }
    if !proposal.ports.is_empty() {
        text.push_str("\n[network]\n");
        for (key, ports) in &proposal.ports {
            let lines: Vec<_> = ports
                .iter()
                .map(|(port, evidence)| Line {
                    text: port.to_string(),
                    evidence: evidence.clone(),
                    expect: None,
                })
                .collect();
            list(&mut text, key, &lines);
        }
    }
    if !proposal.calls.is_empty() {
        text.push_str("\n[syscalls]\n");
        list(&mut text, "allow", &proposal.calls);
    }
    if !proposal.answers.is_empty() {
        text.push_str("\n[syscalls.errno]\n");
        for (errno, lines) in &proposal.answers {
            list(&mut text, errno, lines);
        }
    }
    if !proposal.limits.is_empty() {
        text.push_str("\n[limits]\n");
        for (key, value) in &proposal.limits {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text.push_str("\n[[expect]]\nsyscall = \"execve(NULL, NULL, NULL)\"\nis = \"killed\"\n");
    for expect in &proposal.expected {
        let _ = write!(text, "\n[[expect]]\n{expect}");
    }
    for note in &proposal.notes {
        let _ = writeln!(text, "\n# {note}");
    }
    if !proposal.left_out.is_empty() {
        text.push_str("\n# Seen, and left out:\n");
        for line in &proposal.left_out {
            let _ = writeln!(text, "#   {}: {}", line.text, line.evidence);
        }
    }
    text
}

#[cfg(test)]
mod tests;
