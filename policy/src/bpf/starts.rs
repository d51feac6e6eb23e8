//! Whether a filter lets anything start a process, read off the filter itself.

use std::collections::BTreeSet;

use super::{ARCHITECTURE, ARGUMENTS, Action, NUMBER, Program, op};
use crate::syscalls;

/// A `clone` with this flag makes a thread.
const CLONE_THREAD: u32 = 0x10000;

/// The known facts about the word that was loaded last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Known(u32),
    /// The lower half of the first argument, whole.
    First,
    Unknown,
}

impl Program {
    /// Whether a call that starts a process can be allowed, whatever it takes. A call that can't be ruled out
    /// counts as allowed.
    pub(crate) fn may_start_processes(&self) -> bool {
        ["clone", "clone3", "fork", "vfork"].iter().any(|name| {
            let number = syscalls::find(name).and_then(|call| call.number(self.arch));
            number.is_some_and(|number| self.may_allow(number, *name == "clone"))
        })
    }

    /// Follows every way that a call can take. With `flags_first`, ways on which the first argument
    /// is equal to the flags of a thread don't count.
    fn may_allow(&self, number: u32, flags_first: bool) -> bool {
        let mut ways = vec![(0usize, Word::Unknown)];
        let mut seen = BTreeSet::new();
        while let Some((at, word)) = ways.pop() {
            // Jumps go forward only and ways meet, so this ends soon.
            if !seen.insert((at, word)) {
                continue;
            }
            let Some(instruction) = self.code.get(at) else {
                return true;
            };
            let k = instruction.k;
            let next = at + 1;
            let is_true = |test: &dyn Fn(u32) -> bool| match word {
                Word::Known(value) => Some(test(value)),
                Word::First | Word::Unknown => None,
            };
            let truth = match instruction.code {
                op::LOAD => {
                    let word = match k {
                        NUMBER => Word::Known(number),
                        ARCHITECTURE => Word::Known(self.arch.audit()),
                        ARGUMENTS => Word::First,
                        _ => Word::Unknown,
                    };
                    ways.push((next, word));
                    continue;
                }
                op::AND => {
                    let word = match word {
                        Word::Known(value) => Word::Known(value & k),
                        Word::First | Word::Unknown => Word::Unknown,
                    };
                    ways.push((next, word));
                    continue;
                }
                op::JUMP => {
                    // Beyond the end if that doesn't fit.
                    let way = usize::try_from(k).unwrap_or(usize::MAX);
                    ways.push((next.saturating_add(way), word));
                    continue;
                }
                op::RETURN => match Action::from_return(k) {
                    Some(Action::Allow | Action::Notify) | None => return true,
                    Some(Action::KillProcess | Action::Trap(_) | Action::Errno(_)) => continue,
                },
                op::EQUAL => is_true(&|value| value == k),
                op::GREATER => is_true(&|value| value > k),
                op::AT_LEAST => is_true(&|value| value >= k),
                op::ANY_BIT => is_true(&|value| value & k != 0),
                _ => return true,
            };
            let is_thread = flags_first
                && word == Word::First
                && instruction.code == op::EQUAL
                && k & CLONE_THREAD != 0;
            if truth != Some(false) && !is_thread {
                ways.push((next + usize::from(instruction.jt), word));
            }
            if truth != Some(true) {
                ways.push((next + usize::from(instruction.jf), word));
            }
        }
        false
    }
}
