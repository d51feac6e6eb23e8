//! Fields of plans and reports as bytes.

use crossmist_policy::steps::SecondNet;

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

/// Second nets as a byte with a bit for each.
pub(super) fn put_nets(encoder: &mut Encoder<'_>, nets: &[SecondNet]) {
    let bits = SecondNet::ALL.iter().enumerate();
    let bits = bits.filter(|(_, net)| nets.contains(net));
    encoder.put(&[bits.fold(0, |byte, (bit, _)| byte | 1 << bit)]);
}

pub(super) fn nets(decoder: &mut Decoder<'_>) -> Result<Vec<SecondNet>, DecodeError> {
    let byte = decoder.byte()?;
    if byte >> SecondNet::ALL.len() != 0 {
        return Err(decoder.error("a bit for each second net", byte));
    }
    let all = SecondNet::ALL.into_iter().enumerate();
    let set = all.filter(|(bit, _)| byte >> bit & 1 == 1);
    Ok(set.map(|(_, net)| net).collect())
}
