//! Maps, sets, queues and lists.

mod hashed;
mod ordered;
mod queues;

pub use self::hashed::TrustedHasher;
