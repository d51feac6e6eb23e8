//! `HashMap` and `HashSet`.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};

use super::super::{DecodeError, Decoder, Encoder, Object, Shape};

/// A hasher whose collisions a peer can't choose.
///
/// A peer that knows how keys are hashed can send keys that all collide, and a map of `n` such keys
/// takes `n²` steps to build. [`RandomState`] has random keys that no peer knows. Implement this
/// trait for your own hasher if it has such keys, or if you trust every peer with your time.
///
/// ```
/// use std::hash::{BuildHasher, DefaultHasher};
///
/// /// Without keys: only for maps that no stranger fills.
/// #[derive(Default)]
/// struct Quick;
///
/// impl BuildHasher for Quick {
///     type Hasher = DefaultHasher;
///     fn build_hasher(&self) -> DefaultHasher {
///         DefaultHasher::new()
///     }
/// }
///
/// impl crossmist::TrustedHasher for Quick {}
/// ```
pub trait TrustedHasher: BuildHasher + Default + 'static {}

impl TrustedHasher for RandomState {}

/// Keys may arrive in any order, and each only once.
impl<K: Object + Eq + Hash, V: Object, S: TrustedHasher> Object for HashMap<K, V, S> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.count(self.len(), <(K, V)>::least_bytes());
        encoder.nested(|encoder| {
            for (key, value) in self {
                encoder.key(|encoder| key.encode(encoder));
                value.encode(encoder);
            }
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.count(<(K, V)>::least_bytes())?;
        reserve::<(K, V)>(decoder, count)?;
        decoder.nested(|decoder| {
            let capacity = decoder.reservation::<(K, V)>(count);
            let mut map = HashMap::with_capacity_and_hasher(capacity, S::default());
            for _ in 0..count {
                let key = decoder.key(K::decode)?;
                let value = V::decode(decoder)?;
                if map.insert(key, value).is_some() {
                    return Err(duplicate(decoder));
                }
            }
            Ok(map)
        })
    }

    fn describe(shape: &mut Shape) {
        shape.part::<K>("key");
        shape.part::<V>("value");
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Elements may arrive in any order, and each only once.
impl<T: Object + Eq + Hash, S: TrustedHasher> Object for HashSet<T, S> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.count(self.len(), T::least_bytes());
        encoder.nested(|encoder| {
            for element in self {
                encoder.key(|encoder| element.encode(encoder));
            }
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.count(T::least_bytes())?;
        reserve::<T>(decoder, count)?;
        decoder.nested(|decoder| {
            let capacity = decoder.reservation::<T>(count);
            let mut set = HashSet::with_capacity_and_hasher(capacity, S::default());
            for _ in 0..count {
                if !set.insert(decoder.key(T::decode)?) {
                    return Err(duplicate(decoder));
                }
            }
            Ok(set)
        })
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Accounts for a table, which has a control byte for each slot, and at most twice as many slots as
/// entries.
fn reserve<E>(decoder: &mut Decoder<'_>, count: usize) -> Result<(), DecodeError> {
    let places = size_of::<E>().saturating_add(1).saturating_mul(2);
    decoder.reserve(count.saturating_mul(places))
}

fn duplicate(decoder: &Decoder<'_>) -> DecodeError {
    decoder.error("keys that differ", "one for the second time")
}
