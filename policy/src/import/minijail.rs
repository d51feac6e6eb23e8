//! A policy of minijail: `call: expression` a line (minijail0(5)), and the blocks of its compiler,
//! `call: { expression; action, … }`.
//!
//! Outside of a block, `expression; return N` means one thing to minijail itself and the opposite to
//! its compiler, so nothing of it is allowed.

use std::collections::BTreeMap;

use super::logic::{Condition, Op, Test};
use super::source::Source;
use crate::Arch;
use crate::names;
use crate::syscalls::{self, Syscall, constants};

/// Minijail's names of the architectures.
const ARCHES: [&[&str]; 2] = [&["x86_64", "amd64"], &["arm64", "aarch64"]];

/// The most files that one file may include.
const MOST_FILES: usize = 16;

/// A line with a filter.
struct Line {
    names: String,
    filter: String,
}

/// The result of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Errno(u64),
}

type Include<'a> = &'a dyn Fn(&str) -> Result<String, String>;

pub(super) fn read(text: &str, include: Include<'_>, source: &mut Source) -> Result<(), String> {
    let mut lines = Vec::new();
    let mut default = Action::Deny;
    gather(text, Some(include), &mut lines, &mut default, source)?;
    source.allows_rest = default == Action::Allow;
    if source.allows_rest {
        source.note(
            "@default allow",
            "a list of what is forbidden says nothing of what is needed; what it forbids is denied above",
        );
    }
    if let Action::Errno(number) = default {
        source.answer_rest(number);
    }
    let mut calls: BTreeMap<&'static str, [Option<Condition>; 2]> = BTreeMap::new();
    for line in &lines {
        read_line(line, source, &mut calls);
    }
    for (name, allowed) in calls {
        if let Some(call) = syscalls::find(name) {
            let rest = source.allowed(name);
            let mut rest = rest.into_iter();
            source.set(
                call,
                allowed.map(|own| own.or_else(|| rest.next()).unwrap_or_default()),
            );
        }
    }
    Ok(())
}

/// The lines of a file and of those that it includes.
fn gather(
    text: &str,
    include: Option<Include<'_>>,
    lines: &mut Vec<Line>,
    default: &mut Action,
    source: &mut Source,
) -> Result<(), String> {
    let mut files = 0;
    for line in logical(text)? {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["@denylist"] => *default = Action::Allow,
            ["@default", action @ ..] => {
                let text = action.join(" ");
                *default = action_of(&text).unwrap_or_else(|| {
                    source.note(
                        &line,
                        "no action that is known here; what isn't allowed is denied",
                    );
                    Action::Deny
                });
            }
            ["@frequency", ..] => source.note(&line, "how often calls happen changes nothing"),
            ["@include", path] => {
                files += 1;
                let include = include.ok_or("an included file includes others")?;
                if files > MOST_FILES {
                    return Err(format!("it includes more than {MOST_FILES} files"));
                }
                let included =
                    include(path).map_err(|error| format!("@include {path}: {error}"))?;
                if included.len() > super::MOST_BYTES {
                    return Err(format!(
                        "@include {path}: longer than {} bytes",
                        super::MOST_BYTES
                    ));
                }
                gather(&included, None, lines, default, source)?;
            }
            [first, ..] if first.starts_with('@') => {
                return Err(format!("`{line}`: no such directive"));
            }
            _ => match split_names(&line) {
                Some((names, filter)) => lines.push(Line {
                    names: names.trim().to_owned(),
                    filter: filter.trim().to_owned(),
                }),
                None => source.note(&line, "not a line of a policy"),
            },
        }
    }
    Ok(())
}

