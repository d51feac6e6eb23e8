//! A seccomp profile of the Open Container Initiative's runtime specification, as container engines
//! extend it by `includes` and `excludes`.

use crossmist_policy::syscalls::{self, Syscall};
use serde_json::Value;

use super::draft::Draft;

pub(super) fn read(text: &str, draft: &mut Draft) -> Result<(), String> {
    let profile: Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Some(default) = profile["defaultAction"].as_str() else {
        return Err("not a seccomp profile: it has no `defaultAction`".to_owned());
    };
    match default {
        "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => draft.leave(
            &format!("defaultAction {default}"),
            "a list of what is forbidden says nothing of what is needed; what it forbids is denied below",
        ),
        "SCMP_ACT_ERRNO" => draft.leave(
            &format!("defaultAction {default}"),
            "what isn't allowed is a violation here, which says what it was; on_violation = \"errno:EPERM\" answers instead",
        ),
        _ => {}
    }
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        let names = rule["names"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(rule.get("name"));
        let names: Vec<_> = names.filter_map(Value::as_str).collect();
        if let Some(reason) = not_for_us(rule) {
            names.iter().for_each(|name| draft.leave(name, &reason));
            continue;
        }
        let action = rule["action"].as_str().unwrap_or_default();
        let tests: Vec<_> = rule["args"].as_array().into_iter().flatten().collect();
        for name in names {
            match (action, syscalls::find(name)) {
                ("SCMP_ACT_ALLOW" | "SCMP_ACT_LOG", Some(call)) if !tests.is_empty() => {
                    match condition(call, &tests) {
                        Ok(condition) => draft.allow_when(call, &condition),
                        Err(reason) => draft.leave(name, &reason),
                    }
                }
                ("SCMP_ACT_ALLOW" | "SCMP_ACT_LOG", _) => draft.allow(name),
                ("SCMP_ACT_ERRNO", Some(_)) if tests.is_empty() => {
                    let number = rule["errnoRet"].as_u64().unwrap_or(1);
                    let errno = u16::try_from(number)
                        .ok()
                        .and_then(crossmist_policy::errno_name);
                    match errno {
                        Some(errno) => draft.answer(name, errno),
                        None => draft.leave(name, "an error number that nobody knows"),
                    }
                }
                (
                    "SCMP_ACT_KILL"
                    | "SCMP_ACT_KILL_PROCESS"
                    | "SCMP_ACT_KILL_THREAD"
                    | "SCMP_ACT_TRAP",
                    _,
                ) if tests.is_empty() => draft.deny(name),
                _ => draft.leave(name, &format!("{action} has no counterpart here")),
            }
        }
    }
    Ok(())
}

/// Why a rule doesn't hold for a child without capabilities on these architectures.
fn not_for_us(rule: &Value) -> Option<String> {
    let has = |path: &str| {
        rule.pointer(path)
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    if has("/includes/caps") {
        return Some("only for those who have a capability".to_owned());
    }
    let arches = rule.pointer("/includes/arches").and_then(Value::as_array)?;
    let ours = |arch: &Value| {
        ["amd64", "x86_64", "arm64", "aarch64"]
            .iter()
            .any(|own| arch.as_str() == Some(own))
    };
    (!arches.is_empty() && !arches.iter().any(ours))
        .then(|| "only for other architectures".to_owned())
}

/// Tests that must all hold.
fn condition(call: &Syscall, tests: &[&Value]) -> Result<String, String> {
    let mut parts = Vec::new();
    for test in tests {
        let index = test["index"]
            .as_u64()
            .and_then(|index| usize::try_from(index).ok());
        let argument = index.and_then(|index| call.args.get(index));
        let Some((argument, _)) = argument else {
            return Err("it has no such argument".to_owned());
        };
        let value = test["value"].as_u64().ok_or("a value that is no number")?;
        let second = test["valueTwo"].as_u64().unwrap_or(0);
        let op = test["op"].as_str().unwrap_or_default();
        parts.push(match op {
            "SCMP_CMP_EQ" => format!("{argument} == {value:#x}"),
            "SCMP_CMP_NE" => format!("{argument} != {value:#x}"),
            "SCMP_CMP_LT" => format!("{argument} < {value:#x}"),
            "SCMP_CMP_LE" => format!("{argument} <= {value:#x}"),
            "SCMP_CMP_GT" => format!("{argument} > {value:#x}"),
            "SCMP_CMP_GE" => format!("{argument} >= {value:#x}"),
            "SCMP_CMP_MASKED_EQ" => format!("{argument} & {value:#x} == {second:#x}"),
            other => return Err(format!("{other} has no counterpart here")),
        });
    }
    Ok(parts.join(" && "))
}
