//! `Box`, `Cow`, and the reference-counted pointers, which stay shared.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::sequences::{decode_counted, encode_counted};
use super::text::string;
use super::{DecodeError, Decoder, Encoder, Object, Shape};

impl<T: Object> Object for Box<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.nested(|encoder| (**self).encode(encoder));
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.reserve(size_of::<T>())?;
        decoder.nested(|decoder| T::decode(decoder).map(Box::new))
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }
}

/// The receiver gets an owned value, even if the sender's is borrowed.
impl<T: Object + Clone> Object for Cow<'static, T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        (**self).encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        T::decode(decoder).map(Cow::Owned)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        T::least_bytes()
    }
}

impl<T: Object + Clone> Object for Cow<'static, [T]> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encode_counted(self, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decode_counted(decoder).map(Cow::Owned)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}

/// The bytes that an allocation of `Rc` or `Arc` takes besides its contents: two counters, and the decoder's
/// own record of it.
const SHARED_BYTES: usize = (2 + 10) * size_of::<usize>();

/// Implements what `Rc` and `Arc` have in common.
macro_rules! shared {
    ($($pointer:ident)*) => {$(
        /// Sharing is preserved: one allocation here is one allocation there.
        ///
        /// A `Weak` is not an `Object`. It would have to be handed out before its target is
        /// complete, and bytes from a peer could then lead to memory that was never written. For
        /// the same reason, a pointer that leads back to itself, such as through a `RefCell`, is
        /// refused when it is sent. To send a graph, send its nodes in a `Vec`, with indexes as
        /// edges.
        ///
        /// # Security
        ///
        /// A few bytes of a message can refer to much that was sent before, and a shared value can itself
        /// share others. `Hash`, `Ord`, `Debug` and `clone` of a nested value walk over it as if it were a
        /// tree, which can take exponentially long.
        impl<T: Object> Object for $pointer<T> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let address = $pointer::as_ptr(self).addr();
                encoder.shared(address, self, |encoder| encoder.nested(|encoder| (**self).encode(encoder)));
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                decoder.shared(|decoder| {
                    decoder.reserve(size_of::<T>().saturating_add(SHARED_BYTES))?;
                    decoder.nested(|decoder| T::decode(decoder).map($pointer::new))
                })
            }

            fn describe(shape: &mut Shape) {
                shape.element::<T>();
            }

            fn least_bytes() -> usize {
                1
            }
        }

        impl<T: Object> Object for $pointer<[T]> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let address = $pointer::as_ptr(self).addr();
                encoder.shared(address, self, |encoder| encode_counted(self, encoder));
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                decoder.shared(|decoder| {
                    decoder.reserve(SHARED_BYTES)?;
                    decode_counted(decoder).map($pointer::from)
                })
            }

            fn describe(shape: &mut Shape) {
                shape.element::<T>();
            }

            fn least_bytes() -> usize {
                1
            }
        }

        impl Object for $pointer<str> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let address = $pointer::as_ptr(self).addr();
                encoder.shared(address, self, |encoder| encoder.bytes(self.as_bytes()));
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                decoder.shared(|decoder| {
                    decoder.reserve(SHARED_BYTES)?;
                    string(decoder).map($pointer::from)
                })
            }

            fn describe(_: &mut Shape) {}

            fn least_bytes() -> usize {
                1
            }
        }
    )*};
}

shared! { Rc Arc }
