//! `ProtocolError`: why the packets of a peer are not a message.

use crate::object::debug_as_text;

/// Why the packets of a peer are not a message.
///
/// The channel cannot be used any more, because the beginning of the next message is not known.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
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
        /// The number that the header declares.
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
    /// A packet refers to a slot of shared memory, and this end shares no memory with the peer for this
    /// message, or has fewer slots.
    #[error("a piece in slot {slot} of shared memory, which this end does not use")]
    Slot {
        /// The number of the slot.
        slot: u8,
    },
    /// The lengths of the runs contradict the header.
    #[error("runs of bytes that contradict the header")]
    Runs,
    /// The peer closed the channel in the middle of a message.
    #[error("the end of the channel in the middle of a message")]
    Unfinished,
    /// Descriptors arrived with a child's output.
    #[error("descriptors over standard output or standard error, which carry text only")]
    Output,
    /// Another message followed although none may.
    #[error("a second answer")]
    Surplus,
}

debug_as_text!(ProtocolError);
