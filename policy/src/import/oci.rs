//! A seccomp profile of the Open Container Initiative's runtime specification, as container engines
//! extend it by `includes` and `excludes`; a runtime's `config.json`, which has one in it; and the
//! profiles of the security-profiles-operator, which are the same in YAML.
//!
//! A rule is read as runc reads it. If rules for one call exclude each other, the one that counts is left to
//! the runtime, so the denial counts here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::logic::{Condition, Op, Test};
use super::source::Source;
use crate::Arch;
use crate::syscalls::{self, Syscall};

/// The least kernel that policies are for: what a rule says of older ones holds.
const LEAST_KERNEL: (u64, u64) = (5, 11);

/// The engines' names of the architectures.
const ARCHES: [&[&str]; 2] = [&["amd64", "x86_64"], &["arm64", "aarch64"]];

pub(super) fn read(text: &str, source: &mut Source) -> Result<(), String> {
    let value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let value = lowered(value)?;
    if let Some(profile) = value.pointer("/linux/seccomp") {
        container(&value, source);
        return read_profile(profile, source);
    }
    if value.get("ociversion").is_some() {
        return Err(
            "this container has no seccomp profile (`linux.seccomp`), so it allows every call"
                .to_owned(),
        );
    }
    read_profile(&value, source)
}

