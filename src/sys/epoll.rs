//! Waiting for one of many descriptors.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::epoll::{self, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// An epoll set. The caller chooses a number for each descriptor in it.
#[derive(Debug)]
pub(crate) struct Epoll(epoll::Epoll);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Adds a descriptor, which is reported when it can be read or has hung up.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(self
            .0
            .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
    }

    /// Reports a descriptor that was added only when it has hung up.
    pub(crate) fn await_hang_up(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = EpollEvent::new(EpollFlags::empty(), token);
        Ok(self.0.modify(fd, &mut event)?)
    }

    /// Removes a descriptor before it is closed.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // It was added. If not, it is already removed.
        let _ = self.0.delete(fd);
    }

    /// Waits for one of them, for at most `nanoseconds`.
    pub(crate) fn wait(&self, nanoseconds: Option<u64>) -> io::Result<Option<u64>> {
        // Rounded up, so that a wait for a deadline does not end before it.
        let timeout = nanoseconds.map_or(EpollTimeout::NONE, |nanoseconds| {
            let milliseconds = nanoseconds.div_ceil(1_000_000);
            EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty()];
        loop {
            match self.0.wait(&mut events, timeout) {
                Err(nix::Error::EINTR) => {}
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(events[0].data())),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
