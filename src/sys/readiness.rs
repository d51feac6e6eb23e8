//! Descriptors that a runtime watches.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::connection::Connection;

/// Keeps a descriptor open, and always refers to the same one.
#[derive(Debug)]
pub struct Held(Kept);

#[derive(Debug)]
enum Kept {
    Connection(Arc<Connection>),
    Pidfd(Arc<OwnedFd>),
}

impl Held {
    pub(crate) fn connection(connection: Arc<Connection>) -> Self {
        Self(Kept::Connection(connection))
    }

    /// Creates a source that is ready when a process has ended.
    pub(crate) fn pidfd(pidfd: Arc<OwnedFd>) -> Self {
        Self(Kept::Pidfd(pidfd))
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kept::Connection(connection) => connection.as_fd(),
            Kept::Pidfd(pidfd) => pidfd.as_fd(),
        }
    }
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Registers a descriptor with the tokio runtime of the running task.
#[cfg(feature = "tokio")]
pub(crate) fn register_with_tokio(held: Held) -> std::io::Result<tokio::io::unix::AsyncFd<Held>> {
    // `AsyncFd::register` panics outside of a runtime.
    tokio::runtime::Handle::try_current().map_err(std::io::Error::other)?;
    // SAFETY: `AsyncFd::register` asks that the descriptor be not closed or replaced while it is
    // registered. `Held` keeps it open by a reference of its own, and gives nobody a mutable
    // reference by which it could be replaced.
    let registered = unsafe { tokio::io::unix::AsyncFd::register(held) };
    Ok(registered?)
}