/// The documents of a YAML file: the profile among them, or the one of a name.
pub(super) fn read_profiles(
    documents: Vec<Value>,
    name: Option<&str>,
    source: &mut Source,
) -> Result<(), String> {
    let mut profiles = Vec::new();
    for document in documents {
        let document = lowered(document)?;
        match document["kind"].as_str() {
            Some("SeccompProfile") => profiles.push(document),
            kind => source.note(
                kind.unwrap_or("a document without a kind"),
                "no SeccompProfile",
            ),
        }
    }
    let own = |profile: &Value| {
        profile["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let names: Vec<_> = profiles.iter().map(own).collect();
    let profile = match (name, profiles.as_slice()) {
        (None, [profile]) => profile,
        (Some(name), profiles) if names.iter().any(|known| known == name) => {
            let found = profiles.iter().find(|profile| own(profile) == name);
            found.ok_or("no such profile")?
        }
        (_, []) => return Err("no document of kind SeccompProfile".to_owned()),
        (_, _) => {
            return Err(format!(
                "several profiles, of which one is to be named: {}",
                names.join(", ")
            ));
        }
    };
    let spec = &profile["spec"];
    if let Some(base) = spec["baseprofilename"].as_str() {
        source.note(
            format!("baseProfileName: {base}"),
            "the profile that it builds on isn't read: what that one allows is missing here, and what it \
             denies may be denied besides",
        );
    }
    read_profile(spec, source)
}

/// Keys in lower case, since engines don't tell cases apart.
fn lowered(value: Value) -> Result<Value, String> {
    Ok(match value {
        Value::Object(map) => {
            let mut lower = serde_json::Map::new();
            for (key, value) in map {
                let key = key.to_lowercase();
                if lower.insert(key.clone(), lowered(value)?).is_some() {
                    return Err(format!("the key `{key}` stands twice in one object"));
                }
            }
            Value::Object(lower)
        }
        Value::Array(values) => {
            Value::Array(values.into_iter().map(lowered).collect::<Result<_, _>>()?)
        }
        other => other,
    })
}

/// The result of a call.
enum Action {
    Allow,
    /// The call doesn't happen; it may have an error number.
    Deny(Option<u64>),
}

fn action(value: &Value, number: &Value, default_number: u64) -> Option<Action> {
    Some(match value.as_str()? {
        "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Deny(Some(number.as_u64().unwrap_or(default_number))),
        // Of a call that somebody else decides about, nobody here knows what becomes.
        _ => Action::Deny(None),
    })
}

/// The rules about a call on one architecture.
#[derive(Clone, Default)]
struct Rules {
    allowed: Condition,
    denied: Condition,
}

fn read_profile(profile: &Value, source: &mut Source) -> Result<(), String> {
    let Some(name) = profile["defaultaction"].as_str() else {
        return Err("not a seccomp profile: it has no `defaultAction`".to_owned());
    };
    source
        .remarks
        .push("Rules for those who have a capability don't hold: the child has none.".to_owned());
    let default_number = profile["defaulterrnoret"].as_u64().unwrap_or(1);
    let default = action(&profile["defaultaction"], &Value::Null, default_number);
    match default {
        Some(Action::Allow) => {
            source.allows_rest = true;
            source.note(
                format!("defaultAction {name}"),
                "a list of what is forbidden says nothing of what is needed; what it forbids is denied above",
            );
        }
        Some(Action::Deny(Some(number))) => {
            source.answer_rest(number);
            source.remarks.push(format!(
                "By defaultAction {name}, what isn't allowed fails with an error number. Say on_violation = \
                 \"kill\" to be told what it was."
            ));
        }
        _ => {}
    }
    let mut rules: BTreeMap<&'static str, [Rules; 2]> = BTreeMap::new();
    for rule in profile["syscalls"].as_array().into_iter().flatten() {
        read_rule(rule, source, &mut rules);
    }
    for (name, rules) in rules {
        let Some(call) = syscalls::find(name) else {
            continue;
        };
        let allowed = rules.map(|rules| {
            let allowed = match source.allows_rest {
                true => Condition::always(),
                false => rules.allowed,
            };
            allowed.without(&rules.denied).unwrap_or_default()
        });
        source.set(call, allowed);
    }
    Ok(())
}

fn read_rule(rule: &Value, source: &mut Source, rules: &mut BTreeMap<&'static str, [Rules; 2]>) {
    let names = rule["names"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(rule.get("name"));
    let names: Vec<_> = names.filter_map(Value::as_str).collect();
    let shown = rule["action"].as_str().unwrap_or("no action");
    let action = action(&rule["action"], &rule["errnoret"], 1);
    let force = Arch::ALL.map(|arch| in_force(rule, arch));
    for name in names {
        let Some(call) = syscalls::find(name) else {
            source.note(name, "no such call on x86_64 or aarch64");
            continue;
        };
        let condition = condition(call, &rule["args"]);
        let of_call = rules.entry(call.name).or_default();
        for arch in Arch::ALL {
            let own = &mut of_call[arch.index()];
            match (&action, &force[arch.index()]) {
                (Some(Action::Allow), Force::Holds) => match &condition {
                    Ok(condition) => own.allowed.or(condition.clone()),
                    Err(reason) => source.note(name, reason),
                },
                (Some(Action::Allow), Force::Not(reason) | Force::Perhaps(reason)) => {
                    if call.number(arch).is_some() {
                        source.note(format!("{name} on {arch}"), *reason);
                    }
                }
                (_, Force::Not(_)) => {}
                (_, Force::Holds | Force::Perhaps(_)) => {
                    // A condition that can't be read denies everything.
                    let denied = condition.clone().unwrap_or_else(|_| Condition::always());
                    let is_always = denied.is_always();
                    own.denied.or(denied);
                    match action {
                        Some(Action::Deny(Some(number))) if is_always => {
                            source.answer(name, number)
                        }
                        Some(Action::Deny(Some(number))) => source.note(
                            format!("{name}: error number {number} with a condition"),
                            "the call is denied then",
                        ),
                        _ if shown.starts_with("SCMP_ACT_KILL") || shown == "SCMP_ACT_TRAP" => {}
                        _ => source.note(
                            name,
                            format!("{shown} has no counterpart; the call is denied"),
                        ),
                    }
                }
            }
        }
    }
}

/// Whether a rule holds for a child without capabilities.
#[derive(Clone, Copy)]
enum Force {
    Holds,
    Not(&'static str),
    /// It depends on the kernel.
    Perhaps(&'static str),
}

fn in_force(rule: &Value, arch: Arch) -> Force {
    let list = |path: &str| {
        rule.pointer(path)
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty())
    };
    let has = |list: &Vec<Value>| {
        let own = ARCHES[arch.index()];
        list.iter()
            .any(|name| name.as_str().is_some_and(|name| own.contains(&name)))
    };
    if list("/excludes/arches").is_some_and(has)
        || list("/includes/arches").is_some_and(|list| !has(list))
    {
        return Force::Not("only for other architectures");
    }
    if list("/includes/caps").is_some() {
        return Force::Not("only for those who have a capability");
    }
    let since = |path: &str| {
        rule.pointer(path)
            .map(|value| kernel(value).is_some_and(|since| since <= LEAST_KERNEL))
    };
    match (since("/includes/minkernel"), since("/excludes/minkernel")) {
        (_, Some(true)) => Force::Not("only for older kernels"),
        (Some(false), _) => Force::Perhaps("only for newer kernels"),
        (_, Some(false)) => Force::Perhaps("only for older kernels"),
        _ => Force::Holds,
    }
}

fn kernel(value: &Value) -> Option<(u64, u64)> {
    let (major, minor) = value.as_str()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The arguments that a rule is about.
fn condition(call: &Syscall, args: &Value) -> Result<Condition, String> {
    let args = match args {
        Value::Null => return Ok(Condition::always()),
        Value::Array(args) if args.is_empty() => return Ok(Condition::always()),
        Value::Array(args) => args,
        _ => return Err(format!("the arguments of {} are no list", call.name)),
    };
    let tests = args.iter().map(test).collect::<Result<Vec<_>, _>>()?;
    let repeated = tests
        .iter()
        .enumerate()
        .any(|(at, (test, _))| tests[..at].iter().any(|(before, _)| before.arg == test.arg));
    let mut condition = match repeated {
        true => Condition::never(),
        false => Condition::always(),
    };
    for (test, constant) in tests {
        let one = match constant {
            Some(true) => Condition::always(),
            Some(false) => Condition::never(),
            None => Condition::all(vec![test]),
        };
        // Two tests of one argument make every test an alternative.
        match repeated {
            true => condition.or(one),
            false => condition = condition.and(&one).unwrap_or_default(),
        }
    }
    Ok(condition)
}

/// A test, and whether it is always or never true.
fn test(value: &Value) -> Result<(Test, Option<bool>), String> {
    let arg = value["index"]
        .as_u64()
        .filter(|index| *index < 6)
        .ok_or("an argument without a number")?;
    let arg = usize::try_from(arg).map_err(|_| "an argument without a number")?;
    let number = value["value"].as_u64().ok_or("a value that is no number")?;
    let second = match &value["valuetwo"] {
        Value::Null => 0,
        second => second.as_u64().ok_or("a second value that is no number")?,
    };
    let plain = |op, number| (Test::new(arg, op, u64::MAX, number), None);
    Ok(match value["op"].as_str().unwrap_or_default() {
        "SCMP_CMP_EQ" => plain(Op::Same, number),
        "SCMP_CMP_NE" => plain(Op::Other, number),
        "SCMP_CMP_LT" => plain(Op::Below, number),
        "SCMP_CMP_GE" => plain(Op::AtLeast, number),
        "SCMP_CMP_LE" => match number.checked_add(1) {
            Some(next) => plain(Op::Below, next),
            None => (Test::is(arg, 0), Some(true)),
        },
        "SCMP_CMP_GT" => match number.checked_add(1) {
            Some(next) => plain(Op::AtLeast, next),
            None => (Test::is(arg, 0), Some(false)),
        },
        "SCMP_CMP_MASKED_EQ" => (Test::new(arg, Op::Same, number, second), None),
        other => return Err(format!("`{other}` is no comparison")),
    })
}

/// Reads the settings of a container besides its calls.
fn container(config: &Value, source: &mut Source) {
    let mut known = BTreeMap::new();
    for limit in config
        .pointer("/process/rlimits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = limit["type"].as_str().unwrap_or_default();
        let key = match name {
            "RLIMIT_DATA" => "memory",
            "RLIMIT_AS" => "address_space",
            "RLIMIT_FSIZE" => "file_size",
            "RLIMIT_CORE" => "core",
            "RLIMIT_MEMLOCK" => "locked_memory",
            "RLIMIT_STACK" => "stack",
            "RLIMIT_NOFILE" => "open_files",
            "RLIMIT_CPU" => "cpu_time",
            _ => {
                source.note(name, "a limit that has no counterpart here");
                continue;
            }
        };
        match limit["hard"].as_u64().filter(|hard| *hard < 1 << 60) {
            Some(hard) => {
                let text = match key {
                    "open_files" => hard.min(1 << 20).to_string(),
                    "cpu_time" => format!("\"{hard}s\""),
                    _ => format!("\"{hard}B\""),
                };
                source.limit(key, &mut known, hard, text);
            }
            None => source.note(name, "no limit; the one that a policy has by itself stays"),
        }
    }
    if let Some(memory) = config
        .pointer("/linux/resources/memory/limit")
        .and_then(Value::as_u64)
    {
        source.limit("memory", &mut known, memory, format!("\"{memory}B\""));
    }
    for (path, reason) in [
        (
            "/mounts",
            "paths of a container lead to other files than the machine's: name those that are needed",
        ),
        (
            "/process/capabilities",
            "no capability stays, unless `[capabilities] keep` gives a reason",
        ),
        ("/process/env", "to set variables, use `[environment] set`"),
        ("/process/user", "who the child is, `[process] user` says"),
        ("/linux/namespaces", "it has no counterpart here"),
        ("/linux/maskedpaths", "what isn't granted isn't there"),
        ("/linux/readonlypaths", "what isn't granted isn't there"),
        ("/linux/devices", "it has no counterpart here"),
        ("/hooks", "it has no counterpart here"),
    ] {
        if config.pointer(path).is_some() {
            source.note(path.trim_start_matches('/').replace('/', "."), reason);
        }
    }
}
