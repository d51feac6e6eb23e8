//! `Limits`: bounds on the demands of one message on its receiver.

/// The limits on one message. The sender checks them before it sends, and the receiver checks them
/// again.
///
/// ```
/// use crossmist::Limits;
///
/// let small = Limits::new().message_bytes(4096);
/// assert_eq!((small.message_bytes, small.nesting), (4096, 128));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, crate::Object)]
#[non_exhaustive]
pub struct Limits {
    /// The length of one message in bytes, without its descriptors. The default is 256 MiB, and the maximum
    /// is 4 GiB.
    pub message_bytes: usize,
    /// The number of descriptors in one message. The default is 253, which is also the kernel's limit.
    pub descriptors: usize,
    /// How deeply pointers and containers may nest. The default is 128.
    ///
    /// Encoding and decoding also stop at 512 KiB of stack, whatever this limit is. A type whose
    /// values are large in place reaches that first. A thread that receives such types needs a
    /// stack of 1 MiB.
    pub nesting: usize,
    /// How many bytes the containers of one decoded value may allocate. The default is 1 GiB.
    ///
    /// A value can be larger than its message by a factor that depends on its type:
    /// `Option<[u64; 100]>` is one byte in a message if it is `None`. This limit bounds the result.
    pub memory_bytes: usize,
    /// How many elements that take no bytes, such as `()`, all containers of one message may hold. The
    /// default is 65 536.
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

impl Limits {
    /// Returns the default limits. Set others by the methods, or by the fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the length of one message in bytes.
    #[must_use]
    pub fn message_bytes(self, message_bytes: usize) -> Self {
        Self {
            message_bytes,
            ..self
        }
    }

    /// Sets the number of descriptors in one message.
    #[must_use]
    pub fn descriptors(self, descriptors: usize) -> Self {
        Self {
            descriptors,
            ..self
        }
    }

    /// Sets how deeply pointers and containers may nest.
    #[must_use]
    pub fn nesting(self, nesting: usize) -> Self {
        Self { nesting, ..self }
    }

    /// Sets how many bytes the containers of one decoded value may allocate.
    #[must_use]
    pub fn memory_bytes(self, memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            ..self
        }
    }

    /// Sets how many elements that take no bytes all containers of one message may hold.
    #[must_use]
    pub fn empty_elements(self, empty_elements: usize) -> Self {
        Self {
            empty_elements,
            ..self
        }
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
