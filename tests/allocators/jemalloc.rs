//! The same work with jemalloc.

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How much of 64 MiB is written at least. jemalloc asks for growing pieces, of which the last is refused whole.
const LEAST_WRITTEN: usize = 24 * MIB;

include!("../workloads/matrix.rs");
