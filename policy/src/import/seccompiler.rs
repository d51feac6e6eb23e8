//! The JSON of the seccompiler crate, which Firecracker's filters are written in.
//!
//! A file holds filters by name. A call meets a filter if it meets all the tests of one of its rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::logic::{Condition, Op, Test};
use super::source::Source;
use crate::syscalls;

/// The result of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Deny,
    Errno(u64),
}

pub(super) fn read(text: &str, wanted: Option<&str>, source: &mut Source) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let filters = value
        .as_object()
        .ok_or("not an object of filters by name")?;
    let names: Vec<_> = filters.keys().map(String::as_str).collect();
    let filter = match (wanted, names.as_slice()) {
        (Some(name), _) => filters
            .get(name)
            .ok_or_else(|| format!("no filter `{name}`: the file has {}", names.join(", ")))?,
        (None, [name]) => &filters[*name],
        (None, []) => return Err("it has no filter".to_owned()),
        (None, _) => {
            return Err(format!(
                "several filters, of which one is to be named: {}",
                names.join(", ")
            ));
        }
    };
    let filter = object(
        filter,
        &[
            "default_action",
            "mismatch_action",
            "filter_action",
            "match_action",
            "filter",
        ],
    )?;
    let get = |old: &str, new: &str| {
        let value = filter.get(new).or_else(|| filter.get(old));
        action(value.ok_or_else(|| format!("a filter without `{new}`"))?)
    };
    let mismatch = get("default_action", "mismatch_action")?;
    let matched = get("filter_action", "match_action")?;
    let rules = filter
        .get("filter")
        .and_then(Value::as_array)
        .ok_or("a filter without rules")?;
    source.allows_rest = mismatch == Action::Allow;
    if source.allows_rest {
        source.note(
            "mismatch_action allow",
            "a list of what is forbidden says nothing of what is needed; what it forbids is denied above",
        );
    }
    if let Action::Errno(number) = mismatch {
        source.answer_rest(number);
    }
    // As in seccompiler, a rule without tests adds nothing to rules with tests.
    let mut calls: BTreeMap<&'static str, Option<Condition>> = BTreeMap::new();
    for rule in rules {
        let rule = object(rule, &["syscall", "args", "comment"])?;
        let name = rule
            .get("syscall")
            .and_then(Value::as_str)
            .ok_or("a rule without a call")?;
        let Some(call) = syscalls::find(name) else {
            source.note(name, "no such call on x86_64 or aarch64");
            continue;
        };
        let of_call = calls.entry(call.name).or_default();
        let Some(args) = rule.get("args") else {
            continue;
        };
        let args = args.as_array().filter(|args| !args.is_empty());
        let mut condition = Condition::always();
        for arg in args.ok_or("a rule with an empty list of tests")? {
            condition = condition.and(&test(arg)?).unwrap_or_default();
        }
        of_call.get_or_insert_default().or(condition);
    }
    for (name, met) in calls {
        let Some(call) = syscalls::find(name) else {
            continue;
        };
        let met = met.unwrap_or_else(Condition::always);
        let allowed = match (matched, mismatch) {
            (Action::Allow, Action::Allow) => Condition::always(),
            (Action::Allow, _) => met,
            (_, Action::Allow) => met.not().unwrap_or_default(),
            _ => Condition::never(),
        };
        if let Action::Errno(number) = matched {
            source.answer(name, number);
        }
        source.set(call, [allowed.clone(), allowed]);
    }
    Ok(())
}

/// An object that has no keys but these: seccompiler takes no others.
fn object<'v>(value: &'v Value, keys: &[&str]) -> Result<&'v Map<String, Value>, String> {
    let object = value
        .as_object()
        .ok_or("something else where an object belongs")?;
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(format!("`{key}`: no such key")),
        None => Ok(object),
    }
}

fn action(value: &Value) -> Result<Action, String> {
    if let Some(number) = value.get("errno") {
        return number
            .as_u64()
            .map(Action::Errno)
            .ok_or_else(|| "an error number that is none".to_owned());
    }
    match value.as_str() {
        Some("allow" | "log") => Ok(Action::Allow),
        Some("kill_process" | "kill_thread" | "trap") => Ok(Action::Deny),
        // Somebody else decides about it.
        _ if value.get("trace").is_some() => Ok(Action::Deny),
        _ => Err(format!("{value}: no such action")),
    }
}

fn test(value: &Value) -> Result<Condition, String> {
    let test = object(
        value,
        &["index", "type", "arg_type", "op", "val", "comment"],
    )?;
    let arg = test
        .get("index")
        .and_then(Value::as_u64)
        .filter(|index| *index < 6);
    let arg = arg
        .and_then(|arg| usize::try_from(arg).ok())
        .ok_or("an argument without a number")?;
    let wide = match test
        .get("type")
        .or_else(|| test.get("arg_type"))
        .and_then(Value::as_str)
    {
        Some("dword") => u64::from(u32::MAX),
        Some("qword") => u64::MAX,
        _ => return Err("an argument that is neither `dword` nor `qword`".to_owned()),
    };
    let number = test
        .get("val")
        .and_then(Value::as_u64)
        .ok_or("a value that is no number")?
        & wide;
    let op = test.get("op").ok_or("a test without a comparison")?;
    if let Some(mask) = op.get("masked_eq") {
        let mask = mask.as_u64().ok_or("a mask that is no number")? & wide;
        return Ok(Condition::all(vec![Test::new(
            arg,
            Op::Same,
            mask,
            number & mask,
        )]));
    }
    let one = |op, number| Condition::all(vec![Test::new(arg, op, wide, number)]);
    Ok(match op.as_str().unwrap_or_default() {
        "eq" => one(Op::Same, number),
        "ne" => one(Op::Other, number),
        "lt" => one(Op::Below, number),
        "ge" => one(Op::AtLeast, number),
        "le" if number == wide => Condition::always(),
        "le" => one(Op::Below, number + 1),
        "gt" if number == wide => Condition::never(),
        "gt" => one(Op::AtLeast, number + 1),
        other => return Err(format!("`{other}` is no comparison")),
    })
}
