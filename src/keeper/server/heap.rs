//! The heap of the keeper, of which each child has a copy.

use std::hint::black_box;

/// More than glibc takes from its small free pieces.
const LARGE: usize = 4096;

/// Has glibc's allocator merge the small pieces of the heap that are free, which it does when somebody asks for a
/// larger one. Otherwise each child does so when it first asks for one, and copies all the pages in which such pieces
/// lie, of which there are more after each call.
///
/// This process does it while it shares no pages with a child that has just begun. If there is nothing to merge, it
/// takes 0.1 µs. Other allocators take no notice.
pub(super) fn merge_free_pieces() {
    drop(black_box(Vec::<u8>::with_capacity(LARGE)));
}
