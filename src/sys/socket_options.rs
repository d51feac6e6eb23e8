//! Socket options, and other questions about a socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Returns a unique number of the network namespace that a socket belongs to (Linux 5.14).
pub(crate) fn network(socket: BorrowedFd<'_>) -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie: u64 = 0;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: `getsockopt(2)` writes at most `length` bytes, which is the size of the number.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut length,
        )
    };
    Errno::result(result)?;
    Ok(cookie)
}

/// Returns an integer socket option of the SOL_SOCKET level.
pub(crate) fn get(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `getsockopt(2)` writes at most `length` bytes, which is the size of the value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &mut length,
        )
    };
    Errno::result(result)?;
    Ok(value)
}

/// Sets an integer socket option of the SOL_SOCKET level.
pub(crate) fn set(socket: BorrowedFd<'_>, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `setsockopt(2)` reads the option from the integer, whose size it is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Returns whether a Unix socket has a peer.
pub(crate) fn is_connected(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: all-zero is a valid socket address of no family.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `getpeername(2)` writes at most `length` bytes, which is the size of the address.
    let result = unsafe {
        libc::getpeername(
            socket.as_raw_fd(),
            std::ptr::from_mut(&mut address).cast(),
            &mut length,
        )
    };
    result == 0
}
