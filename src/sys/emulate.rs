//! Answers some calls that the filter doesn't allow, in the handler of SIGSYS.
//!
//! The handler can interrupt any code of the process. So this code only makes system calls, and writes only
//! to its own stack and to where the caller asked for the answer.

use std::ffi::CStr;

use libc::{c_char, c_int, c_long};

/// The answers to questions about the machine: the share that a process's limits leave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    memory: u64,
}

/// The memory of a machine whose process has no limit on it.
const UNLIMITED_MEMORY: u64 = 1 << 30;

/// The oldest kernel that confines anything: what libraries may rely on, and no more.
const RELEASE: &CStr = c"5.11.0";

impl Machine {
    /// Returns the answers for this process, whose limits are set already.
    pub(crate) fn of_this_process() -> Self {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
        let limit = |resource| match getrlimit(resource) {
            Ok((soft, _)) if soft != RLIM_INFINITY => Some(soft),
            _ => None,
        };
        let memory = limit(Resource::RLIMIT_DATA).or_else(|| limit(Resource::RLIMIT_AS));
        Self {
            memory: memory.unwrap_or(UNLIMITED_MEMORY),
        }
    }
}

/// The filter's answer to a call that the handler wants to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel makes it.
    Allowed,
    /// It fails with this error number.
    Fails(u16),
    /// It is a violation.
    Denied,
}

/// Returns the filter's answer to a call, without making it.
pub(crate) type Ask = fn(c_long, [u64; 6]) -> Answer;

/// Answers a call that isn't allowed in a harmless way, and returns what the kernel would. Returns `None` if a
/// call that would answer it isn't allowed either.
///
/// # Safety
///
/// The number and the arguments must be those of a call that the interrupted code of this thread has made.
/// So that code vouches for them: a call that is sound has addresses for what the kernel would read and
/// write. An attacker's call does nothing here that it couldn't do by itself.
pub(super) unsafe fn emulate(
    machine: &Machine,
    ask: Ask,
    number: c_long,
    arguments: [u64; 6],
) -> Option<c_long> {
    match number {
        // SAFETY: the caller vouches for the call.
        libc::SYS_mmap => unsafe { map_privately(ask, arguments) },
        libc::SYS_ftruncate => lengthen(ask, arguments),
        libc::SYS_fcntl => set_flags(ask, arguments),
        // SAFETY: as above.
        libc::SYS_sysinfo => Some(unsafe { tell_of_memory(machine, ask, arguments) }),
        // SAFETY: as above.
        libc::SYS_uname => Some(unsafe { tell_a_name(arguments) }),
        // SAFETY: as above.
        _ => unsafe { stat_descriptor(ask, arguments) },
    }
}

/// Makes a call and returns what the kernel does: the result, or a negative error number. Returns `None` if the
/// filter denies exactly this call.
///
/// A signal inside the handler takes more room than the stacks for signals have, so the handler makes no call
/// that the filter would trap. A call that the filter lets fail isn't made either, because a traced one is
/// trapped.
///
/// # Safety
///
/// The call must be sound with these arguments.
unsafe fn call(ask: Ask, number: c_long, arguments: [u64; 6]) -> Option<c_long> {
    match ask(number, arguments) {
        Answer::Allowed => {}
        Answer::Fails(errno) => return Some(-c_long::from(errno)),
        Answer::Denied => return None,
    }
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the caller vouches for it.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Some(-c_long::from(nix::Error::last_raw())),
        result => Some(result),
    }
}

/// Answers `sysinfo`: glibc's `qsort` asks how much memory there is, and doesn't look whether it was
/// told.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn tell_of_memory(machine: &Machine, ask: Ask, [answer, ..]: [u64; 6]) -> c_long {
    // SAFETY: all-zero is valid.
    let mut told: libc::sysinfo = unsafe { std::mem::zeroed() };
    // Where the C library can't read the clock by itself, it asks the kernel.
    let clock = libc::CLOCK_BOOTTIME as u64;
    let time = match ask(libc::SYS_clock_gettime, [clock, 0, 0, 0, 0, 0]) {
        Answer::Allowed => nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok(),
        Answer::Fails(_) | Answer::Denied => None,
    };
    told.uptime = time.map_or(1, |time| time.tv_sec().max(1));
    told.totalram = machine.memory;
    told.freeram = machine.memory;
    told.mem_unit = 1;
    told.procs = 1;
    // SAFETY: the caller vouches for the call, which names a place for one.
    unsafe { (answer as *mut libc::sysinfo).write_unaligned(told) };
    0
}

/// Answers `uname`: a kernel that isn't named, of the oldest release.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn tell_a_name([answer, ..]: [u64; 6]) -> c_long {
    fn put(field: &mut [c_char], text: &[u8]) {
        for (to, from) in field.iter_mut().zip(text) {
            *to = from.cast_signed() as c_char;
        }
    }
    // SAFETY: all-zero is valid.
    let mut told: libc::utsname = unsafe { std::mem::zeroed() };
    put(&mut told.sysname, b"Linux");
    put(&mut told.nodename, b"localhost");
    put(&mut told.release, RELEASE.to_bytes());
    put(&mut told.version, b"#1");
    put(&mut told.machine, std::env::consts::ARCH.as_bytes());
    put(&mut told.domainname, b"(none)");
    // SAFETY: the caller vouches for the call, which names a place for one.
    unsafe { (answer as *mut libc::utsname).write_unaligned(told) };
    0
}

