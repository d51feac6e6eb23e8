//! Calls that are not about paths.

use std::collections::{BTreeMap, BTreeSet};

use super::{Line, Proposal, Record, denies_code, evidence, expectation};
use crate::Arch;
use crate::bpf::interpret::{Call, answer};
use crate::bpf::{Action, Program};
use crate::condition::Condition;
use crate::file::{PortUse, Target, known_entry};
use crate::policy::Policy;
use crate::propose::entry as proposed;
use crate::syscalls::groups::{self, ALWAYS, DANGEROUS, EVERYTHING, Group, NEVER};
use crate::syscalls::{self, Syscall};

/// Calls that a policy answers softly and a function can't do without, since there is no other way to the
/// same end.
pub(super) const NO_SUBSTITUTE: &[&str] = &["clone", "fork", "vfork", "socketpair", "memfd_create"];

/// How much of a group has to have been seen for the group to be proposed, in percent.
const MOST: usize = 60;

/// How many threads any policy may allow.
const MOST_THREADS: u64 = 1 << 20;

/// How many threads a policy allows that didn't allow any before, if no more were seen.
const SOME_THREADS: u64 = 16;

/// Takes calls: groups if most of them was seen, else the calls themselves. `all` is everything that was seen.
pub(super) fn take(policy: &Policy, all: &[Record], records: &[&Record], proposal: &mut Proposal) {
    let arch = Arch::host().unwrap_or(Arch::X86_64);
    let Some(filter) = Filter::of(policy) else {
        return;
    };
    let mut needed: Vec<(&'static Syscall, &Record)> = Vec::new();
    let mut unchanged = BTreeMap::<&'static str, Vec<&Record>>::new();
    let mut threads = 0;
    let records: Vec<Record> = records
        .iter()
        .map(|record| as_it_will_be_made(record))
        .collect();
    for record in &records {
        let mut leave = |why: &str| {
            proposal.left_out.push(Line {
                text: format!("\"{}\"", entry(&record.call, &[record], arch)),
                evidence: format!("{} ({why})", evidence(&[record])),
                expect: None,
            });
        };
        let Some(call) = syscalls::find(&record.call) else {
            continue;
        };
        // Ports stand for the calls of their group.
        let mut groups = PortUse::ALL
            .iter()
            .filter(|used_for| proposal.ports.contains_key(used_for.key()))
            .map(|used_for| used_for.group());
        let is_networked = groups.any(|group| of_group(group, call, record, arch));
        let Some(action) = filter.answer(record) else {
            continue;
        };
        if of_group("@threads", call, record, arch) {
            threads = threads.max(record.threads);
        }
        match action {
            Action::Allow => {}
            _ if is_networked => {}
            _ if NEVER.contains(&call.name) => leave("no policy may allow it"),
            _ if record.only_names() && record.exists => leave(
                "it shows of every path whether it is there, which Landlock doesn't restrict: allow the call yourself \
                 if the function needs it",
            ),
            Action::Errno(_) | Action::Trap(crate::bpf::TRAP_EMULATE)
                if !NO_SUBSTITUTE.contains(&call.name) =>
            {
                leave("answered harmlessly: works without, most likely");
            }
            _ if !record.may_have_changed() => {
                unchanged.entry(call.name).or_default().push(record);
            }
            _ if maps_a_library(record) && denies_code(policy, all) => {
                leave("the loader maps a library so; see the advice on those");
            }
            _ if is_dangerous(call, record, arch) => {
                let entry = of_any_group(call, record, arch);
                proposal.left_out.push(Line {
                    text: match entry {
                        Some(entry) => format!("{{ call = \"{entry}\", why = \"…\" }}"),
                        None => format!("\"{}\"", self::entry(call.name, &[record], arch)),
                    },
                    evidence: format!(
                        "{} (DANGEROUS: it takes a reason, so write the line yourself if it has one)",
                        evidence(&[record])
                    ),
                    expect: None,
                });
            }
            _ => needed.push((call, record)),
        }
    }
    for (call, records) in unchanged {
        answer_unchanged(call, all, &records, proposal);
    }
    let groups = by_groups(&mut needed, arch, proposal);
    if groups.contains(&"@threads") {
        threads = threads.max(SOME_THREADS);
    }
    let allowed = policy.values.number("limits", "threads");
    if allowed.is_some_and(|most| threads > most) {
        proposal
            .limits
            .insert("threads", threads.min(MOST_THREADS).to_string());
    }
    let mut by_call = BTreeMap::<&str, Vec<&Record>>::new();
    for (call, record) in needed {
        by_call.entry(call.name).or_default().push(record);
    }
    for (name, records) in by_call {
        proposal.calls.push(Line {
            text: format!("\"{}\"", entry(name, &records, arch)),
            evidence: evidence(&records),
            expect: records.first().map(|record| expectation(record)),
        });
    }
}

/// Returns the call that the handler of SIGSYS makes in place of an emulated one: a mapping that is read is
/// private, and a descriptor becomes non-blocking by FIONBIO.
fn as_it_will_be_made(record: &Record) -> Record {
    const F_SETFL: u64 = 4;
    const FIONBIO: u64 = 0x5421;
    const PROT_READ: u64 = 1;
    const MAP_SHARED: u64 = 1;
    const MAP_PRIVATE: u64 = 2;
    let mut record = record.clone();
    if let ("mmap", [_, _, PROT_READ, flags @ MAP_SHARED, _, _]) =
        (record.call.as_str(), &mut record.arguments)
    {
        *flags = MAP_PRIVATE;
    }
    if let ("fcntl", [_, F_SETFL, ..]) = (record.call.as_str(), &record.arguments) {
        record.call = "ioctl".to_owned();
        record.arguments[1] = FIONBIO;
    }
    record
}

/// Answers a call that changed nothing, wherever it was made, with the error number that it got. A folder that is
/// granted for creation allows the call itself.
fn answer_unchanged(
    call: &'static str,
    all: &[Record],
    records: &[&Record],
    proposal: &mut Proposal,
) {
    let line = Line {
        text: format!("\"{call}\""),
        evidence: format!("{}: it changed nothing", evidence(records)),
        expect: None,
    };
    let mut made = all.iter().filter(|record| record.call == call);
    // An answer is for all of them.
    let never_changes = made.all(|record| !record.may_have_changed());
    let answers: BTreeSet<_> = records.iter().map(|record| record.unchanged(all)).collect();
    let answer = match Vec::from_iter(answers)[..] {
        [answer] if never_changes && !proposal.paths.contains_key("create") => answer,
        _ => None,
    };
    match answer {
        Some(errno) => proposal.answers.entry(errno).or_default().push(line),
        None => proposal.left_out.push(line),
    }
}

/// Whether a call maps a part of a library that holds no code. Only the loader sets this flag.
pub(super) fn maps_a_library(record: &Record) -> bool {
    const PROT_EXEC: u64 = 4;
    const MAP_DENYWRITE: u64 = 0x800;
    let [_, _, prot, flags, ..] = record.arguments;
    record.call == "mmap" && prot & PROT_EXEC == 0 && flags & MAP_DENYWRITE != 0
}

fn is_dangerous(call: &Syscall, record: &Record, arch: Arch) -> bool {
    const PROT_EXEC: u64 = 4;
    let executes = call
        .args
        .iter()
        .zip(record.arguments)
        .any(|((name, _), value)| *name == "prot" && value & PROT_EXEC != 0);
    // A thread is no process, although one call makes both.
    let is_thread = of_group("@threads", call, record, arch);
    let starts = ["clone", "fork", "vfork"].contains(&call.name) && !is_thread;
    executes || starts || (groups::is_dangerous(call.name) && !is_thread)
}

/// A policy's filter on this architecture.
pub(super) struct Filter(Program);

impl Filter {
    pub(super) fn of(policy: &Policy) -> Option<Self> {
        let arch = Arch::host().unwrap_or(Arch::X86_64);
        let mut programs = policy.programs().into_iter();
        programs.find(|program| program.arch == arch).map(Self)
    }

    /// Returns what it does with a call. `None` if the architecture lacks the call.
    pub(super) fn answer(&self, record: &Record) -> Option<Action> {
        let record = as_it_will_be_made(record);
        let number = syscalls::find(&record.call)?.number(self.0.arch)?;
        let call = Call::new(self.0.arch, number, record.arguments);
        Some(answer(&self.0.code, &call))
    }
}

/// Returns the form in which a group allows what was seen, if it is narrower than the call itself.
fn of_any_group(call: &Syscall, record: &Record, arch: Arch) -> Option<&'static str> {
    let entries = groups::all().iter().flat_map(|group| group.entries);
    let mut entries = entries.filter(|entry| match known_entry(entry) {
        Some(Target::Call(known, Some(condition))) => {
            known.name == call.name && condition.holds(arch, &record.arguments, u32::MAX)
        }
        _ => false,
    });
    entries.next().copied()
}

