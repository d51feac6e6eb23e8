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
    /// A variable has no value, has one that it may not have, or is not declared by the policy.
    Variable,
    /// A path or a port cannot be granted.
    Grant,
    /// The policy requires a control group, and none can be created.
    ControlGroup,
    /// An option of the call or of the function contradicts the policy, or is not possible for a confined
    /// child.
    Option,
}

/// Why this program cannot start a child: the kind of an [`Error::Unsupported`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnsupportedKind {
    /// The program's executable cannot be opened or started again, or a child would not find the function
    /// in it.
    Executable,
    /// The program's file gives it privileges. A child would get these again, or could not tell them from
    /// those of the process that started it.
    Privileges,
    /// The program is one into which rustdoc has merged several examples.
    MergedExamples,
    /// The function has no sandbox, and the operation needs one.
    NoSandbox,
    /// The policy lets the child start processes, or has a PID namespace of its own for it, so that the processor
    /// time of one of several calls could not be measured ([`Reuse`](crate::Reuse)).
    UnmeasuredCalls,
    /// The [`RequestTimer`](crate::RequestTimer) belongs to another child.
    TimerTaken,
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
