//! The text of an imported policy, and that it is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::{BuiltinOnly, Policy};

/// The longest piece of a source that is quoted.
const MOST_SHOWN: usize = 200;

/// The contents of the policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) extends: Option<&'static str>,
    pub(super) allow: Vec<String>,
    pub(super) deny: BTreeSet<String>,
    pub(super) replace: BTreeSet<&'static str>,
    pub(super) on_violation: Option<String>,
    pub(super) answers: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Paths by what may be done with them, each with whether it may be missing.
    pub(super) paths: BTreeMap<&'static str, BTreeSet<(String, bool)>>,
    pub(super) binds: BTreeSet<u16>,
    pub(super) inherit: BTreeSet<String>,
    /// Keys with a value as it is written, by table.
    pub(super) values: BTreeMap<(&'static str, &'static str), String>,
}

impl Parts {
    /// Makes sure that the text is a policy, if need be by leaving out what is granted or answered. Lines
    /// that deny are always kept.
    ///
    /// # Errors
    ///
    /// If what is denied alone makes no policy.
    pub(super) fn check(&mut self, notes: &mut Vec<(String, String)>) -> Result<(), String> {
        if self.mistake().is_none() {
            return Ok(());
        }
        let wanted = std::mem::take(self);
        self.extends = wanted.extends;
        self.deny = wanted.deny;
        self.replace = wanted.replace;
        if let Some(mistake) = self.mistake() {
            return Err(format!(
                "what it denies can't be said in a policy: {mistake}"
            ));
        }
        let mut add = |original: String, change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            match next.mistake() {
                Some(mistake) => notes.push((original, mistake)),
                None => *self = next,
            }
        };
        for (key, value) in &wanted.values {
            let original = format!("{}.{} = {value}", key.0, key.1);
            add(original, &|next| {
                drop(next.values.insert(*key, value.clone()))
            });
        }
        if let Some(answer) = &wanted.on_violation {
            let original = format!("on_violation = {answer}");
            add(original, &|next| next.on_violation = Some(answer.clone()));
        }
        for (kind, paths) in &wanted.paths {
            for path in paths {
                add(format!("{kind} {}", path.0), &|next| {
                    next.paths.entry(kind).or_default().insert(path.clone());
                });
            }
        }
        for port in &wanted.binds {
            add(format!("tcp_bind {port}"), &|next| {
                next.binds.insert(*port);
            });
        }
        for name in &wanted.inherit {
            add(format!("inherit {name}"), &|next| {
                next.inherit.insert(name.clone());
            });
        }
        for entry in &wanted.allow {
            add(entry.clone(), &|next| next.allow.push(entry.clone()));
        }
        for (errno, names) in &wanted.answers {
            for name in names {
                add(format!("{name}: {errno}"), &|next| {
                    next.answers.entry(errno).or_default().insert(name);
                });
            }
        }
        Ok(())
    }

    /// Why the reader of policies doesn't take it.
    fn mistake(&self) -> Option<String> {
        let text = self.write("", &[], &[]);
        let checked = Policy::from_toml(&BuiltinOnly, "imported", &text)
            .and_then(|policy| policy.compile().map(drop));
        let report = checked.err()?;
        let first = report.diagnostics().first();
        Some(first.map_or_else(String::new, |first| first.message.clone()))
    }

    pub(super) fn write(
        &self,
        origin: &str,
        remarks: &[String],
        notes: &[(String, String)],
    ) -> String {
        let mut text = format!(
            "# Imported from {}: review before use. It allows what the source allows, or less: where\n\
             # the source allows a call whatever its arguments, this has the narrow form that does the\n\
             # work, if a group has one.\n",
            shown(origin)
        );
        // Writing to a string can't fail.
        for remark in remarks {
            wrap(remark, &mut text);
        }
        text.push_str("format = 1\ndescription = \"Imported; say here what it is for\"\n");
        if let Some(base) = self.extends {
            let _ = writeln!(text, "extends = [\"{base}\"]");
        }
        for table in [
            "filesystem",
            "network",
            "syscalls",
            "limits",
            "environment",
            "process",
        ] {
            let mut body = String::new();
            match table {
                "filesystem" => self.write_paths(&mut body),
                "network" if !self.binds.is_empty() => {
                    let ports: Vec<_> = self.binds.iter().map(u16::to_string).collect();
                    let _ = writeln!(body, "tcp_bind = [{}]", ports.join(", "));
                }
                "syscalls" => self.write_calls(&mut body),
                "environment" if !self.inherit.is_empty() => {
                    let _ = writeln!(body, "inherit = [{}]", list(&self.inherit));
                }
                _ => {}
            }
            for ((_, key), value) in self.values.iter().filter(|((of, _), _)| *of == table) {
                let _ = writeln!(body, "{key} = {value}");
            }
            if !body.is_empty() {
                let _ = write!(text, "\n[{table}]\n{body}");
            }
        }
        if !self.answers.is_empty() {
            text.push_str("\n[syscalls.errno]\n");
            for (errno, names) in &self.answers {
                let _ = writeln!(text, "{errno} = [{}]", list(names));
            }
        }
        if !notes.is_empty() {
            text.push('\n');
            for (original, reason) in notes {
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

    fn write_paths(&self, body: &mut String) {
        for (kind, paths) in &self.paths {
            let paths = paths.iter().map(|(path, optional)| {
                let path = quoted(&path.replace('$', "$$"));
                match optional {
                    true => format!("{{ path = {path}, optional = true }}"),
                    false => path,
                }
            });
            let paths: Vec<_> = paths.collect();
            let _ = writeln!(body, "{kind} = [{}]", paths.join(", "));
        }
    }

    fn write_calls(&self, body: &mut String) {
        if let Some(answer) = &self.on_violation {
            let _ = writeln!(body, "on_violation = {}", quoted(answer));
        }
        if !self.allow.is_empty() {
            body.push_str("allow = [\n");
            for entry in &self.allow {
                let _ = writeln!(body, "    {},", quoted(entry));
            }
            body.push_str("]\n");
        }
        if !self.deny.is_empty() {
            let _ = writeln!(body, "deny = [{}]", list(&self.deny));
        }
        if !self.replace.is_empty() {
            body.push_str("# Of what every policy has, the source has less:\n");
            let _ = writeln!(body, "replace = [{}]", list(&self.replace));
        }
    }
}

/// A remark of our own, in lines of a comment.
fn wrap(remark: &str, text: &mut String) {
    let mut line = String::from("#");
    for word in remark.split(' ') {
        if line.len() + word.len() > 99 {
            text.push_str(&line);
            line = String::from("\n#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

fn list<T: AsRef<str>>(names: &BTreeSet<T>) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name.as_ref())).collect();
    names.join(", ")
}

/// A text that stays in its comment, and is seen whole.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MOST_SHOWN) {
        // Characters that end a line, or reverse its direction.
        let is_hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c.is_control() || is_hidden {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if text.chars().nth(MOST_SHOWN).is_some() {
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
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
