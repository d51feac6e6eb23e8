//! `VecDeque`, `LinkedList` and `BinaryHeap`.

use std::collections::{BinaryHeap, LinkedList, VecDeque};

use super::super::sequences::{decode_counted, encode_counted};
use super::super::{DecodeError, Decoder, Encoder, Object, Shape};

/// Sent as the two slices that it consists of, so that neither has to be moved first.
impl<T: Object> Object for VecDeque<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        let (front, back) = self.as_slices();
        encode_counted(front, encoder);
        encode_counted(back, encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut front = VecDeque::from(decode_counted(decoder)?);
        let back = decode_counted(decoder)?;
        // The second slice is moved into the first one's memory, or into that of both together.
        decoder.reserve(back.len().saturating_mul(size_of::<T>()))?;
        front.reserve_exact(back.len());
        front.extend(back);
        Ok(front)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        8
    }
}

impl<T: Object> Object for LinkedList<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.count(self.len(), T::least_bytes());
        encoder.nested(|encoder| {
            for element in self {
                element.encode(encoder);
            }
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let count = decoder.count(T::least_bytes())?;
        let node = size_of::<T>().saturating_add(2 * size_of::<usize>());
        decoder.reserve_each(count, node)?;
        decoder.nested(|decoder| {
            let mut list = LinkedList::new();
            for _ in 0..count {
                list.push_back(T::decode(decoder)?);
            }
            Ok(list)
        })
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Rebuilt as a heap on arrival, in linear time, because a peer's order is not trusted.
impl<T: Object + Ord> Object for BinaryHeap<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.key(|encoder| encode_counted(self.as_slice(), encoder));
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.key(decode_counted).map(BinaryHeap::from)
    }

    fn describe(shape: &mut Shape) {
        shape.element::<T>();
    }

    fn least_bytes() -> usize {
        4
    }
}
