//! Namespaces: which a policy wants for its child, and what they make unnecessary elsewhere.

use std::fmt;

use crate::policy::Policy;
use crate::steps::{Layer, Release, STEPS, Step};

/// A namespace that a child can have for itself.
///
/// Its [`name`](Self::name) is the key in `[namespaces]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Namespace {
    /// A user namespace, which gives the right to create the others.
    User,
    /// A network without any interface that is up.
    Network,
    /// System V and POSIX message queues, semaphores and shared memory.
    Ipc,
    /// Mounts, and a root directory that holds only the granted paths.
    Mount,
    /// Processes, which end together.
    Pid,
}

impl Namespace {
    /// All namespaces, in the order in which a child gets them.
    pub const ALL: [Self; 5] = [Self::User, Self::Network, Self::Ipc, Self::Mount, Self::Pid];

    /// Returns the key that policies use.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Mount => "mount",
            Self::Pid => "pid",
        }
    }

    /// Returns the step that creates it.
    pub fn step(self) -> Option<&'static Step> {
        STEPS
            .iter()
            .find(|step| step.layer == Layer::Namespace(self))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy's demand on one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The child has one for itself, or doesn't run.
    Own,
    /// The child has one for itself if the program can create it.
    IfPossible,
    /// The child is in the program's.
    Shared,
}

/// When a child is in another user namespace than the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserWish {
    /// Always, or it doesn't run.
    Own,
    /// Always, if the program can create one.
    IfPossible,
    /// If another namespace is wanted that the program has no right to create.
    IfNeeded,
    /// Never.
    Shared,
}

/// The namespaces that a policy wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// The user namespace.
    pub user: UserWish,
    /// The network.
    pub network: Wish,
    /// System V and POSIX queues.
    pub ipc: Wish,
    /// Mounts, and the root directory.
    pub mount: Wish,
    /// Processes.
    pub pid: Wish,
    /// Whether nothing that the filter allows reaches another process through an empty network, or shows what
    /// another does there, so that children can be in the same one.
    pub network_can_be_shared: bool,
}

impl Namespaces {
    /// Returns what is wanted of a namespace; of the user namespace, `Shared` includes `IfNeeded`.
    pub fn wish(&self, namespace: Namespace) -> Wish {
        match namespace {
            Namespace::User => match self.user {
                UserWish::Own => Wish::Own,
                UserWish::IfPossible => Wish::IfPossible,
                UserWish::IfNeeded | UserWish::Shared => Wish::Shared,
            },
            Namespace::Network => self.network,
            Namespace::Ipc => self.ipc,
            Namespace::Mount => self.mount,
            Namespace::Pid => self.pid,
        }
    }

    /// Returns a namespace without which no child runs, and which a release can't create.
    pub(crate) fn newer_than(&self, release: Release) -> Option<Namespace> {
        let is_newer = |step: &Step| step.since > release;
        let mut own = Namespace::ALL
            .into_iter()
            .filter(|namespace| self.wish(*namespace) == Wish::Own);
        own.find(|namespace| namespace.step().is_some_and(is_newer))
    }
}

impl Policy {
    pub(crate) fn namespaces(&self) -> Namespaces {
        // The words of the settings' table.
        let wish = |key| match self.values.count("namespaces", key) {
            0 => Wish::Own,
            1 => Wish::IfPossible,
            _ => Wish::Shared,
        };
        Namespaces {
            user: match self.values.count("namespaces", "user") {
                0 => UserWish::Own,
                1 => UserWish::IfPossible,
                2 => UserWish::IfNeeded,
                _ => UserWish::Shared,
            },
            network: wish("network"),
            ipc: wish("ipc"),
            mount: wish("mount"),
            pid: wish("pid"),
            network_can_be_shared: !self.has_local_sockets() && !self.takes_ports(),
        }
    }

    /// Whether a child has a namespace for itself or doesn't run.
    pub(crate) fn has_own(&self, namespace: Namespace) -> bool {
        self.values.is_strict("namespaces", namespace.name())
    }

    /// Whether the filter allows sockets to take ports, which tells others that use them. A TCP socket that
    /// connects takes none before it has found a way, and a UDP socket does.
    fn takes_ports(&self) -> bool {
        let any = |name| self.can_happen(name, |_, _| true).is_some();
        (any("socket") && (any("bind") || any("listen"))) || self.makes_udp_sockets().is_some()
    }

    /// Whether the filter allows sockets that connect processes without an interface of the network: by
    /// abstract names, by netlink, by families that are yet to come.
    fn has_local_sockets(&self) -> bool {
        const INTERNET: [u64; 2] = [2, 10];
        /// More than the kernel has.
        const FAMILIES: u64 = 64;
        let others = || (0..FAMILIES).filter(|family| !INTERNET.contains(family));
        let found = self.can_happen("socket", |condition, arch| {
            others().any(|family| condition.admits(arch, 0, family))
        });
        found.is_some()
    }
}
