//! The same work with another allocator, which asks the kernel for memory in other ways.

mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// It reserves a gigabyte ahead, which counts.
const LIMITS: &str = "[limits]\nmemory = \"4GiB\"\n";

include!("workloads/matrix.rs");
