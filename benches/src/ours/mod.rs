//! crossmist's own rows, one file a family, beside the floors and peers under `rows`.
//!
//! Each function gets a group that has its floor and its peers, and adds rows with
//! [`Group::ours`](crate::harness::Group::ours). `README.md` shows one.

pub(crate) mod allocations;
pub(crate) mod bulk;
pub(crate) mod descriptors;
pub(crate) mod fork_server;
pub(crate) mod many;
pub(crate) mod memory;
pub(crate) mod records;
pub(crate) mod round_trip;
pub(crate) mod spawn;
