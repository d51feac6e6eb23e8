//! The policy language of crossmist.
#![forbid(unsafe_code)]
