//! Honest work under every built-in policy: what a parser does comes out as it does outside of a
//! sandbox, and what a policy withholds comes back as an error that code can handle.

mod support;

include!("workloads/matrix.rs");
