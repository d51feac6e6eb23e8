//! The bounds of a message: memory, nesting, stack, and the weight of keys.

use super::Decoder;
use crate::object::{DecodeError, Limits};

/// How much stack a recursion may use before it is refused, whatever its nesting.
///
/// A thread of Rust's standard library has 2 MiB. Only a type whose values are large in place
/// reaches this before the nesting limit.
const STACK_BYTES: usize = 512 << 10;

/// How much memory containers may reserve before their elements have been seen: this, and
/// [`AHEAD_FACTOR`] bytes for each byte of the message.
pub(super) const AHEAD_BYTES: usize = 64 << 10;
pub(super) const AHEAD_FACTOR: usize = 8;

impl<'m> Decoder<'m> {
    /// Raises the limits to those of the sender, which must be trusted: a child's parent.
    pub(crate) fn raise(&mut self, limits: &Limits) {
        self.limits.nesting = self.limits.nesting.max(limits.nesting);
        self.empty_elements_left = self.empty_elements_left.max(limits.empty_elements);
    }

    /// Returns how many levels of nesting are left.
    pub(in crate::object) fn nesting_left(&self) -> usize {
        self.limits.nesting.saturating_sub(self.depth)
    }

    pub(in crate::object) fn empty_elements_left(&self) -> usize {
        self.empty_elements_left
    }

    pub(in crate::object) fn memory_left(&self) -> usize {
        self.memory_left
    }

    /// Sets what another decoder has left of the bounds.
    pub(in crate::object) fn set_left(&mut self, empty_elements: usize, memory: usize) {
        self.empty_elements_left = self.empty_elements_left.min(empty_elements);
        self.memory_left = self.memory_left.min(memory);
    }

    pub(in crate::object) fn stack(&self) -> Stack {
        self.stack
    }

    /// Accounts for one allocation of `bytes` bytes, before it is made.
    ///
    /// An allocation costs more than its contents, because the allocator rounds up and keeps a
    /// header. Both are counted, so a value of many small allocations cannot take several times the
    /// limit. Zero bytes cost nothing.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if that exceeds what is left of [`Limits::memory_bytes`].
    #[inline]
    pub fn reserve(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.reserve_each(1, bytes)
    }

    /// Does the same for `count` allocations of `bytes` bytes each.
    #[inline]
    pub(in crate::object) fn reserve_each(
        &mut self,
        count: usize,
        bytes: usize,
    ) -> Result<(), DecodeError> {
        let cost = count.saturating_mul(allocation_cost(bytes));
        match self.memory_left.checked_sub(cost) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => Err(DecodeError::new(
                self.position(),
                format!(
                    "a value of at most {} bytes (`Limits::memory_bytes`)",
                    self.limits.memory_bytes
                ),
                format_args!("one that wants {cost} more, with {} left", self.memory_left),
            )),
        }
    }

    /// Returns for how many of `count` elements to reserve memory in advance, at least for one.
    ///
    /// Every container of a message may announce as many elements as there are bytes left, even if
    /// containers nest. So the reservations of all containers together are bounded. Once that bound
    /// is used up, memory grows with what has really been decoded.
    pub fn reservation<T>(&mut self, count: usize) -> usize {
        let size = size_of::<T>().max(1);
        let elements = count.min(self.ahead_left.checked_div(size).unwrap_or(0));
        self.ahead_left = self
            .ahead_left
            .saturating_sub(elements.saturating_mul(size));
        elements.max(count.min(1))
    }

    /// Reads what is behind a pointer or in a container.
    ///
    /// Every step of a recursion goes through this method, which bounds the nesting and the stack.
    ///
    /// # Errors
    ///
    /// Those of `read`, and a [`DecodeError`] if [`Limits::nesting`] or the stack is used up.
    #[inline]
    pub fn nested<R>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<R, DecodeError>,
    ) -> Result<R, DecodeError> {
        if self.depth >= self.limits.nesting {
            return Err(self.too_deep());
        }
        if self.stack.is_used_up() {
            return Err(self.error("a value that leaves some stack", "a deeper nesting"));
        }
        self.depth = self.depth.saturating_add(1);
        self.deepest = self.deepest.max(self.depth);
        let result = read(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    #[cold]
    pub(super) fn too_deep(&self) -> DecodeError {
        DecodeError::new(
            self.position(),
            format!(
                "a nesting of at most {} (`Limits::nesting`)",
                self.limits.nesting
            ),
            "a deeper one",
        )
        .too_deep()
    }

    /// Reads what is hashed or compared while the message is being decoded: the keys of a map, the
    /// elements of a set or of a heap.
    ///
    /// A key may hold an `Rc` that was sent before. Hashing it costs what its contents cost,
    /// although it took five bytes of the message. So the weight of such references is bounded by
    /// 16 times the message plus 16 MiB.
    ///
    /// # Errors
    ///
    /// Those of `read`, and a [`DecodeError`] if that weight is used up.
    #[inline]
    pub fn key<R>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<R, DecodeError>,
    ) -> Result<R, DecodeError> {
        let outer = std::mem::replace(&mut self.in_key, true);
        let result = read(self);
        self.in_key = outer;
        result
    }

    /// Returns how many bytes were read, runs included.
    pub(super) fn taken(&self) -> usize {
        self.position().saturating_add(self.run_bytes)
    }
}

/// Returns what an allocation of `bytes` bytes takes of the heap.
///
/// This is the cost in glibc's malloc, the most wasteful of the common allocators for small sizes:
/// a header of one word, rounded up to 16 bytes, and at least 32.
#[inline]
fn allocation_cost(bytes: usize) -> usize {
    const HEADER: usize = size_of::<usize>();
    match bytes {
        0 => 0,
        _ => (bytes.saturating_add(HEADER).saturating_add(15) & !15).max(32),
    }
}

/// Returns how much the references in the keys of a message of `bytes` bytes may weigh together.
///
/// Enough for maps with interned names as keys, and no more work than such a message could cause
/// without sharing.
pub(in crate::object) fn key_weight(bytes: usize) -> usize {
    bytes.saturating_mul(16).saturating_add(16 << 20)
}

/// The stack pointer when decoding or encoding began.
#[derive(Clone, Copy, Debug)]
pub(in crate::object) struct Stack(usize);

impl Stack {
    #[inline]
    pub(in crate::object) fn here() -> Self {
        let marker = 0u8;
        Self(std::ptr::from_ref(std::hint::black_box(&marker)).addr())
    }

    /// Returns whether a recursion has used up its stack.
    #[inline]
    pub(in crate::object) fn is_used_up(self) -> bool {
        self.0.abs_diff(Self::here().0) > STACK_BYTES
    }
}
