//! A forked child that makes one system call, under a filter or without.
//!
//! The child of a threaded test may do nothing that takes a lock: it makes raw system calls on
//! memory that was prepared before the fork, and ends.

#![expect(
    unsafe_code,
    reason = "filters are loaded and calls made by hand, as nothing safe would"
)]

use std::arch::asm;
use std::ptr;

use crossmist_policy::bpf::Program;

/// How the child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The call returned this, an error as its negative number.
    Returned(i64),
    /// The filter raised SIGSYS with this number.
    Trapped(u16),
    /// The kernel killed the process by SIGSYS.
    Killed,
    /// Another signal ended it.
    Signalled(i32),
}

/// In place of a number: `getpid` through the 32-bit interface.
pub(crate) const INT80: i64 = -1;
/// In place of a number: `tgkill` of the child itself by SIGABRT.
pub(crate) const ABORT: i64 = -2;
/// In place of a number: `tgkill` of the child itself by SIGSYS.
pub(crate) const FEIGN_SIGSYS: i64 = -3;

/// The message that the child leaves behind, in memory that both share.
#[repr(C)]
struct Note {
    returned: i64,
    stage: i64,
}

const READY: i64 = 1;
const RETURNED: i64 = 2;

/// Exit statuses from here on say that SIGSYS came with this number.
const TRAPPED: i32 = 100;

/// Makes a call in a child and looks at how that ends.
pub(crate) fn call_in_child(program: Option<&Program>, number: i64, args: [u64; 6]) -> End {
    let mut program = program.cloned();
    let mut code: Vec<libc::sock_filter> = Vec::with_capacity(4096);
    // SAFETY: no address is asked for, so no mapping is replaced.
    let shared = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            3,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(shared, libc::MAP_FAILED);
    let note = shared.cast::<Note>();
    // SAFETY: the child calls only what is allowed after a fork of a threaded process, see `child`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        child(program.as_mut(), &mut code, note, number, args);
    }
    let mut status = 0;
    // SAFETY: the status is a live local.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    // SAFETY: the mapping is large enough and zeroed by the kernel; the only writer has ended.
    let note = unsafe { note.read() };
    // SAFETY: it was mapped above, and nothing points into it any more.
    unsafe { libc::munmap(shared, 4096) };
    assert!(
        note.stage >= READY,
        "the child could not be prepared: status {status:#x}"
    );
    if libc::WIFSIGNALED(status) {
        return match libc::WTERMSIG(status) {
            libc::SIGSYS => End::Killed,
            signal => End::Signalled(signal),
        };
    }
    match libc::WEXITSTATUS(status) {
        0 if note.stage == RETURNED => End::Returned(note.returned),
        trapped if trapped >= TRAPPED => End::Trapped((trapped - TRAPPED) as u16),
        other => panic!("the child ended with status {other}"),
    }
}

fn child(
    program: Option<&mut Program>,
    code: &mut Vec<libc::sock_filter>,
    note: *mut Note,
    number: i64,
    args: [u64; 6],
) -> ! {
    // SAFETY: takes no pointer.
    let pid = unsafe { libc::getpid() };
    if let Some(program) = program {
        program.patch(pid as u32);
        // There is room for any program, so that nothing is allocated here.
        code.extend(program.code.iter().map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        }));
        confine(code);
    }
    // SAFETY: the parent mapped it, and waits.
    unsafe { (*note).stage = READY };
    let returned = match number {
        INT80 => int80(),
        ABORT => raw(
            libc::SYS_tgkill,
            [pid as u64, pid as u64, libc::SIGABRT as u64, 0, 0, 0],
        ),
        FEIGN_SIGSYS => raw(
            libc::SYS_tgkill,
            [pid as u64, pid as u64, libc::SIGSYS as u64, 0, 0, 0],
        ),
        _ => raw(number, args),
    };
    // A new process or thread that came of the call is not the one that is looked at.
    if raw(libc::SYS_getpid, [0; 6]) == i64::from(pid) {
        // SAFETY: as above.
        unsafe { (*note).returned = returned };
        // SAFETY: as above.
        unsafe { (*note).stage = RETURNED };
    }
    raw(libc::SYS_exit_group, [0; 6]);
    unreachable!("exit_group returned")
}

/// Handles SIGSYS, then loads the filter. The note's stage shows which step fails.
fn confine(code: &mut [libc::sock_filter]) {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigsys;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler makes one system call and doesn't return.
    let handled = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    // SAFETY: takes no pointer.
    let privs = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    let filter = &raw const program;
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let loaded =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, filter) };
    if (handled, privs, loaded) != (0, 0, 0) {
        raw(libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]);
    }
}

extern "C" fn on_sigsys(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let data = unsafe { (*info).si_errno };
    raw(
        libc::SYS_exit_group,
        [(TRAPPED + data) as u64, 0, 0, 0, 0, 0],
    );
}

/// A system call with all six arguments, and without libc's `errno`.
fn raw(number: i64, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    let result;
    // SAFETY: whatever the call does, it does to this child, which only leaves a note and ends.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

/// `getpid` through the 32-bit interface, which the kernel must have for the control to hold.
fn int80() -> i64 {
    let result: i32;
    // SAFETY: 20 is getpid there, which takes no arguments.
    unsafe {
        asm!("int 0x80", inlateout("eax") 20 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i64::from(result)
}
