//! SOCK_SEQPACKET sockets, which send descriptors beside the bytes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::fd::Received;
use super::poll;

/// The most descriptors that one packet can carry: the kernel's SCM_MAX_FD.
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Room for 253 descriptors and for what socket options may add: credentials, a label, a pidfd, a
/// time. Another holder of the socket can set these options.
///
/// There is always room for everything. The kernel would close what it has to leave out inside
/// `recvmsg`, and wait there for a lingering socket.
const CONTROL_BYTES: usize = {
    // SAFETY: both are arithmetic on a length.
    let descriptors = unsafe { libc::CMSG_SPACE((MAX_DESCRIPTORS * size_of::<i32>()) as u32) };
    // SAFETY: as above.
    let credentials = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) };
    (descriptors + credentials) as usize + 512
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
    /// Until it can be done. Another holder of the socket can still cause EAGAIN.
    Block,
    /// Not at all: fails with EAGAIN.
    Never,
}

/// The result of one `recvmsg`.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The number of bytes in both buffers. 0 is an empty packet or the end; see [`receive`].
    pub(crate) bytes: usize,
    pub(crate) descriptors: Vec<Option<Received>>,
    /// Whether it came with a timestamp, which SO_TIMESTAMP requests.
    pub(super) has_time: bool,
    /// The sender, if SO_PASSCRED requests it.
    pub(crate) sender: Option<Sender>,
    /// The packet was longer than the buffers, or had more control data than there was room for.
    pub(crate) truncated: bool,
}

/// Creates a pair of connected SOCK_SEQPACKET sockets, close-on-exec.
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

/// Takes the error that is pending on a socket, such as ECONNRESET if the peer has closed it with something unread.
pub(crate) fn take_error(socket: BorrowedFd<'_>) -> io::Result<i32> {
    use nix::sys::socket::{getsockopt, sockopt};
    Ok(getsockopt(&socket, sockopt::SocketError)?)
}