/// Whether a group allows what was seen.
fn of_group(name: &str, call: &Syscall, record: &Record, arch: Arch) -> bool {
    groups::find(name).is_some_and(|group| covers(group, call, record, arch))
}

/// Whether one of a group's own entries allows what was seen. Addresses are no longer known, so a test of one
/// counts as passed.
fn covers(group: &Group, call: &Syscall, record: &Record, arch: Arch) -> bool {
    group.entries.iter().any(|entry| match known_entry(entry) {
        Some(Target::Call(known, condition)) => {
            let holds = |condition: &Condition| condition.holds(arch, &record.arguments, u32::MAX);
            known.name == call.name && condition.as_ref().is_none_or(holds)
        }
        _ => false,
    })
}

/// Proposes groups, the fullest first, and takes what they allow. Returns their names.
fn by_groups(
    needed: &mut Vec<(&'static Syscall, &Record)>,
    arch: Arch,
    proposal: &mut Proposal,
) -> Vec<&'static str> {
    let mut proposed = Vec::new();
    loop {
        let fullest = groups::all()
            .iter()
            .filter(|group| {
                let is_base = ALWAYS.contains(&group.name)
                    || [EVERYTHING, "@nested", "@baseline"].contains(&group.name);
                !is_base
                    && !DANGEROUS.contains(&group.name)
                    && !group.name.starts_with("@path")
                    && !group.name.starts_with("@net")
            })
            .filter_map(|group| {
                let seen: BTreeSet<_> = needed
                    .iter()
                    .filter(|(call, record)| covers(group, call, record, arch))
                    .map(|(call, _)| call.name)
                    .collect();
                let all: BTreeSet<_> = group
                    .entries
                    .iter()
                    .filter(|entry| !entry.starts_with('@'))
                    .map(|entry| entry.split('(').next().unwrap_or(entry))
                    .collect();
                // The call that a group is there for counts for all of it.
                let defining = ["@threads", "@shared-memory"].contains(&group.name)
                    && group.entries.first().is_some_and(|first| {
                        seen.contains(first.split('(').next().unwrap_or(first))
                    });
                let share = if defining {
                    100
                } else {
                    seen.len() * 100 / all.len().max(1)
                };
                (share >= MOST && !seen.is_empty()).then_some((share, group))
            })
            .max_by_key(|(share, group)| (*share, group.name));
        let Some((_, group)) = fullest else {
            return proposed;
        };
        let (taken, rest): (Vec<_>, Vec<_>) = needed
            .iter()
            .copied()
            .partition(|(call, record)| covers(group, call, record, arch));
        let records: Vec<_> = taken.iter().map(|(_, record)| *record).collect();
        proposal.calls.push(Line {
            text: format!("\"{}\"", group.name),
            evidence: evidence(&records),
            expect: records.first().map(|record| expectation(record)),
        });
        proposed.push(group.name);
        *needed = rest;
    }
}

/// A call with the arguments that were seen.
fn entry(name: &str, records: &[&Record], arch: Arch) -> String {
    let Some(call) = syscalls::find(name) else {
        return name.to_owned();
    };
    let ways = records
        .iter()
        .map(|record| proposed::tests(call, arch, &record.arguments));
    let named: Option<Vec<_>> = ways.collect();
    // A value that has no name, or can't be compared, is left for a reader to look up.
    named
        .and_then(|ways| proposed::together(call, &ways))
        .unwrap_or_else(|| name.to_owned())
}