/// Lines with what a backslash at their end joins to them, without comments.
fn logical(text: &str) -> Result<Vec<String>, String> {
    let text = text.replace("\r\n", "\n");
    let mut lines = Vec::new();
    let mut pending: Option<String> = None;
    for line in text.split('\n') {
        let is_comment = line.trim_start().starts_with('#');
        let so_far = pending.take();
        if let Some(so_far) = &so_far
            && so_far.trim_start().starts_with('#')
            && !is_comment
            && !line.trim().is_empty()
        {
            return Err(
                "a comment that ends in a backslash: whether the next line is one is not said"
                    .to_owned(),
            );
        }
        let line = match so_far {
            Some(so_far) => format!("{so_far} {line}"),
            None => line.to_owned(),
        };
        match line.trim_end().strip_suffix('\\') {
            Some(begun) => pending = Some(begun.to_owned()),
            None => lines.push(line),
        }
    }
    lines.extend(pending);
    let bare = lines
        .into_iter()
        .map(|line| line.split('#').next().unwrap_or_default().trim().to_owned());
    Ok(bare.collect())
}

/// The names ahead of the first colon outside of brackets, and the filter behind it.
fn split_names(line: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    let at = line.find(|c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        c == ':' && depth == 0
    })?;
    Some((&line[..at], &line[at + 1..]))
}

/// Splits at a separator outside of brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|c| {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        c == separator && depth == 0
    });
    parts.map(str::trim).collect()
}

fn read_line(
    line: &Line,
    source: &mut Source,
    calls: &mut BTreeMap<&'static str, [Option<Condition>; 2]>,
) {
    let inner = line
        .names
        .strip_prefix('{')
        .map(|names| names.trim_end().trim_end_matches('}'));
    for name in split(inner.unwrap_or(&line.names), ',') {
        let (name, arches) = match name.split_once('[') {
            Some((name, conditions)) => (name.trim(), only_on(conditions)),
            None => (name, Some([true; 2])),
        };
        // Conditions that nobody here knows: the line counts if it denies.
        let (arches, known) = (arches.unwrap_or([true; 2]), arches.is_some());
        for arch in Arch::ALL.into_iter().filter(|arch| arches[arch.index()]) {
            let call = match name.parse::<u32>() {
                Ok(number) => syscalls::by_number(arch, number),
                Err(_) => syscalls::find(name),
            };
            let Some(call) = call else {
                source.note(name, "no such call on x86_64 or aarch64");
                continue;
            };
            let mut allowed = read_filter(call, &line.filter, source);
            if !known {
                source.note(
                    name,
                    "a condition in square brackets that is not known here",
                );
                allowed = Condition::never();
            }
            let own = &mut calls.entry(call.name).or_default()[arch.index()];
            *own = Some(match own.take() {
                // Of two lines, what both allow.
                Some(before) => before.and(&allowed).unwrap_or_default(),
                None => allowed,
            });
        }
        if !arches.contains(&true) {
            source.note(name, "only for other architectures");
        }
    }
}

/// `arch=x86_64,arm]`: which architectures a line is for; `None` for another condition.
fn only_on(conditions: &str) -> Option<[bool; 2]> {
    let list = conditions.trim().strip_suffix(']')?.trim();
    let list = list.strip_prefix("arch")?.trim_start().strip_prefix('=')?;
    let names: Vec<_> = list.split(',').map(str::trim).collect();
    Some(ARCHES.map(|own| names.iter().any(|name| own.contains(name))))
}

