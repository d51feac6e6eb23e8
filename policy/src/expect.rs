//! Checks a policy against its own `[[expect]]` tables.

use crate::Arch;
use crate::bpf::interpret::{Call, answer};
use crate::bpf::{Action, Program, SAMPLE_PID, TRAP_EMULATE};
use crate::diagnostic::Code;
use crate::file::{Expectation, Outcome};
use crate::landlock::FsRights;
use crate::policy::Policy;
use crate::source::{Location, Problem};
use crate::syscalls::Syscall;
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
                        let message = format!("on {} this is {action}", program.arch);
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

/// One `[[expect]]` of a policy, so that it can be tried.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The text as it is written: a call, a path, or the name of a probe.
    pub text: String,
    /// The expected result: `allowed`, `violation`, `killed`, `emulated`, `denied`, or the name of
    /// an error number.
    pub is: String,
    /// The place of the expectation.
    pub location: Location,
    /// The subject of the expectation.
    pub subject: Subject,
}

/// The subject of an expectation.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A call.
    Call {
        /// The call.
        call: &'static Syscall,
        /// Its arguments, for each architecture; see [`Subject::arguments`].
        arguments: [[u64; 6]; 2],
    },
    /// A path that is opened.
    Path {
        /// The path, which may contain variables.
        path: String,
        /// For writing; otherwise for reading.
        write: bool,
    },
    /// Something that takes a real child.
    Probe(String),
}

impl Subject {
    /// The arguments of a call on an architecture. The process's own id stands in for itself as
    /// [`SAMPLE_PID`].
    pub fn arguments(&self, arch: Arch) -> [u64; 6] {
        match self {
            Self::Call { arguments, .. } => arguments[arch.index()],
            _ => [0; 6],
        }
    }
}

impl Policy {
    /// Returns what the policy's own file expects of it. All expectations hold, except for probes,
    /// which have not been tried.
    pub fn expected(&self) -> Vec<Expected> {
        let one = |expectation: &Expectation| {
            let (text, is, subject) = match expectation {
                Expectation::Call {
                    call,
                    args,
                    is,
                    text,
                } => (
                    text,
                    *is,
                    Subject::Call {
                        call,
                        arguments: *args,
                    },
                ),
                Expectation::Path {
                    path,
                    write,
                    allowed,
                } => {
                    let is = if *allowed {
                        Outcome::Allowed
                    } else {
                        Outcome::Violation
                    };
                    (
                        path,
                        is,
                        Subject::Path {
                            path: path.value.clone(),
                            write: *write,
                        },
                    )
                }
                Expectation::Probe { name, is } => (name, *is, Subject::Probe(name.value.clone())),
            };
            let is = match (is, &subject) {
                (Outcome::Allowed, _) => "allowed",
                (Outcome::Violation, Subject::Path { .. }) => "denied",
                (Outcome::Violation, _) => "violation",
                (Outcome::Killed, _) => "killed",
                (Outcome::Soft(Soft::Emulate), _) => "emulated",
                (Outcome::Soft(Soft::Errno(number)), _) => {
                    crate::names::errno_name(number).unwrap_or("an error")
                }
            };
            Expected {
                text: text.value.clone(),
                is: is.to_owned(),
                location: self.sources.locate(text.place),
                subject,
            }
        };
        self.expectations.iter().map(one).collect()
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

impl Policy {
    /// The filters, one for each architecture.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let calls = crate::syscalls::all().iter();
        let verdicts: Vec<_> = calls.map(|call| (call, self.verdict(call))).collect();
        let program = |arch: Arch| {
            let numbered = verdicts
                .iter()
                .filter_map(|(call, verdict)| Some((call.number(arch)?, verdict)));
            let mut numbered: Vec<_> = numbered.collect();
            numbered.sort_by_key(|(number, _)| *number);
            crate::bpf::compile::compile(arch, &numbered)
        };
        Arch::ALL.into_iter().map(program).collect()
    }

    /// Returns a filter that decides this one call as the policy's own does. It takes a fraction of the time that
    /// compiling the policy takes. `None` if the architecture has no such call.
    pub fn filter_of(&self, arch: Arch, call: &Syscall) -> Option<Program> {
        let number = call.number(arch)?;
        let verdict = self.verdict(call);
        Some(crate::bpf::compile::compile(arch, &[(number, &verdict)]))
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
