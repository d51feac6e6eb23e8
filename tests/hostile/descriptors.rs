//! Descriptors that nobody asked for, that are too many, or of another kind.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crossmist::{ChannelError, Error, Limits, ProtocolError, Receiver, channel, duplex, func};

use crate::cases;
use crate::peer::{HEAD, Head, Unharmed, answer, message, null, open, piece, say_with};
use crate::support::{Case, Directory, raw, within};

pub(crate) const CASES: &[Case] = cases![
    descriptors_that_nobody_asked_for_are_refused_and_closed,
    descriptors_above_the_budget_are_refused_and_closed,
    descriptors_with_a_piece_are_refused_and_closed,
    descriptors_that_do_not_fit_the_table_are_refused,
    credentials_are_ignored,
    a_descriptor_that_is_no_file_is_refused,
    a_descriptor_that_is_no_channel_end_is_refused,
    memory_files_are_files,
];

fn descriptors_that_nobody_asked_for_are_refused_and_closed() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    for count in [1u16, 253] {
        // The header says nothing of them.
        let packets = vec![(answer(5), count.into())];
        let result = say_with.run(packets, null(), None);
        let Err(Error::Malformed(error)) = result else {
            panic!("{result:?}");
        };
        let expected = ProtocolError::Descriptors {
            expected: 0,
            found: count.into(),
        };
        assert_eq!(error, expected);
        // The header says so, and the value has no use for them.
        let head = Head {
            descriptors: count,
            value: 9,
            ..HEAD
        };
        let packets = vec![(head.with(&[0; 9]), count.into())];
        let result = say_with.run(packets, null(), None);
        let Err(Error::Decode(error)) = result else {
            panic!("{result:?}");
        };
        assert_eq!(error.found(), "a descriptor that nothing named");
    }
    // Beside nothing at all.
    let result = say_with.run(vec![(vec![], 3)], null(), None);
    assert!(
        matches!(result, Err(Error::Malformed(ProtocolError::Empty))),
        "{result:?}"
    );
    // Beside an answer that is fine, and behind it.
    let result = say_with.run(vec![(answer(5), 0), (answer(5), 253)], null(), None);
    assert!(
        matches!(result, Err(Error::Malformed(ProtocolError::Surplus))),
        "{result:?}"
    );
    unharmed.check();
}

