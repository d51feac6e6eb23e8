//! The form of a message on the wire. This module does no I/O.
//!
//! A message is a body and runs. The body holds the encoded value, then the code references, then
//! the lengths of the runs. The runs are long stretches of plain bytes. The first packet is a
//! [`Header`] with as much of the body as fits. The rest follows in packets with one [`Piece`]
//! each: first the rest of the body, then run after run. Nearly every message is one packet.
//! Descriptors come only with the first packet.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

mod assembly;
mod header;
mod note;

pub(crate) use self::assembly::{Assembly, Message};
pub(crate) use self::header::{Header, Piece};
pub(crate) use self::note::Note;
use crate::object::{Encoded, Limits, Trust};
pub(crate) use crate::sys::socket::MAX_DESCRIPTORS;

/// Finishes the sections of a message. The header goes into the room at the beginning of its bytes,
/// and references and lengths of runs go after them. The runs stay beside it.
pub(crate) fn seal(message: &mut Encoded<'_>, name: u64) {
    // `Encoder::finish` has checked that every length fits 32 bits.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let header = Header {
        descriptors: u16::try_from(message.descriptors.len()).unwrap_or(u16::MAX),
        value_bytes: length(message.bytes.len().saturating_sub(Header::BYTES)),
        code: length(message.code.len()),
        runs: length(message.bulk.len()),
        run_bytes: length(
            message
                .bulk
                .iter()
                .map(|run| run.len())
                .fold(0, usize::saturating_add),
        ),
        name,
    };
    for reference in &message.code {
        message.bytes.extend_from_slice(&reference.to_le_bytes());
    }
    for run in &message.bulk {
        message
            .bytes
            .extend_from_slice(&length(run.len()).to_le_bytes());
    }
    if let Some(head) = message.bytes.first_chunk_mut() {
        *head = header.to_bytes();
    }
}

/// Returns a message without descriptors as one string of bytes.
pub(crate) fn to_bytes(mut message: Encoded<'_>, name: u64) -> Vec<u8> {
    seal(&mut message, name);
    let mut bytes = message.bytes;
    for run in message.bulk {
        bytes.extend_from_slice(&run);
    }
    bytes
}

/// Reads what [`to_bytes`] wrote.
pub(crate) fn from_bytes(
    bytes: &[u8],
    limits: &Limits,
    trust: Trust,
) -> Result<Assembly, FrameError> {
    let header = Header::parse(bytes, 0, limits, trust)?;
    let rest = bytes.get(Header::BYTES..).unwrap_or_default();
    let body_bytes = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
    let (body, runs) = rest
        .split_at_checked(body_bytes)
        .ok_or(FrameError::Unfinished)?;
    let mut assembly = Assembly::new(header, body, Vec::new())?;
    assembly.fill(runs)?;
    Ok(assembly)
}

/// Why the packets of a peer are not a message.
///
/// The channel cannot be used any more, because it is not known where the next message begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A packet has no bytes, although the peer is still there.
    #[error("an empty packet")]
    Empty,
    /// A packet is longer than any that this library sends, or has more descriptors.
    #[error("a packet that is too long or has too many descriptors")]
    Truncated,
    /// A packet is too short for its header.
    #[error("a packet of {bytes} bytes where a header of {header} should be")]
    Short {
        /// The length of the packet.
        bytes: usize,
        /// The length of the header.
        header: usize,
    },
    /// A field of a header has an invalid value.
    #[error("a header with {value} as its {field}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A message exceeds the receiver's limit. It was refused before anything of it was stored.
    #[error("a message of {bytes} bytes, {limit} are allowed (`Limits::message_bytes`)")]
    TooLong {
        /// The length that it announces.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// A message has more descriptors than the receiver allows.
    #[error(
        "a message with {descriptors} descriptors, {limit} are allowed (`Limits::descriptors`)"
    )]
    TooManyDescriptors {
        /// How many came.
        descriptors: usize,
        /// The limit.
        limit: usize,
    },
    /// A message has another number of descriptors than its header says.
    #[error("{found} descriptors where the header says {expected}")]
    Descriptors {
        /// What the header says.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// A message holds code, and the channel carries only data.
    #[error("{references} code references on a channel that carries data only")]
    Code {
        /// How many there are.
        references: u32,
    },
    /// A piece is not the next one of the message that is being received.
    #[error(
        "a piece out of order: message {message:#x} piece {piece}, expected message {expected_message:#x} piece {expected_piece}"
    )]
    Piece {
        /// The message that it claims to belong to.
        message: u64,
        /// Its number.
        piece: u32,
        /// The message that is being received.
        expected_message: u64,
        /// The number that is next.
        expected_piece: u32,
    },
    /// The lengths of the runs contradict the header.
    #[error("runs of bytes that contradict the header")]
    Runs,
    /// The peer closed the channel in the middle of a message.
    #[error("the end of the channel in the middle of a message")]
    Unfinished,
    /// Descriptors arrived with what a child prints.
    #[error("descriptors over standard output or standard error, which carry text only")]
    Output,
    /// Another message followed where none may.
    #[error("a second answer")]
    Surplus,
}
