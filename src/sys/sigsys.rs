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
    /// Returns the beginning of a report, which the given numbers of bytes of the path and of the stack follow.
    pub(crate) head: fn(&Denial, usize, usize) -> [u8; HEAD_BYTES],
    /// Whether a report says where in the program the call was made.
    pub(crate) tells_places: bool,
}

/// The length of a report without the registers, the path and the stack.
pub(crate) const HEAD_BYTES: usize = 96;

/// A call that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) thread: u32,
    /// The error number that the call fails with, or 0 for a violation.
    pub(crate) errno: u8,
    pub(crate) arguments: [u64; 6],
    /// The address after the instruction, and the return address of its function if a register holds that:
    /// offsets in the program's image, or 0.
    pub(crate) address: u64,
    pub(crate) caller: u64,
    /// The address that the program's image is relative to, as return addresses on the stack are, if that is told.
    /// It is 0 in a program that is always at the same place.
    pub(crate) base: Option<u64>,
}

/// How many registers are reported, by which the stack is unwound. If a processor has fewer, or they aren't wanted,
/// there are zeros.
pub(crate) const REGISTERS: usize = 14;
static ZEROS: [u64; REGISTERS] = [0; REGISTERS];

static SETUP: OnceLock<(RawFd, Setup, Option<&Image>, Machine)> = OnceLock::new();

/// Whether a report was sent. Sending one may itself be denied.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// How many calls that failed with an error number were reported, and how many are.
static TRACED: AtomicU32 = AtomicU32::new(0);
const MOST_TRACED: u32 = 256;

/// How many bytes of a path are reported.
pub(crate) const PATH_BYTES: usize = 256;

/// How many bytes of the stack are reported at most, from which the program unwinds it.
pub(crate) const STACK_BYTES: usize = 3 * PAGE_BYTES;

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
    if denied.code == SYS_SECCOMP && denied.data & c_int::from(setup.traced) != 0 {
        let before = nix::Error::last();
        let errno = denied.data & !c_int::from(setup.traced);
        if TRACED.load(Ordering::Relaxed) < MOST_TRACED {
            TRACED.fetch_add(1, Ordering::Relaxed);
            report(*socket, setup, *image, denied, errno, context);
        }
        set_result(context, -c_long::from(errno));
        before.set();
        return;
    }
    if !REPORTED.swap(true, Ordering::Relaxed) {
        report(*socket, setup, *image, denied, 0, context);
    }
    // SAFETY: no system call has this number; the filter kills the process.
    unsafe { libc::syscall(c_long::from(setup.death)) };
    // Without a filter the call fails.
    // SAFETY: ends the process.
    unsafe { libc::_exit(128 + libc::SIGSYS) }
}

/// Sends one packet.
fn report(
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
    let (link, stack) = registers(context);
    // Where a call was made matters if the function ends by it.
    let told = image.filter(|_| errno == 0);
    let denial = Denial {
        number: denied.number as u32,
        arch: denied.arch,
        thread,
        errno: u8::try_from(errno).unwrap_or(u8::MAX),
        arguments,
        address: place(denied.address as usize).unwrap_or(0),
        caller: place(link).unwrap_or(0),
        base: told.map(|image| image.base() as u64),
    };
    let stack = stack & !(size_of::<u64>() - 1);
    let to_page = PAGE_BYTES - stack % PAGE_BYTES;
    let registers = told.map(|_| unwound_by(context));
    // As many pages as there are. If the path is not where the call says, none of it.
    for room in [room, 0] {
        for pages in [2, 1, 0] {
            let stack_room = told.map_or(0, |_| to_page + pages * PAGE_BYTES);
            let head = (setup.head)(&denial, room, stack_room);
            let more = [(path.unwrap_or(0), room), (stack as u64, stack_room)];
            if send(socket, &head, registers, more).is_some() {
                return;
            }
        }
    }
    let _ = send(socket, &(setup.head)(&denial, 0, 0), registers, [(0, 0); 2]);
}

/// Sends the parts of a report. If there are fewer registers than a report has, zeros follow.
fn send<R>(
    socket: c_int,
    head: &[u8],
    registers: Option<[&[R]; 3]>,
    [path, stack]: [(u64, usize); 2],
) -> Option<()> {
    let part = |address: *const c_void, iov_len| libc::iovec {
        iov_base: address.cast_mut(),
        iov_len,
    };
    let claimed = |(address, length): (u64, usize)| part(address as *const c_void, length);
    let words = |words: &[R]| part(words.as_ptr().cast(), size_of_val(words));
    let [saved, more, place] = registers.unwrap_or([&[]; 3]);
    let missing = REGISTERS - (saved.len() + more.len() + place.len());
    let parts = [
        part(head.as_ptr().cast(), head.len()),
        words(saved),
        words(more),
        words(place),
        part(ZEROS.as_ptr().cast(), missing * size_of::<u64>()),
        claimed(path),
        claimed(stack),
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
    // Not `sendmsg(2)`, which the filter may deny.
    // SAFETY: `writev(2)` reads as many parts as there are; if one isn't readable, it fails with EFAULT and sends
    // nothing.
    let sent = unsafe { libc::writev(socket, parts.as_ptr(), parts.len() as c_int) };
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

/// Returns the register that holds the return address of the interrupted function, if there is one, and the stack
/// pointer.
#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    let stack = context.uc_mcontext.gregs[libc::REG_RSP as usize];
    (0, stack as usize)
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    let link = context.uc_mcontext.regs[30];
    (link as usize, context.uc_mcontext.sp as usize)
}

/// Returns where the registers that are reported are: those that functions leave as they have found them, then the
/// stack pointer and the address after the instruction. The kernel copies them from there.
#[cfg(target_arch = "x86_64")]
fn unwound_by(context: &libc::ucontext_t) -> [&[i64]; 3] {
    use libc::{REG_R12, REG_R15, REG_RBP, REG_RBX, REG_RIP, REG_RSP};
    let registers = &context.uc_mcontext.gregs;
    [(REG_R12, REG_R15), (REG_RBP, REG_RBX), (REG_RSP, REG_RIP)]
        .map(|(first, last)| &registers[first as usize..=last as usize])
}

#[cfg(target_arch = "aarch64")]
fn unwound_by(context: &libc::ucontext_t) -> [&[u64]; 3] {
    let registers = &context.uc_mcontext;
    [
        &registers.regs[19..31],
        std::slice::from_ref(&registers.sp),
        std::slice::from_ref(&registers.pc),
    ]
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
