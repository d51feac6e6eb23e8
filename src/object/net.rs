//! Network addresses.
