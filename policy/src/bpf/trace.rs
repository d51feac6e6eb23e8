//! Filters that tell of the calls that they answer with an error number.

use super::{ARCHITECTURE, Action, NUMBER, Program, interpret, op, sock_filter};
use crate::Arch;
use crate::syscalls;

/// The value that [`Action::Trap`] carries for a call that the handler answers with an error number: this
/// bit, and the number.
pub const TRAP_TRACED: u16 = 0x4000;

/// A call that C libraries make while they block all signals, so that no handler can answer it. The kernel kills
/// a process whose SIGSYS is blocked.
const BLOCKED: &str = "clone3";

impl Action {
    /// Returns the error number that the handler answers a traced call with.
    pub fn traced_errno(self) -> Option<u16> {
        match self {
            Self::Trap(data) if data & TRAP_TRACED != 0 => Some(data & !TRAP_TRACED),
            _ => None,
        }
    }
}

impl Program {
    /// Returns a filter that answers every call as this one does, except that a call that fails with an error
    /// number reaches the handler of SIGSYS first, as [`TRAP_TRACED`].
    ///
    /// `clone3` is answered by the kernel as before. `None` if the filter would be longer than the kernel takes.
    pub fn traced(&self) -> Option<Self> {
        let mut code = self.answer_to_blocked();
        let ahead = u16::try_from(code.len()).ok()?;
        code.extend(self.code.iter().map(|instruction| {
            match (instruction.code, Action::from_return(instruction.k)) {
                (op::RETURN, Some(Action::Errno(number))) if number & TRAP_TRACED == 0 => {
                    sock_filter {
                        k: Action::Trap(TRAP_TRACED | number).to_return(),
                        ..instruction.clone()
                    }
                }
                _ => instruction.clone(),
            }
        }));
        let own_pid = self.own_pid.iter().map(|at| at.checked_add(ahead));
        let traced = Self {
            arch: self.arch,
            code,
            own_pid: own_pid.collect::<Option<_>>()?,
        };
        traced.is_sound().then_some(traced)
    }

    /// Returns instructions that answer [`BLOCKED`] as this filter does, if that is an error number.
    fn answer_to_blocked(&self) -> Vec<sock_filter> {
        let Some(number) = number_of(self.arch, BLOCKED) else {
            return Vec::new();
        };
        let call = interpret::Call::new(self.arch, number, [0; 6]);
        let answer = interpret::answer(&self.code, &call);
        let Action::Errno(_) = answer else {
            return Vec::new();
        };
        let instruction = |code, k, jf| sock_filter { code, jt: 0, jf, k };
        // Each test that fails jumps behind the answer.
        vec![
            instruction(op::LOAD, ARCHITECTURE, 0),
            instruction(op::EQUAL, self.arch.audit(), 3),
            instruction(op::LOAD, NUMBER, 0),
            instruction(op::EQUAL, number, 1),
            instruction(op::RETURN, answer.to_return(), 0),
        ]
    }
}

fn number_of(arch: Arch, name: &str) -> Option<u32> {
    syscalls::find(name).and_then(|call| call.number(arch))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Policy;

    fn programs() -> Vec<Program> {
        Policy::builtin_names()
            .flat_map(|name| {
                let compiled = Policy::builtin(name).unwrap().compile().unwrap();
                [Arch::X86_64, Arch::Aarch64].map(|arch| compiled.program(arch).cloned())
            })
            .flatten()
            .collect()
    }

    /// Asserts that a traced program answers a call as the untraced one does, apart from the report.
    #[track_caller]
    fn assert_same_but_told(program: &Program, traced: &Program, call: &interpret::Call) {
        let plain = interpret::answer(&program.code, call);
        let told = interpret::answer(&traced.code, call);
        let is_blocked = Some(call.number) == number_of(program.arch, BLOCKED);
        match plain {
            Action::Errno(number) if !(is_blocked && call.audit_arch == program.arch.audit()) => {
                assert_eq!(told.traced_errno(), Some(number), "{call:?}");
            }
            plain => assert_eq!(told, plain, "{call:?}"),
        }
    }

    #[test]
    fn only_answers_by_an_error_number_are_traced() {
        for program in programs() {
            let traced = program.traced().unwrap();
            for number in 0..600 {
                let call = interpret::Call::new(program.arch, number, [0; 6]);
                assert_same_but_told(&program, &traced, &call);
                let foreign = interpret::Call {
                    audit_arch: 7,
                    ..call
                };
                assert_same_but_told(&program, &traced, &foreign);
            }
        }
    }

    proptest! {
        #[test]
        fn arguments_decide_as_before(number in 0u32..500, args: [u64; 6], small in prop::array::uniform6(0u64..0x1000)) {
            thread_local! {
                static PROGRAMS: Vec<(Program, Program)> =
                    programs().into_iter().map(|program| (program.clone(), program.traced().unwrap())).collect();
            }
            PROGRAMS.with(|programs| {
                for (program, traced) in programs {
                    for args in [args, small] {
                        let call = interpret::Call::new(program.arch, number, args);
                        assert_same_but_told(program, traced, &call);
                    }
                }
            });
        }
    }

    #[test]
    fn the_own_process_id_is_still_found() {
        for program in programs() {
            let mut traced = program.traced().unwrap();
            traced.patch(7);
            let mut plain = program.clone();
            plain.patch(7);
            assert_eq!(traced.own_pid.len(), plain.own_pid.len());
            for (at, before) in traced.own_pid.iter().zip(&plain.own_pid) {
                let [now, then] = [
                    &traced.code[usize::from(*at)],
                    &plain.code[usize::from(*before)],
                ];
                assert_eq!((now.k, now), (7, then));
            }
        }
    }
}
