//! Descriptors that a peer has sent.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A descriptor that a peer sent, and that nobody has accepted yet.
///
/// Closing a TCP socket waits as long as its SO_LINGER says (measured: 3.1 s for a linger of 3 s,
/// O_NONBLOCK notwithstanding), and the peer may have set it to years. So it is disarmed before
/// the close.
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
        disarm_linger(self.as_fd());
        // SAFETY: this is `drop`, after which nothing uses the field.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

/// Makes sure that closing `fd` does not wait for a socket's peer. On anything but a socket it has
/// no effect (ENOTSOCK).
pub(crate) fn disarm_linger(fd: BorrowedFd<'_>) {
    let off = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    // SAFETY: `setsockopt(2)` reads the option from the struct, whose size it is told.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
}
