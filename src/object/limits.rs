//! `Limits`: how much one message may demand of its receiver.

use super::{DecodeError, Decoder, Encoder};

/// The limits on one message. The sender checks them before it sends, and the receiver checks them
/// again.
///
/// ```
/// use crossmist::Limits;
///
/// let small = Limits { message_bytes: 4096, ..Limits::default() };
/// assert_eq!(small.nesting, 128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of one message in bytes, without its descriptors. By default 256 MiB, at most 4
    /// GiB.
    pub message_bytes: usize,
    /// The descriptors in one message. By default 253, which is also the kernel's limit.
    pub descriptors: usize,
    /// How deeply pointers and containers may nest. By default 128.
    ///
    /// Encoding and decoding also stop at 512 KiB of stack, whatever this limit is. A type whose
    /// values are large in place reaches that first. A thread that receives such types needs a
    /// stack of 1 MiB.
    pub nesting: usize,
    /// How many bytes the containers of one decoded value may allocate. By default 1 GiB.
    ///
    /// A value can be larger than its message by a factor that depends on its type:
    /// `Option<[u64; 100]>` is one byte in a message if it is `None`. This limit bounds the result.
    pub memory_bytes: usize,
    /// How many elements that take no bytes, such as `()`, all containers of one message may hold.
    /// By default 65 536.
    pub empty_elements: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 256 << 20,
            descriptors: crate::sys::socket::MAX_DESCRIPTORS,
            nesting: 128,
            memory_bytes: 1 << 30,
            empty_elements: 1 << 16,
        }
    }
}

/// Encoded as five numbers. The code that decodes them decides whether to trust them.
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

    /// Returns the smaller of each pair of limits.
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