/// Moves a descriptor to a number other than those of standard input, output and error, in case the
/// program has closed those.
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
    let flags = libc::MSG_NOSIGNAL | wait.flags();
    if let ([part], []) = (parts, descriptors) {
        // The kernel has less to copy in this way.
        return send_plain(socket, part, flags);
    }
    if descriptors.is_empty() && !MAY_USE_SENDMSG.load(Ordering::Relaxed) {
        return match wait {
            Wait::Block => send_parts(socket, parts),
            Wait::Never => {
                let mut joined = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
                parts.iter().for_each(|part| joined.extend_from_slice(part));
                send_plain(socket, &joined, flags)
            }
        };
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

/// Whether this process may call `sendmsg(2)`, which can carry descriptors. A confined process may
/// not if no type of its function names any.
static MAY_USE_SENDMSG: AtomicBool = AtomicBool::new(true);

/// From now on, packets without descriptors are sent with calls that cannot carry any. A packet
/// with descriptors is still sent with `sendmsg(2)`.
pub(crate) fn do_without_sendmsg() {
    MAY_USE_SENDMSG.store(false, Ordering::Relaxed);
}

/// Sends one packet of bytes in several parts, and waits until it can be sent.
///
/// It raises SIGPIPE if the peer has gone. Confined processes ignore that signal: no call except
/// `sendmsg(2)` takes both parts and MSG_NOSIGNAL.
fn send_parts(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match nix::sys::uio::writev(socket, parts) {
            Err(nix::Error::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Sends one packet of a single part.
fn send_plain(socket: BorrowedFd<'_>, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    loop {
        // SAFETY: `send(2)` reads the bytes, whose number it is told.
        let sent = unsafe {
            libc::send(
                socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                flags,
            )
        };
        match check(sent) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The sender of a packet according to the kernel: a process, and its real user and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    process: i32,
    user: u32,
    group: u32,
}

/// The control message of SO_PASSPIDFD, since Linux 6.5: a descriptor that nobody sent.
const SCM_PIDFD: libc::c_int = 4;

/// Receives one packet into the spare capacity of `head`, up to `head_room` bytes, and the rest
/// into that of `tail`.
///
/// Every descriptor that arrives is owned at once and close-on-exec.
///
/// A packet of no bytes and no descriptors is the end if the peer has hung up. The peer can also have
/// sent such a packet before.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    head: &mut Vec<u8>,
    head_room: usize,
    mut tail: Option<(&mut Vec<u8>, usize)>,
    wait: Wait,
) -> io::Result<Packet> {
    let mut once = || {
        let tail = tail.as_mut().map(|(buffer, room)| (&mut **buffer, *room));
        receive_with(socket, head, head_room, tail, wait.flags())
    };
    let packet = once()?;
    // The kernel looks for a packet first, and then for the end. If the peer sends its last packet and
    // hangs up between the two, the kernel reports the end, and the packet is still in the queue.
    // Nothing is added to the queue once the peer has hung up, so a second look finds it.
    if packet.bytes == 0 && packet.descriptors.is_empty() && poll::has_hung_up(socket)? {
        return once();
    }
    Ok(packet)
}

pub(super) fn receive_with(
    socket: BorrowedFd<'_>,
    head: &mut Vec<u8>,
    head_room: usize,
    tail: Option<(&mut Vec<u8>, usize)>,
    flags: libc::c_int,
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
    // One buffer is less work for the kernel than two of which one is empty.
    header.msg_iovlen = if tail.is_some() { 2 } else { 1 };
    let flags = libc::MSG_CMSG_CLOEXEC | flags;
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
    let Attached {
        descriptors,
        has_time,
        sender,
    } = // SAFETY: `recvmsg` has filled in the header and `control`, and nobody has looked at them yet.
        unsafe { control_messages(&header) };
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
        has_time,
        sender,
        truncated: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

/// The attachments of a packet, beside its bytes.
#[derive(Default)]
struct Attached {
    descriptors: Vec<Option<Received>>,
    pub(super) has_time: bool,
    sender: Option<Sender>,
}

/// Takes ownership of the descriptors in the control messages that `recvmsg` wrote, and returns what
/// else was among them.
///
/// # Safety
///
/// `recvmsg` must have filled in `header`, whose memory for control messages is still there. Nobody owns
/// the descriptors in it.
unsafe fn control_messages(header: &libc::msghdr) -> Attached {
    let mut attached = Attached::default();
    // SAFETY: the kernel left `msg_control` and `msg_controllen` describing what it wrote.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: `next` is null or points to a control message that the kernel wrote.
    while let Some(message) = unsafe { next.as_ref() } {
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                // SAFETY: the kernel wrote descriptors that nobody else owns.
                let fds = unsafe { owned_descriptors(next) };
                attached
                    .descriptors
                    .extend(fds.into_iter().map(Received::new).map(Some));
            }
            // Closed at once. Closing a pidfd does not wait.
            // SAFETY: the kernel wrote descriptors that nobody else owns.
            (libc::SOL_SOCKET, SCM_PIDFD) => drop(unsafe { owned_descriptors(next) }),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMP) => attached.has_time = true,
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                // SAFETY: the data of a header begins within the same buffer.
                let data = unsafe { libc::CMSG_DATA(next) }.cast::<libc::ucred>();
                // SAFETY: the kernel wrote the structure; the read doesn't ask for alignment.
                let sender = unsafe { data.read_unaligned() };
                attached.sender = Some(Sender {
                    process: sender.pid,
                    user: sender.uid,
                    group: sender.gid,
                });
            }
            _ => {}
        }
        // SAFETY: `next` points into the control buffer that `header` describes.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    attached
}

/// The descriptors in a control message.
///
/// # Safety
///
/// It is one that the kernel wrote, of a type that holds descriptors, and nobody owns these.
unsafe fn owned_descriptors(message: *const libc::cmsghdr) -> Vec<OwnedFd> {
    // SAFETY: the caller vouches for the pointer.
    let length = unsafe { (*message).cmsg_len };
    // SAFETY: arithmetic on a length.
    let empty = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = length.saturating_sub(empty) / size_of::<i32>();
    // SAFETY: the data of a header begins within the same buffer.
    let data = unsafe { libc::CMSG_DATA(message) }.cast::<i32>();
    let fds = (0..count).filter_map(|index| {
        // SAFETY: the kernel wrote `count` numbers behind the header.
        let at = unsafe { data.add(index) };
        // SAFETY: as above. That they are aligned is luck of the header's size, so the read doesn't
        // ask for it.
        let fd = unsafe { at.read_unaligned() };
        // If the process is gone, there can be an error number instead of a pidfd.
        // SAFETY: the kernel installed it for this message, and the caller owns it.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    });
    fds.collect()
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

#[cfg(test)]
mod tests;
