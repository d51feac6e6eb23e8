//! Pairs of stream sockets for what a child prints.
//!
//! A pipe is unsuitable. A writer holds the pipe's lock while the kernel fetches the page that it
//! writes from. If a file system that does not answer holds that page, the page never comes, and
//! the reader waits with the writer. A socket copies the bytes before it takes a lock.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    self as sockets, AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage,
};

use super::socket_options;

/// How far a writer may be ahead, as SO_SNDBUF counts it: in memory, and at least 768 bytes for
/// each write. The kernel doubles the value.
///
/// It is small because a read wakes up the processes that wait for room, perhaps once for each
/// write. A writer can make tens of thousands of them wait.
const AHEAD_BYTES: libc::c_int = 4 << 10;

/// Creates a reading end that never waits, and a writing end, both close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (reading, writing) =
        sockets::socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    // Each end has its own flags. The writing end is a process's standard descriptor, and waits.
    let plain = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty());
    nix::fcntl::fcntl(&writing, plain)?;
    // In one direction only: a read from the writing end finds the end of the file.
    sockets::shutdown(writing.as_raw_fd(), Shutdown::Read)?;
    socket_options::set(borrow(&writing), libc::SO_SNDBUF, AHEAD_BYTES)?;
    Ok((reading, writing))
}

fn borrow(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// The result of one receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) count: usize,
    /// Descriptors came with the bytes. The kernel has dropped them, unless this was a peek.
    pub(crate) had_descriptors: bool,
}

/// Reads what is there.
pub(crate) fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Bytes> {
    receive_with(socket, room, MsgFlags::empty())
}

/// Peeks at what is there. Descriptors beside the bytes are not touched, and end the bytes.
pub(crate) fn look(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<Bytes> {
    receive_with(socket, room, MsgFlags::MSG_PEEK)
}

fn receive_with(socket: BorrowedFd<'_>, room: &mut [u8], flags: MsgFlags) -> io::Result<Bytes> {
    let flags = flags | MsgFlags::MSG_DONTWAIT;
    loop {
        let mut parts = [IoSliceMut::new(room)];
        // Without room for control messages, the kernel reports that there were some.
        match sockets::recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, None, flags) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(received) => {
                return Ok(Bytes {
                    count: received.bytes,
                    had_descriptors: received.flags.contains(MsgFlags::MSG_CTRUNC),
                });
            }
        }
    }
}

/// Returns how many bytes are waiting to be read. Takes no lock that a peer can hold.
pub(crate) fn waiting(socket: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the request writes one `int`.
    unsafe { count(socket, libc::FIONREAD) }
}

/// Returns how much memory is taken by what was sent to a Unix socket and has not been received. Other
/// kinds of Unix sockets than streams know it as well.
pub(crate) fn unreceived(socket: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the request writes one `int`.
    unsafe { count(socket, libc::TIOCOUTQ) }
}

/// # Safety
///
/// The request must be one that writes one `int`.
unsafe fn count(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the caller vouches for the request. The variable outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(usize::try_from(count).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::poll::{self, Deadline};

    #[test]
    fn it_goes_one_way_and_has_a_short_queue() {
        let (reading, writing) = pair().unwrap();
        let nothing = receive(reading.as_fd(), &mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

        let mut writer = File::from(writing);
        writer.write_all(b"one").unwrap();
        writer.write_all(b"two").unwrap();
        assert_eq!(waiting(reading.as_fd()).unwrap(), 6);
        let mut room = [0; 8];
        let seen = look(reading.as_fd(), &mut room).unwrap();
        assert_eq!((seen.count, &room[..6]), (6, &b"onetwo"[..]));
        let read = receive(reading.as_fd(), &mut room[..4]).unwrap();
        assert_eq!((read.count, read.had_descriptors), (4, false));
        assert_eq!(waiting(reading.as_fd()).unwrap(), 2);

        // The other way there is nothing.
        let written = File::from(reading.try_clone().unwrap()).write(b"x");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.read(&mut room).unwrap(), 0);

        // And it is full before many have written.
        let now = Deadline::after(std::time::Duration::ZERO);
        let mut count = 0;
        while poll::writable(writer.as_fd(), now).is_ok() {
            writer.write_all(b"x").unwrap();
            count += 1;
            assert!(count < 100);
        }
    }
}
