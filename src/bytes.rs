//! A value as one string of bytes, for what doesn't travel over a channel of ours.

use crate::object::{DecodeError, EncodeError, Encoder, Limits, Object, Trust};
use crate::wire::{self, FrameError, Header};

/// Encodes a value that is data only: no descriptors, no code.
///
/// The form is that of the wire. It can change with every build of the program: it is for another
/// process of the same executable, not for a file.
///
/// # Errors
///
/// An [`EncodeError`] where the value holds a descriptor or code, or exceeds the default
/// [`Limits`].
pub fn to_bytes<T: Object>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a value like [`to_bytes`], into a buffer that is kept: its contents are replaced, its
/// memory is used again.
///
/// # Errors
///
/// Those of [`to_bytes`]; the buffer is empty then.
pub fn encode_into<T: Object>(value: &T, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    let limits = Limits {
        descriptors: 0,
        ..Limits::default()
    };
    let mut buffer = std::mem::take(bytes);
    buffer.clear();
    buffer.extend_from_slice(&[0; Header::BYTES]);
    let mut encoder = Encoder::new(buffer, limits, Trust::Data);
    value.encode(&mut encoder);
    match encoder.finish() {
        Ok(message) => {
            *bytes = wire::to_bytes(message, 0);
            Ok(())
        }
        Err((error, mut buffer)) => {
            buffer.clear();
            *bytes = buffer;
            Err(error)
        }
    }
}

/// Decodes what [`to_bytes`] encoded.
///
/// # Errors
///
/// A [`BytesError`] where the bytes are not a value of `T`, or exceed the default [`Limits`].
///
/// # Security
///
/// The bytes may come from anybody.
pub fn from_bytes<T: Object>(bytes: &[u8]) -> Result<T, BytesError> {
    let limits = Limits {
        descriptors: 0,
        ..Limits::default()
    };
    let mut assembly = wire::from_bytes(bytes, &limits, Trust::Data)?;
    Ok(assembly.message().decode(limits, Trust::Data)?)
}

/// Why bytes are not an encoded value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BytesError {
    /// They are not a message at all.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// They are a message of another type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
