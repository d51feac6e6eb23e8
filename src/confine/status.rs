//! `ConfinementStatus`: the child's report on its confinement to its parent.

use crossmist_policy::steps::SecondNet;

use super::control_group::ControlGroup;
use super::namespaces::{Namespace, NamespaceSet};
use super::plan::StaticPlan;
use super::users::{SameUser, User};
use crate::transport;

/// The confinement that is enforced on a child, layer by layer.
///
/// The child reports this after the last step, and before it looks at its arguments. At that point
/// nobody else has influenced it.
#[derive(Clone, Debug, Default, PartialEq, Eq, crate::Object)]
#[non_exhaustive]
pub struct ConfinementStatus {
    /// The number of instructions in the seccomp filter.
    pub seccomp_instructions: u32,
    /// Whether the filter left speculation unmitigated (`spec_allow`).
    pub allows_speculation: bool,
    /// The Landlock ABI of the kernel, or 0 if it has none.
    pub landlock_abi: u32,
    /// The rights on files that Landlock denies, except on paths that the policy grants, as the kernel's
    /// bits. 0 if files are left to other layers.
    pub landlock_files: u64,
    /// The same for TCP ports.
    pub landlock_ports: u64,
    /// The scopes that Landlock closes: abstract Unix sockets, signals.
    pub landlock_scopes: u64,
    /// The capabilities that the child keeps, as a mask.
    pub capabilities: u64,
    /// The user id that the child has for itself, which is also its group id; `None` if it keeps its
    /// parent's user. Files that the child creates belong to this id.
    pub own_user: Option<u32>,
    /// Why the child keeps its parent's user; `None` if it has one of its own.
    pub same_user: Option<SameUser>,
    /// The bounds of the child's control group; `None` if it has none, because its policy wants none or the
    /// program can't create any.
    pub control_group: Option<ControlGroup>,
    /// The number of resource limits that were set.
    pub limits: u32,
    /// The bytes of memory that the child shares with the program (see
    /// [`Builder::bulk`](crate::Builder::bulk)), in addition to the policy's `memory`. 0 if it shares none.
    pub shared_bytes: u64,
    /// Whether memory cannot be writable and executable at the same time (PR_SET_MDWE).
    pub denies_write_execute: bool,
    /// Whether other processes of the same user may inspect the child.
    pub dumpable: bool,
    /// The number of promises that the policy gives up with `[kernel] relax`.
    pub relaxed: u32,
    /// The second nets that the policy uses and this kernel doesn't have.
    pub missing: Vec<SecondNet>,
    /// The namespaces that the child is in and the program is not.
    pub namespaces: Vec<Namespace>,
    /// The namespaces that the policy wants if possible, and that the program couldn't create.
    pub missing_namespaces: Vec<Namespace>,
}

impl ConfinementStatus {
    /// Returns whether everything that the policy asks for is in place: no promise was given up by
    /// `[kernel] relax`, the kernel has every second net, and the child has every namespace.
    ///
    /// If this is false, the whole wall is still in place (seccomp, capabilities, limits, closed
    /// descriptors, no_new_privs); without it, the child would not run. [`missing`](Self::missing)
    /// lists the second nets that the kernel does not have. A policy can insist on a second net
    /// with `[kernel] require`.
    #[must_use]
    pub fn is_fully_enforced(&self) -> bool {
        self.relaxed == 0 && self.missing.is_empty() && self.missing_namespaces.is_empty()
    }

    pub(super) fn of(
        fixed: &StaticPlan,
        user: User,
        own_user: Option<u32>,
        denies_write_execute: bool,
        namespaces: NamespaceSet,
    ) -> Self {
        let is_missing = fixed.deny_write_execute && !denies_write_execute;
        let missing = is_missing.then_some(SecondNet::DenyWriteExecute);
        let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let [files, ports, scopes] = fixed.handled;
        Self {
            seccomp_instructions: length(fixed.filter.len()),
            allows_speculation: fixed.allow_speculation,
            landlock_abi: fixed.landlock_abi,
            landlock_files: files,
            landlock_ports: ports,
            landlock_scopes: scopes,
            capabilities: fixed.capabilities,
            own_user,
            same_user: match user {
                User::Own(_) => None,
                User::Same(why) => Some(why),
            },
            control_group: None,
            limits: length(
                fixed.limits.len()
                    + fixed.memory_limits.len()
                    + usize::from(fixed.memory.is_some())
                    + usize::from(fixed.mappable.is_some()),
            ),
            shared_bytes: transport::given_slot_bytes(),
            denies_write_execute,
            dumpable: fixed.dumpable,
            relaxed: fixed.relaxed,
            missing: missing.into_iter().chain(fixed.missing.clone()).collect(),
            namespaces: namespaces.list(),
            missing_namespaces: fixed.namespaces.all().minus(namespaces).list(),
        }
    }
}
