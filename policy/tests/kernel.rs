//! The running kernel against the interpreter: one forked child for each call.
//!
//! Every denial has its control beside it: the same call, made by a child without a filter, has
//! another outcome. So what is seen is the filter's doing.

#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/child.rs"]
mod child;

use child::{ABORT, End, FEIGN_SIGSYS, INT80, call_in_child};
use crossmist_policy::bpf::interpret::{Call, answer};
use crossmist_policy::bpf::{Action, DEATH, Program, TRAP_EMULATE, TRAP_VIOLATION};
use crossmist_policy::{Arch, BuiltinOnly, Policy};
use proptest::prelude::*;

fn program(name: &str) -> Program {
    let policy = Policy::load(&BuiltinOnly, name).unwrap_or_else(|report| panic!("{report}"));
    let compiled = policy.compile().unwrap();
    compiled.program(Arch::X86_64).unwrap().clone()
}

fn errno(number: i32) -> End {
    End::Returned(-i64::from(number))
}

const VIOLATION: End = End::Trapped(TRAP_VIOLATION);

/// Makes the call with and without the filter.
fn check(policy: &str, number: i64, args: [u64; 6], control: impl Fn(&End) -> bool, filtered: End) {
    let without = call_in_child(None, number, args);
    assert!(
        control(&without),
        "call {number} {args:x?} unfiltered: {without:?}"
    );
    let with = call_in_child(Some(&program(policy)), number, args);
    assert_eq!(with, filtered, "call {number} {args:x?} under {policy}");
    assert_ne!(
        without, with,
        "call {number} {args:x?} under {policy}: the control is no control"
    );
}

fn returned(end: &End) -> bool {
    matches!(end, End::Returned(result) if *result >= 0)
}

/// Not carried out for want of good arguments, but reached.
fn reached(wanted: i32) -> impl Fn(&End) -> bool {
    move |end| *end == errno(wanted)
}

#[test]
fn sockets_are_violations() {
    for policy in ["pure", "parser", "worker"] {
        check(
            policy,
            libc::SYS_socket,
            [2, 1, 0, 0, 0, 0],
            returned,
            VIOLATION,
        );
        check(
            policy,
            libc::SYS_socket,
            [1, 1, 0, 0, 0, 0],
            returned,
            errno(libc::EACCES),
        );
    }
    check(
        "network-client",
        libc::SYS_socket,
        [2, 2, 0, 0, 0, 0],
        returned,
        VIOLATION,
    );
}

#[test]
fn executable_and_shared_memory_are_violations() {
    let anonymous = 0x22;
    check(
        "parser",
        libc::SYS_mmap,
        [0, 4096, 7, anonymous, u64::MAX, 0],
        returned,
        VIOLATION,
    );
    check(
        "parser",
        libc::SYS_mmap,
        [0, 4096, 5, anonymous, u64::MAX, 0],
        returned,
        VIOLATION,
    );
    check(
        "parser",
        libc::SYS_mmap,
        [0, 4096, 3, 0x21, u64::MAX, 0],
        returned,
        VIOLATION,
    );
    check(
        "parser",
        libc::SYS_mprotect,
        [0, 0, 4, 0, 0, 0],
        returned,
        VIOLATION,
    );
}

#[test]
fn what_honest_code_never_calls_kills_at_once() {
    let kill = |number, args, reason| check("parser", number, args, reached(reason), End::Killed);
    kill(libc::SYS_execve, [0; 6], libc::EFAULT);
    kill(
        libc::SYS_bpf,
        [u64::from(u32::MAX), 0, 0, 0, 0, 0],
        libc::EINVAL,
    );
    kill(libc::SYS_ptrace, [99, 0x3fff_ffff, 0, 0, 0, 0], libc::ESRCH);
    kill(libc::SYS_mount, [0; 6], libc::EFAULT);
    kill(libc::SYS_setns, [u64::MAX, 0, 0, 0, 0, 0], libc::EBADF);
    kill(libc::SYS_unshare, [1, 0, 0, 0, 0, 0], libc::EINVAL);
    kill(libc::SYS_seccomp, [99, 0, 0, 0, 0, 0], libc::EINVAL);
    kill(
        libc::SYS_process_vm_writev,
        [0, 0, 0, 0, 0, 1],
        libc::EINVAL,
    );
}

#[test]
fn other_interfaces_kill_at_once() {
    check("parser", INT80, [0; 6], returned, End::Killed);
    let x32 = 0x4000_0000 | libc::SYS_getppid;
    check("parser", x32, [0; 6], |_| true, End::Killed);
    check(
        "parser",
        i64::from(DEATH),
        [0; 6],
        reached(libc::ENOSYS),
        End::Killed,
    );
}

