//! What a child answers: once, and last.

use crate::error::{ChildText, Panic};
use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};

/// The answer of a child.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Returned(T),
    Panicked(Panic),
    /// The arguments could not be decoded.
    BadArguments(ChildText),
    /// The result could not be encoded.
    BadResult(ChildText),
}

impl<T: Object> Object for Reply<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        match self {
            Self::Returned(value) => {
                encoder.put(&[0]);
                value.encode(encoder);
            }
            Self::Panicked(panic) => {
                encoder.put(&[1]);
                encoder.bytes(panic.message.as_raw().as_bytes());
                encoder.bytes(panic.location.as_raw().as_bytes());
            }
            Self::BadArguments(text) => {
                encoder.put(&[2]);
                encoder.bytes(text.as_raw().as_bytes());
            }
            Self::BadResult(text) => {
                encoder.put(&[3]);
                encoder.bytes(text.as_raw().as_bytes());
            }
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let text = |decoder: &mut Decoder<'_>| String::decode(decoder).map(ChildText::new);
        match decoder.byte()? {
            0 => T::decode(decoder).map(Self::Returned),
            1 => Ok(Self::Panicked(Panic {
                message: text(decoder)?,
                location: text(decoder)?,
            })),
            2 => text(decoder).map(Self::BadArguments),
            3 => text(decoder).map(Self::BadResult),
            tag => Err(decoder.error("the kind of an answer, 0 to 3", tag)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.part::<T>("result");
    }
}
