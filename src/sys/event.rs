//! An event that a thread waits for in `poll`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Creates an eventfd, which is readable once it is set.
pub(crate) fn new() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets it. The write can only fail if the counter is full, and then it is set.
pub(crate) fn set(event: BorrowedFd<'_>) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: reads the eight bytes.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Clears it.
pub(crate) fn clear(event: BorrowedFd<'_>) {
    let mut count = [0; 8];
    // SAFETY: writes eight bytes.
    unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}
