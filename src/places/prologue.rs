//! Frames of functions whose frame pointer isn't known, by the instructions that they begin with.
//!
//! The kernel shows only two registers of a thread that waits. The standard library is compiled with frame pointers,
//! which its tables refer to, and a wrapper of a call in the C library saves none.

/// How long a beginning may be: four pieces, of which the second one are six registers.
pub(crate) const PROLOGUE_BYTES: usize = 32;

/// Reads code at an address of a process.
pub(crate) type ReadCode<'c> = dyn Fn(u64) -> Option<[u8; PROLOGUE_BYTES]> + 'c;

/// The register that holds the frame pointer.
#[cfg(target_arch = "x86_64")]
pub(super) const FRAME_POINTER: u16 = 6;
#[cfg(target_arch = "aarch64")]
pub(super) const FRAME_POINTER: u16 = 29;

/// The first instructions of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prologue {
    /// How long its instructions are.
    pub(super) length: u64,
    /// How many bytes there are from the stack pointer to what the frame pointer points to, once they have run.
    pub(super) frame_bytes: u64,
}

impl Prologue {
    /// Reads one that sets up a frame pointer, saves registers, and takes a number of bytes. `None` for any other.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn read(code: &[u8]) -> Option<Self> {
        // `endbr64` is left out if it is there.
        let mut rest = code.strip_prefix(b"\xf3\x0f\x1e\xfa").unwrap_or(code);
        // `push %rbp`, `mov %rsp, %rbp`.
        rest = rest.strip_prefix(b"\x55\x48\x89\xe5")?;
        let mut frame_bytes = 0;
        loop {
            rest = match rest {
                // `push` of any register, which some do only to align the stack.
                [0x50..=0x57, rest @ ..] | [0x41, 0x50..=0x57, rest @ ..] => rest,
                _ => break,
            };
            frame_bytes += 8;
        }
        // `sub` of a number from the stack pointer.
        rest = match rest {
            [0x48, 0x83, 0xec, bytes @ ..=0x7f, rest @ ..] => {
                frame_bytes += u64::from(*bytes);
                rest
            }
            [0x48, 0x81, 0xec, a, b, c, d @ ..=0x7f, rest @ ..] => {
                frame_bytes += u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                rest
            }
            rest => rest,
        };
        // Aligned by `and`, the stack pointer could be anywhere, and so it could if more is taken or added.
        let goes_on = matches!(rest, [0x48, 0x83 | 0x81, 0xe4 | 0xec | 0xc4, ..]);
        if goes_on || rest.len() < 3 {
            return None;
        }
        let length = u64::try_from(code.len() - rest.len()).ok()?;
        Some(Self {
            length,
            frame_bytes,
        })
    }

    /// On this processor, the frame pointer is not worked out.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn read(_: &[u8]) -> Option<Self> {
        None
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_what_was_saved_and_taken() {
        let read = |code: &[u8]| {
            let prologue = Prologue::read(&[code, &[0x90; 3]].concat())?;
            assert_eq!(prologue.length, code.len() as u64);
            Some(prologue.frame_bytes)
        };
        assert_eq!(read(b"\x55\x48\x89\xe5"), Some(0));
        // Two registers, then 0x40 bytes.
        assert_eq!(
            read(b"\x55\x48\x89\xe5\x41\x57\x53\x48\x83\xec\x40"),
            Some(0x50)
        );
        assert_eq!(
            read(b"\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x48\x81\xec\x00\x01\x00\x00"),
            Some(0x100)
        );
        // Without a frame pointer, aligned, and taking a negative number.
        assert_eq!(read(b"\x48\x83\xec\x40"), None);
        assert_eq!(
            Prologue::read(b"\x55\x48\x89\xe5\x48\x83\xe4\xe0\x90\x90\x90"),
            None
        );
        assert_eq!(read(b"\x55\x48\x89\xe5\x48\x83\xec\x80"), None);
        // It may not have ended.
        assert_eq!(Prologue::read(b"\x55\x48\x89\xe5\x41\x57\x53"), None);
    }

    proptest! {
        #[test]
        fn any_code_is_read_without_harm(mut code in prop::collection::vec(any::<u8>(), 0..40), begins: bool) {
            if begins {
                code.splice(0..0, *b"\x55\x48\x89\xe5");
            }
            if let Some(prologue) = Prologue::read(&code) {
                prop_assert!(prologue.length <= code.len() as u64);
                prop_assert!(prologue.frame_bytes < 1 << 32);
            }
        }
    }
}
