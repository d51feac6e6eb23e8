//! Holding a policy against its own `[[expect]]` tables.

use crate::Arch;
use crate::bpf::interpret::{Call, answer};
use crate::bpf::{Action, Program, SAMPLE_PID, TRAP_EMULATE};
use crate::diagnostic::Code;
use crate::file::{Expectation, Outcome};
use crate::landlock::FsRights;
use crate::policy::Policy;
use crate::source::Problem;
use crate::syscalls::groups::Soft;

pub(crate) fn check(policy: &Policy, problems: &mut Vec<Problem>) {
    if policy.expectations.is_empty() {
        return;
    }
    let mut programs = policy.programs();
    for program in &mut programs {
        program.patch(SAMPLE_PID);
    }
    for expectation in &policy.expectations {
        match expectation {
            Expectation::Call {
                call,
                args,
                is,
                text,
            } => {
                for (program, args) in programs.iter().zip(args) {
                    let Some(number) = call.number(program.arch) else {
                        continue;
                    };
                    let action = outcome(program, number, *args);
                    if !matches(*is, action) {
                        let message = format!("on {} this is {}", program.arch, word(action));
                        problems.push(Problem::new(Code::ExpectationFailed, text.place, message));
                        break;
                    }
                }
            }
            Expectation::Path {
                path,
                write,
                allowed,
            } => {
                if policy.reaches(&path.value, *write) != *allowed {
                    let message = if *allowed {
                        "no rule allows this"
                    } else {
                        "a rule allows this"
                    };
                    problems.push(Problem::new(Code::ExpectationFailed, path.place, message));
                }
            }
            Expectation::Probe { .. } => {}
        }
    }
}

fn outcome(program: &Program, number: u32, args: [u64; 6]) -> Action {
    answer(&program.code, &Call::new(program.arch, number, args))
}

/// "violation" is any that ends the process; "killed" only what the kernel ends without a report.
fn matches(expected: Outcome, action: Action) -> bool {
    match (expected, action) {
        (Outcome::Allowed, Action::Allow) | (Outcome::Killed, Action::KillProcess) => true,
        (Outcome::Violation, Action::Trap(data)) => data != TRAP_EMULATE,
        (Outcome::Violation, Action::KillProcess) => true,
        (Outcome::Soft(Soft::Emulate), Action::Trap(data)) => data == TRAP_EMULATE,
        (Outcome::Soft(Soft::Errno(wanted)), Action::Errno(number)) => wanted == number,
        _ => false,
    }
}

fn word(action: Action) -> String {
    match action {
        Action::Allow => "allowed".to_owned(),
        Action::KillProcess => "killed".to_owned(),
        Action::Trap(TRAP_EMULATE) => "emulated".to_owned(),
        Action::Trap(_) => "a violation".to_owned(),
        Action::Errno(number) => match crate::names::errno_name(number) {
            Some(name) => format!("answered {name}"),
            None => format!("answered by error {number}"),
        },
    }
}

impl Policy {
    /// The filters, one for each architecture.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let program = |arch: Arch| {
            let mut verdicts: Vec<_> = crate::syscalls::all()
                .iter()
                .filter_map(|call| Some((call.number(arch)?, self.verdict(call))))
                .collect();
            verdicts.sort_by_key(|(number, _)| *number);
            crate::bpf::compile::compile(arch, &verdicts)
        };
        Arch::ALL.into_iter().map(program).collect()
    }

    fn reaches(&self, path: &str, write: bool) -> bool {
        let right = if write {
            FsRights::WRITE_FILE
        } else {
            FsRights::READ
        };
        self.filesystem_unconfined.is_some()
            || self.paths.iter().any(|grant| {
                let rest = path.strip_prefix(grant.path.value.trim_end_matches('/'));
                let beneath = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                beneath && grant.rights.contains(right)
            })
    }
}
