//! A child's report of a denied call: one packet, from its signal handler.

use super::ProtocolError;
use crate::sys::sigsys::{Denial, HEAD_BYTES, PATH_BYTES, REGISTERS, STACK_BYTES};

/// A denied call, as the child claims. Numbers are little-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0 | kind, [`DenialReport::KIND`] |
/// | 1 | the error number that the call fails with, or zero if it is a violation |
/// | 2..4 | bytes of the path, at most [`DenialReport::PATH_BYTES`] |
/// | 4..8 | number of the call |
/// | 8..12 | architecture, as the kernel numbers it |
/// | 12..16 | thread |
/// | 16..64 | arguments |
/// | 64..72 | address behind the instruction: its offset in the executable, or 0 |
/// | 72..80 | where its function returns to, if a register says so; likewise |
/// | 80..88 | address that offsets in the executable are relative to |
/// | 88..90 | bytes of the stack, at most [`DenialReport::STACK_BYTES`] |
/// | 90 | 1 if that address and the registers are told |
/// | 91..96 | zero |
/// | 96..208 | [`REGISTERS`] registers, or zeros |
/// | 208.. | the path; a zero byte ends it earlier |
/// | then | the stack, from its pointer on, in words of eight bytes |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DenialReport {
    pub(crate) denial: Denial,
    /// The path that the call names, if it names one.
    pub(crate) path: Option<Vec<u8>>,
    /// What the stack is unwound by, or zeros.
    pub(crate) registers: [u64; REGISTERS],
    /// The innermost words of the stack.
    pub(crate) stack: Vec<u64>,
}

impl DenialReport {
    pub(crate) const KIND: u8 = 0xC3;
    const HEAD: usize = HEAD_BYTES;
    const PATH_BYTES: usize = PATH_BYTES;
    const STACK_BYTES: usize = STACK_BYTES;

    /// The length of the longest report.
    pub(crate) const MOST_BYTES: usize = Self::LEAST_BYTES + Self::PATH_BYTES + Self::STACK_BYTES;

    /// The length of the shortest one, which has all of the registers.
    const LEAST_BYTES: usize = Self::HEAD + REGISTERS * size_of::<u64>();

    /// Returns everything before the registers. Allocates nothing, because a signal handler calls it.
    pub(crate) fn head(denial: &Denial, path_bytes: usize, stack_bytes: usize) -> [u8; Self::HEAD] {
        let Denial {
            number,
            arch,
            thread,
            errno,
            arguments,
            address,
            caller,
            base,
        } = *denial;
        let mut head = [0; Self::HEAD];
        let [path_bytes, stack_bytes] =
            [path_bytes, stack_bytes].map(|bytes| u16::try_from(bytes).unwrap_or(0).to_le_bytes());
        let words = [number, arch, thread].map(u32::to_le_bytes);
        let longs = arguments.map(u64::to_le_bytes);
        let parts: [&[u8]; 9] = [
            &[Self::KIND, errno],
            &path_bytes,
            words.as_flattened(),
            longs.as_flattened(),
            &address.to_le_bytes(),
            &caller.to_le_bytes(),
            &base.unwrap_or(0).to_le_bytes(),
            &stack_bytes,
            &[u8::from(base.is_some())],
        ];
        for (byte, value) in head.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *value;
        }
        head
    }

    pub(crate) fn parse(packet: &[u8]) -> Result<Self, ProtocolError> {
        let short = ProtocolError::Short {
            bytes: packet.len(),
            header: Self::LEAST_BYTES,
        };
        let Some((head, tail)) = packet.split_first_chunk::<{ Self::LEAST_BYTES }>() else {
            return Err(short);
        };
        let [Self::KIND, errno, p0, p1, rest @ ..] = head else {
            return Err(ProtocolError::Field {
                field: "kind",
                value: packet.first().copied().unwrap_or(0).into(),
            });
        };
        let path_length = usize::from(u16::from_le_bytes([*p0, *p1]));
        let (words, longs) = rest.split_at_checked(12).ok_or(short)?;
        let mut words = words
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word));
        let mut longs = longs
            .as_chunks::<8>()
            .0
            .iter()
            .map(|long| u64::from_le_bytes(*long));
        let mut word = || words.next().unwrap_or(0);
        let mut long = || longs.next().unwrap_or(0);
        let mut denial = Denial {
            number: word(),
            arch: word(),
            thread: word(),
            errno: *errno,
            arguments: [long(), long(), long(), long(), long(), long()],
            address: long(),
            caller: long(),
            base: Some(long()),
        };
        // The length is in the first two bytes of a word.
        let [s0, s1, tells_base, ..] = long().to_le_bytes();
        denial.base = denial.base.filter(|_| tells_base == 1);
        let stack_length = usize::from(u16::from_le_bytes([s0, s1]));
        let registers = std::array::from_fn(|_| long());
        let (path, stack) = split_tail(tail, path_length, stack_length)?;
        Ok(Self {
            denial,
            path,
            registers,
            stack,
        })
    }
}

