//! Descriptors that a peer has sent.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::closing::{self, Dying, disarm_linger};

/// A descriptor that a peer sent and nobody has accepted yet.
///
/// Dropping it never waits; see [`closing`].
#[derive(Debug)]
pub(crate) struct Received(ManuallyDrop<OwnedFd>);

impl Received {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(ManuallyDrop::new(fd))
    }

    /// Accepts the descriptor.
    pub(crate) fn into_owned(self) -> OwnedFd {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped nor used again, so the descriptor has one owner.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl AsFd for Received {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // SAFETY: this is `drop`, after which nothing uses the field.
        let fd = unsafe { ManuallyDrop::take(&mut self.0) };
        closing::close(Dying {
            fd,
            prepare: disarm_linger,
        });
    }
}

/// Sees to it that whoever closes `fd` doesn't wait for a socket's peer.
///
/// A thread switches lingering off. Until it has, it holds the socket as well, so that another holder's
/// close is not the last.
pub(crate) fn disarm_soon(fd: BorrowedFd<'_>) -> io::Result<()> {
    if !closing::has_threads() {
        // A policy allows no more than this.
        disarm_linger(fd);
        return Ok(());
    }
    if !lingers(fd) {
        return Ok(());
    }
    let dying = Dying {
        fd: fd.try_clone_to_owned()?,
        prepare: disarm_linger,
    };
    closing::try_close(dying)
        .map_err(|_| io::Error::other("too many descriptors of peers wait to be closed"))
}

/// Whether closing it may wait for a peer. Takes no lock.
fn lingers(fd: BorrowedFd<'_>) -> bool {
    nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::Linger)
        .is_ok_and(|linger| linger.l_onoff != 0)
}
