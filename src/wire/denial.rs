//! A child's report of a denied call: one packet, from its signal handler.

use super::ProtocolError;
use crate::sys::sigsys::{Denial, HEAD_BYTES, PATH_BYTES};

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
/// | 72..80 | where its function returns to, if it has no frame; likewise |
/// | 80.. | the path; a zero byte ends it earlier |
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DenialReport {
    pub(crate) denial: Denial,
    /// The path that the call names, if it names one.
    pub(crate) path: Option<Vec<u8>>,
}

impl DenialReport {
    pub(crate) const KIND: u8 = 0xC3;
    const HEAD: usize = HEAD_BYTES;
    const PATH_BYTES: usize = PATH_BYTES;

    /// Returns everything before the path. Allocates nothing, because a signal handler calls it.
    pub(crate) fn head(denial: &Denial, path_bytes: usize) -> [u8; Self::HEAD] {
        let Denial {
            number,
            arch,
            thread,
            errno,
            arguments,
            address,
            caller,
        } = *denial;
        let mut head = [0; Self::HEAD];
        let path_bytes = u16::try_from(path_bytes).unwrap_or(0).to_le_bytes();
        let words = [number, arch, thread].map(u32::to_le_bytes);
        let longs = arguments.map(u64::to_le_bytes);
        let parts: [&[u8]; 6] = [
            &[Self::KIND, errno],
            &path_bytes,
            words.as_flattened(),
            longs.as_flattened(),
            &address.to_le_bytes(),
            &caller.to_le_bytes(),
        ];
        for (byte, value) in head.iter_mut().zip(parts.into_iter().flatten()) {
            *byte = *value;
        }
        head
    }

    pub(crate) fn parse(packet: &[u8]) -> Result<Self, ProtocolError> {
        let short = ProtocolError::Short {
            bytes: packet.len(),
            header: Self::HEAD,
        };
        let Some((head, path)) = packet.split_first_chunk::<{ Self::HEAD }>() else {
            return Err(short);
        };
        let [Self::KIND, errno, p0, p1, rest @ ..] = head else {
            return Err(ProtocolError::Field {
                field: "kind",
                value: packet.first().copied().unwrap_or(0).into(),
            });
        };
        let length = usize::from(u16::from_le_bytes([*p0, *p1]));
        if length > Self::PATH_BYTES || length != path.len() {
            return Err(ProtocolError::Field {
                field: "length of a path",
                value: u64::try_from(length).unwrap_or(u64::MAX),
            });
        }
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
        let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
        let denial = Denial {
            number: word(),
            arch: word(),
            thread: word(),
            errno: *errno,
            arguments: [long(), long(), long(), long(), long(), long()],
            address: long(),
            caller: long(),
        };
        Ok(Self {
            denial,
            path: (length > 0).then(|| path.to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_note_survives_the_round_trip(
            number: u32, arch: u32, thread: u32, errno: u8, arguments: [u64; 6], address: u64,
            caller: u64, path in proptest::option::of("[a-z/]{1,200}"),
        ) {
            let path = path.map(String::into_bytes);
            let length = path.as_ref().map_or(0, Vec::len);
            let denial = Denial { number, arch, thread, errno, arguments, address, caller };
            let mut bytes = DenialReport::head(&denial, length).to_vec();
            bytes.extend(path.iter().flatten());
            let note = DenialReport { denial, path };
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
        };
        let mut bytes = DenialReport::head(&denial, 5).to_vec();
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
}
