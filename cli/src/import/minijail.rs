//! A policy of minijail's: `call: expression` a line.

use crossmist_policy::syscalls;

use super::draft::Draft;

pub(super) fn read(text: &str, draft: &mut Draft) {
    let joined = text.replace("\\\n", " ");
    for line in joined.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('@') {
            draft.leave(
                line,
                "other files and defaults are not read: import each file by itself",
            );
            continue;
        }
        let Some((names, expression)) = line.split_once(':') else {
            draft.leave(line, "not a line of minijail's");
            continue;
        };
        let names = names.trim().trim_start_matches('{').trim_end_matches('}');
        for name in names.split(',') {
            // Behind the name may stand for which architectures.
            let name = name.split('[').next().unwrap_or_default().trim();
            rule(name, expression.trim(), draft);
        }
    }
}

fn rule(name: &str, expression: &str, draft: &mut Draft) {
    let Some(call) = syscalls::find(name) else {
        return draft.leave(name, "no such call on x86_64 or aarch64");
    };
    let (expression, otherwise) = match expression.split_once(';') {
        Some((expression, otherwise)) => (expression.trim(), otherwise.trim()),
        None => (expression, ""),
    };
    if let Some(errno) = expression.strip_prefix("return") {
        return answer(name, errno.trim(), draft);
    }
    match expression {
        "1" | "allow" => return draft.allow(name),
        "kill" | "kill-process" | "kill-thread" | "trap" => return draft.deny(name),
        _ => {}
    }
    for alternative in expression.split("||") {
        let tests: Result<Vec<_>, String> = alternative
            .split("&&")
            .map(|test| translate(call, test.trim()))
            .collect();
        match tests {
            Ok(tests) => draft.allow_when(call, &tests.join(" && ")),
            Err(reason) => draft.leave(&format!("{name}: {}", alternative.trim()), &reason),
        }
    }
    if let Some(errno) = otherwise.strip_prefix("return") {
        answer(name, errno.trim(), draft);
    }
}

fn answer(name: &str, errno: &str, draft: &mut Draft) {
    let by_number = errno.parse().ok().and_then(crossmist_policy::errno_name);
    draft.answer(name, by_number.unwrap_or(errno));
}

/// One test in our words.
fn translate(call: &syscalls::Syscall, test: &str) -> Result<String, String> {
    let mut words = test.splitn(3, char::is_whitespace).map(str::trim);
    let (Some(argument), Some(op), Some(value)) = (words.next(), words.next(), words.next()) else {
        return Err("not a test such as `arg0 == 1`".to_owned());
    };
    let index = argument
        .strip_prefix("arg")
        .and_then(|digits| digits.parse::<usize>().ok());
    let (name, _) = index
        .and_then(|index| call.args.get(index))
        .ok_or("it has no such argument")?;
    let value = value.trim().trim_matches(['(', ')']).replace(' ', "");
    let inverted = value
        .strip_prefix('~')
        .map(|flags| flags.trim_matches(['(', ')']).to_owned());
    let is_one = !value.contains('|');
    Ok(match (op, inverted) {
        // No bit but these, and none of these.
        ("in", None) => format!("{name} only {value}"),
        ("in", Some(flags)) => format!("{name} lacks {flags}"),
        // Any of them, which is all of them if it is one.
        ("&", None) if is_one => format!("{name} has {value}"),
        ("==" | "!=" | "<" | "<=" | ">" | ">=", None) => format!("{name} {op} {}", number(&value)),
        _ => return Err(format!("`{op} {value}` has no counterpart here")),
    })
}

/// A constant as we write it: octal numbers of C's begin with a zero.
fn number(value: &str) -> String {
    let is_octal = value.len() > 1
        && value.starts_with('0')
        && value.bytes().all(|byte| byte.is_ascii_digit());
    match u64::from_str_radix(value, 8) {
        Ok(number) if is_octal => format!("{number:#x}"),
        _ => value.to_owned(),
    }
}
