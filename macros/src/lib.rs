//! The macros of crossmist.
