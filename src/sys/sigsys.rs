//! The handler of SIGSYS, which runs when the filter denies a call.
//!
//! It can run at any point of any code of the process, on memory that an attacker may control. The
//! kernel denies the call; the report is only the process's claim.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use libc::{c_int, c_long, c_void};

pub(crate) use super::emulate::{Answer, Ask};
use super::emulate::{Machine, emulate};
use super::image::{self, Image};

/// The data that the handler needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// A call number that the filter answers by killing the process.
    pub(crate) death: u32,
    /// The value that the filter passes (`si_errno`) for a call that is to be answered harmlessly.
    pub(crate) emulate: u16,
    /// The filter's answers to the calls that the handler makes instead.
    pub(crate) ask: Ask,
    /// The bit of that value which says that the call is to be reported, and to fail with the error number in
    /// the other bits.
    pub(crate) traced: u16,
    /// Returns the beginning of a report, which the given number of bytes of the path follows.
    pub(crate) head: fn(&Denial, usize) -> [u8; HEAD_BYTES],
    /// Whether a report says where in the program the call was made.
    pub(crate) tells_places: bool,
}

/// The length of a report without the path.
pub(crate) const HEAD_BYTES: usize = 80;

/// A call that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) thread: u32,
    /// The error number that the call fails with, or 0 for a violation.
    pub(crate) errno: u8,
    pub(crate) arguments: [u64; 6],
    /// The address after the instruction, and the return address of its function if that has no
    /// frame: offsets in the program's image, or 0.
    pub(crate) address: u64,
    pub(crate) caller: u64,
}

static SETUP: OnceLock<(RawFd, Setup, Option<&Image>, Machine)> = OnceLock::new();

/// Whether a report was sent. Sending one may itself be denied.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Whether the handler is asking the kernel what can be read, with a call that may itself be
/// denied.
static PROBING: AtomicBool = AtomicBool::new(false);

/// How many calls that failed with an error number were reported, and how many are.
static TRACED: AtomicU32 = AtomicU32::new(0);
const MOST_TRACED: u32 = 256;

/// How many bytes of a path are reported.
pub(crate) const PATH_BYTES: usize = 256;

/// The least size of a page. Bytes up to the next multiple of it are readable together, or not at
/// all.
const PAGE_BYTES: usize = 4096;

