//! The headers with which the packets of a message begin.

use super::{MAX_DESCRIPTORS, ProtocolError};
use crate::object::{BULK_BYTES, BULK_RUNS, Limits, Trust};

/// The first packet's beginning. Numbers are little-endian.
///
/// | bytes | field |
/// |---|---|
/// | 0 | kind, [`Header::KIND`] |
/// | 1 | zero |
/// | 2..4 | number of descriptors |
/// | 4..8 | length of the encoded value |
/// | 8..12 | number of code references |
/// | 12..16 | number of runs |
/// | 16..20 | length of all runs together |
/// | 20..24 | zero |
/// | 24..32 | name of the message, repeated by its pieces |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) descriptors: u16,
    pub(crate) value_bytes: u32,
    pub(crate) code: u32,
    pub(crate) runs: u32,
    pub(crate) run_bytes: u32,
    pub(crate) name: u64,
}

impl Header {
    pub(crate) const BYTES: usize = 32;
    pub(super) const KIND: u8 = 0xC1;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [d0, d1] = self.descriptors.to_le_bytes();
        let [v0, v1, v2, v3] = self.value_bytes.to_le_bytes();
        let [c0, c1, c2, c3] = self.code.to_le_bytes();
        let [r0, r1, r2, r3] = self.runs.to_le_bytes();
        let [b0, b1, b2, b3] = self.run_bytes.to_le_bytes();
        let words = [
            [Self::KIND, 0, d0, d1, v0, v1, v2, v3],
            [c0, c1, c2, c3, r0, r1, r2, r3],
            [b0, b1, b2, b3, 0, 0, 0, 0],
            self.name.to_le_bytes(),
        ];
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(words.as_flattened());
        bytes
    }

    /// Reads a header and checks it against the receiver's limits. `came` is the number of
    /// descriptors that came with it.
    pub(crate) fn parse(
        packet: &[u8],
        came: usize,
        limits: &Limits,
        trust: Trust,
    ) -> Result<Self, ProtocolError> {
        let short = ProtocolError::Short {
            bytes: packet.len(),
            header: Self::BYTES,
        };
        let words = packet
            .first_chunk::<{ Self::BYTES }>()
            .map(|head| head.as_chunks::<8>().0);
        let Some([first, second, third, name]) = words else {
            return Err(short);
        };
        let [kind, zero, d0, d1, v0, v1, v2, v3] = *first;
        let [c0, c1, c2, c3, r0, r1, r2, r3] = *second;
        let [b0, b1, b2, b3, zeros @ ..] = *third;
        if kind != Self::KIND {
            return Err(ProtocolError::Field {
                field: "kind",
                value: kind.into(),
            });
        }
        if zero != 0 || zeros != [0; 4] {
            return Err(ProtocolError::Field {
                field: "zero",
                value: 1,
            });
        }
        let header = Self {
            descriptors: u16::from_le_bytes([d0, d1]),
            value_bytes: u32::from_le_bytes([v0, v1, v2, v3]),
            code: u32::from_le_bytes([c0, c1, c2, c3]),
            runs: u32::from_le_bytes([r0, r1, r2, r3]),
            run_bytes: u32::from_le_bytes([b0, b1, b2, b3]),
            name: u64::from_le_bytes(*name),
        };

        let limit = limits.descriptors.min(MAX_DESCRIPTORS);
        if came > limit {
            return Err(ProtocolError::TooManyDescriptors {
                descriptors: came,
                limit,
            });
        }
        if came != usize::from(header.descriptors) {
            let expected = header.descriptors.into();
            return Err(ProtocolError::Descriptors {
                expected,
                found: came,
            });
        }
        if header.code > 0 && trust == Trust::Data {
            return Err(ProtocolError::Code {
                references: header.code,
            });
        }
        let bytes = header.body_bytes().saturating_add(header.run_bytes.into());
        let limit = limits.message_bytes;
        // The sender's limit does not count the table of lengths.
        let counted = bytes.saturating_sub(u64::from(header.runs).saturating_mul(4));
        if usize::try_from(counted).is_ok_and(|counted| counted > limit) {
            return Err(ProtocolError::TooLong {
                bytes: counted,
                limit,
            });
        }
        // A run is never shorter than BULK_BYTES, and without a run there are no bytes of runs.
        let runs = usize::try_from(header.runs).unwrap_or(usize::MAX);
        let run_bytes = usize::try_from(header.run_bytes).unwrap_or(usize::MAX);
        let fits = match runs {
            0 => run_bytes == 0,
            runs => runs <= BULK_RUNS && run_bytes >= runs.saturating_mul(BULK_BYTES),
        };
        if !fits {
            return Err(ProtocolError::Runs);
        }
        Ok(header)
    }

    /// Returns the length of the message: body and runs.
    pub(crate) fn message_bytes(&self) -> u64 {
        self.body_bytes().saturating_add(self.run_bytes.into())
    }

    /// Returns the length of value, code references and table of run lengths together.
    pub(crate) fn body_bytes(&self) -> u64 {
        let code = u64::from(self.code).saturating_mul(8);
        let lengths = u64::from(self.runs).saturating_mul(4);
        u64::from(self.value_bytes)
            .saturating_add(code)
            .saturating_add(lengths)
    }
}

