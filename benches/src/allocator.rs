//! The system's allocator, which counts when it is told to.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Costs one relaxed load an allocation while it does not count, so that the rows which measure
/// time may live in the same executable.
pub(crate) struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Counts the allocations and reallocations, on every thread, while `work` runs.
pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = SEEN.load(Relaxed);
    COUNTS.store(true, Relaxed);
    let result = work();
    COUNTS.store(false, Relaxed);
    (result, SEEN.load(Relaxed) - before)
}

fn note() {
    if COUNTS.load(Relaxed) {
        SEEN.fetch_add(1, Relaxed);
    }
}

// SAFETY: every method passes its arguments on to `System` as they came, and counting touches two
// atomics only, so this allocator keeps the contract exactly as `System` keeps it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: `pointer` came from `System`, because all of the above pass on what it returned.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
