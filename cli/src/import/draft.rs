//! A policy on its way: what was understood, and what wasn't.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crossmist_policy::syscalls::{self, Syscall, groups};
use crossmist_policy::{BuiltinOnly, Policy};

/// What an imported policy extends: what every computation needs.
const BASE: &str = "pure";

/// Groups whose meaning a list of calls alone doesn't have: Landlock, ports or limits go with them.
const NOT_BY_CALLS: &[&str] = &[
    "@runtime",
    "@channel",
    "@baseline",
    "@nested",
    "@all",
    "@process",
    "@exec",
    "@threads",
];

#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Calls that are allowed whatever their arguments.
    whole: BTreeSet<&'static str>,
    /// Calls with a condition in our words.
    conditional: Vec<String>,
    /// Calls by the error number that answers them.
    answers: BTreeMap<String, BTreeSet<&'static str>>,
    denied: BTreeSet<&'static str>,
    /// Keys with lists of strings, by table.
    lists: BTreeMap<(&'static str, &'static str), BTreeSet<String>>,
    /// Keys with a value as it is written, by table.
    values: BTreeMap<(&'static str, &'static str), String>,
    /// What was not understood: the original, and why.
    left: Vec<(String, String)>,
}

impl Draft {
    /// Allows a call; a name that nobody knows is left.
    pub(crate) fn allow(&mut self, name: &str) {
        match syscalls::find(name) {
            Some(call) => {
                self.whole.insert(call.name);
            }
            None => self.leave(name, "no such call on x86_64 or aarch64"),
        }
    }

    /// Allows a call where a condition holds.
    pub(crate) fn allow_when(&mut self, call: &Syscall, condition: &str) {
        self.conditional.push(format!("{}({condition})", call.name));
    }

    /// Takes a call away again.
    pub(crate) fn deny(&mut self, name: &str) {
        match syscalls::find(name) {
            Some(call) => {
                self.whole.remove(call.name);
                self.denied.insert(call.name);
            }
            None => self.leave(name, "no such call on x86_64 or aarch64"),
        }
    }

    /// Answers a call by an error number.
    pub(crate) fn answer(&mut self, name: &str, errno: &str) {
        match (syscalls::find(name), crossmist_policy::errno(errno)) {
            (Some(call), Some(_)) => {
                self.answers
                    .entry(errno.to_owned())
                    .or_default()
                    .insert(call.name);
            }
            (None, _) => self.leave(name, "no such call on x86_64 or aarch64"),
            (_, None) => self.leave(&format!("{name}: {errno}"), "no such error number"),
        }
    }

    pub(crate) fn list(&mut self, table: &'static str, key: &'static str, value: &str) {
        self.lists
            .entry((table, key))
            .or_default()
            .insert(value.to_owned());
    }

    pub(crate) fn value(&mut self, table: &'static str, key: &'static str, value: String) {
        self.values.insert((table, key), value);
    }

    /// Notes what has no counterpart.
    pub(crate) fn leave(&mut self, original: &str, reason: &str) {
        self.left.push((original.to_owned(), reason.to_owned()));
    }

    /// The text, and how much was left.
    pub(crate) fn finish(mut self, source: &str) -> (String, usize) {
        let entries = self.entries();
        let mut kept = Kept::default();
        // Usually all of it can be read; otherwise each line is tried by itself.
        for entry in &entries {
            kept.entries.push(entry.clone());
        }
        kept.answers = self.answers.clone();
        kept.denied = self.denied.clone();
        kept.lists = self.lists.clone();
        kept.values = self.values.clone();
        if kept.mistake().is_some() {
            kept = self.one_by_one(entries);
        }
        let left = self.left.len();
        (kept.write(source, &self.left), left)
    }

    /// Adds what can be added without a mistake, and leaves the rest.
    fn one_by_one(&mut self, entries: Vec<String>) -> Kept {
        let mut kept = Kept::default();
        for (key, value) in std::mem::take(&mut self.values) {
            kept.values.insert(key, value.clone());
            if let Some(mistake) = kept.mistake() {
                kept.values.remove(&key);
                self.leave(&format!("{}.{} = {value}", key.0, key.1), &mistake);
            }
        }
        for (key, values) in std::mem::take(&mut self.lists) {
            for value in values {
                kept.lists.entry(key).or_default().insert(value.clone());
                if let Some(mistake) = kept.mistake() {
                    kept.lists.entry(key).or_default().remove(&value);
                    self.leave(&format!("{}.{} {value}", key.0, key.1), &mistake);
                }
            }
        }
        for entry in entries {
            kept.entries.push(entry);
            if let Some(mistake) = kept.mistake()
                && let Some(entry) = kept.entries.pop()
            {
                self.leave(&entry, &mistake);
            }
        }
        for name in std::mem::take(&mut self.denied) {
            kept.denied.insert(name);
            if let Some(mistake) = kept.mistake() {
                kept.denied.remove(name);
                self.leave(&format!("deny {name}"), &mistake);
            }
        }
        for (errno, names) in std::mem::take(&mut self.answers) {
            for name in names {
                kept.answers.entry(errno.clone()).or_default().insert(name);
                if let Some(mistake) = kept.mistake() {
                    kept.answers.entry(errno.clone()).or_default().remove(name);
                    self.leave(&format!("{name}: {errno}"), &mistake);
                }
            }
        }
        kept.lists.retain(|_, values| !values.is_empty());
        kept.answers.retain(|_, names| !names.is_empty());
        kept
    }

