//! The system calls by which a process confines itself.
//!
//! Each does one step and reports its `errno`; which steps there are and in what order is no
//! business of this module's.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use libc::{c_int, c_long, c_ulong};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use seccompiler::BpfProgramRef;

use super::{fork, process};

fn check(result: c_long) -> io::Result<c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Calls `prctl(2)`.
///
/// # Safety
///
/// The option must take numbers, and no address.
unsafe fn prctl(option: c_int, argument: c_ulong) -> io::Result<c_int> {
    // SAFETY: the caller vouches for the option.
    let result = unsafe { libc::prctl(option, argument, 0, 0, 0) };
    check(result.into()).map(|_| result)
}

/// Closes all descriptors from `first` to `last` (Linux 5.9).
///
/// # Safety
///
/// As for [`close_others`], about these descriptors.
unsafe fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes numbers. The caller vouches that nobody uses the descriptors any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes all descriptors but the standard ones and those that are named.
///
/// # Safety
///
/// Owners of other descriptors must not be used or dropped in this process any more. A static owner may be
/// used if it finds out that its descriptor is gone, as those of [`system_files`](super::system_files) do.
pub(crate) unsafe fn close_others(kept: impl IntoIterator<Item = RawFd>) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .into_iter()
        .filter_map(|fd| u32::try_from(fd).ok())
        .collect();
    kept.sort_unstable();
    let mut next = 3;
    for fd in kept {
        if fd > next {
            // SAFETY: the caller vouches for these.
            unsafe { close_range(next, fd.saturating_sub(1)) }?;
        }
        next = next.max(fd.saturating_add(1));
    }
    // SAFETY: as above.
    unsafe { close_range(next, u32::MAX) }
}

/// Closes all descriptors but the standard ones and those of what is `kept`, runs `work` with that, and
/// ends this process with the status that it returns.
///
/// It is for copies of a process, which have no use for what else they were copied with. A descriptor
/// that cannot be closed is an error, which `work` is told of.
pub(crate) fn keep_only<K: Keepable>(kept: K, work: fn(K, io::Result<()>) -> i32) -> ! {
    // SAFETY: no frame above runs again, since this function does not return. What `work` reaches is
    // `kept`, whose descriptors stay open, and statics. This library's statics that own a descriptor
    // compare what it is open on before they use it (`system_files`).
    let closed = unsafe { close_others(kept.descriptors()) };
    process::leave(work(kept, closed))
}

/// An owner of descriptors that [`keep_only`] keeps open.
pub(crate) trait Keepable {
    /// Returns all of its descriptors.
    fn descriptors(&self) -> Vec<RawFd>;
}

/// Makes descriptor 0, 1 or 2 mean what `fd` does, and stay open in programs that are executed.
pub(crate) fn set_standard(number: usize, fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(match number {
        0 => dup2_stdin(fd),
        1 => dup2_stdout(fd),
        2 => dup2_stderr(fd),
        _ => Err(nix::Error::EBADF),
    }?)
}

/// Replaces the environment. Fails with EBUSY if this process has more than one thread, which might be
/// reading it.
pub(crate) fn replace_environment<'a>(
    variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
) -> io::Result<()> {
    if !fork::is_single_threaded()? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: nobody else reads or changes the environment: there is one thread, which starts none
    // until this returns.
    if unsafe { libc::clearenv() } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (name, value) in variables {
        // `set_var` panics on these.
        let name_bytes = name.as_bytes();
        let is_sound = !name.is_empty()
            && !name_bytes.contains(&b'=')
            && !name_bytes.contains(&0)
            && !value.as_bytes().contains(&0);
        if !is_sound {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

/// Takes a group, and no further ones.
pub(crate) fn become_group(id: u32) -> io::Result<()> {
    // The raw calls, as those of the C library would want to tell other threads.
    // SAFETY: takes a length of 0, so no memory is read.
    match check(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) }) {
        Ok(_) => {}
        // A user namespace may forbid it (`/proc/PID/setgroups`); if there are none, nothing is lost.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            // SAFETY: takes a length of 0, so no memory is written.
            let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
            if count != 0 {
                return Err(error);
            }
        }
        Err(error) => return Err(error),
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, id, id, id) }).map(drop)
}

/// Takes a user.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, id, id, id) }).map(drop)
}

/// Takes a user as its real one, by which the kernel counts processes, and keeps the rights that it has
/// by the others.
pub(crate) fn set_real_user(id: u32) -> io::Result<()> {
    // SAFETY: takes numbers only; -1 is for those that stay.
    check(unsafe { libc::syscall(libc::SYS_setresuid, id, -1, -1) }).map(drop)
}

/// Whether there were more processes of this one's real user than RLIMIT_NPROC, when it became that,
/// and are still: in this user namespace, and in all PID namespaces.
///
/// That is when `execve(2)` fails with EAGAIN, before it looks at what it is to execute.
pub(crate) fn user_exceeds_process_limit() -> io::Result<bool> {
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: reads a path and two empty lists. Nothing is executed, since a relative path leads nowhere
    // from descriptor -1.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            -1,
            c"nothing".as_ptr(),
            none.as_ptr(),
            none.as_ptr(),
            0,
        )
    };
    match check(result).map_err(|error| error.raw_os_error()) {
        Err(Some(libc::EAGAIN)) => Ok(true),
        Err(Some(libc::EBADF)) => Ok(false),
        Err(errno) => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO))),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
    }
}