/// The beginning of every further packet, after which the bytes of the piece follow. If they are in a slot of
/// shared memory instead, nothing follows. Their number is not said: it is what the receiver expects next, at
/// most a slot's length.
///
/// | bytes | field |
/// |---|---|
/// | 0 | kind, [`Piece::KIND`], or [`Piece::IN_SLOT`] |
/// | 1 | zero, or the number of the slot |
/// | 2..4 | zero |
/// | 4..8 | number of the piece, from 0 |
/// | 8..16 | name of the message |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) number: u32,
    pub(crate) name: u64,
    pub(crate) slot: Option<u8>,
}

impl Piece {
    pub(crate) const BYTES: usize = 16;
    pub(super) const KIND: u8 = 0xC2;
    pub(super) const IN_SLOT: u8 = 0xC5;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let (kind, slot) = match self.slot {
            None => (Self::KIND, 0),
            Some(slot) => (Self::IN_SLOT, slot),
        };
        let [n0, n1, n2, n3] = self.number.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = self.name.to_le_bytes();
        [kind, slot, 0, 0, n0, n1, n2, n3, a, b, c, d, e, f, g, h]
    }

    pub(crate) fn parse(packet: &[u8]) -> Result<Self, ProtocolError> {
        let [kind, slot, z1, z2, n0, n1, n2, n3, name @ ..] = packet
            .first_chunk::<{ Self::BYTES }>()
            .ok_or(ProtocolError::Short {
                bytes: packet.len(),
                header: Self::BYTES,
            })?;
        let slot = match *kind {
            Self::KIND if *slot != 0 => {
                return Err(ProtocolError::Field {
                    field: "zero",
                    value: 1,
                });
            }
            Self::KIND => None,
            Self::IN_SLOT => Some(*slot),
            kind => {
                return Err(ProtocolError::Field {
                    field: "kind",
                    value: kind.into(),
                });
            }
        };
        if [*z1, *z2] != [0; 2] {
            return Err(ProtocolError::Field {
                field: "zero",
                value: 1,
            });
        }
        Ok(Self {
            number: u32::from_le_bytes([*n0, *n1, *n2, *n3]),
            name: u64::from_le_bytes(*name),
            slot,
        })
    }
}

/// The packet by which a program gives its child shared memory, beside the memory's descriptor. A child
/// accepts it before its launch message and nowhere else, and a program never.
pub(crate) const OFFER: [u8; 8] = [0xC4, 0, 0, 0, 0, 0, 0, 0];
