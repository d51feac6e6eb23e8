//! The rules of a frame, applied to registers and a stack: where the frame is, and what the caller has in its
//! registers.

use gimli::{
    CfaRule, EhFrame, Encoding, EndianSlice, Evaluation, EvaluationResult, Expression, Location,
    Piece, RegisterRule, UnwindExpression, Value,
};

use super::prologue::{FRAME_POINTER, Prologue};
use super::registers::{Registers, Stack};
use crate::sys::image::{self, CALL_BYTES};

pub(super) type Bytes<'t> = EndianSlice<'t, gimli::LittleEndian>;

/// How many operations of an expression are carried out. That of a signal's frame has two.
const MOST_OPERATIONS: u32 = 64;

/// The data that the rules for a frame are applied to.
pub(super) struct Machine<'m> {
    pub(super) registers: &'m Registers,
    pub(super) stack: &'m Stack<'m>,
    pub(super) frames: &'m EhFrame<Bytes<'m>>,
    pub(super) encoding: Encoding,
    /// Whether it is the frame of a handler of signals.
    pub(super) is_of_signal: bool,
}

impl Machine<'_> {
    /// Returns where the frame is, and whether that is a guess. `before` are the bytes of the function before the
    /// instruction.
    pub(super) fn frame(&self, rule: &CfaRule<usize>, before: u64) -> Option<(u64, bool)> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                let known = self.registers.get(register.0).map(|value| (value, false));
                let (base, is_guess) = known.or_else(|| {
                    let is_frame_pointer = register.0 == FRAME_POINTER;
                    is_frame_pointer.then(|| frame_pointer(before, self.registers, self.stack))?
                })?;
                Some((base.checked_add_signed(*offset)?, is_guess))
            }
            CfaRule::Expression(frame) => Some((self.expression(frame, None)?, false)),
        }
    }

    /// Returns what a register has in the caller.
    pub(super) fn value(
        &self,
        number: u16,
        rule: Option<RegisterRule<usize>>,
        frame: u64,
    ) -> Option<u64> {
        match rule {
            // A handler of signals gives all of them back.
            None if self.is_of_signal => self.registers.get(number),
            None => self
                .registers
                .get(number)
                .filter(|_| Registers::is_preserved(number)),
            Some(RegisterRule::SameValue) => self.registers.get(number),
            Some(RegisterRule::Offset(offset)) => {
                self.stack.word(frame.checked_add_signed(offset)?)
            }
            Some(RegisterRule::ValOffset(offset)) => frame.checked_add_signed(offset),
            Some(RegisterRule::Register(other)) => self.registers.get(other.0),
            Some(RegisterRule::Expression(address)) => {
                self.stack.word(self.expression(&address, Some(frame))?)
            }
            Some(RegisterRule::ValExpression(value)) => self.expression(&value, Some(frame)),
            Some(RegisterRule::Constant(value)) => Some(value),
            Some(_) => None,
        }
    }

    fn expression(
        &self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
    ) -> Option<u64> {
        self.evaluate(expression.get(self.frames).ok()?, initial)
    }

    /// Returns the value of an expression that uses nothing but registers and the stack.
    fn evaluate(&self, expression: Expression<Bytes<'_>>, initial: Option<u64>) -> Option<u64> {
        let mut evaluation: Evaluation<Bytes<'_>> = expression.evaluation(self.encoding);
        evaluation.set_max_iterations(MOST_OPERATIONS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut state = evaluation.evaluate();
        // Each of these was an operation.
        for _ in 0..=MOST_OPERATIONS {
            state = match state.ok()? {
                EvaluationResult::Complete => {
                    let [Piece { location, .. }] = evaluation.as_result() else {
                        return None;
                    };
                    return match location {
                        Location::Address { address } => Some(*address),
                        _ => None,
                    };
                }
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register.0)?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory {
                    address,
                    size: 8,
                    space: None,
                    ..
                } => {
                    let value = self.stack.word(address)?;
                    evaluation.resume_with_memory(Value::Generic(value))
                }
                _ => return None,
            };
        }
        None
    }
}

/// Works out the frame pointer of a function that has made a call, from the instructions that it begins with, and
/// whether this is a guess. `before` are the bytes of it before the call's last one.
fn frame_pointer(before: u64, registers: &Registers, stack: &Stack<'_>) -> Option<(u64, bool)> {
    let start = registers.address.checked_sub(1)?.checked_sub(before)?;
    let prologue = Prologue::read(&stack.code(start)?)?;
    if prologue.length > before {
        return None;
    }
    let pointer = registers
        .stack_pointer()?
        .checked_add(prologue.frame_bytes)?;
    // Behind the caller's frame pointer is where it continues, if this is right.
    let returns_to = stack.word(pointer.checked_add(8)?)?;
    let code = stack.code(returns_to.checked_sub(CALL_BYTES as u64)?)?;
    if !image::ends_with_call(*code.first_chunk()?) {
        return None;
    }
    // It is further outwards, or this is the outermost one. Only some compilers use the register for something else.
    let callers = stack.word(pointer)?;
    let is_checked = callers == 0 || callers > pointer && stack.word(callers).is_some();
    Some((pointer, !is_checked))
}
