//! SOCK_SEQPACKET sockets with descriptors beside the bytes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::fd::Received;

/// The most descriptors that one packet can carry: SCM_MAX_FD of the kernel.
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Room for 253 descriptors and for the credentials that SO_PASSCRED would put beside them.
///
/// There is always room for all: what the kernel has to leave out it closes inside `recvmsg`,
/// which waits for a lingering socket.
const CONTROL_BYTES: usize = {
    // SAFETY: both are arithmetic on a length.
    let descriptors = unsafe { libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<i32>()) as u32) };
    // SAFETY: as above.
    let credentials = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) };
    (descriptors + credentials) as usize
};

/// Memory for control messages, aligned for their headers.
#[repr(C)]
union Control {
    _align: libc::cmsghdr,
    bytes: [MaybeUninit<u8>; CONTROL_BYTES],
}

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until it can be done. Another holder of the socket can still make it return EAGAIN.
    Block,
    /// Not at all: EAGAIN.
    Never,
}

/// What one `recvmsg` brought.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Bytes put into the buffers together. 0 is an empty packet or the end; see `hung_up`.
    pub(crate) bytes: usize,
    pub(crate) descriptors: Vec<Option<Received>>,
    /// The packet was longer than the buffers, or had more control data than there was room for.
    pub(crate) truncated: bool,
}

/// A pair of connected SOCK_SEQPACKET sockets, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `socketpair(2)` writes two descriptors into the array of two.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check(result as isize)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    let ours = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    // SAFETY: as above.
    let theirs = unsafe { OwnedFd::from_raw_fd(fds[1]) };
    Ok((above_standard(ours)?, above_standard(theirs)?))
}

/// The same descriptor under a number that isn't one of standard input, output and error, in case
/// the program has closed those.
pub(crate) fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    // `try_clone` takes a number from 3 on (its documentation: `F_DUPFD_CLOEXEC`).
    if fd.as_raw_fd() > 2 {
        Ok(fd)
    } else {
        fd.try_clone()
    }
}

