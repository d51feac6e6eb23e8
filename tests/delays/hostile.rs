//! Children that make as many processes wait as their policy allows, so that each packet is costly.

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crossmist::{Receiver, Sender, func};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::support::raw;

/// How hard a child tries.
#[derive(Clone, Copy, PartialEq, Eq, crossmist::Object)]
pub(crate) enum Effort {
    /// It only computes. For comparison.
    Busy,
    /// Threads that poll.
    Threads,
    /// Watches, as many as there is room for: also in a socket's queue.
    Watches,
}

/// Processes and watches that wait for a socket.
#[derive(Default)]
struct Crowd {
    _kept: Vec<OwnedFd>,
    _queue: Option<(OwnedFd, OwnedFd)>,
}

impl Crowd {
    fn new(socket: RawFd, effort: Effort) -> Self {
        match effort {
            Effort::Busy => {
                let compute = || {
                    loop {
                        std::hint::spin_loop();
                    }
                };
                // Not every policy allows threads.
                let _ = std::thread::Builder::new().spawn(compute);
                Self::default()
            }
            Effort::Threads => {
                Self::of_threads(socket);
                Self::default()
            }
            Effort::Watches => Self::of_watches(socket),
        }
    }

    fn of_threads(socket: RawFd) {
        for _ in 0..15 {
            let copy = raw::copy_of(socket);
            let poll = move || {
                loop {
                    // They are woken up, and go on to wait.
                    let entry = || PollFd::new(copy.as_fd(), PollFlags::POLLPRI);
                    let mut all: Vec<_> = (0..60).map(|_| entry()).collect();
                    let _ = nix::poll::poll(&mut all, PollTimeout::NONE);
                }
            };
            if std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(poll)
                .is_err()
            {
                break;
            }
        }
    }

    /// Each watch is that of another number on another epoll. Epolls are put into a queue, where they need
    /// no number of their own.
    fn of_watches(socket: RawFd) -> Self {
        let socket = raw::copy_of(socket);
        let queue = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        );
        let queue = queue.unwrap();
        let last = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut kept = Vec::new();
        while let Ok(copy) = socket.try_clone() {
            kept.push(copy);
        }
        // Room for the next epoll.
        kept.pop();
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
        let crowd = |epoll: &Epoll| {
            let add = |copy: &OwnedFd| epoll.add(copy.as_fd(), EpollEvent::new(flags, 0)).is_ok();
            kept.iter().all(add)
        };
        crowd(&last);
        for _ in 0..450 {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            // The machine's limit of watches.
            let is_full = !crowd(&epoll);
            let rights = [epoll.0.as_raw_fd()];
            if is_full || raw::send_with(queue.0.as_raw_fd(), b"x", &rights, 0).is_err() {
                break;
            }
        }
        kept.push(last.0);
        Self {
            _kept: kept,
            _queue: Some(queue),
        }
    }
}

/// How long a child stays, unless it is ended.
fn is_over(begun: Instant) -> bool {
    begun.elapsed() > crate::support::stays()
}

/// The kernel tells of room only if three quarters of a queue are free.
fn leave_room() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Prints. The type of the answer lets it send descriptors.
#[func(sandbox = dynamic)]
pub(crate) fn prints(effort: Effort, mut ready: Sender<()>) -> Option<File> {
    let _crowd = Crowd::new(2, effort);
    ready.send(&()).unwrap();
    let (begun, text) = (Instant::now(), [b'x'; 256]);
    while !is_over(begun) && nix::unistd::write(std::io::stderr(), &text).is_ok() {
        leave_room();
    }
    None
}

/// Sends the beginning of a long message, and then pieces of one byte.
fn drip(socket: RawFd, beginning: &[u8], mut ready: Sender<()>) {
    const LENGTH: u32 = 8 << 20;
    let name = 5u64.to_le_bytes();
    let mut first = vec![0xC1, 0, 0, 0];
    first.extend(LENGTH.to_le_bytes());
    first.extend([0; 16]);
    first.extend(name);
    first.extend(beginning);
    first.extend((LENGTH - 4 - beginning.len() as u32).to_le_bytes());
    raw::send(socket, &first).unwrap();
    ready.send(&()).unwrap();
    let begun = Instant::now();
    for number in 0u32.. {
        let mut piece = vec![0xC2, 0, 0, 0];
        piece.extend(number.to_le_bytes());
        piece.extend(name);
        piece.push(1);
        if raw::send(socket, &piece).is_err() || is_over(begun) {
            break;
        }
        leave_room();
    }
}

#[func(sandbox = dynamic)]
pub(crate) fn sends(effort: Effort, end: Sender<Vec<u8>>, ready: Sender<()>) -> Option<File> {
    let socket = OwnedFd::from(end);
    let _crowd = Crowd::new(socket.as_raw_fd(), effort);
    drip(socket.as_raw_fd(), &[], ready);
    None
}

#[func(sandbox = dynamic)]
pub(crate) fn answers(effort: Effort, ready: Sender<()>) -> (Vec<u8>, Option<File>) {
    let socket = raw::launch_socket();
    let _crowd = Crowd::new(socket, effort);
    drip(socket, &[0], ready);
    raw::exit(0)
}

#[func(sandbox = dynamic)]
pub(crate) fn reads(effort: Effort, end: Receiver<Vec<u8>>, mut ready: Sender<()>) -> Option<File> {
    let socket = OwnedFd::from(end);
    let _crowd = Crowd::new(socket.as_raw_fd(), effort);
    ready.send(&()).unwrap();
    while !raw::receive(socket.as_raw_fd()).is_empty() {}
    None
}

/// Fills the queue of a channel, and stays.
#[func(sandbox = dynamic)]
pub(crate) fn fills(effort: Effort, end: Sender<u64>, mut ready: Sender<()>) -> Option<File> {
    let socket = OwnedFd::from(end);
    let _crowd = Crowd::new(socket.as_raw_fd(), effort);
    for _ in 0..200 {
        raw::send(socket.as_raw_fd(), &[7]).unwrap();
    }
    ready.send(&()).unwrap();
    std::thread::sleep(crate::support::stays());
    None
}

#[func(sandbox = dynamic)]
pub(crate) fn borrows(effort: Effort, socket: TcpStream, mut ready: Sender<()>) -> Option<File> {
    let _crowd = Crowd::new(socket.as_raw_fd(), effort);
    ready.send(&()).unwrap();
    std::thread::sleep(crate::support::stays());
    None
}
