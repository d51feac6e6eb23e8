//! The child's side of the raw rows, entered before the Rust runtime and `main`.
//!
//! The loader runs the functions of `.init_array` with the arguments of `main` (so does glibc; musl
//! does not, and these rows would then fail by hanging up). What runs here is libc calls on a few
//! bytes of stack: the least that a child which answers can do.

use std::ffi::{CStr, c_int};

use libc::{c_char, c_void};

use super::process::{CHILD, CHILD_SOCKET};

#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = enter;

extern "C" fn enter(count: c_int, arguments: *const *const c_char, _: *const *const c_char) {
    let argument = |index: c_int| {
        // SAFETY: the loader passes `main`'s arguments: `count` terminated strings.
        (index < count).then(|| unsafe { CStr::from_ptr(*arguments.add(index as usize)) })
    };
    if argument(1).map(CStr::to_bytes) != Some(CHILD.as_bytes()) {
        return;
    }
    match argument(2).map(CStr::to_bytes) {
        Some(b"add") => add(CHILD_SOCKET),
        Some(b"echo") => echo(CHILD_SOCKET),
        Some(b"fork-server") => fork_server(CHILD_SOCKET),
        // A role that starts in `main`.
        _ => return,
    }
    exit(0);
}

/// Adds two integers once.
fn add(socket: c_int) {
    let mut request = [0_u64; 2];
    if receive(socket, &mut request) != 16 {
        exit(1);
    }
    send(socket, &[request[0].wrapping_add(request[1])]);
}

/// Sends every packet back, until there are no more.
fn echo(socket: c_int) {
    const ROOM: usize = 64 << 10;
    // Idle children are weighed by the pages that they have touched, and a large frame is touched
    // by the probes that the compiler puts before it. A mutable static costs what is written.
    static mut BUFFER: [u8; ROOM] = [0; ROOM];
    let bytes = (&raw mut BUFFER).cast::<c_void>();
    loop {
        // SAFETY: `BUFFER` has this many bytes, and this process has no other thread.
        let received = unsafe { libc::recv(socket, bytes, ROOM, 0) };
        if received <= 0 {
            return;
        }
        // SAFETY: the kernel has just filled so many of them.
        unsafe { libc::send(socket, bytes, received as usize, libc::MSG_NOSIGNAL) };
    }
}

/// What the parent asks of the fork server, as the first byte of a message with one socket.
pub(crate) mod request {
    /// Fork, let the child answer, wait for its end and report its status.
    pub(crate) const FORK_AND_WAIT: u8 = b'w';
    /// The same; the child first says that it is there, before it waits for its arguments.
    pub(crate) const FORK_SPARE: u8 = b's';
    /// Fork and take the next request at once.
    pub(crate) const FORK_ON: u8 = b'o';
}

/// Forks a child that adds, for each socket that arrives.
fn fork_server(socket: c_int) {
    loop {
        let mut order = 0_u8;
        let Some(answers) = receive_socket(socket, &mut order) else {
            return;
        };
        // SAFETY: this process has one thread and holds no lock: nothing of Rust has started.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: closes a descriptor that this child does not use again.
            unsafe { libc::close(socket) };
            if order == request::FORK_SPARE {
                send(answers, &[0_u64]);
            }
            add(answers);
            exit(0);
        }
        // SAFETY: the child has its own; ours is not used again.
        unsafe { libc::close(answers) };
        if order == request::FORK_ON {
            // SAFETY: reaps whoever has ended; a null status is allowed.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        } else {
            let mut status = 0;
            // SAFETY: `status` lives through the call.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            send(socket, &[status as u64]);
        }
    }
}

fn receive_socket(socket: c_int, order: &mut u8) -> Option<c_int> {
    let mut control = [0_u64; 3];
    let mut part = libc::iovec {
        iov_base: std::ptr::from_mut(order).cast(),
        iov_len: 1,
    };
    // SAFETY: a `msghdr` is plain pointers and integers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = std::mem::size_of_val(&control) as _;
    // SAFETY: all that `header` points to is exclusively borrowed and as long as it says.
    if unsafe { libc::recvmsg(socket, &mut header, 0) } != 1 {
        return None;
    }
    // SAFETY: the kernel has filled `header`.
    let message = unsafe { libc::CMSG_FIRSTHDR(&header) };
    // SAFETY: where there is a message it is one descriptor, which `control` has room for.
    (!message.is_null()).then(|| unsafe { libc::CMSG_DATA(message).cast::<c_int>().read() })
}

fn receive(socket: c_int, words: &mut [u64]) -> usize {
    let length = std::mem::size_of_val(words);
    // SAFETY: the pointer and length are those of an exclusively borrowed slice of integers.
    let received = unsafe { libc::recv(socket, words.as_mut_ptr().cast(), length, 0) };
    received.try_into().unwrap_or(0)
}

fn send(socket: c_int, words: &[u64]) {
    let length = std::mem::size_of_val(words);
    // SAFETY: the pointer and length are those of a borrowed slice of integers.
    unsafe { libc::send(socket, words.as_ptr().cast(), length, libc::MSG_NOSIGNAL) };
}

fn exit(status: c_int) -> ! {
    // SAFETY: ends the process without running anything of it.
    unsafe { libc::_exit(status) }
}
