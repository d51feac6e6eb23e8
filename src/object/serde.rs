//! `Serde`: values that serde can serialize.

mod arrival;
mod bounded;
mod limited;
mod told;

use std::ops::{Deref, DerefMut};

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;
use postcard::ser_flavors::{AllocVec, Flavor};

use self::arrival::arrives;
use self::bounded::{Bounded, Bounds};
use self::limited::{Allowance, Limited};
use self::told::Told;
use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// Wraps a value of a type that implements serde's traits but not [`Object`](crate::Object).
///
/// The encoding is postcard's: small and fast, without names or type tags. It cannot carry values
/// that use some of serde's attributes:
///
/// * fields that are left out (`skip_serializing_if`);
/// * choices that depend on the input (`untagged`, `tag`, `flatten`, and types such as
///   `serde_json::Value`);
/// * variants that are skipped;
/// * names that differ between the two directions.
///
/// Sending such a value fails with an error that names the type, field or variant. To make sure
/// that what arrives is what was sent, each value is deserialized again before it is sent, and the
/// copy is serialized and compared. Sending therefore takes two to four times as long as receiving.
/// `#[derive(Object)]` and `Vec<u8>` have no such cost. Fields that are skipped in both directions
/// arrive with their default.
///
/// ```
/// use crossmist::Serde;
/// # use serde::{Serialize, Deserialize};
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct Point { x: i32, y: i32 }
/// # fn main() -> Result<(), crossmist::ChannelError> {
/// let (mut tx, mut rx) = crossmist::channel::<Serde<Point>>()?;
/// tx.send(&Serde(Point { x: 1, y: 2 }))?;
/// let Serde(point) = rx.recv()?.unwrap();
/// assert_eq!(point, Point { x: 1, y: 2 });
/// # Ok(()) }
/// ```
///
/// # Security
///
/// Nesting, stack, memory and the number of elements are bounded as for any other object. Memory is
/// counted generously: a value within another counts for itself as well. The type's own
/// `Deserialize` is not bounded: a map with a weak hasher, for example, can be made slow by a peer
/// that chooses its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

impl<T: Serialize + DeserializeOwned + 'static> Object for Serde<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let allowance = Allowance::new(encoder, Told::new());
        let mut serializer = postcard::Serializer {
            output: AllocVec::new(),
        };
        let bytes = self
            .0
            .serialize(Limited::new(&mut serializer, &allowance))
            .and_then(|()| serializer.output.finalize());
        match (bytes, allowance.overstepped::<T>()) {
            (Ok(bytes), _) => match arrives(&self.0, &bytes, allowance.told(), encoder) {
                Ok(()) => {
                    encoder.empty_elements(allowance.elements().saturating_sub(bytes.len()));
                    encoder.bytes_owned(bytes);
                }
                Err(kind) => encoder.refuse(kind),
            },
            (Err(_), Some(kind)) => encoder.refuse(kind),
            (Err(error), None) => encoder.fail(format!(
                "`{}` can't be serialized: {error}",
                std::any::type_name::<T>()
            )),
        }
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.byte_count()?;
        let bounds = Bounds::new(decoder, count);
        let result = decoder.with_run(count, |bytes| {
            let mut deserializer = postcard::Deserializer::from_bytes(bytes);
            let value = T::deserialize(Bounded::new(&mut deserializer, &bounds))?;
            Ok((value, deserializer.finalize()?.len()))
        })?;
        bounds.settle(decoder);
        match result {
            Ok((value, 0)) => Ok(Self(value)),
            Ok((_, left)) => {
                let found = format_args!("{left} bytes more");
                Err(decoder.error("the end of a serialized value", found))
            }
            Err::<_, postcard::Error>(error) => Err(DecodeError::new(
                decoder.position(),
                format!("a serialized `{}`", std::any::type_name::<T>()),
                bounds
                    .overstepped()
                    .map_or_else(|| error.to_string(), str::to_owned),
            )),
        }
    }

    /// A value that serde serializes can carry neither code nor descriptors.
    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        4
    }
}

impl<T> From<T> for Serde<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Serde<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Serde<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
