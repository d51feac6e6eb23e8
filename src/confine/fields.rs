//! Fields of plans and reports as bytes.

use crate::object::{DecodeError, Decoder, Encoder};

pub(super) fn put_number(encoder: &mut Encoder<'_>, number: u64) {
    encoder.put(&number.to_le_bytes());
}

pub(super) fn number(decoder: &mut Decoder<'_>) -> Result<u64, DecodeError> {
    decoder.array().map(u64::from_le_bytes)
}

pub(super) fn put_flag(encoder: &mut Encoder<'_>, flag: bool) {
    encoder.put(&[u8::from(flag)]);
}

pub(super) fn flag(decoder: &mut Decoder<'_>) -> Result<bool, DecodeError> {
    match decoder.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(decoder.error("0 or 1", other)),
    }
}