/// Sets the securebits; needs CAP_SETPCAP.
pub(crate) fn set_securebits(bits: c_int) -> io::Result<()> {
    // SAFETY: takes a number.
    unsafe { prctl(libc::PR_SET_SECUREBITS, bits as c_ulong) }.map(drop)
}

pub(crate) fn securebits() -> io::Result<c_int> {
    // SAFETY: takes nothing.
    unsafe { prctl(libc::PR_GET_SECUREBITS, 0) }
}

pub(crate) fn set_no_new_privs() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    match nix::sys::prctl::get_no_new_privs()? {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

/// Has the kernel kill this process when its parent's thread ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    nix::sys::prctl::set_dumpable(dumpable)?;
    match nix::sys::prctl::get_dumpable()? == dumpable {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

/// Forbids memory to be writable and executable, at once or one after the other (Linux 6.3).
///
/// Returns false if the kernel doesn't know how to.
pub(crate) fn deny_write_execute() -> io::Result<bool> {
    const PR_SET_MDWE: c_int = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: c_ulong = 1;
    // SAFETY: takes a number.
    known(unsafe { prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN) })
}

/// Whether the kernel knows how to forbid that.
pub(crate) fn can_deny_write_execute() -> bool {
    const PR_GET_MDWE: c_int = 66;
    // SAFETY: takes nothing.
    known(unsafe { prctl(PR_GET_MDWE, 0) }).unwrap_or(false)
}

/// Whether `prctl(2)` knew an option, whose arguments are known to be sound.
fn known(result: io::Result<c_int>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Keeps this process, and what it starts, to so many of the processors that it may run on, at least
/// one. Which ones depends on its number, so that processes that are started one after another run
/// side by side.
///
/// It is for those who count processors, and bounds nothing: an error leaves all of them, as where a
/// container denies the call, or the set has no room for so many.
pub(crate) fn run_on_few(most: u64) -> io::Result<()> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let is_allowed = |number: &usize| allowed.is_set(*number).unwrap_or(false);
    let numbers: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    if numbers.len() <= most {
        return Ok(());
    }
    let first = usize::try_from(std::process::id()).unwrap_or(0) % numbers.len();
    let mut few = CpuSet::new();
    for number in numbers.iter().cycle().skip(first).take(most) {
        few.set(*number)?;
    }
    Ok(sched_setaffinity(this, &few)?)
}

/// A resource as `setrlimit(2)` numbers it.
pub(crate) type Resource = u32;

/// Lowers a limit to `soft` and `hard`. A hard limit that is lower already stays, and bounds the soft one.
pub(crate) fn lower_limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    // One call, if nothing is lower already, as in most programs.
    let before = match exchange_limit(resource, Some((soft.min(hard), hard))) {
        Ok((_, before)) if before >= hard => return Ok(()),
        // With CAP_SYS_RESOURCE, it was raised.
        Ok((_, before)) => before,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            exchange_limit(resource, None)?.1
        }
        Err(error) => return Err(error),
    };
    let hard = hard.min(before);
    exchange_limit(resource, Some((soft.min(hard), hard))).map(drop)
}

/// Sets a soft limit, up to the hard one.
pub(crate) fn set_soft_limit(resource: Resource, soft: u64) -> io::Result<()> {
    let (_, hard) = exchange_limit(resource, None)?;
    exchange_limit(resource, Some((soft.min(hard), hard))).map(drop)
}

/// Sets the soft and the hard limit, if they are given, and returns what they were before.
fn exchange_limit(resource: Resource, wanted: Option<(u64, u64)>) -> io::Result<(u64, u64)> {
    let limit = |(soft, hard)| libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let (wanted, mut before) = (wanted.map(limit), limit((0, 0)));
    // SAFETY: reads one structure, if there is one, and writes the other.
    let result = unsafe {
        libc::prlimit64(
            0,
            resource as _,
            wanted.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            std::ptr::from_mut(&mut before),
        )
    };
    check(result.into())?;
    Ok((before.rlim_cur, before.rlim_max))
}

/// The Landlock ABI of this kernel, 0 if there is none: not built in, or not started.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: c_int = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: `landlock_create_ruleset(2)` reads nothing when it is asked for its version.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(result).unwrap_or(0)
}

/// Enforces a ruleset on this thread.
pub(crate) fn landlock_restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
}

/// Loads a filter.
pub(crate) fn load_filter(program: BpfProgramRef<'_>, allow_speculation: bool) -> io::Result<()> {
    if allow_speculation {
        return set_filter(program, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW).map(drop);
    }
    seccompiler::apply_filter(program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        // It is empty, which the kernel would say so.
        _ => io::Error::from_raw_os_error(libc::EINVAL),
    })
}

/// Loads a filter with these flags of `seccomp(2)`, and gives what that returns.
pub(super) fn set_filter(program: BpfProgramRef<'_>, flags: c_ulong) -> io::Result<c_long> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len: length,
        // `sock_filter` has the kernel's layout.
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `seccomp(2)` copies the structure and as many instructions of 8 bytes as it says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    };
    check(result)
}
