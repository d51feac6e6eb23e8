//! The same work with another allocator, which reserves a gigabyte when the program starts.

mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

include!("workloads/matrix.rs");
