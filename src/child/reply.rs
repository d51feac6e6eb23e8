//! The messages that a child sends: a report on its confinement, if it confines itself, and then its answer,
//! once and last.

use crate::confine::{ConfinementStatus, Failure};
use crate::error::Stack;
use crate::error::{ChildText, Panic, ResultLimit};
use crate::object::{DecodeError, Decoder, EncodeError, EncodeErrorKind, Encoder, Object, Shape};

/// The answer of a child.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Returned(T),
    Panicked(Panic),
    /// The arguments could not be decoded.
    BadArguments(ChildText),
    /// The result could not be encoded.
    BadResult(ChildText),
    /// The result is beyond a limit: which, and how much there is of it.
    BeyondLimit(ResultLimit, u64),
    /// It has confined itself, and continues with the arguments. An answer follows.
    Confined(Box<ConfinementStatus>),
    /// It could not confine itself, and has not looked at its arguments.
    NotConfined(Failure),
    /// It is watched instead of confined, by the holder of this descriptor.
    #[cfg(crossmist_learn)]
    Watched(std::os::fd::OwnedFd),
}

/// The answer of a child that answers several calls, with the number of its call.
#[derive(Debug)]
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) reply: Reply<T>,
}

impl<T> Reply<T> {
    /// Returns whether it is a report on the child's confinement, not an answer.
    pub(crate) fn is_report(&self) -> bool {
        #[cfg(crossmist_learn)]
        if let Self::Watched(_) = self {
            return true;
        }
        matches!(self, Self::Confined(_) | Self::NotConfined(_))
    }
}

impl From<EncodeError> for Reply<()> {
    fn from(error: EncodeError) -> Self {
        let count = |amount: usize| u64::try_from(amount).unwrap_or(u64::MAX);
        match *error.kind() {
            EncodeErrorKind::TooLong { bytes, .. } => {
                Self::BeyondLimit(ResultLimit::Bytes, count(bytes))
            }
            EncodeErrorKind::TooManyDescriptors { descriptors, .. } => {
                Self::BeyondLimit(ResultLimit::Descriptors, count(descriptors))
            }
            // How deep it goes was not found out.
            EncodeErrorKind::TooDeep { limit } => {
                Self::BeyondLimit(ResultLimit::Nesting, count(limit).saturating_add(1))
            }
            _ => Self::BadResult(ChildText::new(error.to_string())),
        }
    }
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
                panic.stack.encode(encoder);
            }
            Self::BadArguments(text) => {
                encoder.put(&[2]);
                encoder.bytes(text.as_raw().as_bytes());
            }
            Self::BadResult(text) => {
                encoder.put(&[3]);
                encoder.bytes(text.as_raw().as_bytes());
            }
            Self::BeyondLimit(limit, amount) => {
                encoder.put(&[7, *limit as u8]);
                encoder.put(&amount.to_le_bytes());
            }
            Self::Confined(status) => {
                encoder.put(&[4]);
                status.encode(encoder);
            }
            Self::NotConfined(failure) => {
                encoder.put(&[5]);
                failure.encode(encoder);
            }
            #[cfg(crossmist_learn)]
            Self::Watched(listener) => {
                encoder.put(&[6]);
                listener.encode(encoder);
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
                stack: Stack::decode(decoder)?,
                limit: None,
            })),
            2 => text(decoder).map(Self::BadArguments),
            3 => text(decoder).map(Self::BadResult),
            4 => ConfinementStatus::decode(decoder).map(|status| Self::Confined(Box::new(status))),
            5 => Failure::decode(decoder).map(Self::NotConfined),
            #[cfg(crossmist_learn)]
            6 => Object::decode(decoder).map(Self::Watched),
            7 => {
                let limit = match decoder.byte()? {
                    0 => ResultLimit::Bytes,
                    1 => ResultLimit::Descriptors,
                    2 => ResultLimit::Nesting,
                    tag => return Err(decoder.error("a limit of an answer, 0 to 2", tag)),
                };
                u64::decode(decoder).map(|amount| Self::BeyondLimit(limit, amount))
            }
            tag => Err(decoder.error("the kind of an answer, 0 to 5 or 7", tag)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.part::<T>("result");
    }
}

impl<T: Object> Object for Numbered<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&self.number.to_le_bytes());
        self.reply.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: u64::decode(decoder)?,
            reply: Reply::decode(decoder)?,
        })
    }

    fn describe(shape: &mut Shape) {
        shape.part::<T>("result");
    }
}
