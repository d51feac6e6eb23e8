//! `Delayed`: a value that is decoded when its receiver asks for it.

use crate::object::{
    DecodeError, Decoder, EncodeError, Encoder, Limits, Object, Parts, Shape, Trust,
};
use crate::sys::fd::Received;

/// A value that stays encoded until its receiver asks for it.
///
/// Arguments are decoded before the function runs. If a value needs something that the function
/// sets up first, such as a runtime, pass it as a `Delayed`, and decode it with
/// [`deserialize`](Self::deserialize) once that is done.
///
/// ```
/// use crossmist::{Delayed, func};
///
/// #[func]
/// fn length(text: Delayed<String>) -> usize {
///     // Whatever has to come first.
///     text.deserialize().len()
/// }
///
/// #[crossmist::main]
/// fn main() {
///     assert_eq!(length.run(Delayed::new("five!".to_string())).unwrap(), 5);
/// }
/// ```
#[derive(Debug)]
pub struct Delayed<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    Value(T),
    Encoded(Box<Message>),
}

/// The sections of the value, separate from those of the message that it came in.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    bulk: Vec<Vec<u8>>,
    descriptors: Vec<Option<Received>>,
    code: Vec<Option<u64>>,
    limits: Limits,
    trust: Trust,
}

impl<T: Object> Delayed<T> {
    /// Wraps a value that is to be sent.
    pub fn new(value: T) -> Self {
        Self(State::Value(value))
    }

    /// Decodes the value. A value that was never sent is returned as it is.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if the bytes are not a valid `T`. The descriptors that came with the value
    /// are then closed.
    pub fn decode(self) -> Result<T, DecodeError> {
        match self.0 {
            State::Value(value) => Ok(value),
            State::Encoded(mut message) => {
                let Message {
                    bytes,
                    bulk,
                    descriptors,
                    code,
                    limits,
                    trust,
                } = &mut *message;
                let parts = Parts {
                    bytes,
                    bulk,
                    descriptors,
                    code,
                };
                Decoder::new(parts, *limits, *trust).message()
            }
        }
    }

    /// Decodes a value that came as an argument, from this process's own parent.
    ///
    /// # Panics
    ///
    /// Panics if the bytes are not a valid `T`, which a parent does not send. For a value that came
    /// over a channel, use [`decode`](Self::decode).
    pub fn deserialize(self) -> T {
        match self.decode() {
            Ok(value) => value,
            Err(error) => panic!("a delayed value can't be decoded: {error}"),
        }
    }
}

impl<T: Object> Object for Delayed<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let State::Value(value) = &self.0 else {
            encoder.fail("a `Delayed` that was received and not decoded");
            return;
        };
        let mut inner = encoder.for_part();
        inner.nested(|inner| value.encode(inner));
        match inner.finish() {
            Ok(message) => {
                encoder.bytes_owned(message.bytes);
                encoder.count(message.bulk.len(), 4);
                for run in message.bulk {
                    encoder.count(run.len(), 1);
                    encoder.run(run);
                }
                message
                    .links
                    .into_iter()
                    .for_each(|link| encoder.passes(link));
                encoder.count(message.descriptors.len(), 2);
                for descriptor in message.descriptors {
                    encoder.lend(descriptor);
                }
                encoder.count(message.code.len(), 4);
                for reference in message.code {
                    encoder.code_as_is(reference);
                }
            }
            Err((error, _)) => encoder.refuse(EncodeError::into_kind(error)),
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let bytes = decoder.bytes()?;
        let runs = decoder.count(4)?;
        let bulk = (0..runs)
            .map(|_| decoder.bytes())
            .collect::<Result<_, _>>()?;
        let descriptors = decoder.count(2)?;
        let descriptors = (0..descriptors)
            .map(|_| decoder.descriptor().map(Some))
            .collect::<Result<_, _>>()?;
        let references = decoder.count(4)?;
        let code = (0..references)
            .map(|_| decoder.code_as_is().map(Some))
            .collect::<Result<_, _>>()?;
        let (limits, trust) = decoder.bounds();
        let message = Message {
            bytes,
            bulk,
            descriptors,
            code,
            limits,
            trust,
        };
        Ok(Self(State::Encoded(Box::new(message))))
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        16
    }
}
