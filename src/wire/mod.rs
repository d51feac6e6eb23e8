//! The form of a message on the wire. This module does no I/O.
//!
//! A message is a body and runs. The body holds the encoded value, then the code references, then
//! the lengths of the runs. The runs are long stretches of plain bytes. The first packet is a
//! [`Header`] with as much of the body as fits. The rest follows in packets with one [`Piece`]
//! each: first the rest of the body, then run after run. Nearly every message is one packet.
//! Descriptors come only with the first packet.
//!
//! A piece can be in memory that both ends have mapped. Its packet then says where.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

mod assembly;
mod bytes;
mod denial;
mod error;
mod header;

pub(crate) use self::assembly::{Assembly, Message, PIECE_BYTES};
pub use self::bytes::{BytesError, encode_into, from_bytes, to_bytes};
pub(crate) use self::denial::DenialReport;
pub use self::error::ProtocolError;
pub(crate) use self::header::{Header, OFFER, Piece};
use crate::object::{Encoded, Limits, Trust};
pub(crate) use crate::sys::socket::MAX_DESCRIPTORS;

/// The first byte of a packet tells its kind.
const _: () = {
    let [offer, ..] = OFFER;
    let mut kinds: &[u8] = &[
        Header::KIND,
        Piece::KIND,
        Piece::IN_SLOT,
        DenialReport::KIND,
        offer,
    ];
    while let [first, rest @ ..] = kinds {
        let mut others = rest;
        while let [other, more @ ..] = others {
            assert!(*first != *other, "two kinds of packets begin alike");
            others = more;
        }
        kinds = rest;
    }
};

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
pub(crate) fn join(mut message: Encoded<'_>, name: u64) -> Vec<u8> {
    seal(&mut message, name);
    let mut bytes = message.bytes;
    for run in message.bulk {
        bytes.extend_from_slice(&run);
    }
    bytes
}

/// Reads what [`join`] wrote.
pub(crate) fn split(
    bytes: &[u8],
    limits: &Limits,
    trust: Trust,
) -> Result<Assembly, ProtocolError> {
    let header = Header::parse(bytes, 0, limits, trust)?;
    let rest = bytes.get(Header::BYTES..).unwrap_or_default();
    let body_bytes = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
    let (body, runs) = rest
        .split_at_checked(body_bytes)
        .ok_or(ProtocolError::Unfinished)?;
    let mut assembly = Assembly::new(header, body, Vec::new())?;
    assembly.fill(runs)?;
    Ok(assembly)
}
