//! The kernel's part, in safe Rust: running a filter over a call.

use super::{ARCHITECTURE, ARGUMENTS, Action, NUMBER, op, sock_filter};
use crate::Arch;

/// A call as a filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The kernel's word for the interface that it came through.
    pub audit_arch: u32,
    /// Its number.
    pub number: u32,
    /// All six argument registers.
    pub args: [u64; 6],
}

impl Call {
    /// A call through an architecture's own interface.
    pub fn new(arch: Arch, number: u32, args: [u64; 6]) -> Self {
        Self {
            audit_arch: arch.audit(),
            number,
            args,
        }
    }

    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            NUMBER => Some(self.number),
            ARCHITECTURE => Some(self.audit_arch),
            // The instruction pointer, which none of these filters looks at.
            8 | 12 => Some(0),
            _ => {
                let at = offset.checked_sub(ARGUMENTS)?;
                let arg = self.args.get(usize::try_from(at / 8).ok()?)?;
                match at % 8 {
                    0 => Some(*arg as u32),
                    4 => Some((*arg >> 32) as u32),
                    _ => None,
                }
            }
        }
    }
}

/// The return value of a filter, or `None` for a program that the kernel wouldn't take.
pub fn run(code: &[sock_filter], call: &Call) -> Option<u32> {
    let mut at = 0usize;
    let mut loaded = 0;
    // Jumps go forward only, so this ends.
    while let Some(instruction) = code.get(at) {
        let sock_filter { code, jt, jf, k } = *instruction;
        at += 1;
        let truth = match code {
            op::LOAD => {
                loaded = call.word(k)?;
                continue;
            }
            op::AND => {
                loaded &= k;
                continue;
            }
            op::JUMP => {
                at = at.checked_add(usize::try_from(k).ok()?)?;
                continue;
            }
            op::RETURN => return Some(k),
            op::EQUAL => loaded == k,
            op::GREATER => loaded > k,
            op::AT_LEAST => loaded >= k,
            op::ANY_BIT => loaded & k != 0,
            _ => return None,
        };
        at += usize::from(if truth { jt } else { jf });
    }
    None
}

/// Returns the answer of a filter to a call. Code that can't be run kills, as in the kernel.
pub fn answer(code: &[sock_filter], call: &Call) -> Action {
    run(code, call)
        .and_then(Action::from_return)
        .unwrap_or(Action::KillProcess)
}
