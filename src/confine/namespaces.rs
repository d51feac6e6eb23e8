//! The namespaces that a child gets for itself, and how it gets them.

use std::io;

use crossmist_policy::Compiled;
use crossmist_policy::namespaces::{UserWish, Wish};

use super::root::Root;
use crate::error::Step;
use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::group_fork;
use crate::sys::mounts::begin_mounts;
use crate::sys::namespaces::{self, Network};

pub use crossmist_policy::namespaces::Namespace;

/// A set of namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceSet(u8);

impl NamespaceSet {
    pub(crate) fn with(self, namespace: Namespace) -> Self {
        Self(self.0 | Self::bit(namespace))
    }

    pub(crate) fn without(self, namespace: Namespace) -> Self {
        Self(self.0 & !Self::bit(namespace))
    }

    pub(crate) fn has(self, namespace: Namespace) -> bool {
        self.0 & Self::bit(namespace) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the namespaces that are in this set and not in the other one.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// `None` if a bit stands for no namespace.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        let all = Namespace::ALL.into_iter().fold(Self::default(), Self::with);
        (bits & !all.0 == 0).then_some(Self(bits))
    }

    pub(super) fn list(self) -> Vec<Namespace> {
        let all = Namespace::ALL.into_iter();
        all.filter(|namespace| self.has(*namespace)).collect()
    }

    fn bit(namespace: Namespace) -> u8 {
        let position = Namespace::ALL.iter().position(|known| *known == namespace);
        position.map_or(0, |position| 1 << position)
    }
}

/// The namespaces that a policy wants for a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, crate::Object)]
pub(crate) struct Wanted {
    /// Without these the child doesn't run.
    pub(crate) required: NamespaceSet,
    /// These it has if they can be created.
    pub(crate) if_possible: NamespaceSet,
    /// Whether it must be alone in its network.
    pub(crate) is_alone_in_network: bool,
    /// Whether a user namespace may be used to create the others.
    pub(crate) may_use_user: bool,
}

impl Wanted {
    pub(crate) fn of(policy: &Compiled) -> Self {
        let wishes = &policy.namespaces;
        let wished = |wish| {
            let all = Namespace::ALL.into_iter();
            all.filter(|namespace| wishes.wish(*namespace) == wish)
                .fold(NamespaceSet::default(), NamespaceSet::with)
        };
        Self {
            required: wished(Wish::Own),
            if_possible: wished(Wish::IfPossible),
            is_alone_in_network: !wishes.network_can_be_shared,
            may_use_user: wishes.user != UserWish::Shared,
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> NamespaceSet {
        self.required.union(self.if_possible)
    }
}

/// How the keeper has made a child.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// Its parent, by the number that it knows that by.
    pub(crate) keeper: i32,
    /// The namespaces that it was made in and its keeper's program is not.
    pub(crate) namespaces: NamespaceSet,
    /// A network for it to enter, instead of creating one.
    pub(crate) network: Option<Network>,
    /// Whether it began in its control group.
    pub(crate) is_in_group: bool,
    /// The process that has started it there, and ends at once. 0 if there is none any more.
    pub(crate) between: i32,
}

impl Origin {
    /// As an argument of a program that is executed: in its control group, by the process `between`, if that
    /// isn't 0.
    pub(crate) fn to_word(&self, between: i32) -> String {
        format!("{}:{}:{between}", self.keeper, self.namespaces.bits())
    }

    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let (keeper, others) = word.split_once(':')?;
        let (namespaces, between) = others.split_once(':')?;
        let between = between.parse().ok()?;
        Some(Self {
            keeper: keeper.parse().ok()?,
            namespaces: NamespaceSet::from_bits(namespaces.parse().ok()?)?,
            network: None,
            is_in_group: between != 0,
            between,
        })
    }

    /// Waits until this process's parent is the keeper.
    pub(crate) fn await_keeper(&self) {
        group_fork::await_end(self.between);
    }

    /// In the child: creates or enters what is wanted besides, and returns in which namespaces the child
    /// is that the program is not.
    pub(super) fn complete(
        &mut self,
        wanted: &Wanted,
        root: Option<&Root>,
    ) -> Result<NamespaceSet, (Step, io::Error)> {
        let mut has = self.namespaces;
        let missing = wanted.all().minus(has);
        // Closed here in any case: what is swept is nobody's any more.
        let network = self.network.take();
        if missing.has(Namespace::Network) {
            let entered = match &network {
                Some(network) if !wanted.is_alone_in_network => network.enter(),
                _ => namespaces::begin_network(),
            };
            match entered {
                Ok(()) => has = has.with(Namespace::Network),
                Err(_) if !wanted.required.has(Namespace::Network) => {}
                Err(error) => return Err((Step::Network, error)),
            }
        }
        if missing.has(Namespace::Ipc) {
            match namespaces::begin_ipc() {
                Ok(()) => has = has.with(Namespace::Ipc),
                Err(_) if !wanted.required.has(Namespace::Ipc) => {}
                Err(error) => return Err((Step::Ipc, error)),
            }
        }
        if missing.has(Namespace::Mount) {
            let begin = || {
                begin_mounts()?;
                root.map(Root::build).transpose()
            };
            match begin() {
                Ok(root) => {
                    // Halfway there is nowhere.
                    let entered = root.map_or(Ok(()), |root| root.enter());
                    entered.map_err(|error| (Step::Mount, error))?;
                    has = has.with(Namespace::Mount);
                }
                Err(_) if !wanted.required.has(Namespace::Mount) => {}
                Err(error) => return Err((Step::Mount, error)),
            }
        }
        match wanted.required.minus(has).is_empty() {
            true => Ok(has),
            // The keeper makes no child that lacks one, and this process takes nobody's word for it.
            false => Err((Step::Namespaces, io::Error::from_raw_os_error(libc::EPERM))),
        }
    }
}

/// A byte with a bit for each namespace.
impl Object for NamespaceSet {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.put(&[self.0]);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let byte = decoder.byte()?;
        Self::from_bits(byte).ok_or_else(|| decoder.error("a bit for each namespace", byte))
    }

    fn describe(_: &mut Shape) {}

    fn least_bytes() -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_survives_the_round_trip() {
        for namespace in Namespace::ALL {
            let origin = Origin {
                keeper: 4711,
                namespaces: NamespaceSet::default().with(namespace),
                ..Origin::default()
            };
            for between in [0, 4712] {
                let read = Origin::of_word(&origin.to_word(between)).unwrap();
                assert_eq!((read.keeper, read.namespaces), (4711, origin.namespaces));
                assert_eq!((read.between, read.is_in_group), (between, between != 0));
            }
        }
        for word in [
            "", "12", "12:1", "12:1:", ":1:0", "12:255:0", "x:1:0", "12:1:x", "12:1:1:1",
        ] {
            assert!(Origin::of_word(word).is_none(), "{word}");
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let all = Namespace::ALL
            .into_iter()
            .fold(NamespaceSet::default(), NamespaceSet::with);
        assert_eq!(all.list(), Namespace::ALL);
        let without = all.without(Namespace::User);
        assert!(!without.has(Namespace::User) && without.has(Namespace::Network));
        assert_eq!(
            all.minus(without),
            NamespaceSet::default().with(Namespace::User)
        );
        assert!(NamespaceSet::default().is_empty());
    }
}
