//! The same work with jemalloc.

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

include!("../workloads/matrix.rs");
