//! Ranges and their bounds.

use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// A range: its parts, and how it is created from them. A `RangeInclusive` that was partly iterated
/// over is sent as the remaining bounds.
macro_rules! ranges {
    ($($range:ident { $($part:ident: $read:expr),* } $make:expr;)*) => {$(
        impl<T: Object> Object for $range<T> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                $(
                    let part: fn(&Self) -> &T = $read;
                    part(self).encode(encoder);
                )*
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                $(let $part = T::decode(decoder).map_err(|e| e.within(stringify!($part)))?;)*
                Ok($make)
            }

            fn describe(shape: &mut Shape) {
                shape.element::<T>();
            }

            fn least_bytes() -> usize {
                [$({ let _: fn(&Self) -> &T = $read; T::least_bytes() }),*]
                    .into_iter()
                    .fold(0, usize::saturating_add)
            }
        }
    )*};
}

ranges! {
    Range { start: |range| &range.start, end: |range| &range.end } start..end;
    RangeInclusive { start: |range| range.start(), end: |range| range.end() } start..=end;
    RangeFrom { start: |range| &range.start } start..;
    RangeTo { end: |range| &range.end } ..end;
    RangeToInclusive { end: |range| &range.end } ..=end;
}

impl Object for RangeFull {
    fn encode<'a>(&'a self, _: &mut Encoder<'a>) {}

    fn decode(_: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(..)
    }

    fn describe(_: &mut Shape) {}
}

impl<T: Object> Object for Bound<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        match self {
            Bound::Included(value) => {
                encoder.put(&[0]);
                value.encode(encoder);
            }
            Bound::Excluded(value) => {
                encoder.put(&[1]);
                value.encode(encoder);
            }
            Bound::Unbounded => encoder.put(&[2]),
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match decoder.byte()? {
            0 => T::decode(decoder).map(Bound::Included),
            1 => T::decode(decoder).map(Bound::Excluded),
            2 => Ok(Bound::Unbounded),
            tag => Err(decoder.error("0, 1 or 2, for a bound", tag)),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        1
    }
}