#[test]
fn what_libraries_try_of_their_own_accord_is_answered() {
    let path = c"/etc/passwd".as_ptr() as u64;
    let cwd = libc::AT_FDCWD as u64;
    let check = |number, args, with| check("pure", number, args, |_| true, with);
    check(
        libc::SYS_openat,
        [cwd, path, 0, 0, 0, 0],
        errno(libc::EACCES),
    );
    check(
        libc::SYS_statx,
        [cwd, path, 0, 0, 0, 0],
        errno(libc::ENOSYS),
    );
    check(
        libc::SYS_newfstatat,
        [cwd, path, 0, 0, 0, 0],
        errno(libc::EACCES),
    );
    check(
        libc::SYS_newfstatat,
        [0, path, 0, 0x1000, 0, 0],
        End::Trapped(TRAP_EMULATE),
    );
    check(libc::SYS_clone3, [0; 6], errno(libc::ENOSYS));
    check(libc::SYS_fork, [0; 6], errno(libc::EAGAIN));
    check(
        libc::SYS_fcntl,
        [0, 4, 2048, 0, 0, 0],
        End::Trapped(TRAP_EMULATE),
    );
    check(
        libc::SYS_ioctl,
        [u64::MAX, 0x5401, 0, 0, 0, 0],
        errno(libc::ENOTTY),
    );
    check(libc::SYS_madvise, [0, 0, 22, 0, 0, 0], errno(libc::EINVAL));
    check(libc::SYS_io_uring_setup, [0; 6], errno(libc::ENOSYS));
    check(libc::SYS_sigaltstack, [0; 6], errno(libc::EPERM));
}

#[test]
fn signals_reach_nobody_else() {
    let nobody = [0x3fff_ffff, 0, 0, 0, 0, 0];
    check(
        "parser",
        libc::SYS_kill,
        nobody,
        reached(libc::ESRCH),
        VIOLATION,
    );
    check(
        "parser",
        libc::SYS_tgkill,
        [0x3fff_ffff, 1, 6, 0, 0, 0],
        reached(libc::ESRCH),
        VIOLATION,
    );
    check(
        "parser",
        libc::SYS_tkill,
        [0x3fff_ffff, 6, 0, 0, 0, 0],
        reached(libc::ESRCH),
        errno(libc::EPERM),
    );
}

#[test]
fn abort_ends_in_sigabrt_by_the_patched_process_id() {
    let own = call_in_child(Some(&program("pure")), ABORT, [0; 6]);
    assert_eq!(own, End::Signalled(libc::SIGABRT));
    let feigned = call_in_child(Some(&program("pure")), FEIGN_SIGSYS, [0; 6]);
    assert_eq!(feigned, VIOLATION);
}

#[test]
fn what_a_computation_needs_happens() {
    let check = |number, args| {
        let without = call_in_child(None, number, args);
        let with = call_in_child(Some(&program("pure")), number, args);
        assert!(returned(&with), "call {number}: {with:?}");
        assert!(returned(&without), "call {number}: {without:?}");
    };
    check(libc::SYS_gettid, [0; 6]);
    check(libc::SYS_mmap, [0, 4096, 3, 0x22, u64::MAX, 0]);
    check(libc::SYS_mmap, [0, 4096, 0, 0x4022, u64::MAX, 0]);
    check(libc::SYS_brk, [0; 6]);
    check(libc::SYS_getrandom, [0, 0, 1, 0, 0, 0]);
    check(libc::SYS_sched_yield, [0; 6]);
    check(libc::SYS_fcntl, [0, 1, 0, 0, 0, 0]);
    check(libc::SYS_poll, [0; 6]);
}

#[test]
fn nothing_passes_through_the_reports_signal_in_silent_mode() {
    let text = "format = 1\nextends = ['pure']\n[syscalls]\non_violation = 'kill-silent'";
    let policy = Policy::from_toml(&BuiltinOnly, "silent", text).unwrap();
    let program = policy
        .compile()
        .unwrap()
        .program(Arch::X86_64)
        .unwrap()
        .clone();
    let end = call_in_child(Some(&program), libc::SYS_socket, [2, 1, 0, 0, 0, 0]);
    assert_eq!(end, End::Killed);
    assert!(returned(&call_in_child(
        None,
        libc::SYS_socket,
        [2, 1, 0, 0, 0, 0]
    )));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    /// Only calls that the interpreter sees denied are made: what is allowed would happen.
    #[test]
    fn the_kernel_denies_what_the_interpreter_says(
        policy in prop::sample::select(&["pure", "parser", "worker", "network-client"][..]),
        number in 0u32..480,
        args in prop::array::uniform6(prop_oneof![0u64..32, any::<u64>(), Just(u64::MAX)]),
    ) {
        let program = program(policy);
        // These two are let through to their own trampolines whatever a filter says.
        let exempt = number == 335 || number == 336;
        let expected = match answer(&program.code, &Call::new(Arch::X86_64, number, args)) {
            // No policy asks a supervisor.
            Action::Allow | Action::Notify => None,
            Action::Errno(number) => Some(errno(i32::from(number))),
            Action::Trap(data) => Some(End::Trapped(data)),
            Action::KillProcess => Some(End::Killed),
        };
        if let Some(expected) = expected.filter(|_| !exempt) {
            let end = call_in_child(Some(&program), i64::from(number), args);
            prop_assert_eq!(end, expected, "call {} {:x?} under {}", number, args, policy);
        }
    }
}
