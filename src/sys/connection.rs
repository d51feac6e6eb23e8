//! `Connection`: a socket whose peer is not trusted, and how it is closed.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::sys::socket::Shutdown;

use super::closing::{self, Dying, disarm_linger};
use super::poll;
use super::socket::{Packet, receive_with};
use super::socket_options;

/// A socket whose peer is not trusted.
///
/// Closing a socket closes the descriptors that are in its queue, if nobody has received them.
/// One of them may be a TCP socket that lingers, for years. So if there are packets, a thread looks at them
/// before it closes the socket: see [`closing`]. They aren't taken: another holder of the same socket may
/// still want them.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: ManuallyDrop<OwnedFd>,
    /// A stranger has sent it and may still hold it, with its lock.
    is_foreign: bool,
    /// This is one direction of a connection.
    half: Option<Half>,
}

/// One direction of a connection, with a descriptor of its own.
#[derive(Debug)]
struct Half {
    direction: Shutdown,
    /// The connection, which is closed with the last of its halves.
    whole: Arc<Connection>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket: ManuallyDrop::new(socket),
            is_foreign: false,
            half: None,
        }
    }

    /// A socket that a stranger has sent.
    pub(crate) fn foreign(socket: OwnedFd) -> Self {
        Self {
            socket: ManuallyDrop::new(socket),
            is_foreign: true,
            half: None,
        }
    }

    /// Ends it for all who hold it and for the peer. Packets in its queue can still be received.
    pub(crate) fn shut_down(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, direction: Shutdown) {
        // It fails if there is no peer any more.
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), direction);
    }

    /// Splits a connection into one that receives and one that sends. When one of them is dropped, its direction
    /// ends for all who hold the socket, and for the peer.
    pub(crate) fn split(whole: &Arc<Self>) -> io::Result<(Self, Self)> {
        let half = |direction| -> io::Result<Self> {
            // A runtime watches a descriptor only once.
            let socket = whole.socket.as_fd().try_clone_to_owned()?;
            let whole = Arc::clone(whole);
            Ok(Self {
                socket: ManuallyDrop::new(socket),
                is_foreign: false,
                half: Some(Half { direction, whole }),
            })
        };
        Ok((half(Shutdown::Read)?, half(Shutdown::Write)?))
    }

    /// Returns whether this is one direction of a connection.
    pub(crate) fn is_half(&self) -> bool {
        self.half.is_some()
    }

    /// Gives up the protection.
    pub(crate) fn into_owned(self) -> OwnedFd {
        let mut this = ManuallyDrop::new(self);
        if let Some(whole) = this
            .half
            .take()
            .and_then(|half| Arc::into_inner(half.whole))
        {
            // What is in its queue is for whoever gets this.
            drop(whole.into_owned());
        }
        // SAFETY: `this` is never dropped nor used again, so the descriptor has one owner.
        unsafe { ManuallyDrop::take(&mut this.socket) }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let half = self.half.take();
        if let Some(half) = &half {
            self.shut(half.direction);
        }
        // SAFETY: this is `drop`, after which nothing uses the field.
        let fd = unsafe { ManuallyDrop::take(&mut self.socket) };
        // The last half closes the connection, and with it the queue.
        if half.is_none() && (self.is_foreign || has_packets(fd.as_fd())) {
            let prepare = disarm_queue;
            closing::close(Dying { fd, prepare });
        }
    }
}

/// Whether packets wait in the queue of a socket that nobody else receives from.
fn has_packets(socket: BorrowedFd<'_>) -> bool {
    // Nothing is there and the peer has not hung up, or a packet is there, or perhaps only the end.
    match poll::events(socket, libc::POLLIN | libc::POLLRDHUP) {
        0 => false,
        events if events & libc::POLLRDHUP == 0 => true,
        _ => with_peeking(socket, |peek| {
            matches!(peek(), Ok(Packet { has_time: true, .. }))
        }),
    }
}

/// How many packets of a queue are checked. Ordinary buffers hold 278.
const QUEUE: usize = 4096;

/// Switches lingering off for a socket, and for every socket in its queue.
fn disarm_queue(socket: BorrowedFd<'_>) {
    disarm_linger(socket);
    with_peeking(socket, |peek| {
        for _ in 0..QUEUE {
            // The descriptors are duplicates, which share the socket with the queue.
            match peek() {
                Ok(Packet {
                    has_time: true,
                    descriptors,
                    ..
                }) => descriptors
                    .into_iter()
                    .flatten()
                    .for_each(|fd| disarm_linger(fd.into_owned().as_fd())),
                _ => break,
            }
        }
    });
}

/// Looks at the packets of a queue: each call of what `work` gets looks at the next one. A packet has a time,
/// and the end has none, so that an empty packet can be told from it.
fn with_peeking<R>(
    socket: BorrowedFd<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> io::Result<Packet>) -> R,
) -> R {
    let options = [(libc::SO_PEEK_OFF, 0, -1), (libc::SO_TIMESTAMP, 1, 0)];
    for (option, on, _) in options {
        let _ = socket_options::set(socket, option, on);
    }
    let mut bytes = Vec::new();
    let result = work(&mut || {
        bytes.clear();
        receive_with(
            socket,
            &mut bytes,
            4096,
            None,
            libc::MSG_PEEK | libc::MSG_DONTWAIT,
        )
    });
    for (option, _, off) in options {
        let _ = socket_options::set(socket, option, off);
    }
    result
}
