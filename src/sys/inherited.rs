//! Settings that a thread passes on to the processes that it starts: scheduling, limits, umask.
//!
//! If a question cannot be answered, perhaps because of a filter of the program, the result is
//! `None`.

use std::io;
use std::ptr;

use libc::{c_int, c_long};

fn check(result: c_long) -> io::Result<u64> {
    u64::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Returns the processors that this thread may run on, one bit for each.
pub(crate) fn processors() -> Option<Vec<u8>> {
    let mut mask = vec![0u8; MOST_PROCESSORS / 8];
    // SAFETY: writes at most as many bytes as it is told that there are.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            mask.len(),
            mask.as_mut_ptr(),
        )
    };
    mask.truncate(usize::try_from(result).ok()?);
    Some(mask)
}

/// More than any kernel is built for.
const MOST_PROCESSORS: usize = 8192;

pub(crate) fn set_processors(mask: &[u8]) -> io::Result<()> {
    // SAFETY: reads as many bytes as it is told that there are.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, mask.len(), mask.as_ptr()) };
    check(result).map(drop)
}

/// Returns the nice value of this thread.
pub(crate) fn nice() -> Option<i32> {
    // The raw call returns 20 minus the nice value.
    // SAFETY: takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, 0) };
    let result = i32::try_from(result).ok().filter(|result| *result > 0)?;
    Some(20_i32.saturating_sub(result))
}

pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, nice) };
    check(result).map(drop)
}

/// How a thread is scheduled, the most favoured first. Real-time threads count as ordinary, because
/// no child is real-time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheduling {
    Ordinary,
    Batch,
    Idle,
}

impl Scheduling {
    pub(crate) const ALL: [Self; 3] = [Self::Ordinary, Self::Batch, Self::Idle];
}

/// Returns how this thread is scheduled.
pub(crate) fn scheduling() -> Option<Scheduling> {
    // The raw calls: musl's functions of these names do nothing.
    // SAFETY: takes a number.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    let policy = c_int::try_from(policy).ok().filter(|policy| *policy >= 0)?;
    Some(match policy & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_BATCH => Scheduling::Batch,
        libc::SCHED_IDLE => Scheduling::Idle,
        _ => Scheduling::Ordinary,
    })
}

pub(crate) fn set_scheduling(scheduling: Scheduling) -> io::Result<()> {
    let policy = match scheduling {
        Scheduling::Ordinary => libc::SCHED_OTHER,
        Scheduling::Batch => libc::SCHED_BATCH,
        Scheduling::Idle => libc::SCHED_IDLE,
    };
    let priority: c_int = 0;
    // SAFETY: reads the structure, which is this number (sched_setparam(2)).
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    check(result).map(drop)
}

/// `IOPRIO_WHO_PROCESS`: with 0, this thread.
const THREAD: c_int = 1;
const CLASS_SHIFT: u32 = 13;
const REAL_TIME: u32 = 1;

/// Returns the priority of this thread's input and output, unless it is real-time.
pub(crate) fn io_priority() -> Option<u32> {
    // SAFETY: takes numbers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, THREAD, 0) };
    let priority = u32::try_from(result).ok()?;
    (priority >> CLASS_SHIFT != REAL_TIME).then_some(priority)
}

pub(crate) fn set_io_priority(priority: u32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, THREAD, 0, priority) }).map(drop)
}

/// Returns by how many nanoseconds timers of this thread may be late, unless it is real-time.
pub(crate) fn timer_slack() -> Option<u64> {
    // SAFETY: takes numbers. (The C library's function gives 32 bits of it.)
    let result = unsafe { libc::syscall(libc::SYS_prctl, libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
    u64::try_from(result).ok().filter(|slack| *slack > 0)
}

pub(crate) fn set_timer_slack(nanoseconds: u64) -> io::Result<()> {
    let option = libc::PR_SET_TIMERSLACK;
    // SAFETY: takes numbers.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, nanoseconds, 0, 0, 0) }).map(drop)
}

/// Returns the personality of this thread: how `execve` lays out its memory, and the like
/// (personality(2)).
pub(crate) fn personality() -> Option<u32> {
    // SAFETY: takes a number, which asks.
    u32::try_from(unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u64) }).ok()
}

pub(crate) fn set_personality(personality: u32) -> io::Result<()> {
    // SAFETY: takes a number. No memory changes until the next `execve`.
    check(unsafe { libc::syscall(libc::SYS_personality, u64::from(personality)) }).map(drop)
}

/// How many resources have limits. They are numbered from 0.
pub(crate) const RESOURCES: usize = 16;

/// Returns the soft and hard limits of this process.
pub(crate) fn limits() -> Option<[(u64, u64); RESOURCES]> {
    let mut limits = [(0, 0); RESOURCES];
    for (resource, limit) in (0..).zip(&mut limits) {
        *limit = self::limit(resource).ok()?;
    }
    Some(limits)
}

fn limit(resource: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes into the structure.
    let result =
        unsafe { libc::prlimit64(0, resource as _, ptr::null(), ptr::from_mut(&mut limit)) };
    check(result.into()).map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// Sets the limits of a resource. A limit that this process may not raise stays lower.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let set = |soft, hard| {
        let limit = libc::rlimit64 {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: reads the structure.
        let result =
            unsafe { libc::prlimit64(0, resource as _, ptr::from_ref(&limit), ptr::null_mut()) };
        check(result.into()).map(drop)
    };
    set(soft, hard).or_else(|error| match error.raw_os_error() {
        Some(libc::EPERM) => {
            let (_, most) = limit(resource)?;
            set(soft.min(most), hard.min(most))
        }
        _ => Err(error),
    })
}

/// Returns whether this thread has filters of system calls.
pub(crate) fn has_filters() -> bool {
    // One that forbids the question is one.
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}

/// Returns whether this thread has given up gaining privileges through `execve`.
pub(crate) fn has_no_new_privs() -> bool {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0 }
}

/// Checks whether this thread may inspect a process, as a debugger that only reads does. If a
/// process of this user could otherwise be inspected, the kernel denies that to a thread whose
/// Landlock domain the process is not in.
pub(crate) fn may_look_at(process: libc::pid_t) -> io::Result<()> {
    let mut head: usize = 0;
    let mut length: usize = 0;
    // SAFETY: writes two numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            process,
            &raw mut head,
            &raw mut length,
        )
    };
    check(result).map(drop)
}
