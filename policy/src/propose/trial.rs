//! Tries lines of policy: finds the result of a call in a policy to which they are added.

use super::{Denied, lines};
use crate::bpf::interpret::{Call, answer};
use crate::bpf::{Action, SAMPLE_PID};
use crate::compiled::Compiled;
use crate::kernel::Kernel;
use crate::landlock::FsRights;
use crate::library::{Library, Missing, Text};
use crate::namespaces::Wish;
use crate::policy::Policy;

/// Whether a policy with these lines besides lets the call happen: by its filter, its paths and ports,
/// its limits, and on the kernel that it runs on.
pub(super) fn allows(
    compiled: &Compiled,
    denied: &Denied<'_>,
    lines: &str,
    kernel: Option<&Kernel>,
) -> bool {
    let Some(policy) = extended(compiled, lines) else {
        return false;
    };
    outcome(&policy, denied) == Action::Allow
        && kernel.is_none_or(|kernel| policy.check_kernel(kernel).is_ok())
        && reaches_the_path(&policy, denied)
        && reaches_the_port(&policy, denied)
        && may_execute_memory(&policy, denied)
        && may_write(&policy, denied)
}

/// Whether a policy with these lines besides has the call fail with an error.
pub(super) fn answers(compiled: &Compiled, denied: &Denied<'_>, lines: &str) -> bool {
    let policy = extended(compiled, lines);
    policy.is_some_and(|policy| matches!(outcome(&policy, denied), Action::Errno(_)))
}

/// A library that knows one policy.
struct One(String);

const BASE: &str = "the-policy";

impl Library for One {
    fn fetch(&self, name: &str) -> Result<Text, Missing> {
        match name == BASE {
            true => Ok(Text {
                label: BASE.to_owned(),
                path: None,
                text: self.0.clone(),
            }),
            false => Err(Missing::NotFound(name.to_owned())),
        }
    }
}

/// A policy with these lines. Below it is one that has of the compiled policy what the lines depend on;
/// what else that one allows is no reason for them to fail, and what it denies was asked before.
fn extended(compiled: &Compiled, lines: &str) -> Option<Policy> {
    let own = |wish| match wish {
        Wish::Own => "none",
        _ => "shared",
    };
    let base = format!(
        "format = 1\n[limits]\nthreads = {}\nprocesses = {}\nfile_size = \"{}\"\n[process]\ndeny_write_execute = {}\n\
         [namespaces]\nnetwork = \"{}\"\n",
        compiled.limits.threads,
        compiled.limits.processes,
        compiled
            .limits
            .file_size
            .map_or_else(|| "none".to_owned(), |bytes| format!("{bytes}B")),
        compiled.process.deny_write_execute,
        own(compiled.namespaces.network),
    );
    let text = format!("format = 1\nextends = [\"{BASE}\"]\n{lines}\n");
    let policy = Policy::from_toml(&One(base), "tried", &text).ok()?;
    // Calls that only some functions may make do not count as allowed by the lines.
    Some(policy.without_descriptors())
}

fn outcome(policy: &Policy, denied: &Denied<'_>) -> Action {
    let Some((number, mut program)) = denied
        .call
        .number(denied.arch)
        .zip(policy.filter_of(denied.arch, denied.call))
    else {
        return Action::KillProcess;
    };
    program.patch(SAMPLE_PID);
    answer(&program.code, &Call::new(denied.arch, number, denied.args))
}

/// Whether Landlock lets the call do what it does at its path.
fn reaches_the_path(policy: &Policy, denied: &Denied<'_>) -> bool {
    lines::needed_at(denied).is_none_or(|(path, rights)| grants(policy, &path, rights))
}

/// Whether a policy grants these rights at a path.
pub(super) fn grants(policy: &Policy, path: &str, rights: FsRights) -> bool {
    let granted = policy.paths.iter().filter(|grant| {
        let rest = path.strip_prefix(grant.path.value.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let granted = granted.fold(FsRights::NONE, |sum, grant| sum.with(grant.rights));
    granted.contains(rights)
}

/// Whether there is a port that the call can lead to.
fn reaches_the_port(policy: &Policy, denied: &Denied<'_>) -> bool {
    match lines::port_key(denied) {
        Some(key) => policy.ports.iter().any(|port| port.used_for.key() == key),
        None => true,
    }
}

/// Whether the limit on files lets something be written.
fn may_write(policy: &Policy, denied: &Denied<'_>) -> bool {
    let writes = |(_, rights): (String, FsRights)| rights.bits() & FsRights::WRITE.bits() != 0;
    !lines::needed_at(denied).is_some_and(writes)
        || policy.values.number("limits", "file_size") != Some(0)
}

/// Whether PR_SET_MDWE lets the call make memory executable.
fn may_execute_memory(policy: &Policy, denied: &Denied<'_>) -> bool {
    !lines::is_denied_as_write_execute(denied)
        || !policy.values.is_strict("process", "deny_write_execute")
}
