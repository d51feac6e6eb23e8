//! The same work with jemalloc, which has threads of its own in the program and none in its children.

#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The options that jemalloc reads before `main`.
// SAFETY: jemalloc declares it as a pointer to a C string, which a reference to an array with a zero at
// its end is; nothing else has the name.
#[expect(unsafe_code, reason = "the name under which jemalloc looks for it")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &[u8; 23] = b"background_thread:true\0";

/// How much of 64 MiB is written at least. jemalloc asks for growing pieces, of which the last is refused whole.
const LEAST_WRITTEN: usize = 24 * MIB;

include!("../workloads/matrix.rs");
