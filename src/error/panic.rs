//! `Panic`: a panic in a child.

use super::backtrace::{BacktraceFrame, Stack};
use super::text::ChildText;

/// A panic in a child, as the child reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The message, if it is text.
    pub message: ChildText,
    /// File, line and column, as `file:line:column`.
    pub location: ChildText,
    pub(crate) stack: Stack,
    /// The limit that may be the cause, in the parent's words.
    pub(crate) limit: Option<String>,
}

impl Panic {
    /// Returns the functions that the panic was raised in, the innermost first. At most 64 frames
    /// are recorded, including those of the panic machinery itself. Empty if the policy says
    /// `backtrace = "off"`, or if the panic did not reach this library's hook.
    ///
    /// With the feature `backtrace`, the first lookup opens the program's own file and takes
    /// milliseconds. Without it, a frame holds only an offset.
    #[must_use]
    pub fn backtrace(&self) -> Vec<BacktraceFrame> {
        self.stack.frames_of_panic()
    }
}

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (at {})", self.message, self.location)?;
        match &self.limit {
            Some(limit) => write!(f, "; {limit}"),
            None => Ok(()),
        }
    }
}
