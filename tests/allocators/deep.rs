//! The same work with an allocator that needs much of the stack, as those do that are built for debugging.

#[path = "../support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};

/// The C library's allocator, on top of a stack frame of its own.
struct Deep;

/// Less than std's threads have, and more than a thread has to spare whose stack was made small.
const FRAME: usize = 128 << 10;

// SAFETY: each call is passed on to `System`, whose contract is the same.
#[expect(unsafe_code, reason = "an allocator")]
unsafe impl GlobalAlloc for Deep {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        use_the_stack();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        use_the_stack();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Writes to a frame of that size.
#[inline(never)]
fn use_the_stack() {
    std::hint::black_box([1_u8; FRAME]);
}

#[global_allocator]
static ALLOCATOR: Deep = Deep;

/// How much of 64 MiB is written at least.
const LEAST_WRITTEN: usize = 40 * MIB;

include!("../workloads/matrix.rs");
