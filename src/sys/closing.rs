//! Closing what a stranger sent, on threads that nobody waits for.
//!
//! Closing a TCP socket waits as long as its SO_LINGER says (measured: 3.1 s for a linger of 3 s,
//! O_NONBLOCK notwithstanding), and the peer may have set it to years: so lingering is switched off before
//! the close. But that waits for the socket's lock, which the peer holds while it sends from memory that
//! never comes; and closing a file waits for its file system, which may be the peer's.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::inherited;
use super::workers::Workers;

/// A descriptor to be closed.
#[derive(Debug)]
pub(crate) struct Dying {
    pub(crate) fd: OwnedFd,
    /// Called before it is closed, so that closing it does not wait. It may itself wait.
    pub(crate) prepare: fn(BorrowedFd<'_>),
}

impl Dying {
    fn close(self) {
        (self.prepare)(self.fd.as_fd());
    }
}

/// How many threads close at most.
const THREADS: usize = 4;

/// How many descriptors wait for a thread at most.
const WAITING: usize = 1024;

static CLOSERS: Workers<Dying> =
    Workers::new("crossmist-close", THREADS, WAITING, step_back, Dying::close);

/// Has the kernel run everything else before this thread.
///
/// The kernel tells whoever waits for a socket of each packet that is dropped from its queue. If a peer has
/// many wait, closing one takes tens of milliseconds, in which a kernel without preemption runs nothing else
/// on that processor.
fn step_back() {
    let _ = inherited::set_nice(19);
}

/// Whether this process closes on its one thread.
static HAS_NO_THREADS: AtomicBool = AtomicBool::new(false);

/// Has descriptors closed where they are dropped, from now on: for processes that may start no thread, or
/// must not. They are this library's own helper, which a stranger sends nothing, and confined children.
pub(crate) fn do_without_threads() {
    HAS_NO_THREADS.store(true, Ordering::Relaxed);
}

/// Returns whether descriptors are closed on threads.
pub(super) fn has_threads() -> bool {
    !HAS_NO_THREADS.load(Ordering::Relaxed)
}

/// Closes a descriptor soon.
///
/// If too many wait already, it stays open for as long as this process runs. A peer that brings that about
/// is at the end of its channel: each message ends it that has a descriptor which its type doesn't name.
pub(crate) fn close(dying: Dying) {
    if let Err(dying) = try_close(dying) {
        let _ = ManuallyDrop::new(dying.fd);
    }
}

/// Closes a descriptor soon; not if too many wait already.
pub(crate) fn try_close(dying: Dying) -> Result<(), Dying> {
    if !has_threads() {
        dying.close();
        return Ok(());
    }
    CLOSERS.take(dying)
}

/// Makes sure that closing `fd` doesn't wait for a socket's peer. Whatever isn't a socket is left
/// alone, by ENOTSOCK. This waits for the socket's lock.
pub(super) fn disarm_linger(fd: BorrowedFd<'_>) {
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
