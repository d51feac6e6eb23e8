//! How the parts of plans and reports are encoded whose types are not this crate's.

use std::ops::Deref;
use std::sync::Arc;

use crossmist_policy::bpf::sock_filter;
use crossmist_policy::namespaces::Namespace;
use crossmist_policy::steps::SecondNet;

use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::inherited::Scheduling;

/// A value that is shared in this process, and sent as a copy.
#[derive(Debug)]
pub(super) struct Shared<T>(pub(super) Arc<T>);

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Object> Object for Shared<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        T::encode(&self.0, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        T::decode(decoder).map(|value| Self(Arc::new(value)))
    }

    fn describe(shape: &mut Shape) {
        shape.part::<T>("value");
    }

    fn least_bytes() -> usize {
        T::least_bytes()
    }
}

impl Object for sock_filter {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let Self { code, jt, jf, k } = self;
        let [c0, c1] = code.to_le_bytes();
        let [k0, k1, k2, k3] = k.to_le_bytes();
        encoder.put(&[c0, c1, *jt, *jf, k0, k1, k2, k3]);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = decoder.array()?;
        Ok(Self {
            code: u16::from_le_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_le_bytes([k0, k1, k2, k3]),
        })
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        8
    }
}

/// Enums without values, by their place in a list of all.
macro_rules! listed {
    ($($type:ty: $all:expr, $name:literal;)*) => {$(
        impl Object for $type {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let place = $all.iter().position(|known| known == self);
                let place = place.and_then(|place| u8::try_from(place).ok());
                encoder.put(&[place.unwrap_or(u8::MAX)]);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let place = decoder.byte()?;
                let known = $all.get(usize::from(place)).copied();
                known.ok_or_else(|| decoder.error(concat!("the number of a ", $name), place))
            }

            fn describe(_: &mut Shape) {}

            fn least_bytes() -> usize {
                1
            }
        }
    )*};
}

listed! {
    Namespace: Namespace::ALL, "namespace";
    SecondNet: SecondNet::ALL, "second net";
    Scheduling: Scheduling::ALL, "way of scheduling";
}
