//! Descriptors: each kind as each type, and none left behind.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use crossmist::{ChannelError, DecodeError, EncodeErrorKind, Object, Receiver, channel, to_bytes};
use nix::sys::socket::{setsockopt, sockopt};

use super::support::assert_error;

/// Sends `value` to somebody who takes it for a `T`.
fn receive_as<T: Object, S: Object>(value: &S) -> Result<T, DecodeError> {
    let (mut tx, rx) = channel::<S>().unwrap();
    let mut rx = Receiver::<T>::try_from(OwnedFd::from(rx)).unwrap();
    tx.send(value).unwrap();
    match rx.recv() {
        Ok(Some(value)) => Ok(value),
        Ok(None) => panic!("the end of the channel"),
        Err(ChannelError::Decode(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

fn tcp_pair() -> (TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server, listener)
}

/// A place, opened without the right to do anything there.
fn path(path: &str) -> OwnedFd {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
}

/// One of this process.
#[expect(unsafe_code, reason = "it asks the system directly")]
fn pidfd() -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open(2) takes two numbers, and looks at no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let fd = i32::try_from(fd).unwrap();
    assert!(fd >= 0);
    // SAFETY: the call has just opened it, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// One descriptor of each kind, with the words for it.
fn kinds() -> Vec<(&'static str, OwnedFd)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let (reader, writer) = pipe().unwrap();
    let both = {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        File::options().read(true).write(true).open(path).unwrap()
    };
    let (stream, _, listener) = tcp_pair();
    // Tests run at the same time.
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("codec-{}-{number}", std::process::id());
    let unix_path = std::env::temp_dir().join(name);
    let unix_listener = UnixListener::bind(&unix_path).unwrap();
    std::fs::remove_file(&unix_path).unwrap();
    let v6 = socket(
        AddressFamily::Inet6,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .unwrap();
    let seqpacket = crossmist::channel::<u8>().unwrap().0;
    let epoll = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::empty()).unwrap();
    vec![
        (
            "a regular file",
            File::open("/proc/self/exe").unwrap().into(),
        ),
        ("a directory", File::open("/").unwrap().into()),
        (
            "a character device",
            File::open("/dev/null").unwrap().into(),
        ),
        ("the reading end of a pipe", reader.into()),
        ("the writing end of a pipe", writer.into()),
        ("a pipe that is open for reading and writing", both.into()),
        ("a TCP socket", stream.into()),
        ("a TCP socket", v6),
        ("a listening TCP socket", listener.into()),
        (
            "a UDP socket",
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        ),
        ("a Unix stream socket", UnixStream::pair().unwrap().0.into()),
        ("a listening Unix socket", unix_listener.into()),
        (
            "a Unix datagram socket",
            UnixDatagram::unbound().unwrap().into(),
        ),
        ("a socket of family 1, type 5, protocol 0", seqpacket.into()),
        ("a descriptor that is no file", epoll.0),
        // This calls itself a regular file from Linux 6.9 on.
        ("a descriptor that is no file", pidfd()),
        (
            "a namespace",
            File::open("/proc/self/ns/net").unwrap().into(),
        ),
        ("a path that was opened by O_PATH", path("/proc/self/exe")),
        ("a path that was opened by O_PATH", path("/root")),
        ("a path that was opened by O_PATH", path("/dev/null")),
        (
            "a path that was opened by O_PATH",
            path("/proc/self/ns/net"),
        ),
    ]
}

/// Sends one of each kind to somebody who takes it for a `T`.
#[track_caller]
fn check<T: Object>(expected: &str, accepted: &[&str]) {
    for (kind, fd) in kinds() {
        let result = receive_as::<T, OwnedFd>(&fd);
        match result {
            Ok(_) => assert!(accepted.contains(&kind), "{kind} is accepted"),
            Err(error) => {
                assert!(!accepted.contains(&kind), "{kind} is refused: {error}");
                assert_error(&error, 2, expected, kind);
            }
        }
    }
}

#[test]
fn any_kind_is_an_owned_fd() {
    let all: Vec<_> = kinds().into_iter().map(|(kind, _)| kind).collect();
    check::<OwnedFd>("", &all);
}

#[test]
fn a_file_is_a_regular_file_or_a_directory() {
    check::<File>(
        "a regular file or a directory (anything else is sent as an `OwnedFd`)",
        &["a regular file", "a directory"],
    );
}

#[test]
fn a_socket_is_of_the_kind_of_its_type() {
    check::<TcpStream>("a TCP socket that doesn't listen", &["a TCP socket"]);
    check::<TcpListener>("a listening TCP socket", &["a listening TCP socket"]);
    check::<UdpSocket>("a UDP socket", &["a UDP socket"]);
    let expected = "a Unix stream socket that doesn't listen";
    check::<UnixStream>(expected, &["a Unix stream socket"]);
    let expected = "a listening Unix stream socket";
    check::<UnixListener>(expected, &["a listening Unix socket"]);
    check::<UnixDatagram>("a Unix datagram socket", &["a Unix datagram socket"]);
}

#[test]
fn a_pipe_is_open_in_the_direction_of_its_type() {
    let (reader, writer) = ("the reading end of a pipe", "the writing end of a pipe");
    check::<PipeReader>(reader, &[reader]);
    check::<PipeWriter>(writer, &[writer]);
    check::<ChildStdin>(writer, &[writer]);
    check::<ChildStdout>(reader, &[reader]);
    check::<ChildStderr>(reader, &[reader]);
}

#[test]
fn a_descriptor_arrives_open_on_the_same_thing_and_close_on_exec() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let (reader, writer) = pipe().unwrap();
    let mut there: PipeWriter = receive_as(&writer).unwrap();
    let flags = fcntl(there.as_fd(), FcntlArg::F_GETFD).unwrap();
    assert_eq!(FdFlag::from_bits_retain(flags), FdFlag::FD_CLOEXEC);
    there.write_all(b"hello").unwrap();
    drop((there, writer));
    let mut text = String::new();
    { reader }.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn a_descriptor_can_be_named_only_once_and_has_to_be_named() {
    let (_reader, writer) = pipe().unwrap();
    let expected = "the number of a descriptor that came with the message and wasn't named before";
    let twice = receive_as::<(OwnedFd, OwnedFd), _>(&(clone(&writer), 0u16)).unwrap_err();
    assert_error(&twice, 4, expected, "0");
    let beyond = receive_as::<OwnedFd, _>(&7u16).unwrap_err();
    assert_error(&beyond, 2, expected, "7");
    let unnamed = receive_as::<u16, _>(&clone(&writer)).unwrap_err();
    assert_error(
        &unnamed,
        2,
        "the end of the message",
        "a descriptor that nothing named",
    );
}

fn clone(writer: &PipeWriter) -> OwnedFd {
    writer.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn the_descriptors_of_a_refused_message_are_closed() {
    let refuse = [
        |writer: PipeWriter| receive_as::<(OwnedFd, bool), _>(&(writer, 2u8)).err(),
        |writer: PipeWriter| receive_as::<(bool, OwnedFd), _>(&(2u8, writer)).err(),
        |writer: PipeWriter| receive_as::<(PipeReader, u8), _>(&(writer, 2u8)).err(),
        |writer: PipeWriter| receive_as::<(PipeWriter, ()), _>(&(writer, 2u8)).err(),
    ];
    for refuse in refuse {
        let (mut reader, writer) = pipe().unwrap();
        assert!(refuse(writer).is_some());
        // The end comes when the last writing end is closed.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_lingering_socket_in_a_refused_message_does_not_hold_up_the_receiver() {
    // It has bytes that nobody will receive, and waits for that when it is closed.
    let lingering = |seconds| {
        let (mut client, server, _) = tcp_pair();
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 65_536]).is_ok() {}
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: seconds,
        };
        setsockopt(&client, sockopt::Linger, &linger).unwrap();
        client.set_nonblocking(false).unwrap();
        (client, server)
    };
    let elapsed = |seconds, run: &dyn Fn(TcpStream)| {
        let (client, _server) = lingering(seconds);
        let begin = Instant::now();
        run(client);
        begin.elapsed()
    };
    let control = elapsed(2, &|client| drop(client));
    assert!(control > Duration::from_secs(1), "{control:?}");
    for refuse in [
        |client| receive_as::<(TcpStream, bool), _>(&(client, 2u8)).err(),
        |client| receive_as::<(OwnedFd, bool), _>(&(client, 2u8)).err(),
        |client| receive_as::<(bool, TcpStream), _>(&(2u8, client)).err(),
        |client| receive_as::<(TcpListener, u8), _>(&(client, 2u8)).err(),
    ] {
        let time = elapsed(50, &|client: TcpStream| {
            // The sender's own handle isn't the last one, so its drop doesn't wait.
            assert!(refuse(client).is_some());
        });
        assert!(time < Duration::from_secs(30), "{time:?}");
    }
}

#[test]
fn descriptors_behind_cells_are_duplicated() {
    let (mut reader, writer) = pipe().unwrap();
    let cell = std::cell::RefCell::new(writer);
    let mut there: PipeWriter = receive_as(&cell).unwrap();
    drop(cell);
    there.write_all(b"x").unwrap();
    drop(there);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(text, b"x");
}

#[test]
fn bytes_hold_no_descriptors() {
    let file: OwnedFd = File::open("/").unwrap().into();
    let error = to_bytes(&file).unwrap_err();
    let (descriptors, limit) = (1, 0);
    assert_eq!(
        *error.kind(),
        EncodeErrorKind::TooManyDescriptors { descriptors, limit }
    );
}
