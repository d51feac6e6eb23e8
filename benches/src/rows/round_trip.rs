//! Round trips: a child sends back what it is sent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime;

use crate::harness::{Group, Placement, Result, Row, expect_same};
use crate::ours;
use crate::ours::round_trip::BUSY;
use crate::raw::process::{CHILD, Command, Launch, Running};
use crate::raw::socket;

pub(crate) const FAMILY: &str = "round trip";
const SIZES: [usize; 4] = [8, 64, 1 << 10, 16 << 10];

pub(crate) fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::OneCore, Placement::TwoCores] {
        for size in SIZES {
            let mut group = Group::new(FAMILY, label(size), placement).target(1.10);
            group.headline = size == 64 || size == 16 << 10;
            group.raw("SOCK_SEQPACKET", move || packets(size));
            group.raw("SOCK_STREAM", move || stream(size));
            group.peer("ipc-channel", move || ipc_channel(size));
            ours::round_trip::blocking(&mut group, size);
            groups.push(group);
        }
    }
    for size in SIZES {
        let name = format!("{}, busy polling", label(size));
        let mut group = Group::new(FAMILY, name, Placement::TwoCores).target(1.10);
        group.headline = size == 64;
        group.raw("SOCK_SEQPACKET, busy polling", move || busy_packets(size));
        group.peer("SOCK_SEQPACKET", move || packets(size));
        ours::round_trip::busy(&mut group, size);
        groups.push(group);
    }
    for placement in [Placement::OneCore, Placement::TwoCores] {
        for size in SIZES {
            let name = format!("{}, tokio", label(size));
            let mut group = Group::new(FAMILY, name, placement).target(1.10);
            group.headline = size == 64;
            group.peer("tokio UnixStream", move || tokio_stream(size));
            ours::round_trip::tokio(&mut group, size);
            groups.push(group);
        }
    }
    groups
}

pub(crate) fn label(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        0x400..0x10_0000 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

/// A message of its own for each trip, so that no stale answer passes for a fresh one.
pub(crate) struct Messages {
    bytes: Vec<u8>,
    counter: u64,
}

impl Messages {
    pub(crate) fn new(size: usize) -> Self {
        assert!(size >= 8);
        Self {
            bytes: (0..size).map(|index| (index * 7) as u8).collect(),
            counter: 0,
        }
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        self.counter += 1;
        self.bytes[..8].copy_from_slice(&self.counter.to_le_bytes());
        &self.bytes
    }
}

/// Receives into a buffer.
type Receive = fn(BorrowedFd<'_>, &mut [u8]) -> io::Result<usize>;

fn packets(size: usize) -> Result<impl Row> {
    packets_by("echo", socket::receive, size)
}

/// Both sides look for a packet for a while before they wait.
fn busy_packets(size: usize) -> Result<impl Row> {
    packets_by("busy-echo", receive_busily, size)
}

fn receive_busily(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    socket::receive_busily(socket, buffer, BUSY)
}

fn packets_by(role: &str, receive: Receive, size: usize) -> Result<impl Row + use<>> {
    let (child, socket) =
        Command::role(role, &[])?.start(Launch::PosixSpawn, socket::Kind::Packets)?;
    let mut messages = Messages::new(size);
    let mut buffer = vec![0; 64 << 10];
    Ok(move || {
        let _alive = &child;
        let message = messages.next();
        let start = Instant::now();
        socket::send(socket.as_fd(), message)?;
        let received = receive(socket.as_fd(), &mut buffer)?;
        let took = start.elapsed();
        same_bytes(&buffer[..received], message)?;
        Ok(took.into())
    })
}

pub(crate) fn busy_echo(socket: OwnedFd) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match receive_busily(socket.as_fd(), &mut buffer)? {
            0 => return Ok(()),
            received => socket::send(socket.as_fd(), &buffer[..received])?,
        };
    }
}

/// Both sides know the length, which spares the stream the framing that a library would need.
fn stream(size: usize) -> Result<impl Row> {
    let command = Command::role("stream-echo", &[size.to_string()])?;
    let (child, socket) = command.start(Launch::PosixSpawn, socket::Kind::Stream)?;
    let mut messages = Messages::new(size);
    let mut buffer = vec![0; size];
    Ok(move || {
        let _alive = &child;
        let message = messages.next();
        let start = Instant::now();
        socket::send_all(socket.as_fd(), message)?;
        socket::receive_exact(socket.as_fd(), &mut buffer)?;
        let took = start.elapsed();
        same_bytes(&buffer, message)?;
        Ok(took.into())
    })
}

