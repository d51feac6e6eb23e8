//! Confinement, which a child applies to itself before it looks at its arguments.
//!
//! [`Plan::prepare`] runs in the parent, and does everything that needs a lookup, a file or a
//! decision. [`apply`] runs in the child, and makes system calls. The plan is sent in the launch
//! message, and a [`ConfinementStatus`] or a [`Failure`] comes back.

mod apply;
mod control_group;
mod fields;
mod inherited;
mod landlock;
mod mounts;
mod namespaces;
mod plan;
mod policy;
mod privileges;
mod root;
mod status;
mod step;
#[cfg(test)]
mod tests;
pub(crate) mod trace;
mod users;

#[cfg(crossmist_learn)]
pub(crate) use self::apply::Applied;
pub(crate) use self::apply::apply;
pub use self::control_group::ControlGroup;
pub(crate) use self::control_group::{Group, NewGroup};
pub(crate) use self::inherited::prepare_copies;
pub use self::namespaces::Namespace;
pub(crate) use self::namespaces::{NamespaceSet, Origin, Wanted};
pub(crate) use self::plan::{Plan, StaticPlans, kernel};
pub use self::policy::{PolicyError, Sandbox, SandboxPolicy};
pub use self::status::ConfinementStatus;
pub(crate) use self::step::Failure;
pub use self::users::SameUser;
pub(crate) use self::users::User;
pub use crossmist_policy::steps::SecondNet;

/// Returns the Landlock ABI of the running kernel, or 0 if it has none, because Landlock is not built in or
/// was not started (`landlock_create_ruleset(2)`).
///
/// Each policy knows the least ABI that enforces it. If it needs more than the kernel has, the call fails
/// with [`Error::Policy`](crate::Error::Policy).
pub fn landlock_abi() -> u32 {
    crate::sys::confinement::landlock_abi()
}

/// Returns whether the running kernel can keep memory that was writable from becoming executable
/// (`PR_SET_MDWE`, Linux 6.3): the second net [`DenyWriteExecute`](SecondNet::DenyWriteExecute).
pub fn can_deny_write_execute() -> bool {
    crate::sys::confinement::can_deny_write_execute()
}
