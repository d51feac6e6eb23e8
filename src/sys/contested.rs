//! Receives from a socket that a stranger has sent, and may still hold.
//!
//! `recvmsg(2)` takes the socket's lock and keeps it while it copies. A stranger that holds the same socket
//! can receive into memory that never comes, and so keep the lock. Any other thread that receives then waits,
//! and MSG_DONTWAIT and signals change nothing about that. So a thread receives that nobody waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::closing;
use super::connection::Connection;
use super::poll;
use super::socket::{self, Packet, Wait};
use super::workers::Workers;

/// How many threads receive at most. A stranger holds up one with each socket, until it ends.
const THREADS: usize = 64;

/// How many receives wait for a thread at most.
const WAITING: usize = 1024;

static RECEIVERS: Workers<Job> = Workers::new("crossmist-recv", THREADS, WAITING, || {}, Job::run);

/// How long a caller waits for the thread before it looks at the time. If nobody holds the lock, a receive
/// takes microseconds.
const PATIENCE: Duration = Duration::from_millis(5);

/// A socket's receive that is under way, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Contested {
    under_way: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    result: Mutex<Option<io::Result<Arrived>>>,
    is_done: Condvar,
}

/// A packet, and its bytes.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) packet: Packet,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
struct Job {
    /// A descriptor of its own: that of the end may be closed or given away meanwhile.
    socket: OwnedFd,
    room: usize,
    shared: Arc<Shared>,
}

impl Contested {
    /// Returns whether a packet may have left the socket's queue that has not been returned.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Receives one packet of up to `room` bytes. Returns `None` if that takes long. The next call continues,
    /// with the same room.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        room: usize,
        wait: Wait,
    ) -> io::Result<Option<Arrived>> {
        if self.under_way.is_none() && (wait == Wait::Block || !closing::has_threads()) {
            return receive(socket, room, wait).map(Some);
        }
        let shared = match &self.under_way {
            Some(shared) => shared,
            // Asking does not take the lock.
            None if poll::events(socket, libc::POLLIN) == 0 => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            None => self.under_way.insert(Job::begin(socket, room)?),
        };
        let result = shared.take(wait);
        if result.is_some() {
            self.under_way = None;
        }
        result.transpose()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<io::Result<Arrived>>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wait: Wait) -> Option<io::Result<Arrived>> {
        let is_missing = |result: &mut Option<_>| result.is_none();
        let mut result = match wait {
            Wait::Block => self
                .is_done
                .wait_while(self.lock(), is_missing)
                .unwrap_or_else(PoisonError::into_inner),
            Wait::Never => {
                let waited = self
                    .is_done
                    .wait_timeout_while(self.lock(), PATIENCE, is_missing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        result.take()
    }
}

impl Job {
    fn begin(socket: BorrowedFd<'_>, room: usize) -> io::Result<Arc<Shared>> {
        let shared = Arc::<Shared>::default();
        let job = Job {
            socket: socket.try_clone_to_owned()?,
            room,
            shared: Arc::clone(&shared),
        };
        match RECEIVERS.take(job) {
            Ok(()) => Ok(shared),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "too many receives are held up by children that hold the same sockets",
            )),
        }
    }

    fn run(self) {
        let result = receive(self.socket.as_fd(), self.room, Wait::Never);
        if Arc::strong_count(&self.shared) == 1 {
            // The end is gone, so this may be the last descriptor of its socket.
            drop(Connection::foreign(self.socket));
        } else {
            drop(self.socket);
        }
        *self.shared.lock() = Some(result);
        self.shared.is_done.notify_one();
    }
}

fn receive(socket: BorrowedFd<'_>, room: usize, wait: Wait) -> io::Result<Arrived> {
    let mut bytes = Vec::new();
    let packet = socket::receive(socket, &mut bytes, room, None, wait)?;
    Ok(Arrived { packet, bytes })
}
