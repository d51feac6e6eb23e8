//! The same work with another allocator, which reserves a gigabyte when the program starts.

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

include!("../workloads/matrix.rs");
