//! The child's side of the raw rows, entered before the Rust runtime and `main`.
//!
//! The loader runs the functions of `.init_array` with the arguments of `main` (so does glibc; musl does not,
//! and these rows would then fail by hanging up). This code makes libc calls on a few bytes of stack: the
//! least that a child which answers can do.

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

/// The parent's requests to the fork server, as the first byte of a message with one socket.
pub(crate) mod request {
    /// Fork, let the child answer, wait for its end and report its status.
    pub(crate) const FORK_AND_WAIT: u8 = b'w';
    /// The same; the child first says that it is there, before it waits for its arguments.
    pub(crate) const FORK_SPARE: u8 = b's';
    /// Fork and take the next request at once.
    pub(crate) const FORK_ON: u8 = b'o';
    /// As the first; the child loads the filter of the next message before it answers.
    pub(crate) const FORK_FILTERED: u8 = b'f';
    /// The same, with all that a policy without paths asks for: descriptors, limits, no_new_privs,
    /// Landlock, and the rest.
    pub(crate) const FORK_CONFINED: u8 = b'c';
    /// As the first; the server has confined itself before, by the filter of the next message, and its children
    /// are born so. Each loads the filter of the message after that, if it has instructions.
    pub(crate) const FORK_BORN_CONFINED: u8 = b'b';
}

/// The longest filter that fits: in instructions.
const FILTER: usize = 1024;

/// The instructions of a policy's filter, and their number.
static mut INSTRUCTIONS: [u64; FILTER] = [0; FILTER];
static mut LENGTH: usize = 0;

/// Takes the filter, which is sent once.
fn receive_filter(socket: c_int) {
    // SAFETY: this process has one thread, so nobody else looks at the statics.
    let bytes = unsafe { receive(socket, &mut *(&raw mut INSTRUCTIONS)) };
    // SAFETY: as above.
    unsafe { LENGTH = bytes / 8 };
}

fn check(result: i64) {
    if result < 0 {
        exit(1);
    }
}

/// Confines this process by hand, as a policy without paths does.
fn confine(answers: c_int, ruleset: c_int) {
    // SAFETY: all of these take numbers, and the limits a structure that lives through the call.
    unsafe {
        check(libc::syscall(
            libc::SYS_close_range,
            answers + 1,
            u32::MAX,
            0,
        ));
        for (resource, limit) in [
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_CPU, 30),
            (libc::RLIMIT_NOFILE, 64),
            (libc::RLIMIT_FSIZE, 0),
            (libc::RLIMIT_MEMLOCK, 0),
            (libc::RLIMIT_DATA, 512 << 20),
        ] {
            let limit = libc::rlimit {
                rlim_cur: limit,
                rlim_max: limit,
            };
            check(libc::setrlimit(resource, &limit).into());
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).into());
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into());
        check(libc::prctl(65, 1, 0, 0, 0).into());
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0).into());
        check(libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0));
    }
}

fn load_filter() {
    // SAFETY: `prctl` takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into());
    let program = libc::sock_fprog {
        // SAFETY: one thread, as above.
        len: unsafe { LENGTH } as u16,
        filter: (&raw mut INSTRUCTIONS).cast(),
    };
    // SAFETY: the kernel copies `LENGTH` instructions of 8 bytes from the static.
    check(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const program) });
}

/// A Landlock ruleset that grants nothing.
fn ruleset() -> c_int {
    // All rights on files and ports, and both scopes, of ABI 6.
    let handled = [0xffff_u64, 3, 3];
    // SAFETY: the kernel reads the three numbers.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 24, 0) };
    check(fd);
    fd as c_int
}

/// Forks a child that adds, for each socket that arrives.
fn fork_server(socket: c_int) {
    let mut landlock = -1;
    loop {
        let mut order = 0_u8;
        let Some(answers) = receive_socket(socket, &mut order) else {
            return;
        };
        let is_confined = order == request::FORK_CONFINED;
        let is_born_confined = order == request::FORK_BORN_CONFINED;
        if is_born_confined && landlock == -1 {
            receive_filter(socket);
            landlock = ruleset();
            confine(answers.max(landlock), landlock);
            load_filter();
            receive_filter(socket);
        }
        // SAFETY: reads a number that only this thread writes.
        if (is_confined || order == request::FORK_FILTERED) && unsafe { LENGTH } == 0 {
            receive_filter(socket);
            landlock = ruleset();
        }
        // SAFETY: this process has one thread and holds no lock: nothing of Rust has started.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: closes a descriptor that this child does not use again.
            unsafe { libc::close(socket) };
            if is_confined {
                confine(answers.max(landlock), landlock);
            }
            if is_born_confined {
                // Not inherited.
                // SAFETY: `prctl` takes numbers.
                check(
                    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into(),
                );
            }
            // SAFETY: reads a number that only this thread writes.
            let has_last = is_born_confined && unsafe { LENGTH } > 0;
            if is_confined || has_last || order == request::FORK_FILTERED {
                load_filter();
            }
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
