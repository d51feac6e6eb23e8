//! The limit that a result exceeds, and the setting that raises it.

use std::fmt;

/// A limit on the result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultLimit {
    /// Its length, in bytes.
    Bytes = 0,
    /// The number of its descriptors.
    Descriptors = 1,
    /// How deep its pointers and containers nest.
    Nesting = 2,
}

impl ResultLimit {
    /// Returns the key of `[limits.channel]` that a policy sets it by.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Bytes => "message_bytes",
            Self::Descriptors => "message_fds",
            Self::Nesting => "nesting",
        }
    }

    /// Returns the field of [`Limits`](crate::Limits) that a caller sets it by.
    fn field(self) -> &'static str {
        match self {
            Self::Bytes => "message_bytes",
            Self::Descriptors => "descriptors",
            Self::Nesting => "nesting",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Descriptors => "descriptors",
            Self::Nesting => "levels of pointers and containers",
        }
    }
}

/// Writes which limit a result goes beyond, who set it, and how to raise it.
pub(super) fn write(
    f: &mut fmt::Formatter<'_>,
    function: &str,
    policy: Option<&str>,
    limit: ResultLimit,
    [amount, allowed]: [u64; 2],
) -> fmt::Result {
    let unit = limit.unit();
    write!(f, "the result of `{function}` has {amount} {unit}, ")?;
    match policy {
        Some(policy) => write!(
            f,
            "and its policy `{policy}` allows {allowed}: raise `[limits.channel] {}` there",
            limit.key()
        ),
        None => write!(
            f,
            "and the caller allows {allowed}: raise `Limits::{}` by `.builder().limits(…)`",
            limit.field()
        ),
    }
}
