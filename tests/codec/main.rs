//! The codec: every type there and back, and every type against bytes of a peer that means harm.
#![expect(
    clippy::unwrap_used,
    reason = "clippy knows a test by its attribute, and these have helpers"
)]

mod descriptors;
mod frames;
mod limits;
mod refusals;
mod serde;
mod serde_attributes;
mod shared;
mod support;
mod types;
