//! Honest work under every built-in policy: what a parser does comes out as it does outside of a
//! sandbox, and what a policy withholds comes back as an error that code can handle.

mod support;

/// How much of 64 MiB is written at least.
const LEAST_WRITTEN: usize = 40 * MIB;

include!("workloads/matrix.rs");
