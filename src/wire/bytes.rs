//! Values as byte strings, for transports other than this library's channels.

use crate::object::{DecodeError, EncodeError, Encoder, Limits, Object, Trust, debug_as_text};
use crate::wire::{self, Header, ProtocolError};

/// Encodes a value of pure data: no descriptors, no code.
///
/// The encoding is the one that channels use. It can change with every build of the program, so it
/// is for another process of the same executable, not for a file.
///
/// # Errors
///
/// An [`EncodeError`] if the value holds a descriptor or code, or exceeds the default [`Limits`].
pub fn to_bytes<T: Object>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a value like [`to_bytes`], into an existing buffer. Its contents are replaced, and its
/// memory is reused.
///
/// # Errors
///
/// Those of [`to_bytes`]. The buffer is then empty.
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
            *bytes = wire::join(message, 0);
            Ok(())
        }
        Err((error, mut buffer)) => {
            buffer.clear();
            *bytes = buffer;
            Err(error)
        }
    }
}

/// Decodes a value that [`to_bytes`] has encoded.
///
/// # Errors
///
/// A [`BytesError`] if the bytes are not a valid `T`, or exceed the default [`Limits`].
///
/// # Security
///
/// The bytes may come from an attacker.
pub fn from_bytes<T: Object>(bytes: &[u8]) -> Result<T, BytesError> {
    let limits = Limits {
        descriptors: 0,
        ..Limits::default()
    };
    let mut assembly = wire::split(bytes, &limits, Trust::Data)?;
    Ok(assembly.message().decode(limits, Trust::Data)?)
}

/// Why bytes could not be decoded.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BytesError {
    /// The bytes are not a message.
    #[error(transparent)]
    Malformed(#[from] ProtocolError),
    /// The bytes are a message, but not of this type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

debug_as_text!(BytesError);
