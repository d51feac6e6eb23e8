//! The known state of a thread of another process: registers, by their numbers in DWARF, and a part of its stack.

use super::prologue::{PROLOGUE_BYTES, ReadCode};
use crate::sys::sigsys::REGISTERS;

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub(super) const COUNT: usize = 17;
    pub(super) const STACK_POINTER: u16 = 7;
    /// `r12` to `r15`, `rbp` and `rbx`, in the order of a report.
    pub(super) const SAVED_BY_CALLEES: [u16; 6] = [12, 13, 14, 15, 6, 3];
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub(super) const COUNT: usize = 32;
    pub(super) const STACK_POINTER: u16 = 31;
    /// `x19` to `x30`, in the order of a report.
    pub(super) const SAVED_BY_CALLEES: [u16; 12] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
}

/// The registers of a thread in one of its functions. Those that aren't known are `None`.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    values: [Option<u64>; numbers::COUNT],
    /// The address after the instruction that the function is at.
    pub(crate) address: u64,
    /// Whether they are no more than likely, because something that they follow from could not be checked.
    pub(super) is_guess: bool,
}

impl Registers {
    /// Returns those of a thread of which only these two are known.
    pub(crate) fn of_waiting(address: u64, stack_pointer: u64) -> Self {
        let mut registers = Self::none(address);
        registers.set(numbers::STACK_POINTER, Some(stack_pointer));
        registers
    }

    /// Returns those that a child has reported.
    pub(crate) fn of_report(reported: &[u64; REGISTERS]) -> Self {
        let (saved, others) = reported.split_at(numbers::SAVED_BY_CALLEES.len());
        let [stack_pointer, address, ..] = others else {
            return Self::none(0);
        };
        let mut registers = Self::of_waiting(*address, *stack_pointer);
        for (number, value) in numbers::SAVED_BY_CALLEES.iter().zip(saved) {
            registers.set(*number, Some(*value));
        }
        registers
    }

    fn none(address: u64) -> Self {
        Self {
            values: [None; numbers::COUNT],
            address,
            is_guess: false,
        }
    }

    /// Returns those of the caller, of which nothing but the stack pointer is known yet.
    pub(super) fn of_caller(stack_pointer: u64) -> Self {
        Self::of_waiting(0, stack_pointer)
    }

    pub(super) fn get(&self, number: u16) -> Option<u64> {
        *self.values.get(usize::from(number))?
    }

    pub(super) fn set(&mut self, number: u16, value: Option<u64>) {
        if let Some(register) = self.values.get_mut(usize::from(number)) {
            *register = value;
        }
    }

    pub(crate) fn stack_pointer(&self) -> Option<u64> {
        self.get(numbers::STACK_POINTER)
    }

    /// Returns the numbers of all but the stack pointer, whose value in the caller follows from its frame.
    pub(super) fn numbers() -> impl Iterator<Item = u16> {
        let count = u16::try_from(numbers::COUNT).unwrap_or(0);
        (0..count).filter(|number| *number != numbers::STACK_POINTER)
    }

    /// Returns whether functions leave a register as they have found it.
    pub(super) fn is_preserved(number: u16) -> bool {
        numbers::SAVED_BY_CALLEES.contains(&number)
    }
}

/// The readable part of a thread's memory: a part of its stack, from an address on, and perhaps its code.
#[derive(Clone, Copy)]
pub(crate) struct Stack<'s> {
    start: u64,
    words: &'s [u64],
    code: Option<&'s ReadCode<'s>>,
}

impl<'s> Stack<'s> {
    /// Words from a stack pointer on, or from the word that it points into.
    pub(crate) fn new(pointer: u64, words: &'s [u64]) -> Self {
        Self {
            start: pointer & !7,
            words,
            code: None,
        }
    }

    /// Lets code be read, by which frame pointers are worked out that aren't known.
    #[cfg(any(test, crossmist_learn))]
    pub(crate) fn with_code(self, code: &'s ReadCode<'s>) -> Self {
        let code = Some(code);
        Self { code, ..self }
    }

    /// Reads code, if that is possible.
    pub(super) fn code(&self, address: u64) -> Option<[u8; PROLOGUE_BYTES]> {
        self.code?(address)
    }

    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let from = address.checked_sub(self.start)?;
        let is_aligned = from.is_multiple_of(8);
        self.words
            .get(usize::try_from(from / 8).ok().filter(|_| is_aligned)?)
            .copied()
    }

    /// Returns the words from an address on.
    pub(super) fn after(&self, address: u64) -> &'s [u64] {
        let from = address.saturating_sub(self.start).div_ceil(8);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.words.get(from..).unwrap_or_default()
    }
}
