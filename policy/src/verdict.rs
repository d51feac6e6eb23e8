//! The verdict on every call: denial first, then allowance, then soft answers, then violation.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::bpf::compile::Verdict;
use crate::bpf::{Action, TRAP_EMULATE, TRAP_VIOLATION};
use crate::file::OnViolation;
use crate::policy::Policy;
use crate::syscalls::Syscall;
use crate::syscalls::groups::{KILLED, NEVER, Soft};

impl Policy {
    /// Returns the result of a call.
    pub(crate) fn verdict(&self, call: &Syscall) -> Verdict {
        let violation = self.verdict_of_nothing(call);
        let Some(rules) = self.calls.get(call.name) else {
            return Verdict {
                cases: Vec::new(),
                rest: violation,
            };
        };
        if self.is_denied(call.name) {
            return Verdict {
                cases: Vec::new(),
                rest: violation,
            };
        }
        let denied = rules.deny.iter().filter_map(|deny| deny.condition.clone());
        let mut cases: Vec<_> = denied.map(|condition| (condition, violation)).collect();
        if self
            .grants(call.name, rules)
            .any(|grant| grant.condition.is_none())
        {
            return Verdict {
                cases,
                rest: Action::Allow,
            };
        }
        for grant in self.grants(call.name, rules) {
            cases.extend(
                grant
                    .condition
                    .clone()
                    .map(|condition| (condition, Action::Allow)),
            );
        }
        for (soft, grant) in &rules.soft {
            cases.extend(
                grant
                    .condition
                    .clone()
                    .map(|condition| (condition, answer(*soft))),
            );
        }
        let rest = rules
            .soft
            .iter()
            .find(|(_, grant)| grant.condition.is_none());
        Verdict {
            cases,
            rest: rest.map_or(violation, |(soft, _)| answer(*soft)),
        }
    }

    /// Returns the result of a call that nothing else answers.
    pub(crate) fn verdict_of_nothing(&self, call: &Syscall) -> Action {
        static UNMISTAKABLE: LazyLock<BTreeSet<&str>> =
            LazyLock::new(|| NEVER.iter().chain(KILLED).copied().collect());
        let unmistakable = UNMISTAKABLE.contains(call.name);
        match self.on_violation.value {
            OnViolation::Errno(number) => Action::Errno(number),
            OnViolation::KillSilent => Action::KillProcess,
            OnViolation::Kill | OnViolation::Trap if unmistakable => Action::KillProcess,
            OnViolation::Kill | OnViolation::Trap => Action::Trap(TRAP_VIOLATION),
        }
    }
}

pub(crate) fn answer(soft: Soft) -> Action {
    match soft {
        Soft::Errno(number) => Action::Errno(number),
        Soft::Emulate => Action::Trap(TRAP_EMULATE),
    }
}