/// Reads the condition under which a filter allows a call.
fn read_filter(call: &'static Syscall, filter: &str, source: &mut Source) -> Condition {
    let default = if source.allows_rest {
        Condition::always()
    } else {
        Condition::never()
    };
    if let Some(action) = action_of(filter) {
        note_others(call, filter, source);
        if let Action::Errno(number) = action {
            source.answer(call.name, number);
        }
        return match action {
            Action::Allow => Condition::always(),
            _ => Condition::never(),
        };
    }
    let block = filter
        .strip_prefix('{')
        .map(|inner| inner.trim_end().trim_end_matches('}'));
    let Some(block) = block else {
        return match filter.split_once(';') {
            None => alone(call, filter, &default, source),
            Some((expression, action)) if action_of(action.trim()) == Some(Action::Allow) => {
                alone(call, expression.trim(), &default, source)
            }
            Some(_) => {
                source.note(
                    format!("{}: {filter}", call.name),
                    "minijail allows what meets the expression, and its compiler denies that; nothing is \
                     allowed",
                );
                Condition::never()
            }
        };
    };
    // The first that is met counts.
    let mut allowed = Condition::never();
    let mut before = Condition::always();
    for part in split(block, ',') {
        let (expression, action) = part.split_once(';').unwrap_or((part, "allow"));
        let (met, action) = match action_of(part) {
            Some(action) => (Ok(Condition::always()), Some(action)),
            None => (
                expression_of(call, expression.trim()),
                action_of(action.trim()),
            ),
        };
        let shown = format!("{}: {part}", call.name);
        match (met, action) {
            (Ok(met), Some(Action::Allow)) => {
                allowed.or(met.and(&before).unwrap_or_default());
                before = before.without(&met).unwrap_or_default();
            }
            (Ok(met), Some(action)) => {
                match action {
                    Action::Errno(number) if met.is_always() && allowed.is_never() => {
                        source.answer(call.name, number);
                    }
                    Action::Errno(_) => source.note(
                        shown,
                        "an error number with a condition; the call is denied then",
                    ),
                    _ => {}
                }
                before = before.without(&met).unwrap_or_default();
            }
            (Err(reason), Some(Action::Allow)) => source.note(shown, reason),
            // The call is denied, whatever it is about, and the text behind it can't be understood from here.
            (_, _) => {
                source.note(
                    shown,
                    "not understood; what stands behind it isn't allowed either",
                );
                return allowed;
            }
        }
    }
    allowed.or(before.and(&default).unwrap_or_default());
    allowed
}

/// An expression outside of a block: what meets it is allowed.
fn alone(
    call: &'static Syscall,
    expression: &str,
    default: &Condition,
    source: &mut Source,
) -> Condition {
    match expression_of(call, expression) {
        Ok(mut met) => {
            met.or(default.clone());
            met
        }
        Err(reason) => {
            source.note(format!("{}: {expression}", call.name), reason);
            Condition::never()
        }
    }
}

fn note_others(call: &Syscall, filter: &str, source: &mut Source) {
    if ["trace", "user-notify"].contains(&filter) {
        source.note(
            format!("{}: {filter}", call.name),
            "another process decides about it; the call is denied",
        );
    }
}

fn action_of(text: &str) -> Option<Action> {
    if let Some(number) = text.strip_prefix("return")
        && number.starts_with(char::is_whitespace)
    {
        let number = number.trim();
        let by_name = names::errno(number).map(u64::from);
        return Some(Action::Errno(by_name.or_else(|| integer(number))?));
    }
    match text {
        "1" | "allow" | "log" => Some(Action::Allow),
        "kill" | "kill-process" | "kill-thread" | "trap" | "trace" | "user-notify" => {
            Some(Action::Deny)
        }
        _ => None,
    }
}

/// Alternatives, each of tests that must all hold.
fn expression_of(call: &'static Syscall, text: &str) -> Result<Condition, String> {
    let mut condition = Condition::never();
    for alternative in text.split("||") {
        let tests = alternative
            .split("&&")
            .map(|atom| atom_of(call, atom.trim()));
        condition.or(Condition::all(tests.collect::<Result<_, _>>()?));
    }
    match condition.0.len() {
        0..=64 => Ok(condition),
        _ => Err("more alternatives than a policy has".to_owned()),
    }
}

