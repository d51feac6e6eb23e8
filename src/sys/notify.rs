//! Seccomp's user notification: a filter that asks, and the descriptor on which it does.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;
use seccompiler::BpfProgramRef;

use super::confinement::set_filter;
use super::poll::{self, Deadline};
use super::process::open_pidfd;
use super::system_files;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    id: u64,
    /// The thread, in this process's namespace.
    pub(crate) thread: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

#[cfg(test)]
impl Asked {
    /// Creates one that nobody has asked.
    pub(crate) fn of(thread: u32, arguments: [u64; 6]) -> Self {
        Self {
            id: 0,
            thread,
            number: 0,
            arguments,
        }
    }
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It happens, with whatever arguments it has at that time.
    Continue,
    /// It fails with this error number.
    Errno(i32),
}

/// Loads a filter like [`super::confinement::load_filter`], and gives the descriptor on which its calls are asked for
/// (Linux 5.0; to let them happen takes 5.5).
pub(crate) fn load_filter(program: BpfProgramRef<'_>) -> io::Result<OwnedFd> {
    let result = set_filter(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    match c_int::try_from(result) {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets any process of the user look into this one, where only its ancestors may (`prctl(2)`,
/// PR_SET_PTRACER, with the security module Yama).
pub(crate) fn let_anybody_look() {
    const PR_SET_PTRACER: c_int = 0x5961_6d61;
    // Without Yama there is no such option, and no need for one.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(PR_SET_PTRACER, u64::MAX, 0, 0, 0) };
}

/// Waits for a call; `None` when no process is left that could make one.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Asked>> {
    loop {
        let mut entries = [poll::entry(listener, libc::POLLIN)];
        poll::poll(&mut entries, Deadline::NEVER)?;
        if entries[0].revents & libc::POLLIN == 0 {
            return Ok(None);
        }
        // SAFETY: all-zero is a valid structure, and what the kernel asks for.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request fills in a structure of this type.
        let result = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut asked,
            )
        };
        if result == 0 {
            return Ok(Some(Asked {
                id: asked.id,
                thread: asked.pid,
                number: asked.data.nr as u32,
                arguments: asked.data.args,
            }));
        }
        match io::Error::last_os_error().raw_os_error() {
            // It was killed before it could be told of, or a signal came.
            Some(libc::ENOENT | libc::EINTR) => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

/// Whether the call still waits: what was read of its process is that of no other.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, asked: &Asked) -> bool {
    let id = asked.id;
    // SAFETY: the request reads a number.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const id,
        )
    };
    result == 0
}

/// Returns whether a descriptor of the process that asks is a socket for datagrams.
pub(crate) fn sends_datagrams(asked: &Asked, fd: c_int) -> io::Result<bool> {
    let status = system_files::read(&format!("{}/status", asked.thread))?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let process = process.and_then(|id| id.trim().parse().ok());
    let pidfd = open_pidfd(process.ok_or(io::ErrorKind::InvalidData)?)?;
    // SAFETY: takes numbers.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
    let socket = match c_int::try_from(copy) {
        // SAFETY: a new descriptor, close-on-exec, that nobody else owns.
        Ok(fd) if fd >= 0 => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(io::Error::last_os_error()),
    };
    let kind = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SockType)?;
    Ok(kind == nix::sys::socket::SockType::Datagram)
}

/// Answers a call. That its process has been killed meanwhile is no error.
pub(crate) fn answer(listener: BorrowedFd<'_>, asked: &Asked, answer: Answer) -> io::Result<()> {
    let (error, flags) = match answer {
        Answer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Errno(number) => (-number, 0),
    };
    let response = libc::seccomp_notif_resp {
        id: asked.id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: the request reads a structure of this type.
    let result = unsafe {
        libc::ioctl(
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw const response,
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_datagrams_are_told_from_others() {
        use std::net::{Ipv4Addr, TcpListener, UdpSocket};
        let local = (Ipv4Addr::LOCALHOST, 0);
        let asked = Asked {
            id: 0,
            // Not the first thread of the process.
            thread: nix::unistd::gettid().as_raw().unsigned_abs(),
            number: 0,
            arguments: [0; 6],
        };
        let udp = UdpSocket::bind(local).unwrap();
        let tcp = TcpListener::bind(local).unwrap();
        assert!(sends_datagrams(&asked, udp.as_raw_fd()).unwrap());
        assert!(!sends_datagrams(&asked, tcp.as_raw_fd()).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(sends_datagrams(&asked, file.as_raw_fd()).is_err());
        assert!(sends_datagrams(&asked, -1).is_err());
    }
}
