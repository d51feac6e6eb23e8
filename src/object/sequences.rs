//! `Vec`, arrays and boxed slices; `Option` and `Result`.

use super::{DecodeError, Decoder, Encoder, Object, Shape};

impl<T: Object> Object for Vec<T> {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encode_counted(self, encoder);
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decode_counted(decoder)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    #[inline]
    fn least_bytes() -> usize {
        4
    }
}

/// Writes the number of elements and the elements.
pub(super) fn encode_counted<'a, T: Object>(slice: &'a [T], encoder: &mut Encoder<'a>) {
    encoder.count(slice.len(), T::least_bytes());
    T::encode_slice(slice, encoder);
}

/// Reads what [`encode_counted`] wrote.
pub(super) fn decode_counted<T: Object>(decoder: &mut Decoder<'_>) -> Result<Vec<T>, DecodeError> {
    // The bytes of a long run are not among those that `count` would count. `decode_vec` of the
    // plain numbers checks the length of the run.
    let count = decoder.elements::<T>()?;
    decoder.reserve(count.saturating_mul(size_of::<T>()))?;
    T::decode_vec(decoder, count)
}

impl<T: Object> Object for Box<[T]> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encode_counted(self, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decode_counted(decoder).map(Vec::into_boxed_slice)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}

impl<T: Object, const N: usize> Object for [T; N] {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        T::encode_slice(self, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let elements = T::decode_vec(decoder, N)?;
        elements.try_into().map_err(|elements: Vec<T>| {
            DecodeError::new(decoder.position(), format!("{N} elements"), elements.len())
        })
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        // A long array of plain numbers is sent beside the message, and then takes no bytes of it.
        if N.saturating_mul(size_of::<T>()) >= super::BULK_BYTES {
            return 0;
        }
        N.saturating_mul(T::least_bytes())
    }
}

impl<T: Object> Object for Option<T> {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        match self {
            None => encoder.put(&[0]),
            Some(value) => {
                encoder.put(&[1]);
                value.encode(encoder);
            }
        }
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            0 => Ok(None),
            1 => T::decode(decoder).map(Some),
            tag => Err(decoder.error("0 or 1, for `None` or `Some`", tag)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    #[inline]
    fn least_bytes() -> usize {
        1
    }
}

impl<T: Object, E: Object> Object for Result<T, E> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        match self {
            Ok(value) => {
                encoder.put(&[0]);
                value.encode(encoder);
            }
            Err(error) => {
                encoder.put(&[1]);
                error.encode(encoder);
            }
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            0 => T::decode(decoder).map(Ok),
            1 => E::decode(decoder).map(Err),
            tag => Err(decoder.error("0 or 1, for `Ok` or `Err`", tag)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.part::<T>("Ok");
        shape.part::<E>("Err");
    }

    fn least_bytes() -> usize {
        1
    }
}
