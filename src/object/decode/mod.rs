//! Decodes the three sections of a message into a value, and trusts none of them.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

mod bounds;
mod sections;
mod shared;

use std::any::Any;
use std::fmt;

use super::{DecodeError, Limits, Object, Trust};
use crate::sys::fd::Received;

pub(in crate::object) use self::bounds::{Stack, key_weight};

/// Reads the parts of a value from a message. See [`Object::decode`].
///
/// Everything that it returns has been checked against what the message really holds. Memory,
/// nesting and stack are bounded by the [`Limits`] of the channel.
#[derive(Debug)]
pub struct Decoder<'m> {
    /// The bytes that have not been read yet.
    rest: &'m [u8],
    /// The whole length, for positions.
    length: usize,
    bulk: std::slice::IterMut<'m, Vec<u8>>,
    bulk_taken: usize,
    descriptors: &'m mut [Option<Received>],
    code: &'m mut [Option<u64>],
    limits: Limits,
    trust: Trust,
    depth: usize,
    stack: Stack,
    memory_left: usize,
    /// How much all containers together may still reserve before their elements have been seen.
    ahead_left: usize,
    empty_elements_left: usize,
    shared: Vec<Shared>,
    /// The greatest depth of what was read so far within the innermost shared object.
    deepest: usize,
    /// Bytes of the runs that were read.
    run_bytes: usize,
    /// The weight of the references to earlier objects within the innermost shared object.
    referenced: usize,
    /// Whether a key is being read.
    in_key: bool,
    /// How much weight the references in keys may still have.
    key_weight_left: usize,
}

/// A complete shared allocation.
#[derive(Debug)]
struct Shared {
    object: Box<dyn Any>,
    /// How deeply its pointers and containers nest.
    height: usize,
    /// How long its message would be without sharing, which is what a walk over it costs.
    weight: usize,
}

/// The sections of a received message.
#[derive(Debug)]
pub(crate) struct Parts<'m> {
    pub(crate) bytes: &'m [u8],
    pub(crate) bulk: &'m mut [Vec<u8>],
    pub(crate) descriptors: &'m mut [Option<Received>],
    pub(crate) code: &'m mut [Option<u64>],
}

impl<'m> Decoder<'m> {
    pub(crate) fn new(parts: Parts<'m>, limits: Limits, trust: Trust) -> Self {
        let bulk_bytes = parts
            .bulk
            .iter()
            .map(Vec::len)
            .fold(0, usize::saturating_add);
        let length = parts.bytes.len();
        // The length of the message as the sender counts it.
        let message_bytes = length
            .saturating_add(bulk_bytes)
            .saturating_add(parts.code.len().saturating_mul(size_of::<u64>()));
        Self {
            rest: parts.bytes,
            length,
            bulk: parts.bulk.iter_mut(),
            bulk_taken: 0,
            descriptors: parts.descriptors,
            code: parts.code,
            limits,
            trust,
            depth: 0,
            stack: Stack::here(),
            memory_left: limits.memory_bytes,
            ahead_left: length
                .saturating_mul(bounds::AHEAD_FACTOR)
                .saturating_add(bounds::AHEAD_BYTES),
            empty_elements_left: limits.empty_elements.max(message_bytes),
            shared: Vec::new(),
            deepest: 0,
            run_bytes: 0,
            referenced: 0,
            in_key: false,
            key_weight_left: key_weight(message_bytes),
        }
    }

    /// Reads a whole message: one value, with nothing left over.
    pub(crate) fn message<T: Object>(mut self) -> Result<T, DecodeError> {
        let value = T::decode(&mut self).map_err(|e| e.within(std::any::type_name::<T>()))?;
        if !self.rest.is_empty() {
            let found = format!("{} bytes more", self.rest.len());
            return Err(self.error("the end of the message", found));
        }
        if self.bulk.next().is_some() {
            return Err(self.error(
                "the end of the message",
                "a run of bytes that nothing named",
            ));
        }
        if self.descriptors.iter().any(Option::is_some) {
            return Err(self.error("the end of the message", "a descriptor that nothing named"));
        }
        if self.code.iter().any(Option::is_some) {
            return Err(self.error(
                "the end of the message",
                "a code reference that nothing named",
            ));
        }
        Ok(value)
    }

    /// Returns the position of the next byte.
    #[must_use]
    pub fn position(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    /// Creates an error at the current position.
    #[cold]
    pub fn error(&self, expected: &'static str, found: impl fmt::Display) -> DecodeError {
        DecodeError::new(self.position(), expected, found)
    }

    #[cold]
    fn short(&self, wanted: usize) -> DecodeError {
        DecodeError::new(
            self.position(),
            format!("{wanted} bytes"),
            format_args!("the end after {}", self.rest.len()),
        )
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if fewer bytes are left.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.short(N)),
        }
    }

    /// Reads one byte, such as the tag of an enum.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if no byte is left.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// Reads `count` bytes without copying them.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if fewer bytes are left.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'m [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.short(count)),
        }
    }

    /// Reads the number of elements that follow. Each takes at least `least_bytes`.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if so many elements cannot follow. Elements that may take no bytes are
    /// counted together for the whole message. There may be as many as the message has bytes, or
    /// [`Limits::empty_elements`], whichever is more.
    #[inline]
    pub fn count(&mut self, least_bytes: usize) -> Result<usize, DecodeError> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        if least_bytes == 0 {
            match self.empty_elements_left.checked_sub(count) {
                Some(left) => self.empty_elements_left = left,
                None => {
                    return Err(DecodeError::new(
                        self.position(),
                        format!(
                            "at most {} elements without bytes",
                            self.empty_elements_left
                        ),
                        count,
                    ));
                }
            }
        } else if count
            .checked_mul(least_bytes)
            .is_none_or(|least| least > self.rest.len())
        {
            return Err(DecodeError::new(
                self.position(),
                format!("a count that {} bytes can hold", self.rest.len()),
                count,
            ));
        }
        Ok(count)
    }

    /// Reads how many `T`s follow in a slice, which may be a run that was sent beside the message.
    pub(crate) fn elements<T: Object>(&mut self) -> Result<usize, DecodeError> {
        let least = T::least_bytes();
        let ahead = self
            .rest
            .first_chunk()
            .map_or(0, |count| u32::from_le_bytes(*count));
        let bytes = usize::try_from(ahead)
            .unwrap_or(usize::MAX)
            .saturating_mul(least);
        // Only plain numbers are sent in this way. For another type a run is the wrong guess, but
        // then the first element is missing just the same, and `reservation` keeps to what is
        // there.
        if self.is_bulk(bytes) && !self.bulk.as_slice().is_empty() {
            return self.byte_count();
        }
        self.count(least)
    }

    /// Returns the limits on the message, and its trust.
    pub(crate) fn bounds(&self) -> (Limits, Trust) {
        (self.limits, self.trust)
    }

    /// Returns the length of the message, including runs that were not read yet.
    pub(crate) fn message_bytes(&self) -> usize {
        let runs = self.bulk.as_slice().iter().map(Vec::len);
        runs.fold(self.length, usize::saturating_add)
    }

    /// Returns whether the peer is this program, unconfined.
    pub(crate) fn is_trusted(&self) -> bool {
        self.trust == Trust::Code
    }

    /// Returns the limits of the channel.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }
}
