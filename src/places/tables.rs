//! The tables of a file by which its functions are unwound (`.eh_frame`).

use gimli::{
    BaseAddresses, EhFrame, EhFrameHdr, EhFrameOffset, FrameDescriptionEntry, RegisterRule,
    UnwindContext, UnwindSection,
};

use super::elf::{Elf, Section, Segment};
use super::machine::{Bytes, Machine};
use super::registers::{Registers, Stack};
use crate::sys::mappings::Mapping;

/// How much the tables have of a function at most. Real ones have less than a tenth of that.
const MOST_ENTRY_BYTES: usize = 64 << 10;

/// How long a row of the index is: the address of a function, and where its entry is.
const INDEX_ROW_BYTES: u64 = 8;

/// A file's code, and its tables. They are empty if it has none.
#[derive(Debug)]
pub(super) struct Tables {
    code: Vec<Segment>,
    /// An index of the frames by address.
    index: Section,
    frames: Section,
    bases: BaseAddresses,
}

/// How long the instruction is that makes a system call.
const SYSTEM_CALL_BYTES: u64 = if cfg!(target_arch = "x86_64") { 2 } else { 4 };

/// The function that another was called from, or that a signal has interrupted. `None` if the other one was the
/// outermost of its thread.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Option<Registers>);

impl Tables {
    pub(super) fn read(file: &Elf) -> Self {
        let (index, frames) = (file.section(b".eh_frame_hdr"), file.section(b".eh_frame"));
        let bases = BaseAddresses::default()
            .set_eh_frame_hdr(index.address)
            .set_eh_frame(frames.address)
            .set_text(file.address_of_section(b".text"))
            .set_got(file.address_of_section(b".got"));
        Self {
            code: file.segments().to_vec(),
            index,
            frames,
            bases,
        }
    }

    /// Returns the address of code at an offset in the file.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let mut code = self.code.iter();
        code.find_map(|segment| segment.address_of(offset))
    }

    /// Returns the address that those in the file are relative to, from a mapping of its code.
    pub(super) fn base(&self, mapping: &Mapping<'_>) -> Option<u64> {
        self.code.iter().find_map(|segment| segment.base(mapping))
    }

    /// Returns the caller of the function that has an instruction, and what it has in its registers. `None` if the
    /// tables don't tell, or if it depends on what isn't known. `is_innermost` if the instruction is a system call.
    pub(super) fn caller(
        &self,
        instruction: u64,
        registers: &Registers,
        stack: &Stack<'_>,
        context: &mut UnwindContext<usize>,
        is_innermost: bool,
    ) -> Option<Caller> {
        let frames = self.frames();
        let entry = self.entry(&frames, instruction)?;
        let end = entry.end_address();
        let in_tables = match instruction.checked_sub(end) {
            // The C library ends the tables of `clone` before the call, as they would be wrong in the new thread.
            Some(behind) if is_innermost && behind < SYSTEM_CALL_BYTES => end.checked_sub(1)?,
            _ => instruction,
        };
        let row = entry.unwind_info_for_address(&frames, &self.bases, context, in_tables);
        let row = row.ok()?;
        let machine = Machine {
            registers,
            stack,
            frames: &frames,
            encoding: entry.cie().encoding(),
            is_of_signal: entry.is_signal_trampoline(),
        };
        let before = instruction.checked_sub(entry.initial_address())?;
        let (frame, is_guess) = machine.frame(row.cfa(), before)?;
        let value = |number| machine.value(number, row.register(gimli::Register(number)), frame);
        let return_register = entry.cie().return_address_register();
        let is_outermost = row.register(return_register) == Some(RegisterRule::Undefined);
        let returns_to = value(return_register.0);
        if is_outermost || returns_to == Some(0) {
            return Some(Caller(None));
        }
        let returns_to = without_signature(returns_to?);
        let mut caller = Registers::of_caller(frame);
        for number in Registers::numbers() {
            caller.set(number, value(number));
        }
        // What a signal has interrupted is still to be done.
        let ahead = u64::from(machine.is_of_signal);
        caller.address = returns_to.checked_add(ahead)?;
        caller.is_guess = registers.is_guess || is_guess;
        Some(Caller(Some(caller)))
    }

    /// Returns the addresses that its index has, in no order.
    #[cfg(feature = "__fuzzing")]
    pub(super) fn addresses(&self) -> impl Iterator<Item = u64> {
        let words = self.index.bytes.as_chunks::<4>().0.iter();
        words.map(|word| {
            let relative = i32::from_le_bytes(*word).into();
            self.index.address.wrapping_add_signed(relative)
        })
    }

    fn frames(&self) -> EhFrame<Bytes<'_>> {
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unused_mut, reason = "there is nothing to set")
        )]
        let mut frames = EhFrame::new(&self.frames.bytes, gimli::LittleEndian);
        // Return addresses may be signed.
        #[cfg(target_arch = "aarch64")]
        frames.set_vendor(gimli::Vendor::AArch64);
        frames
    }

    /// Returns what the tables have of the function that an instruction is in, or that is before it.
    fn entry<'t>(
        &self,
        frames: &EhFrame<Bytes<'t>>,
        instruction: u64,
    ) -> Option<FrameDescriptionEntry<Bytes<'t>>> {
        if !is_whole(&self.index.bytes) {
            return None;
        }
        let index = EhFrameHdr::new(&self.index.bytes, gimli::LittleEndian);
        let index = index.parse(&self.bases, 8).ok()?;
        let entry = index.table()?.lookup(instruction, &self.bases).ok()?;
        let entry = entry.direct().ok()?.checked_sub(self.frames.address)?;
        let entry = EhFrameOffset(usize::try_from(entry).ok()?);
        let entry = frames
            .fde_from_offset(&self.bases, entry, EhFrame::cie_from_offset)
            .ok()?;
        let bytes = entry.entry_len().max(entry.cie().entry_len());
        (bytes <= MOST_ENTRY_BYTES).then_some(entry)
    }
}

