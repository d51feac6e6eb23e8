//! `BTreeMap` and `BTreeSet`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::super::{DecodeError, Decoder, Encoder, Object, Shape};

/// Sent in strictly ascending order of the keys. Any other order is refused.
impl<K: Object + Ord, V: Object> Object for BTreeMap<K, V> {
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
        ascending(
            decoder,
            <(K, V)>::least_bytes(),
            entry,
            |(key, _): &(K, V)| key,
        )
    }

    fn describe(shape: &mut Shape) {
        shape.part::<K>("key");
        shape.part::<V>("value");
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Sent in strictly ascending order. Any other order is refused.
impl<T: Object + Ord> Object for BTreeSet<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.count(self.len(), T::least_bytes());
        encoder.nested(|encoder| {
            for element in self {
                encoder.key(|encoder| element.encode(encoder));
            }
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let element = |decoder: &mut Decoder<'_>| decoder.key(T::decode);
        ascending(decoder, T::least_bytes(), element, |element: &T| element)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}

fn entry<K: Object, V: Object>(decoder: &mut Decoder<'_>) -> Result<(K, V), DecodeError> {
    Ok((decoder.key(K::decode)?, V::decode(decoder)?))
}

/// Reads entries with ascending keys, and collects them. The standard library builds a tree from a
/// sorted sequence in linear time. An `Ord` that contradicts itself at worst makes a wrong tree.
fn ascending<E, K: Ord, C: FromIterator<E>>(
    decoder: &mut Decoder<'_>,
    least_bytes: usize,
    read: impl Fn(&mut Decoder<'_>) -> Result<E, DecodeError>,
    key: impl Fn(&E) -> &K,
) -> Result<C, DecodeError> {
    let count = decoder.count(least_bytes)?;
    // The entries are first in a list, then in nodes.
    let bytes = size_of::<E>().saturating_mul(2);
    decoder.reserve(count.saturating_mul(bytes))?;
    decoder.nested(|decoder| {
        let mut entries: Vec<E> = Vec::with_capacity(decoder.reservation::<E>(count));
        for _ in 0..count {
            let entry = read(decoder)?;
            // `<` belongs to another trait, and may say something else than what the tree uses.
            let ascends = |last: &E| key(last).cmp(key(&entry)) == Ordering::Less;
            if !entries.last().is_none_or(ascends) {
                return Err(decoder.error(
                    "keys in strictly ascending order",
                    "one that is not above the one before",
                ));
            }
            entries.push(entry);
        }
        Ok(entries.into_iter().collect())
    })
}
