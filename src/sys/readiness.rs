//! Waits in a tokio runtime for a descriptor to become ready.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::runtime::Handle;

use super::socket::Connection;

/// A descriptor that a runtime watches.
#[derive(Debug)]
pub(crate) struct Readiness(AsyncFd<Held>);

/// Keeps the descriptor open, and always refers to the same one.
#[derive(Debug)]
pub(crate) enum Held {
    Connection(Arc<Connection>),
    Pidfd(Arc<OwnedFd>),
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Connection(connection) => connection.as_fd().as_raw_fd(),
            Self::Pidfd(pidfd) => pidfd.as_raw_fd(),
        }
    }
}

/// Says that the descriptor is ready, until it is cleared.
pub(crate) type Ready<'r> = AsyncFdReadyGuard<'r, Held>;

impl Readiness {
    /// Registers a descriptor with the runtime of the running task.
    pub(crate) fn register(held: Held) -> io::Result<Self> {
        // `AsyncFd::register` panics outside of a runtime.
        Handle::try_current().map_err(io::Error::other)?;
        // SAFETY: `AsyncFd::register` asks that the descriptor be not closed or replaced while it is
        // registered. This keeps it open by a reference of its own, and gives nobody a mutable
        // reference by which it could be replaced.
        let registered = unsafe { AsyncFd::register(held) };
        Ok(Self(registered?))
    }

    pub(crate) async fn readable(&self) -> io::Result<Ready<'_>> {
        self.0.readable().await
    }

    pub(crate) async fn writable(&self) -> io::Result<Ready<'_>> {
        self.0.writable().await
    }
}
