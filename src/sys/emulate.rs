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

/// What the filter lets the handler do for a call that it answers.
///
/// A signal inside the handler takes more room than the stacks for signals have, so it makes no call that the
/// filter may trap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// Mapping a file privately, for reading.
    pub(crate) maps_files: bool,
    /// Writing at a place in a file, by which a file is lengthened.
    pub(crate) writes: bool,
    /// Making a descriptor non-blocking, by FIONBIO.
    pub(crate) sets_non_blocking: bool,
}

/// Answers a call that isn't allowed in a harmless way, and returns what the kernel would. Returns `None` if the
/// call that would answer it isn't allowed either.
///
/// # Safety
///
/// The number and the arguments must be those of a call that the interrupted code of this thread has made.
/// So that code vouches for them: a call that is sound has addresses for what the kernel would read and
/// write. An attacker's call does nothing here that it couldn't do by itself.
pub(super) unsafe fn emulate(
    machine: &Machine,
    means: Means,
    number: c_long,
    arguments: [u64; 6],
) -> Option<c_long> {
    Some(match number {
        libc::SYS_mmap if !means.maps_files => return None,
        libc::SYS_ftruncate if !means.writes => return None,
        // SAFETY: the caller vouches for the call.
        libc::SYS_mmap => unsafe { map_privately(arguments) },
        libc::SYS_ftruncate => lengthen(arguments),
        libc::SYS_fcntl => set_flags(means, arguments),
        // SAFETY: as above.
        libc::SYS_sysinfo => unsafe { tell_of_memory(machine, arguments) },
        // SAFETY: as above.
        libc::SYS_uname => unsafe { tell_a_name(arguments) },
        // SAFETY: as above.
        _ => unsafe { stat_descriptor(arguments) },
    })
}

/// Answers `sysinfo`: glibc's `qsort` asks how much memory there is, and doesn't look whether it was
/// told.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn tell_of_memory(machine: &Machine, [answer, ..]: [u64; 6]) -> c_long {
    // SAFETY: all-zero is valid.
    let mut told: libc::sysinfo = unsafe { std::mem::zeroed() };
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    told.uptime = nix::time::clock_gettime(clock).map_or(1, |time| time.tv_sec().max(1));
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
unsafe fn map_privately(arguments: [u64; 6]) -> c_long {
    let [address, length, protection, flags, fd, offset] = arguments;
    let flags = flags & !(libc::MAP_TYPE as u64) | libc::MAP_PRIVATE as u64;
    // SAFETY: the call that the caller vouches for, except for this flag. The filter decides on it as well.
    let mapped = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            address,
            length,
            protection,
            flags,
            fd,
            offset,
        )
    };
    match mapped {
        -1 => -c_long::from(nix::Error::last_raw()),
        mapped => mapped,
    }
}

/// Answers `ftruncate` if the file is not longer: by writing a zero where its last byte is to be.
///
/// It is no more than the process could do by a write of its own. A file that others lengthen meanwhile
/// gets the zero as well.
fn lengthen([fd, length, ..]: [u64; 6]) -> c_long {
    let (fd, length) = (fd as c_int, length.cast_signed());
    let Some(last) = length.checked_sub(1).filter(|last| *last >= -1) else {
        return -c_long::from(libc::EINVAL);
    };
    // SAFETY: asks for the flags of a descriptor.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags == -1 {
        return -c_long::from(nix::Error::last_raw());
    }
    // SAFETY: all-zero is valid.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes the structure.
    if unsafe { libc::syscall(libc::SYS_fstat, fd, &raw mut status) } != 0 {
        return -c_long::from(nix::Error::last_raw());
    }
    let is_regular = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    if !is_regular || flags & libc::O_ACCMODE == libc::O_RDONLY {
        return -c_long::from(libc::EINVAL);
    }
    if status.st_size == length {
        return 0;
    }
    if status.st_size > length || flags & libc::O_APPEND != 0 {
        return -c_long::from(libc::EPERM);
    }
    // SAFETY: reads one byte.
    match unsafe { libc::pwrite64(fd, c"".as_ptr().cast(), 1, last) } {
        -1 => -c_long::from(nix::Error::last_raw()),
        _ => 0,
    }
}

/// Answers `fcntl(fd, F_SETFL, flags)` if only O_NONBLOCK is to change: by a call that can change no other
/// flag, if the filter allows that.
///
/// F_SETFL replaces all flags, and a filter doesn't see which there are: a child could remove O_APPEND from a
/// log that it was lent.
fn set_flags(means: Means, [fd, _, flags, ..]: [u64; 6]) -> c_long {
    const OTHERS: c_int = libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;
    let (fd, flags) = (fd as c_int, flags as c_int);
    // SAFETY: asks for the flags of a descriptor.
    let now = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if now == -1 {
        return -c_long::from(nix::Error::last_raw());
    }
    if (now ^ flags) & OTHERS != 0 || !means.sets_non_blocking {
        return -c_long::from(libc::EPERM);
    }
    let is_on = c_int::from(flags & libc::O_NONBLOCK != 0);
    // SAFETY: reads a number.
    match unsafe { libc::ioctl(fd, libc::FIONBIO, &raw const is_on) } {
        -1 => -c_long::from(nix::Error::last_raw()),
        _ => 0,
    }
}

/// Answers `newfstatat(fd, "", …, AT_EMPTY_PATH)`, which is how C libraries spell `fstat(fd)`. No
/// path is looked up.
///
/// # Safety
///
/// As for [`emulate`].
unsafe fn stat_descriptor(arguments: [u64; 6]) -> c_long {
    let [fd, path, buffer, flags, ..] = arguments;
    let path = path as *const u8;
    // SAFETY: the caller vouches for the call, which names a C string.
    let is_empty = path.is_null() || unsafe { path.read_volatile() } == 0;
    if !is_empty || flags & libc::AT_EMPTY_PATH as u64 == 0 {
        return -c_long::from(libc::EACCES);
    }
    // SAFETY: the kernel checks the descriptor and the buffer, which the caller of `newfstatat`
    // gave for the same structure.
    match unsafe { libc::syscall(libc::SYS_fstat, fd as c_int, buffer) } {
        0 => 0,
        _ => -c_long::from(nix::Error::last_raw()),
    }
}
