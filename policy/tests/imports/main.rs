//! Policies of others, imported: nothing is allowed that the source denies.
//!
//! Each format has an evaluator of its own here, which decides calls by the source's own rules and shares
//! nothing with the importer, and generated files that are held against it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod exported;
mod minijail;
mod oci;
mod reach;
mod seccompiler_json;
mod systemd;
