//! Timeouts beside a peer that makes each packet expensive.
//!
//! The other side has a say in the cost of a packet for its sender and its receiver: both wake all that wait
//! for the socket. Here that is tens of thousands of watches.

mod support;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, Receiver, Sender, channel, func};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use support::{patience, raw};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_receive_ends_in_time,
            a_send_ends_in_time,
            a_join_ends_in_time,
        ],
        &[],
    );
}

/// The timeout of each wait. It passes before the peer has cost as much processor time as it may, which would
/// end the wait as well.
const TIMEOUT: Duration = Duration::from_millis(40);

/// Within what it ends, on a busy machine too. Five hundred packets take several times that.
fn bound() -> Duration {
    patience(Duration::from_millis(1500))
}

/// A socket that many wait for.
struct Watched {
    _copies: Vec<OwnedFd>,
    _epolls: Vec<Epoll>,
}

impl Watched {
    fn new(socket: RawFd) -> Self {
        const COPIES: usize = 400;
        const EPOLLS: usize = 400;
        raw::limit_descriptors(1024);
        let socket = raw::copy_of(socket);
        let copies: Vec<OwnedFd> = (0..COPIES).map(|_| socket.try_clone().unwrap()).collect();
        let epolls: Vec<Epoll> = (0..EPOLLS)
            .map(|_| Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap())
            .collect();
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
        for epoll in &epolls {
            for copy in &copies {
                epoll.add(copy.as_fd(), EpollEvent::new(flags, 0)).unwrap();
            }
        }
        Self {
            _copies: copies,
            _epolls: epolls,
        }
    }
}

/// Sends the beginning of a message of `length` bytes, and then pieces of one byte.
fn drip(socket: RawFd, length: u32, beginning: &[u8], mut ready: Sender<()>) -> ! {
    let _watched = Watched::new(socket);
    let name = 5u64.to_le_bytes();
    let mut first = vec![0xC1, 0, 0, 0];
    first.extend(length.to_le_bytes());
    first.extend([0; 16]);
    first.extend(name);
    first.extend(beginning);
    raw::send(socket, &first).unwrap();
    for number in 0u32.. {
        if number == 100 {
            ready.send(&()).unwrap();
        }
        let mut piece = vec![0xC2, 0, 0, 0];
        piece.extend(number.to_le_bytes());
        piece.extend(name);
        piece.push(1);
        if raw::send(socket, &piece).is_err() {
            break;
        }
    }
    raw::exit(0)
}

const LENGTH: u32 = 64 << 20;

#[func]
fn sends_slowly(end: Sender<Vec<u8>>, ready: Sender<()>) {
    let socket = OwnedFd::from(end);
    drip(
        socket.as_raw_fd(),
        LENGTH,
        &(LENGTH - 4).to_le_bytes(),
        ready,
    )
}

#[func]
fn answers_slowly(ready: Sender<()>) -> Vec<u8> {
    let beginning = [&[0][..], &(LENGTH - 5).to_le_bytes()].concat();
    drip(raw::launch_socket(), LENGTH, &beginning, ready)
}

#[func]
fn reads_slowly(end: Receiver<Vec<u8>>, mut ready: Sender<()>) {
    let socket = OwnedFd::from(end);
    let _watched = Watched::new(socket.as_raw_fd());
    ready.send(&()).unwrap();
    while !raw::receive(socket.as_raw_fd()).is_empty() {}
}

#[track_caller]
fn assert_in_time<R>(wait: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = wait();
    let took = begun.elapsed();
    assert!(took >= TIMEOUT, "it ended too early, after {took:?}");
    assert!(took < bound(), "it took {took:?}");
    result
}

fn a_receive_ends_in_time() {
    let (end, mut receiver) = channel().unwrap();
    let (ready, mut is_ready) = channel().unwrap();
    let child = sends_slowly.builder().kill_on_drop(true);
    let _child = child.spawn(end, ready).unwrap();
    is_ready.recv().unwrap().unwrap();
    let result = assert_in_time(|| receiver.recv_timeout(TIMEOUT));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
}

fn a_send_ends_in_time() {
    let (mut sender, end) = channel::<Vec<u8>>().unwrap();
    let (ready, mut is_ready) = channel().unwrap();
    let child = reads_slowly.builder().kill_on_drop(true);
    let _child = child.spawn(end, ready).unwrap();
    is_ready.recv().unwrap().unwrap();
    let bytes = vec![7; 200 << 20];
    let result = assert_in_time(|| sender.send_timeout(&bytes, TIMEOUT));
    assert!(matches!(result, Err(ChannelError::TimedOut)), "{result:?}");
}

fn a_join_ends_in_time() {
    let (ready, mut is_ready) = channel().unwrap();
    let child = answers_slowly.builder().kill_on_drop(true);
    let mut child = child.spawn(ready).unwrap();
    is_ready.recv().unwrap().unwrap();
    let result = assert_in_time(|| child.join_timeout(TIMEOUT));
    assert!(matches!(result, Ok(None)), "{result:?}");
}
