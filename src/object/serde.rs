//! Anything that serde knows.

/// Carries a value of a type that implements serde's traits and not [`Object`](crate::Object).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);
