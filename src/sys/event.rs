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
    tell(event, 1);
}

/// Sets it to a number, which [`take`] returns, if it is clear.
pub(crate) fn tell(event: BorrowedFd<'_>, number: u64) {
    let number = number.to_ne_bytes();
    // SAFETY: reads the eight bytes.
    unsafe { libc::write(event.as_raw_fd(), number.as_ptr().cast(), number.len()) };
}

/// Clears it.
pub(crate) fn clear(event: BorrowedFd<'_>) {
    take(event);
}

/// Clears it, and returns what it was set to, or 0.
pub(crate) fn take(event: BorrowedFd<'_>) -> u64 {
    let mut count = [0; 8];
    // SAFETY: writes eight bytes.
    unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    u64::from_ne_bytes(count)
}
