//! The results of system calls under a policy, one by one.

use super::{Call, Clause};
use crate::Arch;
use crate::bpf::Action;
use crate::policy::Policy;
use crate::syscalls::{self, Syscall};

impl Policy {
    /// Returns the results of one call; `None` if it is a violation whatever its arguments.
    pub fn call(&self, call: &'static Syscall) -> Option<Call> {
        let verdict = self.verdict(call);
        let rules = self.calls.get(call.name);
        let mut clauses = Vec::new();
        let mut clause = |answer, grant: &crate::resolve::Grant| {
            let condition = grant
                .condition
                .as_ref()
                .map(|condition| condition.text.clone());
            let reason = grant.origin.place.and_then(|place| self.reason_at(place));
            let is_demanded = reason.is_some_and(|reason| reason.is_demanded);
            clauses.push(Clause {
                answer,
                condition,
                from: self.source_of(grant),
                why: reason.map(|reason| reason.text.clone()),
                is_dangerous: answer == Action::Allow && is_demanded,
            });
        };
        if let Some(rules) = rules {
            let violation = self.verdict_of_nothing(call);
            rules.deny.iter().for_each(|deny| clause(violation, deny));
            if !self.is_denied(call.name) {
                self.grants(call.name, rules)
                    .for_each(|grant| clause(Action::Allow, grant));
                // If it always happens, there is nothing to answer.
                let is_always = |grant: &crate::resolve::Grant| grant.condition.is_none();
                let answers = match self.grants(call.name, rules).any(is_always) {
                    true => &[][..],
                    false => &rules.soft,
                };
                for (soft, grant) in answers {
                    clause(crate::verdict::answer(*soft), grant);
                }
            }
        }
        let is_violation = matches!(verdict.rest, Action::KillProcess)
            || verdict.rest == Action::Trap(crate::bpf::TRAP_VIOLATION);
        match is_violation && clauses.is_empty() {
            true => None,
            false => Some(Call {
                name: call.name,
                otherwise: verdict.rest,
                clauses,
            }),
        }
    }
}

impl Call {
    /// Whether it is allowed always, sometimes, or never.
    pub fn allowed(&self) -> Option<bool> {
        let mut allowing = self
            .clauses
            .iter()
            .filter(|clause| clause.answer == Action::Allow);
        match self.otherwise == Action::Allow {
            true => Some(true),
            false => allowing.next().map(|_| false),
        }
    }

    /// Whether an architecture has the call at all.
    pub fn exists_on(&self, arch: Arch) -> bool {
        syscalls::find(self.name).is_some_and(|call| call.number(arch).is_some())
    }
}

/// A call as one writes it, such as `socket(AF_INET, SOCK_STREAM, 0)`, with its arguments on an
/// architecture; those that are left out are 0.
///
/// # Errors
///
/// A description of the part that can't be read.
pub fn parse_call(text: &str, arch: Arch) -> Result<(&'static Syscall, [u64; 6]), String> {
    let (call, args) = crate::file::parse_call(text)?;
    Ok((call, args[arch.index()]))
}

/// The same for a call whose path may be written out, such as `openat(AT_FDCWD, "/etc/passwd", O_RDONLY)`, with
/// the path.
///
/// # Errors
///
/// A description of the part that can't be read.
pub fn parse_call_with_path(
    text: &str,
    arch: Arch,
) -> Result<(&'static Syscall, [u64; 6], Option<String>), String> {
    let (call, args, path) = crate::file::call_with_path(text)?;
    Ok((call, args[arch.index()], path))
}
