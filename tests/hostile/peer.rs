//! A child that leaves the library aside: what it sends, and that the program comes to no harm.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crossmist::{Object, func};

use crate::support::{self, Holdings, raw, state, wait_until};

#[func]
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// The state that an attack must not change.
pub(crate) struct Unharmed(pub(crate) Holdings);

impl Unharmed {
    pub(crate) fn so_far() -> Self {
        Self(Holdings::now())
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        self.0.assert_same();
        assert_eq!(add.run(5, 7).unwrap(), 12);
        self.0.assert_same();
    }
}

/// A child's behaviour after it has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Object)]
pub(crate) enum After {
    Exit,
    Stay,
}

impl After {
    pub(crate) fn act(self) -> ! {
        match self {
            After::Exit => raw::exit(0),
            After::Stay => loop {
                std::thread::park();
            },
        }
    }
}

/// Sends packets as its answer.
#[func]
pub(crate) fn say(packets: Vec<Vec<u8>>, after: After) -> u64 {
    for packet in packets {
        let _ = raw::send(raw::launch_socket(), &packet);
    }
    after.act()
}

/// Sends packets over a channel whose end it was given.
#[func]
pub(crate) fn say_over(channel: OwnedFd, packets: Vec<Vec<u8>>) {
    for packet in packets {
        raw::send(channel.as_raw_fd(), &packet).unwrap();
    }
}

/// The header of a first packet, field by field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) zero: u8,
    pub(crate) descriptors: u16,
    pub(crate) value: u32,
    pub(crate) code: u32,
    pub(crate) runs: u32,
    pub(crate) run_bytes: u32,
    pub(crate) zeros: u32,
    pub(crate) name: u64,
}

pub(crate) const HEAD: Head = Head {
    kind: 0xC1,
    zero: 0,
    descriptors: 0,
    value: 0,
    code: 0,
    runs: 0,
    run_bytes: 0,
    zeros: 0,
    name: 0,
};

impl Head {
    pub(crate) fn with(self, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![self.kind, self.zero];
        packet.extend(self.descriptors.to_le_bytes());
        packet.extend(self.value.to_le_bytes());
        packet.extend(self.code.to_le_bytes());
        packet.extend(self.runs.to_le_bytes());
        packet.extend(self.run_bytes.to_le_bytes());
        packet.extend(self.zeros.to_le_bytes());
        packet.extend(self.name.to_le_bytes());
        packet.extend(body);
        packet
    }
}

pub(crate) fn piece(number: u32, name: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC2, 0, 0, 0];
    packet.extend(number.to_le_bytes());
    packet.extend(name.to_le_bytes());
    packet.extend(bytes);
    packet
}

/// A whole message of one packet.
pub(crate) fn message(value: &[u8]) -> Vec<u8> {
    let value_bytes = value.len() as u32;
    Head {
        value: value_bytes,
        ..HEAD
    }
    .with(value)
}

/// The answer that returns a number.
pub(crate) fn answer(number: u64) -> Vec<u8> {
    let mut value = vec![0];
    value.extend(number.to_le_bytes());
    message(&value)
}

pub(crate) const LIMIT: usize = 256 << 20;

/// Sends a packet with copies of a descriptor, without its own end of it.
#[func]
pub(crate) fn say_with(
    packets: Vec<(Vec<u8>, u32)>,
    descriptor: OwnedFd,
    socket: Option<OwnedFd>,
) -> u64 {
    let socket = match &socket {
        Some(socket) => socket.as_raw_fd(),
        None => raw::launch_socket(),
    };
    let copies: Vec<OwnedFd> = (0..253).map(|_| descriptor.try_clone().unwrap()).collect();
    let numbers: Vec<RawFd> = copies.iter().map(AsRawFd::as_raw_fd).collect();
    for (packet, count) in packets {
        let _ = raw::send_with(socket, &packet, &numbers[..count as usize], 0);
    }
    // All of them are closed before anything is received, and those in flight are the last.
    raw::exit(0)
}

pub(crate) fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

/// How long a socket lingers, in seconds.
pub(crate) fn linger() -> i32 {
    support::stays().as_secs().try_into().unwrap()
}

/// Waits until a child is dead and not yet waited for.
#[track_caller]
pub(crate) fn wait_until_dead(id: u32) {
    wait_until("the child is dead", || state(id) == Some('Z'));
}

pub(crate) fn open(path: &std::path::Path, flags: i32) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .custom_flags(flags)
        .open(path)
        .unwrap()
        .into()
}
