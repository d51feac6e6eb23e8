//! Tuples of up to 16 elements.

use super::{DecodeError, Decoder, Encoder, Object, Shape};

macro_rules! tuple {
    ($($argument:ident $name:ident $index:tt),*) => {
        impl<$($name: Object),*> Object for ($($name,)*) {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                $(self.$index.encode(encoder);)*
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                // In the order of the elements, because a tuple expression is evaluated from the
                // left.
                Ok(($($name::decode(decoder).map_err(|e| e.within(stringify!($index)))?,)*))
            }

            fn describe(shape: &mut Shape) {
                $(shape.part::<$name>(stringify!($index));)*
            }

            #[inline]
            fn least_bytes() -> usize {
                0 $(+ $name::least_bytes())*
            }
        }
    };
}

for_each_arity_but_none! { tuple }