pub(crate) fn stream_echo(socket: OwnedFd, parameters: &[String]) -> Result<()> {
    let mut buffer = vec![0; number(parameters)?];
    // The parent hangs up in the end, which is how this role is meant to end.
    while socket::receive_exact(socket.as_fd(), &mut buffer).is_ok() {
        socket::send_all(socket.as_fd(), &buffer)?;
    }
    Ok(())
}

fn number(parameters: &[String]) -> Result<usize> {
    let last = parameters.last().ok_or("a number is missing")?;
    Ok(last.parse()?)
}

fn tokio_stream(size: usize) -> Result<impl Row> {
    let command = Command::role("tokio-echo", &[size.to_string()])?;
    let (child, socket) = command.start(Launch::PosixSpawn, socket::Kind::Stream)?;
    let runtime = tokio_runtime()?;
    let mut stream = {
        let _entered = runtime.enter();
        asynchronous(socket)?
    };
    let mut messages = Messages::new(size);
    let mut buffer = vec![0; size];
    Ok(move || {
        let _alive = &child;
        let message = messages.next();
        let took = runtime.block_on(async {
            let start = Instant::now();
            stream.write_all(message).await?;
            stream.read_exact(&mut buffer).await?;
            Result::Ok(start.elapsed())
        })?;
        same_bytes(&buffer, message)?;
        Ok(took.into())
    })
}

pub(crate) fn tokio_echo(socket: OwnedFd, parameters: &[String]) -> Result<()> {
    let mut buffer = vec![0; number(parameters)?];
    tokio_runtime()?.block_on(async {
        let mut stream = asynchronous(socket)?;
        while stream.read_exact(&mut buffer).await.is_ok() {
            stream.write_all(&buffer).await?;
        }
        Ok(())
    })
}

pub(crate) fn tokio_runtime() -> Result<runtime::Runtime> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime)
}

fn asynchronous(socket: OwnedFd) -> Result<tokio::net::UnixStream> {
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(tokio::net::UnixStream::from_std(stream)?)
}

type Bytes = Vec<u8>;
type Ends = (IpcSender<Bytes>, IpcReceiver<Bytes>);

fn ipc_channel(size: usize) -> Result<impl Row> {
    let (child, (sender, receiver)): (_, Ends) = ipc_child("ipc-echo", &[])?;
    let mut messages = Messages::new(size);
    Ok(move || {
        let _alive = &child;
        let message = messages.next();
        // `send` takes its message for good; making it is not what is measured.
        let owned = message.to_vec();
        let start = Instant::now();
        sender.send(owned)?;
        let answer = receiver.recv()?;
        let took = start.elapsed();
        same_bytes(&answer, message)?;
        Ok(took.into())
    })
}

pub(crate) fn ipc_echo(parameters: &[String]) -> Result<()> {
    let name = parameters.first().ok_or("the server's name is missing")?;
    let (to_child, from_parent) = ipc::channel::<Bytes>()?;
    let (to_parent, from_child) = ipc::channel::<Bytes>()?;
    IpcSender::connect(name.clone())?.send((to_child, from_child))?;
    while let Ok(message) = from_parent.recv() {
        to_parent.send(message)?;
    }
    Ok(())
}

/// Starts a child that sends its first message, the ends of channels, to a one-shot server.
pub(crate) fn ipc_child<T>(role: &str, parameters: &[String]) -> Result<(Running, T)>
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let (server, name) = IpcOneShotServer::<T>::new()?;
    let child = std::process::Command::new(std::env::current_exe()?)
        .args([CHILD, role, &name])
        .args(parameters)
        .stdin(Stdio::null())
        .spawn()?;
    let child = Running::adopt(child.id());
    let (_, ends) = server.accept()?;
    Ok((child, ends))
}

/// Like `expect_same`, for what is too long to print.
pub(crate) fn same_bytes(got: &[u8], expected: &[u8]) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => expect_same(got.len(), expected.len()).and(Err(
            "the right number of bytes, but not the right ones".into(),
        )),
    }
}
