//! Whether children tell of the calls that their policy answers with an error number.
//!
//! Such an answer is meant for code that can do without the call. When that code then does less than it should,
//! such as a renderer that finds no font, somebody wants to know why.

use std::sync::OnceLock;

use crossmist_policy::bpf::interpret::{self, Call};
use crossmist_policy::bpf::{Action, Program};
use crossmist_policy::{Arch, Compiled, OnViolation};

use crate::sys::privileges;
use crate::wire::DenialReport;

/// The environment variable that turns it on for every policy.
const VARIABLE: &str = "CROSSMIST_TRACE_DENIALS";

/// Returns whether a policy asks for it, or the environment does. A policy that leaves SIGSYS to the function has
/// no handler that could tell.
pub(super) fn is_on_for(policy: &Compiled) -> bool {
    policy.on_violation != OnViolation::Trap && (policy.process.trace_denials || is_on())
}

/// The filter of a child that tells, against which its reports are checked.
#[derive(Debug)]
pub(crate) struct Answers(Program);

impl Answers {
    /// Returns the filter of a policy's child, if the child tells. Its types say whether it can send a
    /// descriptor.
    pub(crate) fn of(policy: &Compiled, sends_descriptors: bool) -> Option<Self> {
        if !is_on_for(policy) {
            return None;
        }
        let mut program = policy
            .program_for(Arch::host()?, sends_descriptors)?
            .clone();
        // No process has this id. So a call that a child may only make about itself is one about another.
        program.patch(u32::MAX);
        Some(Self(program))
    }

    /// Returns whether the filter answers the call of a report with the report's error number. If it doesn't, the
    /// child has forged the report.
    pub(crate) fn include(&self, DenialReport { denial, .. }: &DenialReport) -> bool {
        let call = Call {
            audit_arch: denial.arch,
            number: denial.number,
            args: denial.arguments,
        };
        interpret::answer(&self.0.code, &call) == Action::Errno(denial.errno.into())
    }
}

/// Returns whether the variable is set to something other than `0`. Its value is the one at the first call of a
/// confined function.
///
/// In a program that has more rights than its user, it is off.
fn is_on() -> bool {
    static IS_ON: OnceLock<bool> = OnceLock::new();
    *IS_ON.get_or_init(|| {
        let value = std::env::var_os(VARIABLE).filter(|_| !privileges::is_privileged());
        value.is_some_and(|value| !value.is_empty() && value != "0")
    })
}

/// Returns what is said of a call that fails with an error number: "answered EACCES".
pub(crate) fn answer(errno: u8) -> impl std::fmt::Display {
    Action::Errno(errno.into())
}
