//! Points in time and durations.
