//! The network without interfaces that children share which can't meet in one.
//!
//! To create a network costs more than all the rest of a call, and to enter one costs nothing. So the
//! keeper has one created for the first such child, and the others enter it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

use crate::confine::{Namespace, Wanted};
use crate::sys::fork;
use crate::sys::namespaces::Network;
use crate::sys::process;
use crate::sys::socket::{self, Wait};

/// The network without interfaces.
#[derive(Debug, Default)]
pub(super) enum EmptyNetwork {
    #[default]
    Unknown,
    Ready(Network),
    /// It couldn't be created. A child that wants one tries by itself, and tells why it can't.
    Unavailable,
}

impl EmptyNetwork {
    /// Has it ready if a child wants to share it.
    pub(super) fn prepare(&mut self, wanted: &Wanted) {
        let is_wanted = wanted.all().has(Namespace::Network) && !wanted.is_alone_in_network;
        if let (true, Self::Unknown) = (is_wanted, &self) {
            *self = create().map_or(Self::Unavailable, Self::Ready);
        }
    }

    /// In a new child: the network, for the child to enter.
    pub(super) fn take(&mut self) -> Option<Network> {
        match std::mem::take(self) {
            Self::Ready(network) => Some(network),
            _ => None,
        }
    }
}

/// Has a process create it and hand it over: a keeper that went there might not be allowed back.
fn create() -> io::Result<Network> {
    let (ours, theirs) = socket::pair()?;
    let forked = fork::fork();
    match forked.map_err(|error| io::Error::other(error.to_string()))? {
        None => {
            let sent = Network::begin().and_then(|network| {
                let parts = [IoSlice::new(b"N")];
                socket::send(theirs.as_fd(), &parts, &[network.as_fd()], Wait::Never)
            });
            process::leave(i32::from(sent.is_err()))
        }
        Some(helper) => {
            drop(theirs);
            helper.wait()?;
            let mut word = Vec::new();
            let packet = socket::receive(ours.as_fd(), &mut word, 1, None, Wait::Never)?;
            let network = packet.descriptors.into_iter().flatten().next();
            let network: Option<OwnedFd> = network.map(|network| network.into_owned());
            let network = network.ok_or(io::ErrorKind::NotFound)?;
            Ok(Network::from(network))
        }
    }
}