/// `arg1 == VALUE`.
fn atom_of(call: &'static Syscall, text: &str) -> Result<Test, String> {
    let bad = || format!("`{text}` is no test such as `arg0 == 1`");
    let rest = text.strip_prefix("arg").ok_or_else(bad)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let arg: usize = rest[..end].parse().map_err(|_| bad())?;
    if arg >= call.args.len() {
        return Err(format!("`{}` has no argument {arg}", call.name));
    }
    let rest = rest[end..].trim_start();
    let operators = ["==", "!=", "<=", ">=", "<", ">", "&", "in"];
    let op = operators
        .into_iter()
        .find(|op| rest.starts_with(op))
        .ok_or_else(bad)?;
    let written = rest[op.len()..].trim();
    let value = value_of(written)?;
    let inverted = value.map(|value| !value);
    let flags = spelled(written);
    let test = |op, mask, value, spelled| Test {
        arg,
        op,
        mask,
        value,
        spelled,
    };
    let whole = [u64::MAX; 2];
    let next = || match value.contains(&u64::MAX) {
        true => Err("it is true of every value, or of none".to_owned()),
        false => Ok(value.map(|value| value + 1)),
    };
    Ok(match op {
        "==" => test(
            Op::Same,
            whole,
            value,
            flags.map(|flags| format!("== {flags}")),
        ),
        "!=" => test(
            Op::Other,
            whole,
            value,
            flags.map(|flags| format!("!= {flags}")),
        ),
        "<" => test(Op::Below, whole, value, None),
        ">=" => test(Op::AtLeast, whole, value, None),
        "<=" => test(Op::Below, whole, next()?, None),
        ">" => test(Op::AtLeast, whole, next()?, None),
        // Any of these.
        "&" => test(
            Op::Other,
            value,
            [0; 2],
            flags.map(|flags| format!("& {flags} != 0")),
        ),
        // None but these.
        _ => {
            let words = match written.strip_prefix('~').map(spelled) {
                Some(without) => without.map(|flags| format!("lacks {flags}")),
                None => flags.map(|flags| format!("only {flags}")),
            };
            test(Op::Same, inverted, [0; 2], words)
        }
    })
}

/// A constant expression: numbers and names, joined by `|`, each perhaps in brackets or behind `~`.
fn value_of(text: &str) -> Result<[u64; 2], String> {
    let parts = split(text, '|');
    let mut value = [0; 2];
    for part in &parts {
        let one = match part.strip_prefix('~') {
            Some(_) if parts.len() > 1 => {
                return Err(format!(
                    "whether `~` in `{text}` is about all of it is not said"
                ));
            }
            Some(inner) => value_of(inner.trim())?.map(|value| !value),
            None => match part
                .strip_prefix('(')
                .and_then(|inner| inner.strip_suffix(')'))
            {
                Some(inner) => value_of(inner)?,
                None => constant(part)?,
            },
        };
        value = [value[0] | one[0], value[1] | one[1]];
    }
    Ok(value)
}

fn constant(text: &str) -> Result<[u64; 2], String> {
    if let Some(number) = integer(text) {
        return Ok([number; 2]);
    }
    let value = Arch::ALL.map(|arch| constants::value(text, arch));
    match value {
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err(format!("`{text}`: no such constant is known here")),
    }
}

/// A number of C: octal behind a zero.
fn integer(text: &str) -> Option<u64> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let lower = text.to_ascii_lowercase();
    let number = if let Some(digits) = lower.strip_prefix("0x") {
        u64::from_str_radix(digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        u64::from_str_radix(digits, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        u64::from_str_radix(&lower, 8)
    } else {
        lower.parse()
    };
    let number = number.ok().filter(|_| !text.starts_with('+'))?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// Flags in the words of a policy, if nothing in them has to be worked out.
fn spelled(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text
        .strip_prefix('(')
        .and_then(|inner| inner.strip_suffix(')'))
        .unwrap_or(text);
    let mut flags = Vec::new();
    for part in text.split('|').map(str::trim) {
        match integer(part) {
            Some(number) => flags.push(format!("{number:#x}")),
            None if part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !part.is_empty() =>
            {
                flags.push(part.to_owned());
            }
            None => return None,
        }
    }
    Some(flags.join("|"))
}