fn descriptors_above_the_budget_are_refused_and_closed() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    let limits = Limits::new().descriptors(2);
    let head = Head {
        descriptors: 3,
        value: 9,
        ..HEAD
    };
    let call = say_with.builder().limits(limits);
    let result = call.run(vec![(head.with(&[0; 9]), 3)], null(), None);
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = ProtocolError::TooManyDescriptors {
        descriptors: 3,
        limit: 2,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

fn descriptors_with_a_piece_are_refused_and_closed() {
    raw::play_a_kernel_that_passes_descriptors();
    let unharmed = Unharmed::so_far();
    let head = Head {
        value: 9,
        name: 7,
        ..HEAD
    };
    let packets = vec![(head.with(&[0; 4]), 0), (piece(0, 7, &[0; 5]), 253)];
    let result = say_with.run(packets, null(), None);
    let Err(Error::Malformed(error)) = result else {
        panic!("{result:?}");
    };
    let expected = ProtocolError::Descriptors {
        expected: 0,
        found: 253,
    };
    assert_eq!(error, expected);
    unharmed.check();
}

fn descriptors_that_do_not_fit_the_table_are_refused() {
    let unharmed = Unharmed::so_far();
    raw::limit_descriptors(100);
    let head = Head {
        descriptors: 253,
        value: 9,
        ..HEAD
    };
    let (ours, theirs) = duplex::<(), Vec<OwnedFd>>().unwrap();
    let mut ours = ours.into_receiver();
    let packets = vec![(head.with(&[0; 9]), 253), (message(&[0; 4]), 0)];
    let child = send_copies.spawn(packets, null(), theirs.into()).unwrap();
    let result = ours.recv();
    assert!(
        matches!(
            result,
            Err(ChannelError::Malformed(ProtocolError::Truncated))
        ),
        "{result:?}"
    );
    child.join().unwrap();
    drop(ours);
    unharmed.check();
}

/// As [`say_with`], with a table of its own that is large enough.
#[func]
fn send_copies(packets: Vec<(Vec<u8>, u32)>, descriptor: OwnedFd, socket: OwnedFd) {
    raw::limit_descriptors(1000);
    for (packet, count) in packets {
        let numbers = vec![descriptor.as_raw_fd(); count as usize];
        let _ = raw::send_with(socket.as_raw_fd(), &packet, &numbers, 0);
    }
}

#[func]
fn answer_with_credentials() -> u64 {
    raw::send_credentials(raw::launch_socket(), &answer(5)).unwrap();
    raw::exit(0)
}

fn credentials_are_ignored() {
    let unharmed = Unharmed::so_far();
    assert_eq!(answer_with_credentials.run().unwrap(), 5);
    unharmed.check();
}

/// Gives something as a file.
#[func]
fn give_as_file(descriptor: OwnedFd) -> File {
    descriptor.into()
}

fn a_descriptor_that_is_no_file_is_refused() {
    let unharmed = Unharmed::so_far();
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "hello").unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();

    // A control: a file and a directory.
    let mut file = give_as_file.run(open(&path, 0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    assert!(
        give_as_file
            .run(open(directory.path(), 0))
            .unwrap()
            .metadata()
            .unwrap()
            .is_dir()
    );

    let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let event = nix::sys::eventfd::EventFd::new().unwrap();
    let event = event.as_fd().try_clone_to_owned().unwrap();
    for (descriptor, found) in [
        (open(&fifo, libc::O_NONBLOCK), "the reading end of a pipe"),
        (reader.into(), "the reading end of a pipe"),
        (writer.into(), "the writing end of a pipe"),
        (unix.into(), "a Unix stream socket"),
        (null(), "a character device"),
        (
            open(std::path::Path::new("/dev/ptmx"), 0),
            "a character device",
        ),
        (event, "a descriptor that is no file"),
        (
            open(&link, libc::O_PATH | libc::O_NOFOLLOW),
            "a path that was opened by O_PATH",
        ),
        (
            open(&fifo, libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        // The process that opened these need not have had the right to read or list them.
        (
            open(&path, libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        (
            open(directory.path(), libc::O_PATH),
            "a path that was opened by O_PATH",
        ),
        (
            open(std::path::Path::new("/proc/self/ns/net"), 0),
            "a namespace",
        ),
    ] {
        let result = within(Duration::from_secs(1), || give_as_file.run(descriptor));
        let Err(Error::Decode(error)) = result else {
            panic!("{found}: {result:?}");
        };
        assert_eq!(error.found(), found);
        assert!(
            error
                .expected()
                .starts_with("a regular file or a directory")
        );
    }
    drop((file, _peer, directory));
    let _ = text;
    unharmed.0.assert_memory(64 << 20);
}

/// Gives something as the end of a channel.
#[func]
fn give_as_end(descriptor: OwnedFd) -> OwnedFd {
    // The limits of an end: what is asked for is more than the receiver allows.
    let mut value = vec![0, 0, 0, 0];
    value.extend([0xFF; 40]);
    let head = Head {
        descriptors: 1,
        value: value.len() as u32,
        ..HEAD
    };
    let rights = [descriptor.as_raw_fd()];
    raw::send_with(raw::launch_socket(), &head.with(&value), &rights, 0).unwrap();
    raw::exit(0)
}

/// The same, to the parent's eyes: a function that gives an end.
#[func]
fn give_end(descriptor: OwnedFd) -> Receiver<u64> {
    give_as_end(descriptor);
    raw::exit(4)
}

fn a_descriptor_that_is_no_channel_end_is_refused() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket, socketpair};
    let unharmed = Unharmed::so_far();
    let pair = |kind| socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
    // A control.
    let (mut tx, rx) = channel::<u64>().unwrap();
    let mut end = give_end.run(rx.into()).unwrap();
    tx.send(&5).unwrap();
    assert_eq!(end.recv().unwrap(), Some(5));
    drop((tx, end));

    let seqpacket = |connected: bool, option: Option<i32>| {
        let socket = if connected {
            pair(SockType::SeqPacket).0
        } else {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap()
        };
        if let Some(option) = option {
            raw::set_option(socket.as_raw_fd(), libc::SOL_SOCKET, option, &1i32).unwrap();
        }
        socket
    };
    for (descriptor, found) in [
        (null(), "is not a Unix socket"),
        (
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            "is not a Unix socket",
        ),
        (pair(SockType::Stream).0, "is not a SOCK_SEQPACKET socket"),
        (pair(SockType::Datagram).0, "is not a SOCK_SEQPACKET socket"),
        (seqpacket(false, None), "is not connected"),
        (
            seqpacket(true, Some(libc::SO_PASSCRED)),
            "wants credentials with each message (SO_PASSCRED and the like)",
        ),
    ] {
        let result = give_end.run(descriptor);
        let Err(Error::Decode(error)) = result else {
            panic!("{found}: {result:?}");
        };
        assert_eq!(error.found(), format!("a descriptor that {found}"));
    }
    unharmed.check();
}

fn memory_files_are_files() {
    let unharmed = Unharmed::so_far();
    for sealed in [false, true] {
        let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
        let memory = nix::sys::memfd::memfd_create(c"memory", flags).unwrap();
        nix::unistd::write(&memory, b"hello").unwrap();
        if sealed {
            let seals = nix::fcntl::SealFlag::F_SEAL_SHRINK | nix::fcntl::SealFlag::F_SEAL_WRITE;
            nix::fcntl::fcntl(&memory, nix::fcntl::FcntlArg::F_ADD_SEALS(seals)).unwrap();
        }
        let mut file = give_as_file.run(memory).unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
    unharmed.check();
}
