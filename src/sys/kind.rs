//! What a descriptor is open on.
//!
//! Nothing here waits, except that `fstat(2)` on a file of a network or FUSE file system waits for
//! that file system.

use std::fmt;
use std::os::fd::BorrowedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::socket::option;

/// The kind of a descriptor, as far as the standard library's types tell kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Pipe(Access),
    Socket(Socket),
    CharacterDevice,
    BlockDevice,
    /// A symbolic link, opened by O_PATH.
    Link,
    /// No file at all: an eventfd, an epoll instance, a pidfd.
    Other,
}

/// What may be done with a pipe's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Both,
    /// Opened by O_PATH.
    Neither,
}

/// A socket, by protocol and by whether it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    TcpStream,
    TcpListener,
    Udp,
    UnixStream,
    UnixListener,
    UnixDatagram,
    Other {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
}

/// Whether a descriptor is non-blocking. A policy denies the change whether or not anything changes by
/// it, so whoever wants it changed asks first.
#[cfg(feature = "tokio")]
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

impl Kind {
    /// The kind of `fd`.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Kind {
        // It fails only for a descriptor that isn't open, which a `BorrowedFd` can't be, and where
        // a network file system does.
        let Ok(stat) = fstat(fd) else {
            return Kind::Other;
        };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFIFO => Kind::Pipe(Access::of(fd)),
            SFlag::S_IFSOCK => Kind::Socket(Socket::of(fd)),
            SFlag::S_IFCHR => Kind::CharacterDevice,
            SFlag::S_IFBLK => Kind::BlockDevice,
            SFlag::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        }
    }
}

impl Access {
    fn of(fd: BorrowedFd<'_>) -> Access {
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::O_PATH, OFlag::from_bits_retain);
        if flags.contains(OFlag::O_PATH) {
            return Access::Neither;
        }
        match flags & OFlag::O_ACCMODE {
            OFlag::O_RDONLY => Access::Read,
            OFlag::O_WRONLY => Access::Write,
            _ => Access::Both,
        }
    }
}

impl Socket {
    fn of(fd: BorrowedFd<'_>) -> Socket {
        let ask = |name| option(fd, name).unwrap_or(-1);
        let (domain, kind) = (ask(libc::SO_DOMAIN), ask(libc::SO_TYPE));
        let protocol = ask(libc::SO_PROTOCOL);
        let listens = ask(libc::SO_ACCEPTCONN) != 0;
        match (domain, kind, protocol) {
            (
                libc::AF_INET | libc::AF_INET6,
                libc::SOCK_STREAM,
                libc::IPPROTO_TCP | libc::IPPROTO_MPTCP,
            ) => {
                if listens {
                    Socket::TcpListener
                } else {
                    Socket::TcpStream
                }
            }
            (
                libc::AF_INET | libc::AF_INET6,
                libc::SOCK_DGRAM,
                libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE,
            ) => Socket::Udp,
            (libc::AF_UNIX, libc::SOCK_STREAM, _) if listens => Socket::UnixListener,
            (libc::AF_UNIX, libc::SOCK_STREAM, _) => Socket::UnixStream,
            (libc::AF_UNIX, libc::SOCK_DGRAM, _) => Socket::UnixDatagram,
            _ => Socket::Other {
                domain,
                kind,
                protocol,
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::File => "a regular file",
            Kind::Directory => "a directory",
            Kind::Pipe(Access::Read) => "the reading end of a pipe",
            Kind::Pipe(Access::Write) => "the writing end of a pipe",
            Kind::Pipe(Access::Both) => "a pipe that is open for reading and writing",
            Kind::Pipe(Access::Neither) => "a pipe that is open for neither reading nor writing",
            Kind::Socket(Socket::TcpStream) => "a TCP socket",
            Kind::Socket(Socket::TcpListener) => "a listening TCP socket",
            Kind::Socket(Socket::Udp) => "a UDP socket",
            Kind::Socket(Socket::UnixStream) => "a Unix stream socket",
            Kind::Socket(Socket::UnixListener) => "a listening Unix socket",
            Kind::Socket(Socket::UnixDatagram) => "a Unix datagram socket",
            Kind::Socket(Socket::Other {
                domain,
                kind,
                protocol,
            }) => {
                return write!(
                    f,
                    "a socket of family {domain}, type {kind}, protocol {protocol}"
                );
            }
            Kind::CharacterDevice => "a character device",
            Kind::BlockDevice => "a block device",
            Kind::Link => "a symbolic link",
            Kind::Other => "a descriptor that is no file",
        })
    }
}
