//! Whether a socket takes descriptors that its peer sends beside bytes: SO_PASSRIGHTS, since Linux 6.16.
//!
//! The option belongs to the receiving socket. While it is off, the peer's `sendmsg` fails with EPERM if it
//! carries a descriptor, so none can wait in the queue.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::socket_options;

pub(crate) const SO_PASSRIGHTS: libc::c_int = 83;

/// Whether this process tries to set the option. A confined one may not, and an older kernel does not know it.
static MAY_SET: AtomicBool = AtomicBool::new(true);

/// From now on, leaves the option of every socket as it is.
pub(crate) fn leave_sockets_alone() {
    MAY_SET.store(false, Ordering::Relaxed);
}

/// Makes the kernel refuse descriptors that a peer sends, as a second net: if the kernel cannot, nothing
/// changes, and whoever receives checks what arrives.
pub(crate) fn refuse_if_possible(socket: BorrowedFd<'_>) {
    set_if_possible(socket, 0);
}

/// Lets descriptors in, as every new socket does.
pub(crate) fn accept(socket: BorrowedFd<'_>) {
    set_if_possible(socket, 1);
}

fn set_if_possible(socket: BorrowedFd<'_>, value: libc::c_int) {
    if MAY_SET.load(Ordering::Relaxed)
        && let Err(error) = socket_options::set(socket, SO_PASSRIGHTS, value)
        && error.raw_os_error() == Some(libc::ENOPROTOOPT)
    {
        leave_sockets_alone();
    }
}

/// Makes the kernel refuse descriptors that a peer sends.
///
/// # Errors
///
/// ENOPROTOOPT if the kernel does not know the option.
pub(crate) fn refuse(socket: BorrowedFd<'_>) -> io::Result<()> {
    socket_options::set(socket, SO_PASSRIGHTS, 0)
}
