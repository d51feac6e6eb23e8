//! Packets as a peer sends them, with descriptors of all kinds, over a real socket.
//!
//! The input is a byte that picks the type, then packets: two bytes with the length, one with the
//! number of descriptors (its low three bits) and their first kind (the others), and the bytes.
#![cfg_attr(fuzzing, no_main)]

use std::fs::File;
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::LazyLock;

use crossmist::{ChannelError, Limits, Object, Receiver, channel};
use crossmist_fuzz::types::{Visit, all};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// One descriptor of each kind.
static KINDS: LazyLock<Vec<OwnedFd>> = LazyLock::new(|| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a TCP socket");
    let address = listener.local_addr().expect("an address");
    let stream = std::net::TcpStream::connect(address).expect("a connection");
    let path = std::env::temp_dir().join(format!("crossmist-fuzz-{}", std::process::id()));
    let unix = UnixListener::bind(&path).expect("a Unix socket");
    let _ = std::fs::remove_file(path);
    let (ours, theirs) = crossmist::duplex::<u8, u8>().expect("a channel");
    vec![
        File::open("/dev/null").expect("the null device").into(),
        File::open("/proc/self/exe").expect("the program").into(),
        File::open("/").expect("the root").into(),
        reader.into(),
        writer.into(),
        listener.into(),
        stream.into(),
        unix.into(),
        UnixStream::pair().expect("a Unix socket").0.into(),
        UnixDatagram::unbound().expect("a Unix socket").into(),
        ours.into(),
        theirs.into(),
        memory(SealFlag::all()),
        memory(SealFlag::empty()),
    ]
});

/// A page of memory with these seals.
fn memory(seals: SealFlag) -> OwnedFd {
    let fd = memfd_create("fuzz", MFdFlags::MFD_ALLOW_SEALING).expect("memory");
    let mut file = File::from(fd);
    file.write_all(&[7; 4096]).expect("memory to write to");
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
    file.into()
}

struct Receive<'i>(&'i [u8]);

impl Visit for Receive<'_> {
    fn visit<T: Object>(&mut self) {
        let (sender, receiver) = channel::<u8>().expect("a channel");
        let sender = OwnedFd::from(sender);
        send(&sender, self.0);
        drop(sender);
        let mut receiver = Receiver::<T>::try_from(OwnedFd::from(receiver)).expect("a channel");
        receiver.set_limits(Limits::new().message_bytes(1 << 20).memory_bytes(4 << 20).descriptors(6));
        loop {
            match receiver.recv() {
                Ok(Some(value)) => {
                    let (mut tx, mut rx) = channel::<T>().expect("a channel");
                    let sent = tx.try_send(&value);
                    if matches!(sent, Ok(true)) {
                        assert!(rx.recv().expect("a received value can be sent").is_some());
                    }
                }
                Err(ChannelError::Decode(_)) => {}
                Ok(None) | Err(ChannelError::Malformed(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Sends what fits the socket.
fn send(socket: &OwnedFd, mut input: &[u8]) {
    while let Some(([low, high, descriptors], rest)) = input.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (packet, rest) = rest.split_at(length);
        input = rest;
        let first = usize::from(descriptors >> 3);
        let fds: Vec<_> = KINDS
            .iter()
            .cycle()
            .skip(first % KINDS.len())
            .take(usize::from(descriptors & 7))
            .map(|fd| fd.as_fd().as_raw_fd())
            .collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let part = [IoSlice::new(packet)];
        if sendmsg::<()>(socket.as_raw_fd(), &part, control, flags, None).is_err() {
            return;
        }
    }
}

fn run(input: &[u8]) {
    if let Some((index, input)) = input.split_first() {
        all(*index, &mut Receive(input));
    }
}

crossmist_fuzz::target!("packets", run);