/// Maps a file privately instead of shared, for reading. Writes of others to the file are seen the same way,
/// but the mapping can't be turned into one that writes to the file.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn map_privately(ask: Ask, arguments: [u64; 6]) -> Option<c_long> {
    let [address, length, protection, flags, fd, offset] = arguments;
    let flags = flags & !(libc::MAP_TYPE as u64) | libc::MAP_PRIVATE as u64;
    let arguments = [address, length, protection, flags, fd, offset];
    // SAFETY: the call that the caller vouches for, except for this flag.
    unsafe { call(ask, libc::SYS_mmap, arguments) }
}

/// Answers `ftruncate` if the file is not longer: by writing a zero where its last byte is to be.
///
/// It is no more than the process could do by a write of its own. A file that others lengthen meanwhile
/// gets the zero as well.
fn lengthen(ask: Ask, [fd, length, ..]: [u64; 6]) -> Option<c_long> {
    let length = length.cast_signed();
    let Some(last) = length.checked_sub(1).filter(|last| *last >= -1) else {
        return Some(-c_long::from(libc::EINVAL));
    };
    let flags = flags_of(ask, fd)?;
    if flags < 0 {
        return Some(flags);
    }
    // SAFETY: all-zero is valid.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    let to = (&raw mut status).expose_provenance() as u64;
    // SAFETY: writes the structure.
    let told = unsafe { call(ask, libc::SYS_fstat, [fd, to, 0, 0, 0, 0]) }?;
    if told < 0 {
        return Some(told);
    }
    let is_regular = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    if !is_regular || flags & c_long::from(libc::O_ACCMODE) == c_long::from(libc::O_RDONLY) {
        return Some(-c_long::from(libc::EINVAL));
    }
    if status.st_size == length {
        return Some(0);
    }
    if status.st_size > length || flags & c_long::from(libc::O_APPEND) != 0 {
        return Some(-c_long::from(libc::EPERM));
    }
    let from = c"".as_ptr().expose_provenance() as u64;
    let arguments = [fd, from, 1, last.cast_unsigned(), 0, 0];
    // SAFETY: reads one byte.
    let written = unsafe { call(ask, libc::SYS_pwrite64, arguments) }?;
    Some(written.min(0))
}

/// Returns the flags of a descriptor, or a negative error number.
fn flags_of(ask: Ask, fd: u64) -> Option<c_long> {
    let arguments = [fd, libc::F_GETFL as u64, 0, 0, 0, 0];
    // SAFETY: takes numbers only.
    unsafe { call(ask, libc::SYS_fcntl, arguments) }
}

/// Answers `fcntl(fd, F_SETFL, flags)` if only O_NONBLOCK is to change: by a call that can change no other
/// flag, if the filter allows that.
///
/// F_SETFL replaces all flags, and a filter doesn't see which there are: a child could remove O_APPEND from a
/// log that it was lent.
fn set_flags(ask: Ask, [fd, _, flags, ..]: [u64; 6]) -> Option<c_long> {
    const OTHERS: c_int = libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;
    let now = flags_of(ask, fd)?;
    if now < 0 {
        return Some(now);
    }
    let flags = flags as c_int;
    let is_on = c_int::from(flags & libc::O_NONBLOCK != 0);
    let from = (&raw const is_on).expose_provenance() as u64;
    let arguments = [fd, libc::FIONBIO, from, 0, 0, 0];
    let may_set = ask(libc::SYS_ioctl, arguments) == Answer::Allowed;
    if (now as c_int ^ flags) & OTHERS != 0 || !may_set {
        return Some(-c_long::from(libc::EPERM));
    }
    // SAFETY: reads a number.
    unsafe { call(ask, libc::SYS_ioctl, arguments) }
}

/// Answers `newfstatat(fd, "", …, AT_EMPTY_PATH)`, which is how C libraries spell `fstat(fd)`. No
/// path is looked up.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn stat_descriptor(ask: Ask, arguments: [u64; 6]) -> Option<c_long> {
    let [fd, path, buffer, flags, ..] = arguments;
    let path = path as *const u8;
    // SAFETY: the caller vouches for the call, which names a C string.
    let is_empty = path.is_null() || unsafe { path.read_volatile() } == 0;
    if !is_empty || flags & libc::AT_EMPTY_PATH as u64 == 0 {
        return Some(-c_long::from(libc::EACCES));
    }
    // SAFETY: the kernel checks the descriptor and the buffer, which the caller of `newfstatat`
    // gave for the same structure.
    unsafe { call(ask, libc::SYS_fstat, [fd, buffer, 0, 0, 0, 0]) }
}
