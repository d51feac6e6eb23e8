//! How much one message may ask of its receiver.

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
