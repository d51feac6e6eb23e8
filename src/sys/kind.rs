//! The kinds of things that a descriptor is open on.
//!
//! Nothing in this module waits, except that `fstat(2)` on a file of a network or FUSE file system
//! waits for that file system.

use std::fmt;
use std::os::fd::BorrowedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use super::socket_options;

/// The kind of a descriptor, as far as the standard library's types tell kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Pipe(Access),
    Socket(Socket),
    CharacterDevice,
    BlockDevice,
    /// Something that was opened with O_PATH: a place, which its opener need not have had the right
    /// to read, write or list.
    Path,
    /// A namespace.
    Namespace,
    /// Not a file: an eventfd, an epoll instance, a pidfd.
    Other,
}

/// The access that a pipe's end gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Both,
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

/// Returns whether a descriptor is non-blocking. A policy denies setting the mode even if that
/// changes nothing, so callers ask first.
#[cfg(feature = "tokio")]
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    fcntl(fd, FcntlArg::F_GETFL)
        .is_ok_and(|flags| OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

impl Kind {
    /// Returns the kind of `fd`.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Kind {
        // It fails only for a descriptor that is not open, which a `BorrowedFd` cannot be.
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_retain);
        // Checked before anything that asks the file: a place can be in a file system that never
        // answers.
        if flags.contains(OFlag::O_PATH) {
            return Kind::Path;
        }
        // It fails as above, or if a network file system fails.
        let Ok(stat) = fstat(fd) else {
            return Kind::Other;
        };
        match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::of_regular(fd),
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFIFO => Kind::Pipe(Access::of(flags)),
            SFlag::S_IFSOCK => Kind::Socket(Socket::of(fd)),
            SFlag::S_IFCHR => Kind::CharacterDevice,
            SFlag::S_IFBLK => Kind::BlockDevice,
            _ => Kind::Other,
        }
    }

    /// Returns the kind of something that claims to be a regular file, as some objects of the
    /// kernel do.
    fn of_regular(fd: BorrowedFd<'_>) -> Kind {
        // From the kernel's uapi/linux/magic.h.
        const NSFS: FsType = FsType(0x6e73_6673);
        const PIDFS: FsType = FsType(0x5049_4446);
        const DMA_BUF: FsType = FsType(0x444d_4142);
        match fstatfs(fd).map(|stat| stat.filesystem_type()) {
            Ok(NSFS) => Kind::Namespace,
            Ok(PIDFS | DMA_BUF) | Err(_) => Kind::Other,
            Ok(_) => Kind::File,
        }
    }
}

impl Access {
    fn of(flags: OFlag) -> Access {
        match flags & OFlag::O_ACCMODE {
            OFlag::O_RDONLY => Access::Read,
            OFlag::O_WRONLY => Access::Write,
            _ => Access::Both,
        }
    }
}

impl Socket {
    fn of(fd: BorrowedFd<'_>) -> Socket {
        let ask = |name| socket_options::get(fd, name).unwrap_or(-1);
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
            Kind::Path => "a path that was opened by O_PATH",
            Kind::Namespace => "a namespace",
            Kind::Other => "a descriptor that is no file",
        })
    }
}
