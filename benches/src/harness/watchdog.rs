//! Ends the run when a row hangs, and says which.
//!
//! A timer signal and not a thread: a second thread would slow the allocator and the locks of every
//! row that is measured. The children notice that their sockets close.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

const PATIENCE: u32 = 120;

static CURRENT: AtomicPtr<libc::c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the handler.
pub(super) fn install() -> io::Result<()> {
    let handler: extern "C" fn(c_int) = bark;
    // SAFETY: `bark` is async-signal-safe: it reads an atomic, and calls `strlen`, `write` and
    // `_exit` only.
    match unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Gives the named row its time.
pub(super) fn watch(row: &'static std::ffi::CStr) {
    CURRENT.store(row.as_ptr().cast_mut(), Relaxed);
    // SAFETY: sets a timer; the handler is installed.
    unsafe { libc::alarm(PATIENCE) };
}

pub(super) fn rest() {
    // SAFETY: clears the timer.
    unsafe { libc::alarm(0) };
}

extern "C" fn bark(_: c_int) {
    let message = b"\nno end after 120 s: ";
    let row = CURRENT.load(Relaxed);
    // SAFETY: `message` is a live array of that length.
    unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    if !row.is_null() {
        // SAFETY: `row` came from a `&'static CStr`.
        let length = unsafe { libc::strlen(row) };
        // SAFETY: so it has `length` bytes before its terminator.
        unsafe { libc::write(2, row.cast(), length) };
    }
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(124) };
}