/// Returns whether an index is as all linkers write it, and has as many rows as it says.
fn is_whole(index: &[u8]) -> bool {
    // Its version, and the encodings: all numbers have four bytes.
    let Some(([1, 0x1b, 0x03, 0x3b, ..], _)) = index.split_first_chunk::<12>() else {
        return false;
    };
    let rows = index.get(8..12).and_then(|count| count.as_array());
    let rows = rows.map(|count| u64::from(u32::from_le_bytes(*count)));
    let room = index.len().saturating_sub(12) as u64 / INDEX_ROW_BYTES;
    rows.is_some_and(|rows| rows <= room)
}

/// Returns an address without the code by which the processor recognizes it.
fn without_signature(address: u64) -> u64 {
    match cfg!(target_arch = "aarch64") {
        true => address & ((1 << 48) - 1),
        false => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::places::prologue::FRAME_POINTER;
    #[cfg(target_arch = "x86_64")]
    use crate::{places::prologue::PROLOGUE_BYTES, sys::image::CALL_BYTES};

    const INSTRUCTION: u64 = 0x10_0010;

    /// Tables for one function, at 0x100000 and 0x100 bytes long, which has these instructions for its frame.
    fn tables(instructions: &[u8]) -> Tables {
        let (index_at, frames_at) = (0x1000_u32, 0x2000_u32);
        let relative = |to: u32, from: u32| to.wrapping_sub(from).to_le_bytes();
        // Its version, its encodings, where the frames are, and how many there are.
        let mut index = vec![1, 0x1b, 0x03, 0x3b];
        index.extend(relative(frames_at, index_at + 4));
        index.extend(1u32.to_le_bytes());
        index.extend(relative(0x10_0000, index_at));
        index.extend(relative(frames_at + 24, index_at));
        // What frames have in common: "zR", and at first the frame is 8 bytes behind the stack pointer.
        let mut frames =
            b"\x14\0\0\0\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0".to_vec();
        let length = u32::try_from(13 + instructions.len()).unwrap();
        frames.extend(length.to_le_bytes());
        frames.extend(28u32.to_le_bytes());
        frames.extend(relative(0x10_0000, frames_at + 32));
        frames.extend(0x100_u32.to_le_bytes());
        frames.push(0);
        frames.extend(instructions);
        frames.extend([0; 4]);
        Tables {
            code: Vec::new(),
            bases: BaseAddresses::default()
                .set_eh_frame_hdr(index_at.into())
                .set_eh_frame(frames_at.into()),
            index: Section::of_bytes(index_at.into(), index),
            frames: Section::of_bytes(frames_at.into(), frames),
        }
    }

    fn caller(tables: &Tables, stack: &[u64]) -> Option<Caller> {
        caller_at(INSTRUCTION, true, tables, stack)
    }

    fn caller_at(
        instruction: u64,
        is_innermost: bool,
        tables: &Tables,
        stack: &[u64],
    ) -> Option<Caller> {
        let mut registers = Registers::of_waiting(instruction + 1, 0x7000);
        registers.set(FRAME_POINTER, Some(0x7010));
        let stack = Stack::new(0x7000, stack);
        let mut context = UnwindContext::new();
        tables.caller(instruction, &registers, &stack, &mut context, is_innermost)
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_system_call_right_behind_the_tables_belongs_to_them() {
        let tables = tables(&[]);
        let is_found = |instruction, is_innermost| {
            caller_at(instruction, is_innermost, &tables, &[7, 8]).is_some()
        };
        let end = 0x10_0100;
        for (at, is_innermost, expected) in [
            (end - 1, true, true),
            (end - 1, false, true),
            (end + 1, true, true),
            (end + 1, false, false),
            (end + 2, true, false),
            (0x0f_ffff, true, false),
        ] {
            assert_eq!(
                is_found(at, is_innermost),
                expected,
                "{at:x} {is_innermost}"
            );
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_frame_is_where_its_instructions_say() {
        let stack = [0x10, 0x11, 0x12, 0x13, 0x14];
        let found = |instructions: &[u8]| {
            let Caller(caller) = caller(&tables(instructions), &stack)?;
            let caller = caller.expect("a caller");
            Some((caller.address, caller.stack_pointer().unwrap()))
        };
        assert_eq!(found(&[]), Some((0x10, 0x7008)));
        // `DW_CFA_def_cfa_offset` 16.
        assert_eq!(found(&[0x0e, 16]), Some((0x11, 0x7010)));
        // `DW_CFA_def_cfa` rbp + 16.
        assert_eq!(found(&[0x0c, 6, 16]), Some((0x13, 0x7020)));
        // `DW_CFA_def_cfa_expression`: `DW_OP_breg7` 8, `DW_OP_lit16`, `DW_OP_plus`.
        assert_eq!(found(&[0x0f, 4, 0x77, 8, 0x40, 0x22]), Some((0x12, 0x7018)));
        // The same, with a loop for an end: `DW_OP_skip` -3.
        assert_eq!(found(&[0x0f, 5, 0x77, 8, 0x2f, 0xfd, 0xff]), None);
        // Of rax, nothing is known, and beyond the stack neither.
        assert_eq!(found(&[0x0c, 0, 16]), None);
        assert_eq!(found(&[0x0e, 0x80, 1]), None);
        // `DW_CFA_undefined` for the return address: the outermost function.
        let outermost = caller(&tables(&[0x07, 16]), &stack);
        assert!(matches!(outermost, Some(Caller(None))));
    }

    #[test]
    fn an_index_has_the_rows_that_it_says_and_an_entry_is_not_endless() {
        let found = |tables: &Tables| caller(tables, &[7; 8]).is_some();
        assert!(found(&tables(&[])));
        let mut more = tables(&[]);
        more.index.bytes[8] = 2;
        assert!(!found(&more));
        more.index.bytes.extend([0xff; 8]);
        assert!(is_whole(&more.index.bytes));
        // Numbers of eight bytes, whose count is beyond all that there is.
        let mut longer = tables(&[]);
        longer.index.bytes[2] = 0x04;
        longer.index.bytes.extend([0xff; 8]);
        assert!(!found(&longer));
        assert!(!is_whole(&[]) && !is_whole(&[1, 0x1b, 0x03, 0x3b]));
        // `DW_CFA_nop` over and over.
        assert!(found(&tables(&vec![0; MOST_ENTRY_BYTES - 100])));
        assert!(!found(&tables(&vec![0; MOST_ENTRY_BYTES])));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_frame_pointer_that_is_worked_out_is_a_guess_unless_it_is_checked() {
        // `push %rbp`, `mov %rsp, %rbp`, `sub $16, %rsp`, and a call before every address.
        let code = |address: u64| {
            let mut code = [0x90; PROLOGUE_BYTES];
            match address {
                0x10_0000 => code[..8].copy_from_slice(b"\x55\x48\x89\xe5\x48\x83\xec\x10"),
                _ => code[CALL_BYTES - 5] = 0xe8,
            }
            Some(code)
        };
        // `DW_CFA_def_cfa` rbp + 16, and rbp is saved.
        let tables = tables(&[0x0c, 6, 16, 0x86, 2]);
        let guess = |saved: u64| {
            let words = [1, 2, saved, 0x20_0000, 4, 5];
            let stack = Stack::new(0x7000, &words).with_code(&code);
            let registers = Registers::of_waiting(INSTRUCTION + 1, 0x7000);
            let mut context = UnwindContext::new();
            let caller = tables.caller(INSTRUCTION, &registers, &stack, &mut context, true);
            let caller = caller.unwrap().0.expect("a caller");
            assert_eq!(caller.stack_pointer(), Some(0x7020));
            assert_eq!(caller.address, 0x20_0000);
            caller.is_guess
        };
        // The outermost one, and one that is further outwards.
        assert!(!guess(0) && !guess(0x7020) && !guess(0x7028));
        // Itself, further inwards, not aligned, and beyond what is known of the stack.
        for saved in [0x7010, 0x7008, 0x7021, 0x7030, u64::MAX] {
            assert!(guess(saved), "{saved:x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn any_tables_are_read_without_harm(
            instructions in prop::collection::vec(any::<u8>(), 0..60), begins: bool,
            changes in prop::collection::vec((any::<bool>(), any::<u8>(), any::<u8>()), 0..4),
            stack in prop::collection::vec(any::<u64>(), 0..8),
        ) {
            let mut begun = instructions.clone();
            if begins {
                // An expression for the frame.
                begun.splice(0..0, [0x0f, u8::try_from(instructions.len()).unwrap()]);
            }
            let mut tables = tables(&begun);
            for (is_index, at, value) in changes {
                let section = match is_index {
                    true => &mut tables.index.bytes,
                    false => &mut tables.frames.bytes,
                };
                if let Some(byte) = section.get_mut(usize::from(at)) {
                    *byte = value;
                }
            }
            let _ = caller(&tables, &stack);
        }
    }
}
