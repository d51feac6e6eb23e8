//! The codec: every type there and back, and every type against bytes of a peer that means harm.

mod descriptors;
mod frames;
mod limits;
mod refusals;
mod serde;
mod shared;
mod support;
mod types;