/// Sends one packet, with at most 253 descriptors. Never raises SIGPIPE.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<usize> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut control = Control {
        bytes: [const { MaybeUninit::uninit() }; CONTROL_BYTES],
    };
    // SAFETY: all-zero is a valid `msghdr`: null pointers with lengths of 0.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = parts.len();
    if !descriptors.is_empty() {
        let length = size_of_val(descriptors) as u32;
        header.msg_control = std::ptr::from_mut(&mut control).cast();
        // SAFETY: arithmetic on a length.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(length) } as usize;
        // SAFETY: `msg_control` and `msg_controllen` describe `control`, which has room for a
        // header, so the pointer is into it and aligned by the union.
        let first = unsafe { libc::CMSG_FIRSTHDR(&header) };
        let message = libc::cmsghdr {
            // SAFETY: arithmetic on a length.
            cmsg_len: unsafe { libc::CMSG_LEN(length) } as usize,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        };
        // SAFETY: `first` points to `control`, as above.
        unsafe { first.write(message) };
        // SAFETY: as above; the data of a header begins within the same object.
        let data = unsafe { libc::CMSG_DATA(first) };
        // `BorrowedFd` is `repr(transparent)` over the number, so the slice is an array of `int`.
        // SAFETY: source and target are `length` bytes long, at most 253 × 4, and do not overlap.
        unsafe { data.copy_from_nonoverlapping(descriptors.as_ptr().cast(), length as usize) };
    }
    let flags = libc::MSG_NOSIGNAL | wait.flags();
    loop {
        // SAFETY: `sendmsg(2)` reads the buffers that the header describes: `IoSlice` has the
        // layout of `iovec` (its documentation), and `control` was written up to `msg_controllen`.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) };
        match check(sent) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Receives one packet into the spare capacity of `head` up to `head_room` bytes, and what is
/// longer into that of `tail`.
///
/// Every descriptor that arrives is owned at once and close-on-exec.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    head: &mut Vec<u8>,
    head_room: usize,
    tail: Option<(&mut Vec<u8>, usize)>,
    wait: Wait,
) -> io::Result<Packet> {
    let mut control = Control {
        bytes: [const { MaybeUninit::uninit() }; CONTROL_BYTES],
    };
    head.reserve(head_room);
    let mut parts = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; 2];
    parts[0].iov_base = head.spare_capacity_mut().as_mut_ptr().cast();
    parts[0].iov_len = head_room;
    let mut tail = tail;
    if let Some((buffer, room)) = &mut tail {
        buffer.reserve(*room);
        parts[1].iov_base = buffer.spare_capacity_mut().as_mut_ptr().cast();
        parts[1].iov_len = *room;
    }
    // SAFETY: all-zero is a valid `msghdr`: null pointers with lengths of 0.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    let flags = libc::MSG_CMSG_CLOEXEC | wait.flags();
    let bytes = loop {
        header.msg_control = std::ptr::from_mut(&mut control).cast();
        header.msg_controllen = CONTROL_BYTES;
        // SAFETY: `recvmsg(2)` writes at most `iov_len` bytes into each buffer, which is spare
        // capacity reserved above and borrowed until the call returns, and at most
        // `msg_controllen` bytes into `control`.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) };
        match check(received) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    let descriptors = descriptors(&header);
    let in_head = bytes.min(head_room);
    // SAFETY: the kernel fills the buffers in order, so `in_head` bytes behind the length are
    // written, within the capacity reserved above.
    unsafe { head.set_len(head.len() + in_head) };
    if let Some((buffer, _)) = tail {
        // SAFETY: as above, for the bytes that did not fit the head; the kernel never reports
        // more than both buffers hold, since MSG_TRUNC is not among the flags of the call.
        unsafe { buffer.set_len(buffer.len() + (bytes - in_head)) };
    }
    Ok(Packet {
        bytes,
        descriptors,
        truncated: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// Takes ownership of the descriptors in the control messages that `recvmsg` wrote.
fn descriptors(header: &libc::msghdr) -> Vec<Option<Received>> {
    let mut received = Vec::new();
    // SAFETY: the kernel left `msg_control` and `msg_controllen` describing what it wrote.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: `next` is null or points to a control message that the kernel wrote.
    while let Some(message) = unsafe { next.as_ref() } {
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: arithmetic on a length.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = message.cmsg_len.saturating_sub(empty) / size_of::<i32>();
            // SAFETY: the data of a header begins within the same buffer.
            let data = unsafe { libc::CMSG_DATA(next) }.cast::<i32>();
            received.reserve_exact(count);
            for index in 0..count {
                // SAFETY: the kernel wrote `count` descriptors behind the header.
                let at = unsafe { data.add(index) };
                // SAFETY: as above. That they are aligned is luck of the header's size, so the
                // read doesn't ask for it.
                let fd = unsafe { at.read_unaligned() };
                // SAFETY: the kernel installed it for this message, and nobody else owns it.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                received.push(Some(Received::new(fd)));
            }
        }
        // SAFETY: `next` points into the control buffer that `header` describes.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    received
}

impl Wait {
    fn flags(self) -> libc::c_int {
        match self {
            Wait::Block => 0,
            Wait::Never => libc::MSG_DONTWAIT,
        }
    }
}

/// The result of a system call that returns -1 and sets `errno`.
fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// An integer socket option of the SOL_SOCKET level.
pub(crate) fn option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `getsockopt(2)` writes at most `length` bytes, which is the size of the value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(&mut value).cast(),
            &mut length,
        )
    };
    check(result as isize).map(|_| value)
}

/// Whether a Unix socket has a peer.
pub(crate) fn is_connected(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: all-zero is a valid socket address of no family.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `getpeername(2)` writes at most `length` bytes, which is the size of the address.
    let result = unsafe {
        libc::getpeername(
            socket.as_raw_fd(),
            std::ptr::from_mut(&mut address).cast(),
            &mut length,
        )
    };
    result == 0
}
