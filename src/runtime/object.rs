//! The ends as objects.

use super::channel::{Duplex, Receiver, Sender};
use super::reactor::Reactor;
use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};

/// The ends are sent like the blocking ones.
macro_rules! ends {
    ($([$($parameter:ident),*] $end:ident;)*) => {$(
        impl<$($parameter: Object,)* W: Reactor> Object for $end<$($parameter,)* W> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                self.endpoint.get().encode(encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                crate::$end::<$($parameter),*>::decode(decoder).map(Self::from)
            }

            fn describe(shape: &mut Shape) {
                crate::$end::<$($parameter),*>::describe(shape);
            }

            fn least_bytes() -> usize {
                crate::$end::<$($parameter),*>::least_bytes()
            }
        }
    )*};
}

ends! {
    [T] Sender;
    [T] Receiver;
    [S, R] Duplex;
}
