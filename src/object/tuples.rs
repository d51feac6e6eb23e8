//! Tuples of up to 16 elements.

use super::{DecodeError, Decoder, Encoder, Object, Shape};

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Object),*> Object for ($($name,)*) {
            #[inline]
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                $(self.$index.encode(encoder);)*
            }

            #[inline]
            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                // In the order of the elements: a tuple expression is evaluated from the left.
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

tuple! { A 0 }
tuple! { A 0, B 1 }
tuple! { A 0, B 1, C 2 }
tuple! { A 0, B 1, C 2, D 3 }
tuple! { A 0, B 1, C 2, D 3, E 4 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14 }
tuple! { A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15 }
