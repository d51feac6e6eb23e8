//! Finds out before a value is sent whether it will arrive as it was.

use std::any::type_name;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;
use postcard::ser_flavors::Size;

use super::super::{EncodeErrorKind, Encoder};
use super::bounded::{Bounded, Bounds};
use super::limited::{Allowance, CURE, Limited};
use super::told::{Step, Told};

/// Reads `value` from its bytes, as its receiver will, and serializes the copy. Both have to tell
/// the serializer the same.
///
/// The receiver is this executable and reads the same bytes, so it gets the same copy. No
/// inspection of the type could replace this: only its two implementations know which field or
/// variant is where, and whether the type asks what comes next.
pub(super) fn arrives<T: Serialize + DeserializeOwned>(
    value: &T,
    bytes: &[u8],
    told: &Told,
    encoder: &Encoder<'_>,
) -> Result<(), EncodeErrorKind> {
    let bounds = Bounds::of_own(encoder, bytes.len());
    let mut deserializer = postcard::Deserializer::from_bytes(bytes);
    let copy = T::deserialize(Bounded::new(&mut deserializer, &bounds));
    let copy = copy.and_then(|copy| Ok((copy, deserializer.finalize()?.len())));
    let what = match copy {
        Ok((copy, 0)) => match tell(&copy, Told::new(), encoder) {
            Some(again) if again.digest() == told.digest() => return Ok(()),
            _ => difference(value, &copy, encoder),
        },
        Ok((_, left)) => format!("of its bytes, {left} would be left over ({ATTRIBUTES})"),
        Err(error) => {
            let place = bounds.place().unwrap_or(type_name::<T>());
            match bounds.overstepped() {
                Some(found) => format!("its receiver would find {found} in `{place}`"),
                None if error == postcard::Error::WontImplement => format!(
                    "`{place}` depends on what the input holds (`untagged`, `tag`, `flatten`, or a value of any \
                     type, such as `serde_json::Value`)"
                ),
                None => format!("`{place}` could not be read again ({ATTRIBUTES}): {error}"),
            }
        }
    };
    Err(EncodeErrorKind::Refused {
        reason: format!(
            "`{}` can't be sent by `Serde`, which sends neither names nor type tags: {what}; {CURE}",
            type_name::<T>()
        ),
    })
}

/// The attributes that make the two directions differ.
const ATTRIBUTES: &str = "`skip`, `skip_serializing` or `skip_deserializing`, `rename` for one \
                          direction, or implementations that differ";

/// Everything that a value tells its serializer. `None` if it cannot be serialized.
fn tell<T: Serialize>(value: &T, told: Told, encoder: &Encoder<'_>) -> Option<Told> {
    let allowance = Allowance::new(encoder, told);
    let mut serializer = postcard::Serializer {
        output: Size::default(),
    };
    let result = value.serialize(Limited::new(&mut serializer, &allowance));
    result.ok().map(|()| allowance.into_told())
}

/// Returns the first difference between a value and its copy.
fn difference<T: Serialize>(value: &T, copy: &T, encoder: &Encoder<'_>) -> String {
    let steps = |value| -> Vec<Step> {
        tell(value, Told::with_steps(), encoder).map_or_else(Vec::new, Told::into_steps)
    };
    let (sent, arrived) = (steps(value), steps(copy));
    let first = sent.iter().zip(&arrived).find(|(one, other)| one != other);
    match first {
        Some(((of, name), (other_of, other))) => {
            format!("`{of}::{name}` would arrive as `{other_of}::{other}` ({ATTRIBUTES})")
        }
        None => format!("it would arrive as another value ({ATTRIBUTES})"),
    }
}
