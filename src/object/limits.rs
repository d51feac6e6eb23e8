//! How much one message may ask of its receiver.

use super::{DecodeError, Decoder, Encoder};

/// Bounds on one message, checked by the sender before it sends and by the receiver before it
/// believes.
///
/// ```
/// use crossmist::Limits;
///
/// let small = Limits { message_bytes: 4096, ..Limits::default() };
/// assert_eq!(small.nesting, 128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message, everything that isn't a descriptor. Default 256 MiB, at most 4 GiB.
    pub message_bytes: usize,
    /// Descriptors of one message. Default 253, which is also the kernel's limit.
    pub descriptors: usize,
    /// Pointers and containers within one another. Default 128.
    ///
    /// Whatever it is, encoding and decoding stop at 512 KiB of stack: a type whose values are
    /// large in place gets there first. A thread that receives such types needs 1 MiB.
    pub nesting: usize,
    /// Bytes that the containers of one decoded value may reserve. Default 1 GiB.
    ///
    /// A value can be larger than its message (`Option<[u64; 100]>` is one byte when it is
    /// `None`), by a factor that its type fixes; this bounds the product.
    pub memory_bytes: usize,
    /// Elements that take no bytes, such as `()`, in all containers of one message. Default 65 536.
    pub empty_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 256 << 20,
            descriptors: crate::wire::MAX_DESCRIPTORS,
            nesting: 128,
            memory_bytes: 1 << 30,
            empty_elements: 1 << 16,
        }
    }
}

/// As five numbers. Whoever decodes them decides whether to believe them.
impl Limits {
    pub(crate) const ENCODED_BYTES: usize = 5 * size_of::<usize>();

    pub(crate) fn encode(&self, encoder: &mut Encoder<'_>) {
        let Self {
            message_bytes,
            descriptors,
            nesting,
            memory_bytes,
            empty_elements,
        } = *self;
        for limit in [
            message_bytes,
            descriptors,
            nesting,
            memory_bytes,
            empty_elements,
        ] {
            encoder.put(&limit.to_le_bytes());
        }
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut limit = || decoder.array().map(usize::from_le_bytes);
        Ok(Self {
            message_bytes: limit()?,
            descriptors: limit()?,
            nesting: limit()?,
            memory_bytes: limit()?,
            empty_elements: limit()?,
        })
    }

    /// The smaller of both, each by itself.
    pub(crate) fn min(self, other: Self) -> Self {
        Self {
            message_bytes: self.message_bytes.min(other.message_bytes),
            descriptors: self.descriptors.min(other.descriptors),
            nesting: self.nesting.min(other.nesting),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            empty_elements: self.empty_elements.min(other.empty_elements),
        }
    }
}
