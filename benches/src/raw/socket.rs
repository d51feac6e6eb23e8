//! Socket pairs, and the calls that move bytes and descriptors through them.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Packets = libc::SOCK_SEQPACKET as isize,
    Stream = libc::SOCK_STREAM as isize,
}

/// Two connected ends that no child inherits by accident.
pub(crate) fn pair(kind: Kind) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let flags = kind as libc::c_int | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for the two descriptors that the call writes.
    let status = unsafe { libc::socketpair(libc::AF_UNIX, flags, 0, ends.as_mut_ptr()) };
    check(status as isize)?;
    // SAFETY: the call succeeded, so both are open and ours alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Sends one packet, or as much of a stream as the kernel takes.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a borrowed slice.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    check(sent)
}

pub(crate) fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[send(socket, bytes)?..];
    }
    Ok(())
}

/// Receives into `buffer`; 0 at the end.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of an exclusively borrowed slice.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    check(received)
}

/// Receives into `buffer`, and tries for as long as `time` says before it waits; 0 at the end.
pub(crate) fn receive_busily(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    time: Duration,
) -> io::Result<usize> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        // SAFETY: the pointer and length are those of an exclusively borrowed slice.
        let received = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match check(received) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
            result => return result,
        }
    }
    receive(socket, buffer)
}

pub(crate) fn receive_exact(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match receive(socket, &mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            received => filled += received,
        }
    }
    Ok(())
}

/// Receives one packet of exactly this many bytes.
pub(crate) fn receive_array<const N: usize>(socket: BorrowedFd<'_>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    match receive(socket, &mut bytes)? {
        received if received == N => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Fills a new vector of `length` bytes, at most `piece` a call, without writing any byte twice.
/// None at the end.
pub(crate) fn receive_vec(
    socket: BorrowedFd<'_>,
    length: usize,
    piece: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::<u8>::with_capacity(length);
    while bytes.len() < length {
        let room = &mut bytes.spare_capacity_mut()[..];
        let wanted = room.len().min(piece);
        // SAFETY: `room` has at least `wanted` bytes, exclusively borrowed for the call.
        let received =
            unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), wanted, 0) };
        let received = check(received)?;
        if received == 0 {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        // SAFETY: the kernel has just filled so many bytes behind the old length.
        unsafe { bytes.set_len(bytes.len() + received) };
    }
    Ok(Some(bytes))
}

/// The most descriptors that Linux puts into one message.
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Room for a control message full of descriptors, aligned as its header must be.
#[repr(C, align(8))]
struct Control([u8; 16 + 4 * MOST_DESCRIPTORS + 4]);

/// Sends one packet together with descriptors, which stay the caller's.
pub(crate) fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    assert!((1..=MOST_DESCRIPTORS).contains(&descriptors.len()));
    let payload = mem::size_of_val(descriptors) as u32;
    let mut control = mem::MaybeUninit::<Control>::uninit();
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a `msghdr` is plain pointers and integers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: pure arithmetic.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(payload) } as _;
    // SAFETY: `control` has room for a header and 253 descriptors, which the assertion above keeps
    // to; a `BorrowedFd` is an `i32` in memory (`repr(transparent)`).
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(payload) as _;
        let data = libc::CMSG_DATA(message);
        data.copy_from_nonoverlapping(descriptors.as_ptr().cast(), payload as usize);
    }
    // SAFETY: all that `header` points to lives until the end of this function.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL) })
}

/// Receives one packet, and appends the descriptors that came with it.
pub(crate) fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = mem::MaybeUninit::<Control>::uninit();
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: as in `send_with`.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control) as _;
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: all that `header` points to is exclusively borrowed and as long as it says.
    let received = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) })?;
    // SAFETY: the kernel has filled `header`; the macros stay within what it says is there.
    let message = unsafe { libc::CMSG_FIRSTHDR(&header) };
    if !message.is_null() {
        // SAFETY: nothing but SCM_RIGHTS arrives on a socket without further options, and it is
        // `cmsg_len` minus its header long. Each number in it is a descriptor made for us.
        unsafe {
            let bytes = (*message).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let numbers = libc::CMSG_DATA(message).cast::<i32>();
            for index in 0..bytes / mem::size_of::<i32>() {
                descriptors.push(OwnedFd::from_raw_fd(numbers.add(index).read_unaligned()));
            }
        }
    }
    Ok(received)
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_arrive_with_their_packet() {
        let (here, there) = pair(Kind::Packets).unwrap();
        let (left, right) = pair(Kind::Stream).unwrap();
        let sent = [left.as_fd(), right.as_fd()];
        send_with(here.as_fd(), b"two", &sent).unwrap();

        let mut buffer = [0; 8];
        let mut arrived = Vec::new();
        assert_eq!(
            receive_with(there.as_fd(), &mut buffer, &mut arrived).unwrap(),
            3
        );
        assert_eq!(arrived.len(), 2);
        send_all(arrived[0].as_fd(), b"through").unwrap();
        let mut through = [0; 7];
        receive_exact(right.as_fd(), &mut through).unwrap();
        assert_eq!(&through, b"through");
    }

    #[test]
    fn a_vector_is_put_together_from_pieces() {
        let (here, there) = pair(Kind::Packets).unwrap();
        for piece in [&b"abc"[..], b"def", b"g"] {
            send(here.as_fd(), piece).unwrap();
        }
        let whole = receive_vec(there.as_fd(), 7, 3).unwrap();
        assert_eq!(whole.as_deref(), Some(&b"abcdefg"[..]));
        drop(here);
        assert_eq!(receive_vec(there.as_fd(), 7, 3).unwrap(), None);
    }
}
