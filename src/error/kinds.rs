//! The kinds of obstacles that prevent a call, as types.

use super::Error;

/// The kind of obstacle that prevents the use of a policy, in an [`Error::Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnusableKind {
    /// The function's policy is chosen at run time, and the call chose none.
    NotChosen,
    /// The policy was compiled by another version of the library, or for another architecture.
    Version,
    /// The kernel cannot enforce the policy.
    Kernel,
    /// A variable has no value, or one that it may not have, or is none of the policy's.
    Variable,
    /// A path or a port cannot be granted.
    Grant,
    /// The policy requires a control group, and none can be made.
    ControlGroup,
    /// An option of the call or of the function contradicts the policy, or being confined at all.
    Option,
}

/// Why this program cannot start a child: the kind of an [`Error::Unsupported`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnsupportedKind {
    /// The program's executable cannot be opened or started again, or a child would not find the function
    /// in it.
    Executable,
    /// The program's file gives it privileges, which a child would get anew, or could not tell from those
    /// of whoever started it.
    Privileges,
    /// The program is one into which rustdoc has merged several examples.
    MergedExamples,
    /// The function has no sandbox, and what was asked for is only for functions that have one.
    NoSandbox,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) kind: UnusableKind,
    pub(crate) reason: String,
}

impl Unusable {
    pub(crate) fn new(kind: UnusableKind, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { kind, reason }
    }

    /// Returns the error about the policy of this name.
    pub(crate) fn of(self, policy: &str) -> Error {
        Error::Policy {
            policy: policy.to_owned(),
            kind: self.kind,
            reason: self.reason,
        }
    }
}
