//! Numbers, `bool`, `char`, the unit and other types of fixed size.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::num::{NonZero, Saturating, Wrapping};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// Plain numbers: fixed width, little-endian, whole slices at once.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Object for $number {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encoder.put(&self.to_le_bytes());
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_le_bytes(decoder.array()?))
            }

            fn describe(_: &mut Shape) {}

            #[inline]
            fn least_bytes() -> usize {
                size_of::<Self>()
            }

            fn encode_slice<'a>(slice: &'a [Self], encoder: &mut Encoder<'a>) {
                encoder.run(Cow::Borrowed(bytemuck::cast_slice(slice)));
            }

            fn decode_vec(decoder: &mut Decoder<'_>, count: usize) -> Result<Vec<Self>, DecodeError> {
                // `count` was checked against what is left of the message, or is checked against
                // the length of a run that has arrived.
                decoder.with_run(count.saturating_mul(size_of::<Self>()), bytemuck::pod_collect_to_vec)
            }
        }
    )*};
}

// The bytes of a slice are copied as they are in memory, and both supported architectures are
// little-endian.
#[cfg(not(target_endian = "little"))]
compile_error!("crossmist supports little-endian targets only");

numbers! { u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

// `usize` is one of the plain numbers: both ends are the same program.
#[cfg(not(target_pointer_width = "64"))]
compile_error!("crossmist supports 64-bit targets only");

/// Like the other plain numbers, except that a received run is handed on without a copy.
impl Object for u8 {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&[*self]);
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.byte()
    }

    fn describe(_: &mut Shape) {}

    #[inline]
    fn least_bytes() -> usize {
        1
    }

    #[inline]
    fn encode_slice<'a>(slice: &'a [Self], encoder: &mut Encoder<'a>) {
        encoder.run(Cow::Borrowed(slice));
    }

    #[inline]
    fn decode_vec(decoder: &mut Decoder<'_>, count: usize) -> Result<Vec<Self>, DecodeError> {
        decoder.run(count)
    }
}

impl Object for bool {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&[u8::from(*self)]);
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(decoder.error("a bool, 0 or 1", byte)),
        }
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        1
    }
}

impl Object for char {
    #[inline]
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&u32::from(*self).to_le_bytes());
    }

    #[inline]
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let code = u32::decode(decoder)?;
        char::from_u32(code)
            .ok_or_else(|| decoder.error("a Unicode scalar value", format_args!("{code:#x}")))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        4
    }
}

impl Object for () {
    #[inline]
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {}

    #[inline]
    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(())
    }

    fn describe(_: &mut Shape) {}
}

impl Object for Infallible {
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {
        match *self {}
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Err(decoder.error("nothing: the type has no value", "a message"))
    }

    fn describe(_: &mut Shape) {}
}

impl<T: ?Sized + 'static> Object for PhantomData<T> {
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(PhantomData)
    }

    fn describe(_: &mut Shape) {}
}

macro_rules! nonzero {
    ($($number:ty)*) => {$(
        impl Object for NonZero<$number> {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encoder.put(&self.get().to_le_bytes());
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let number = <$number>::decode(decoder)?;
                NonZero::new(number).ok_or_else(|| decoder.error("a number that isn't 0", "0"))
            }

            fn describe(_: &mut Shape) {}

            fn least_bytes() -> usize {
                size_of::<Self>()
            }
        }
    )*};
}

nonzero! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize }

/// Wrappers with one public field.
macro_rules! wrappers {
    ($($wrapper:ident)*) => {$(
        impl<T: Object> Object for $wrapper<T> {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                self.0.encode(encoder);
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                T::decode(decoder).map($wrapper)
            }

            fn describe(shape: &mut Shape) {
                shape.element::<T>();
            }

            fn least_bytes() -> usize {
                T::least_bytes()
            }
        }
    )*};
}

wrappers! { Wrapping Saturating Reverse }

impl Object for Ordering {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&(*self as i8).to_le_bytes());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match i8::decode(decoder)? {
            -1 => Ok(Ordering::Less),
            0 => Ok(Ordering::Equal),
            1 => Ok(Ordering::Greater),
            byte => Err(decoder.error("an ordering: -1, 0 or 1", byte)),
        }
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        1
    }
}
