//! `Box`, `Rc`, `Arc`, `Cow` and cells.

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