/// Returns the path and the stack, of which a report says how long they are.
fn split_tail(
    tail: &[u8],
    path_length: usize,
    stack_length: usize,
) -> Result<(Option<Vec<u8>>, Vec<u64>), ProtocolError> {
    let wrong = |field, length| ProtocolError::Field {
        field,
        value: u64::try_from(length).unwrap_or(u64::MAX),
    };
    let tail = tail.split_at_checked(path_length);
    let Some((path, stack)) = tail.filter(|_| path_length <= PATH_BYTES) else {
        return Err(wrong("length of a path", path_length));
    };
    let (words, odd) = stack.as_chunks::<8>();
    if stack_length > STACK_BYTES || stack_length != stack.len() || !odd.is_empty() {
        return Err(wrong("length of a stack", stack_length));
    }
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    Ok(((path_length > 0).then(|| path.to_vec()), words.collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_note_survives_the_round_trip(
            number: u32, arch: u32, thread: u32, errno: u8, arguments: [u64; 6], address: u64,
            caller: u64, base: Option<u64>, registers: [u64; REGISTERS], path in proptest::option::of("[a-z/]{1,200}"),
            stack in prop::collection::vec(any::<u64>(), 0..STACK_BYTES / 8 + 1),
        ) {
            let path = path.map(String::into_bytes);
            let length = path.as_ref().map_or(0, Vec::len);
            let denial = Denial { number, arch, thread, errno, arguments, address, caller, base };
            let mut bytes = DenialReport::head(&denial, length, size_of_val(stack.as_slice())).to_vec();
            bytes.extend(registers.iter().flat_map(|register| register.to_le_bytes()));
            bytes.extend(path.iter().flatten());
            bytes.extend(stack.iter().flat_map(|word| word.to_le_bytes()));
            prop_assert!(bytes.len() <= DenialReport::MOST_BYTES);
            let note = DenialReport { denial, path, registers, stack };
            prop_assert_eq!(DenialReport::parse(&bytes), Ok(note));
        }

        #[test]
        fn any_bytes_are_a_note_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = DenialReport::parse(&bytes);
            if let Some(kind) = bytes.first_mut() {
                *kind = DenialReport::KIND;
            }
            if let Ok(note) = DenialReport::parse(&bytes) {
                prop_assert!(note.path.is_none_or(|path| path.len() <= DenialReport::PATH_BYTES));
                prop_assert!(size_of_val(note.stack.as_slice()) <= DenialReport::STACK_BYTES);
            }
        }
    }

    #[test]
    fn a_path_ends_at_a_zero_byte() {
        let denial = Denial {
            number: 2,
            arch: 0,
            thread: 0,
            errno: 0,
            arguments: [0; 6],
            address: 0,
            caller: 0,
            base: None,
        };
        let mut bytes = DenialReport::head(&denial, 5, 0).to_vec();
        bytes.resize(bytes.len() + REGISTERS * 8, 0);
        bytes.extend(b"/a\0bc");
        assert_eq!(
            DenialReport::parse(&bytes).unwrap().path.as_deref(),
            Some(&b"/a"[..])
        );
        bytes.pop();
        let field = "length of a path";
        assert_eq!(
            DenialReport::parse(&bytes),
            Err(ProtocolError::Field { field, value: 5 })
        );
    }

    #[test]
    fn a_stack_is_whole_words_of_the_length_that_is_said_and_no_more() {
        let denial = Denial {
            number: 2,
            arch: 0,
            thread: 0,
            errno: 0,
            arguments: [0; 6],
            address: 0,
            caller: 0,
            base: None,
        };
        let parse = |said: usize, sent: usize| {
            let mut bytes = DenialReport::head(&denial, 0, said).to_vec();
            bytes.resize(bytes.len() + REGISTERS * 8 + sent, 1);
            DenialReport::parse(&bytes).map(|report| report.stack.len())
        };
        assert_eq!(parse(16, 16), Ok(2));
        assert_eq!(parse(STACK_BYTES, STACK_BYTES), Ok(STACK_BYTES / 8));
        let more = STACK_BYTES + 8;
        for (said, sent) in [(8, 16), (16, 8), (12, 12), (0, 8), (more, more)] {
            let value = u64::try_from(said).unwrap();
            let field = "length of a stack";
            assert_eq!(
                parse(said, sent),
                Err(ProtocolError::Field { field, value })
            );
        }
    }
}