/// Installs the handler. Reports go to the socket, which must stay open as long as the process.
pub(crate) fn install(report: BorrowedFd<'_>, setup: Setup) -> io::Result<()> {
    // Looked up here, because the handler must not do so.
    let image = image::image().filter(|_| setup.tells_places);
    if SETUP
        .set((report.as_raw_fd(), setup, image, Machine::of_this_process()))
        .is_err()
    {
        // The process is already confined.
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: all-zero is a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    // On the stack that the thread has for signals: std creates one to detect stack overflow.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: reads the action, whose function has the signature that SA_SIGINFO asks for, and is
    // async-signal-safe: it makes system calls, touches atomics and its own stack, and reads what
    // was set above and what the kernel has just read.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's description of a denied call, at the end of `siginfo_t` (sigaction(2), `_sigsys`).
#[repr(C)]
struct Denied {
    signal: c_int,
    data: c_int,
    code: c_int,
    _padding: c_int,
    address: *const c_void,
    number: c_int,
    arch: u32,
}

/// Handles SIGSYS.
///
/// # Safety
///
/// The kernel must call it as a handler of SIGSYS with SA_SIGINFO.
unsafe extern "C" fn handle(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passed a `siginfo_t`, which begins with these fields if SIGSYS comes
    // from a filter, and is at least as large for any other.
    let denied = unsafe { &*info.cast::<Denied>() };
    // SAFETY: with SA_SIGINFO the third argument is the interrupted thread's `ucontext_t`.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let Some((socket, setup, image, machine)) = SETUP.get() else {
        return;
    };
    const SYS_SECCOMP: c_int = 1;
    if denied.code == SYS_SECCOMP && denied.data == c_int::from(setup.emulate) {
        let before = nix::Error::last();
        let (number, arguments) = (c_long::from(denied.number), arguments(context));
        // SAFETY: these are the number and the arguments of the call that this thread has made.
        let result = unsafe { emulate(machine, setup.ask, number, arguments) };
        before.set();
        if let Some(result) = result {
            set_result(context, result);
            return;
        }
        // It is denied like any other.
    }
    if PROBING.load(Ordering::Relaxed) && c_long::from(denied.number) == libc::SYS_rt_sigprocmask {
        // The report comes first. The call was not made, here or on another thread.
        set_result(context, -c_long::from(libc::EPERM));
        return;
    }
    if denied.code == SYS_SECCOMP && denied.data & c_int::from(setup.traced) != 0 {
        let before = nix::Error::last();
        let errno = denied.data & !c_int::from(setup.traced);
        if TRACED.load(Ordering::Relaxed) < MOST_TRACED {
            TRACED.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the context is this thread's.
            unsafe { report(*socket, setup, *image, denied, errno, context) };
        }
        set_result(context, -c_long::from(errno));
        before.set();
        return;
    }
    if !REPORTED.swap(true, Ordering::Relaxed) {
        // SAFETY: the context is this thread's.
        unsafe { report(*socket, setup, *image, denied, 0, context) };
    }
    // SAFETY: no system call has this number; the filter kills the process.
    unsafe { libc::syscall(c_long::from(setup.death)) };
    // Without a filter the call fails.
    // SAFETY: ends the process.
    unsafe { libc::_exit(128 + libc::SIGSYS) }
}

/// Sends one packet.
///
/// # Safety
///
/// `context` must be that of the interrupted code of this thread.
unsafe fn report(
    socket: RawFd,
    setup: &Setup,
    image: Option<&Image>,
    denied: &Denied,
    errno: c_int,
    context: &libc::ucontext_t,
) {
    let arguments = arguments(context);
    let path = path_argument(c_long::from(denied.number)).map(|index| arguments[index]);
    // Bytes on the same page are readable together, or not at all.
    let room = path.map_or(0, |path| {
        (PAGE_BYTES - path as usize % PAGE_BYTES).min(PATH_BYTES)
    });
    // SAFETY: takes nothing; every filter allows it.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    let place = |address| image?.offset_of_return(address);
    let denial = Denial {
        number: denied.number as u32,
        arch: denied.arch,
        thread,
        errno: u8::try_from(errno).unwrap_or(u8::MAX),
        arguments,
        address: place(denied.address as usize).unwrap_or(0),
        // SAFETY: the caller vouches for the context.
        caller: unsafe { caller(context) }.and_then(place).unwrap_or(0),
    };
    let head = setup.head;
    if send(socket, &head(&denial, room), path.unwrap_or(0), room).is_none() && room > 0 {
        // The path is not where the call says.
        let _ = send(socket, &head(&denial, 0), 0, 0);
    }
}

fn send(socket: c_int, head: &[u8], path: u64, room: usize) -> Option<()> {
    let parts = [
        libc::iovec {
            iov_base: head.as_ptr().cast_mut().cast(),
            iov_len: head.len(),
        },
        libc::iovec {
            iov_base: path as *mut c_void,
            iov_len: room,
        },
    ];
    let mut wanted = libc::pollfd {
        fd: socket,
        events: libc::POLLOUT,
        revents: 0,
    };
    // A report that nobody reads is not worth waiting for.
    // SAFETY: `poll(2)` reads and writes the one structure.
    if unsafe { libc::poll(&raw mut wanted, 1, 0) } < 1 {
        return None;
    }
    let count = if room > 0 { 2 } else { 1 };
    // Not `sendmsg(2)`, which the filter may deny.
    // SAFETY: `writev(2)` reads the parts, of which there are two; if the path isn't readable, it
    // fails with EFAULT and sends nothing.
    let sent = unsafe { libc::writev(socket, parts.as_ptr(), count) };
    (sent >= 0).then_some(())
}

/// Returns which argument of a call is its path.
fn path_argument(number: c_long) -> Option<usize> {
    match number {
        libc::SYS_execve
        | libc::SYS_chdir
        | libc::SYS_truncate
        | libc::SYS_statfs
        | libc::SYS_chroot => Some(0),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open
        | libc::SYS_creat
        | libc::SYS_stat
        | libc::SYS_lstat
        | libc::SYS_access
        | libc::SYS_rename
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_link
        | libc::SYS_unlink
        | libc::SYS_symlink
        | libc::SYS_readlink
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_mknod => Some(0),
        libc::SYS_openat
        | libc::SYS_openat2
        | libc::SYS_mkdirat
        | libc::SYS_mknodat
        | libc::SYS_fchownat
        | libc::SYS_newfstatat
        | libc::SYS_unlinkat
        | libc::SYS_renameat
        | libc::SYS_renameat2
        | libc::SYS_linkat
        | libc::SYS_readlinkat
        | libc::SYS_fchmodat
        | libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_statx
        | libc::SYS_execveat
        | libc::SYS_utimensat => Some(1),
        libc::SYS_symlinkat => Some(2),
        _ => None,
    }
}

/// Returns the return address of the interrupted function, if the function has pushed nothing onto
/// the stack. A C library's wrappers of most system calls are like that. A wrong value does no
/// harm: only a return address in the program itself is reported.
///
/// # Safety
///
/// `context` must be that of the interrupted code of this thread.
#[cfg(target_arch = "x86_64")]
unsafe fn caller(context: &libc::ucontext_t) -> Option<usize> {
    const NO_SUCH_CHANGE: c_int = -1;
    let top = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    // The kernel copies the set before it looks at the kind of change, of which there is none such:
    // EFAULT, or EINVAL if the eight bytes can be read (`sigprocmask`, kernel/signal.c).
    PROBING.store(true, Ordering::Relaxed);
    // SAFETY: reads a set at any address or fails, and changes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            NO_SUCH_CHANGE,
            top,
            ptr::null::<c_void>(),
            size_of::<u64>(),
        )
    };
    PROBING.store(false, Ordering::Relaxed);
    if nix::Error::last_raw() != libc::EINVAL {
        return None;
    }
    // SAFETY: the kernel has just read the same bytes, on this thread's stack: the caller vouches for
    // that. If another thread unmaps them meanwhile, this process ends by a fault, as it is about to.
    Some(unsafe { (top as *const usize).read_unaligned() })
}

/// Returns the return address of the interrupted function, in the register that calls leave it in.
///
/// # Safety
///
/// As for the other architecture. This one needs nothing.
#[cfg(target_arch = "aarch64")]
unsafe fn caller(context: &libc::ucontext_t) -> Option<usize> {
    Some(context.uc_mcontext.regs[30] as usize)
}

#[cfg(target_arch = "x86_64")]
fn arguments(context: &libc::ucontext_t) -> [u64; 6] {
    use libc::{REG_R8, REG_R9, REG_R10, REG_RDI, REG_RDX, REG_RSI};
    [REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9]
        .map(|register| context.uc_mcontext.gregs[register as usize] as u64)
}

#[cfg(target_arch = "x86_64")]
fn set_result(context: &mut libc::ucontext_t, result: c_long) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = result;
}

#[cfg(target_arch = "aarch64")]
fn arguments(context: &libc::ucontext_t) -> [u64; 6] {
    [0, 1, 2, 3, 4, 5].map(|register| context.uc_mcontext.regs[register])
}

#[cfg(target_arch = "aarch64")]
fn set_result(context: &mut libc::ucontext_t, result: c_long) {
    context.uc_mcontext.regs[0] = result as u64;
}