    /// The entries of `allow`: groups whose every call is allowed, then the narrow form that a group
    /// has, then names.
    fn entries(&mut self) -> Vec<String> {
        let name_of = |entry: &str| {
            entry
                .split('(')
                .next()
                .unwrap_or(entry)
                .trim_end()
                .to_owned()
        };
        let base: BTreeSet<String> = match Policy::builtin(BASE) {
            Ok(base) => syscalls::all()
                .iter()
                .filter(|call| base.call(call).is_some_and(|call| call.allowed().is_some()))
                .map(|call| call.name.to_owned())
                .collect(),
            Err(_) => BTreeSet::new(),
        };
        let mut left: BTreeSet<&str> = self
            .whole
            .iter()
            .copied()
            .filter(|name| !base.contains(*name))
            .collect();
        let mut entries = Vec::new();
        for group in groups::all()
            .iter()
            .filter(|group| !NOT_BY_CALLS.contains(&group.name))
        {
            let own: Vec<_> = group
                .entries
                .iter()
                .filter(|entry| !entry.starts_with('@'))
                .map(|entry| name_of(entry))
                .collect();
            let is_whole = own.iter().all(|name| self.whole.contains(name.as_str()));
            // One that adds nothing says nothing.
            let adds = own.iter().any(|name| left.contains(name.as_str()));
            let path_or_port = group.name.starts_with("@path") || group.name.starts_with("@net");
            if is_whole && adds && !path_or_port {
                entries.push(group.name.to_owned());
                own.iter().for_each(|name| {
                    left.remove(name.as_str());
                });
            }
        }
        for name in left {
            let mut narrow = groups::all()
                .iter()
                .filter(|group| !NOT_BY_CALLS.contains(&group.name))
                .flat_map(|group| group.entries);
            match narrow.find(|entry| name_of(entry) == name && entry.contains('(')) {
                Some(entry) => entries.push((*entry).to_owned()),
                None => entries.push(name.to_owned()),
            }
        }
        entries.append(&mut self.conditional);
        entries
    }
}

/// What stands in the policy.
#[derive(Debug, Default)]
struct Kept {
    entries: Vec<String>,
    answers: BTreeMap<String, BTreeSet<&'static str>>,
    denied: BTreeSet<&'static str>,
    lists: BTreeMap<(&'static str, &'static str), BTreeSet<String>>,
    values: BTreeMap<(&'static str, &'static str), String>,
}

impl Kept {
    /// Why the reader doesn't take it.
    fn mistake(&self) -> Option<String> {
        let text = self.write("", &[]);
        let checked = Policy::from_toml(&BuiltinOnly, "imported", &text)
            .and_then(|policy| policy.compile().map(drop));
        let report = checked.err()?;
        let first = report.diagnostics().first();
        Some(first.map_or_else(String::new, |first| first.message.clone()))
    }

    fn write(&self, source: &str, left: &[(String, String)]) -> String {
        let mut text = format!(
            "# Imported from {}: review before use. Where the source allowed a call whatever its\n\
             # arguments, this has the narrow form that does the work, if a group has one.\n\
             format = 1\n\
             description = \"Imported; say here what it is for\"\n\
             extends = [\"{BASE}\"]\n",
            shown(source)
        );
        // Writing to a string can't fail.
        for table in [
            "filesystem",
            "network",
            "syscalls",
            "capabilities",
            "limits",
            "environment",
            "process",
        ] {
            let mut body = String::new();
            for ((_, key), values) in self.lists.iter().filter(|((of, _), _)| *of == table) {
                let numbers = *key == "tcp_bind" || *key == "tcp_connect";
                let values = values.iter().map(|value| {
                    if numbers {
                        value.clone()
                    } else {
                        quoted(value)
                    }
                });
                let _ = writeln!(body, "{key} = [{}]", values.collect::<Vec<_>>().join(", "));
            }
            for ((_, key), value) in self.values.iter().filter(|((of, _), _)| *of == table) {
                let _ = writeln!(body, "{key} = {value}");
            }
            if table == "syscalls" {
                if !self.entries.is_empty() {
                    body.push_str("allow = [\n");
                    for entry in &self.entries {
                        let _ = writeln!(body, "    {},", quoted(entry));
                    }
                    body.push_str("]\n");
                }
                let list = |names: &BTreeSet<&str>| {
                    names
                        .iter()
                        .map(|name| quoted(name))
                        .collect::<Vec<_>>()
                        .join(", ")
                };
                if !self.denied.is_empty() {
                    let _ = writeln!(body, "deny = [{}]", list(&self.denied));
                }
                if !self.answers.is_empty() {
                    body.push_str("\n[syscalls.errno]\n");
                    for (errno, names) in &self.answers {
                        let _ = writeln!(body, "{errno} = [{}]", list(names));
                    }
                }
            }
            if !body.is_empty() {
                let _ = write!(text, "\n[{table}]\n{body}");
            }
        }
        if !left.is_empty() {
            text.push('\n');
            for (original, reason) in left {
                let _ = writeln!(
                    text,
                    "# not translated: {} ({})",
                    shown(original),
                    shown(reason)
                );
            }
        }
        text
    }
}

/// A text that stays in its comment, and is seen whole.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(200)
        .flat_map(|c| {
            match c.is_control() || c == '\u{2028}' || c == '\u{2029}' {
                true => c.escape_default().collect::<String>(),
                false => c.to_string(),
            }
            .chars()
            .collect::<Vec<_>>()
        })
        .collect();
    if text.chars().count() > 200 {
        shown.push('…');
    }
    shown
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
