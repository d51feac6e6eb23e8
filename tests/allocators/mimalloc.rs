//! The same work with another allocator, which reserves a gigabyte when the program starts.

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much of 64 MiB is written at least.
const LEAST_WRITTEN: usize = 40 * MIB;

include!("../workloads/matrix.rs");
