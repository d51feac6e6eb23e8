//! What a confined child can't do, what it can, and how it ends: real children, the real kernel.

mod support;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crossmist::{
    Child, Error, Frame, Object, Panic, Resource, SandboxPolicy, Violation, channel, func, trusted,
};
use support::{Directory, Holdings, raw, this_program, within};

fn main() {
    crossmist::init();
    support::main(
        cases![
            what_no_parser_does_is_denied_exactly_so,
            the_path_of_a_denied_call_is_told,
            other_architectures_are_killed,
            a_violation_says_what_would_allow_it,
            metadata_of_a_passed_file_is_there_and_of_a_path_is_not,
            panics_in_every_policy_reach_the_caller,
            a_panic_tells_its_stack_in_every_policy,
            a_violation_tells_where_it_was,
            a_policy_can_keep_places_to_itself,
            a_stack_that_a_child_forges_is_refused_or_unknown,
            every_end_has_an_error_of_its_own,
            a_child_that_stops_or_stays_is_ended_at_its_deadline,
            what_a_child_says_is_true,
            a_child_has_what_it_was_given_and_nothing_else,
            a_child_runs_as_nobody_else needs Root,
            a_program_without_privileges_confines needs Root,
            an_answer_is_held_to_the_policy,
            no_end_for_code_goes_to_a_confined_function,
            files_and_ends_of_channels_work,
            standard_descriptors_are_what_policy_and_caller_say,
            a_child_ends_without_what_programs_do_at_their_end,
            descriptors_that_are_too_many_for_the_moment_are_waited_for needs Root,
            memory_that_is_hidden_from_one_count_is_in_another,
            a_mapped_file_is_read_and_not_written,
            no_datagram_leaves_a_pair,
            a_path_is_granted_by_a_variable,
            a_link_leads_nowhere_that_was_not_granted needs Truncation,
            a_step_that_fails_is_named_and_nothing_is_run needs Root,
            limits_of_resources_hold,
            a_policy_can_be_chosen_for_each_call,
            memory_is_never_writable_and_executable_by_that_layer_alone needs WriteExecute,
            what_a_child_forges_about_its_confinement_is_refused,
        ],
        cases![
            helper_prints_from_c,
            helper_in_a_crowd,
            helper_unprivileged,
            helper_without_setresuid,
            helper_prints
        ],
    );
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The call did what was asked.
    Done,
    /// It failed with this error number.
    Fails(i32),
    /// The child said that this call was denied, and died.
    Denied(&'static str),
    /// The child was killed by the filter without a word.
    Killed,
}
use Outcome::{Denied, Done, Fails, Killed};

/// A system call by number and arguments, with memory that some of them need.
#[derive(Clone, Copy, Debug, Object)]
struct Attempt {
    number: i64,
    arguments: [u64; 6],
}

fn attempt(number: i64, arguments: &[u64]) -> Attempt {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    Attempt {
        number,
        arguments: all,
    }
}

/// What stands for an address of this many zero bytes, in an attempt.
const MEMORY: u64 = 0xdead_0000_0000_0000;
/// What stands for the address of the path of a file that may be destroyed.
const VICTIM: u64 = MEMORY + 1;
/// What stands for the address of the name of a new file.
const NEW: u64 = MEMORY + 3;

/// Makes an attempt, as an attacker would: without any library between.
#[expect(unsafe_code, reason = "native code of an attacker")]
fn make(attempt: Attempt, victim: &str) -> Result<u64, i32> {
    let memory = vec![0u64; 512];
    let victim = std::ffi::CString::new(victim).unwrap();
    let new = std::ffi::CString::new([victim.as_bytes(), b".new"].concat()).unwrap();
    let [a, b, c, d, e, f] = attempt.arguments.map(|argument| match argument {
        MEMORY => memory.as_ptr() as u64,
        VICTIM => victim.as_ptr() as u64,
        NEW => new.as_ptr() as u64,
        plain => plain,
    });
    // SAFETY: whatever it does, it does to a process that is there for it.
    let result = unsafe { libc::syscall(attempt.number, a, b, c, d, e, f) };
    if result == 0 && attempt.number == libc::SYS_clone {
        // A copy of this process, which has nothing to say.
        raw::exit(0);
    }
    match result {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        result => Ok(result as u64),
    }
}

#[func]
fn unconfined(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

#[func(sandbox = "parser")]
fn parser(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

#[func(sandbox = "pure")]
fn pure(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

fn outcome(result: Result<Result<u64, i32>, Error>) -> Outcome {
    match result {
        Ok(Ok(_)) => Done,
        Ok(Err(errno)) => Fails(errno),
        Err(Error::Violation(violation)) => match &violation.claim {
            Some(claim) => {
                let name = claim.call.split('(').next().unwrap();
                Denied(Box::leak(name.to_owned().into_boxed_str()))
            }
            None => Killed,
        },
        Err(error) => panic!("{error:?}"),
    }
}

const READ_EXECUTE: u64 = 5;
const PRIVATE: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
const SHARED: u64 = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
const HERE: u64 = libc::AT_FDCWD as u64;
const NO_FD: u64 = u64::MAX;

/// What is tried: a name, the call, how it ends without a sandbox, and how under `parser`.
#[rustfmt::skip] // A table.
fn attempts() -> Vec<(&'static str, Attempt, Outcome, Outcome)> {
    use libc::*;
    // The program.
    let parent = u64::from(std::process::id());
    let row = |name, number, arguments: &[u64], outside, inside| {
        (name, attempt(number, arguments), outside, inside)
    };
    vec![
        // Files, by path.
        row("open", SYS_openat, &[HERE, VICTIM, 0], Done, Fails(EACCES)),
        row("write", SYS_openat, &[HERE, VICTIM, O_WRONLY as u64], Done, Fails(EACCES)),
        row("create", SYS_openat, &[HERE, NEW, (O_CREAT | O_RDWR) as u64, 0o600], Done, Fails(EACCES)),
        row("stat", SYS_newfstatat, &[HERE, VICTIM, MEMORY, 0], Done, Fails(EACCES)),
        row("access", SYS_faccessat, &[HERE, VICTIM, 0], Done, Fails(EACCES)),
        row("chmod", SYS_fchmodat, &[HERE, VICTIM, 0o600], Done, Denied("fchmodat")),
        row("chown", SYS_fchownat, &[HERE, VICTIM, 0, 0, 0], Done, Denied("fchownat")),
        row("mkdir", SYS_mkdirat, &[HERE, NEW, 0o700], Done, Denied("mkdirat")),
        row("rename", SYS_renameat2, &[HERE, VICTIM, HERE, NEW, 0], Done, Denied("renameat2")),
        row("link", SYS_linkat, &[HERE, VICTIM, HERE, NEW, 0], Done, Denied("linkat")),
        row("unlink", SYS_unlinkat, &[HERE, VICTIM, 0], Done, Denied("unlinkat")),
        row("truncate", SYS_truncate, &[VICTIM, 0], Done, Denied("truncate")),
        row("utime", SYS_utimensat, &[HERE, VICTIM, 0, 0], Done, Denied("utimensat")),
        row("getcwd", SYS_getcwd, &[MEMORY, 4096], Done, Fails(EACCES)),
        row("chroot", SYS_chroot, &[MEMORY], Fails(ENOENT), Killed),
        row("inotify", SYS_inotify_init1, &[0], Done, Denied("inotify_init1")),
        row("fanotify", SYS_fanotify_init, &[0, 0], Done, Denied("fanotify_init")),
        row("memfd", SYS_memfd_create, &[MEMORY, 0], Done, Fails(ENOSYS)),
        // The network.
        row("tcp", SYS_socket, &[AF_INET as u64, SOCK_STREAM as u64, 0], Done, Denied("socket")),
        row("udp", SYS_socket, &[AF_INET6 as u64, SOCK_DGRAM as u64, 0], Done, Denied("socket")),
        row("unix", SYS_socket, &[AF_UNIX as u64, SOCK_STREAM as u64, 0], Done, Fails(EACCES)),
        row("netlink", SYS_socket, &[AF_NETLINK as u64, SOCK_RAW as u64, 0], Done, Fails(EACCES)),
        row("pair", SYS_socketpair, &[AF_UNIX as u64, SOCK_STREAM as u64, 0, MEMORY], Done, Fails(EPERM)),
        row("listen", SYS_listen, &[0, 1], Fails(ENOTSOCK), Denied("listen")),
        // Other processes.
        row("fork", SYS_clone, &[SIGCHLD as u64, 0, 0, 0, 0], Done, Fails(EAGAIN)),
        row("clone3", SYS_clone3, &[MEMORY, 8], Fails(EINVAL), Fails(ENOSYS)),
        row("user namespace", SYS_clone, &[(CLONE_NEWUSER | SIGCHLD) as u64], Done, Fails(EAGAIN)),
        row("unshare", SYS_unshare, &[CLONE_NEWNS as u64], Done, Killed),
        row("exec", SYS_execve, &[MEMORY, 0, 0], Fails(ENOENT), Killed),
        row("execveat", SYS_execveat, &[0, MEMORY, 0, 0, 0], Fails(ENOENT), Killed),
        row("kill", SYS_kill, &[parent, 0], Done, Denied("kill")),
        row("tgkill", SYS_tgkill, &[parent, parent, 0], Done, Denied("tgkill")),
        row("tkill", SYS_tkill, &[parent, 0], Done, Fails(EPERM)),
        row("pidfd", SYS_pidfd_open, &[parent, 0], Done, Fails(ENOSYS)),
        row("ptrace", SYS_ptrace, &[PTRACE_TRACEME as u64], Done, Killed),
        row("read memory", SYS_process_vm_readv, &[parent, MEMORY, 1, MEMORY, 1, 0], Done, Killed),
        row("kcmp", SYS_kcmp, &[parent, parent, 0, 0, 0], Done, Killed),
        row("prlimit", SYS_prlimit64, &[parent, RLIMIT_CORE as u64, 0, MEMORY], Done, Denied("prlimit64")),
        row("priority", SYS_setpriority, &[0, 0, 1], Done, Fails(EPERM)),
        row("session", SYS_getsid, &[parent], Done, Denied("getsid")),
        // Memory as code.
        row("executable memory", SYS_mmap, &[0, 4096, READ_EXECUTE, PRIVATE, NO_FD, 0], Done, Denied("mmap")),
        row("shared memory", SYS_mmap, &[0, 4096, 3, SHARED, NO_FD, 0], Done, Denied("mmap")),
        row("make it executable", SYS_mprotect, &[0, 0, READ_EXECUTE], Done, Denied("mprotect")),
        // The kernel.
        row("io_uring", SYS_io_uring_setup, &[1, MEMORY], Done, Fails(ENOSYS)),
        row("bpf", SYS_bpf, &[0, MEMORY, 128], Fails(EINVAL), Killed),
        row("userfaultfd", SYS_userfaultfd, &[0], Done, Killed),
        row("perf", SYS_perf_event_open, &[MEMORY, 0, NO_FD, NO_FD, 0], Fails(ENOENT), Killed),
        row("keys", SYS_keyctl, &[0, NO_FD - 2, 0], Done, Killed),
        row("mount", SYS_mount, &[0, MEMORY, 0, 0, 0], Fails(ENOENT), Killed),
        row("personality", SYS_personality, &[ADDR_NO_RANDOMIZE as u64], Done, Killed),
        row("seccomp", SYS_seccomp, &[2, 0, MEMORY], Done, Killed),
        row("landlock", SYS_landlock_create_ruleset, &[0, 0, 1], Done, Killed),
        row("message queue", SYS_msgget, &[0, 0o1600], Done, Denied("msgget")),
        row("shared segment", SYS_shmget, &[0, 4096, 0o1600], Done, Denied("shmget")),
        // What it is.
        row("user", SYS_setresuid, &[0, 0, 0], Done, Denied("setresuid")),
        row("outlive", SYS_prctl, &[PR_SET_PDEATHSIG as u64, 0], Done, Denied("prctl")),
        row("dumpable", SYS_prctl, &[PR_SET_DUMPABLE as u64, 1], Done, Denied("prctl")),
        row("SIGSYS", SYS_rt_sigaction, &[SIGSYS as u64, 0, 0, 8], Done, Denied("rt_sigaction")),
        row("where another runs", SYS_sched_getaffinity, &[parent, 128, MEMORY], Done, Fails(ENOSYS)),
        row("limits", SYS_prlimit64, &[0, RLIMIT_CORE as u64, MEMORY, 0], Done, Fails(EPERM)),
        // Its descriptors.
        row("flags", SYS_fcntl, &[2, F_SETFL as u64, 0], Done, Fails(EPERM)),
        row("owner", SYS_fcntl, &[2, F_SETOWN as u64, 0], Done, Denied("fcntl")),
        row("terminal", SYS_ioctl, &[2, TIOCSTI, MEMORY], Fails(ENOTTY), Denied("ioctl")),
        row("lock", SYS_flock, &[2, LOCK_SH as u64], Done, Denied("flock")),
        row("peer", SYS_getsockopt, &[2, SOL_SOCKET as u64, 77, MEMORY, MEMORY], Fails(ENOTSOCK), Denied("getsockopt")),
        // Numbers that nobody knows yet.
        row("a new call", 1000, &[], Fails(ENOSYS), Fails(ENOSYS)),
        row("the handler's end", 0x1ffe, &[], Fails(ENOSYS), Killed),
    ]
}

fn what_no_parser_does_is_denied_exactly_so() {
    let directory = Directory::new();
    let victim = directory.path().join("victim");
    let path = victim.to_str().unwrap().to_owned();
    let renew = || {
        let new = directory.path().join("victim.new");
        let _ = std::fs::remove_file(&new);
        let _ = std::fs::remove_dir(&new);
        std::fs::write(&victim, "treasure").unwrap();
    };
    let mut wrong = Vec::new();
    for (name, attempt, outside, inside) in attempts() {
        renew();
        // The control: it is the sandbox that denies it.
        let found = outcome(unconfined.run(attempt, path.clone()));
        if found != outside {
            wrong.push(format!(
                "{name}: {found:?} without a sandbox, not {outside:?}"
            ));
        }
        renew();
        let found = outcome(parser.run(attempt, path.clone()));
        if found != inside {
            wrong.push(format!("{name}: {found:?} under `parser`, not {inside:?}"));
        }
        let found = outcome(pure.run(attempt, path.clone()));
        if found != inside {
            wrong.push(format!("{name}: {found:?} under `pure`, not {inside:?}"));
        }
        assert_eq!(
            std::fs::read_to_string(&victim).unwrap(),
            "treasure",
            "{name}"
        );
        assert!(!directory.path().join("victim.new").exists(), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn violation<T: std::fmt::Debug>(result: Result<T, Error>) -> Violation {
    match result {
        Err(Error::Violation(violation)) => *violation,
        other => panic!("{other:?}"),
    }
}

fn the_path_of_a_denied_call_is_told() {
    let unlink = attempt(libc::SYS_unlinkat, &[HERE, VICTIM, 0]);
    let found = violation(parser.run(unlink, "/tmp/\x1b[31m".to_owned()));
    let claim = found.claim.as_ref().unwrap();
    assert_eq!(i64::from(claim.number), libc::SYS_unlinkat);
    assert_eq!(claim.arguments[0], HERE);
    assert_eq!(found.policy, "parser");
    assert!(found.function.ends_with("::parser"), "{found}");
    let text = found.to_string();
    assert!(text.contains("unlinkat("), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    // A pointer that leads nowhere costs the path, not the report.
    let unlink = attempt(libc::SYS_unlinkat, &[HERE, 16, 0]);
    assert!(violation(parser.run(unlink, String::new())).claim.is_some());
}

#[cfg(target_arch = "x86_64")]
#[func]
fn old_call_unconfined() -> i64 {
    old_call()
}

#[cfg(target_arch = "x86_64")]
#[func(sandbox = "parser")]
fn old_call_confined() -> i64 {
    old_call()
}

/// `getpid` by the interface of i386.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "native code of an attacker")]
fn old_call() -> i64 {
    let result: i64;
    // SAFETY: system call 20 takes nothing and changes nothing but its result.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20i64 => result, options(nostack));
    }
    result
}

fn other_architectures_are_killed() {
    #[cfg(target_arch = "x86_64")]
    {
        // Kernels without the interface answer by a signal or an error, in every process.
        match old_call_unconfined.run() {
            Ok(pid) if pid > 0 => {
                assert_eq!(violation(old_call_confined.run()).claim, None);
            }
            other => panic!("this kernel has no calls of i386: {other:?}"),
        }
        // The x32 form of a call that is allowed.
        let x32 = attempt(0x4000_0000 | libc::SYS_getpid, &[]);
        assert!(matches!(
            outcome(unconfined.run(x32, String::new())),
            Done | Fails(libc::ENOSYS)
        ));
        assert_eq!(outcome(parser.run(x32, String::new())), Killed);
    }
}

fn a_violation_says_what_would_allow_it() {
    let lock = attempt(libc::SYS_flock, &[0, 5]);
    let found = violation(parser.run(lock, String::new()));
    let claim = found.claim.unwrap();
    assert!(claim.denied_by.contains("parser"), "{claim:?}");
    assert!(claim.allow_with.is_some(), "{claim:?}");
    assert_eq!(claim.caution, None);
    let text = violation(parser.run(lock, String::new())).to_string();
    assert!(
        text.ends_with("\n  more: cargo crossmist explain parser --syscall flock"),
        "{text}"
    );
    let internet = attempt(libc::SYS_socket, &[2, 1, 0]);
    let text = violation(parser.run(internet, String::new())).to_string();
    assert!(
        text.contains("\n  careful: what it has been given can be sent away\n"),
        "{text}"
    );
}

#[func(sandbox = "pure")]
fn metadata(mut file: File, path: String) -> (u64, bool, Option<i32>, String) {
    let found = file.metadata().unwrap();
    let mut text = String::new();
    file.seek(SeekFrom::Start(2)).unwrap();
    file.read_to_string(&mut text).unwrap();
    let by_path = std::fs::metadata(path)
        .err()
        .and_then(|error| error.raw_os_error());
    (found.len(), found.is_file(), by_path, text)
}

fn metadata_of_a_passed_file_is_there_and_of_a_path_is_not() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    std::fs::write(&path, "0123456789").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 10);
    let file = File::open(&path).unwrap();
    let found = metadata
        .run(file, path.to_str().unwrap().to_owned())
        .unwrap();
    assert_eq!(found, (10, true, Some(libc::EACCES), "23456789".to_owned()));
}

#[func(sandbox = dynamic)]
fn panics(text: String) {
    panic!("on purpose: {text}");
}

fn panics_in_every_policy_reach_the_caller() {
    for name in ["pure", "parser", "worker", "file-reader", "unconfined"] {
        let policy = SandboxPolicy::builtin(name).unwrap();
        let result = panics.sandbox(&policy).run(name.to_owned());
        let Err(Error::Panicked(panic)) = result else {
            panic!("{name}: {result:?}");
        };
        assert_eq!(panic.message.as_raw(), format!("on purpose: {name}"));
        assert!(panic.location.as_raw().starts_with("tests/confinement.rs:"));
    }
}

/// The frame of a function of this file, with the line that it has reached.
fn is_at(frame: &Frame, function: &str) -> bool {
    let name = frame.function.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    name.split("::").any(|part| part == function)
        && file.ends_with("tests/confinement.rs")
        && frame.line.is_some_and(|line| line > 0)
}

fn assert_has_stack(panic: &Panic, function: &str) {
    let stack = panic.backtrace();
    let inside = stack.iter().filter(|frame| frame.offset.is_some()).count();
    assert!(inside > 3, "{stack:#?}");
    if cfg!(feature = "backtrace") {
        assert!(
            stack.iter().any(|frame| is_at(frame, function)),
            "{stack:#?}"
        );
        let first = stack[0].function.as_deref().unwrap();
        assert!(!first.contains("crossmist"), "{stack:#?}");
    }
}

#[func]
fn panics_unconfined() {
    panic!("on purpose");
}

fn a_panic_tells_its_stack_in_every_policy() {
    for name in [
        "pure",
        "parser",
        "worker",
        "file-reader",
        "network-client",
        "unconfined",
    ] {
        let policy = SandboxPolicy::builtin(name).unwrap();
        match panics.sandbox(&policy).run(name.to_owned()) {
            Err(Error::Panicked(panic)) => assert_has_stack(&panic, "panics"),
            // It grants ports, so it needs a kernel that denies the others.
            Err(Error::Policy { .. })
                if name == "network-client" && crossmist::landlock_abi() < 4 => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    match panics_unconfined.run() {
        Err(Error::Panicked(panic)) => assert_has_stack(&panic, "panics_unconfined"),
        other => panic!("{other:?}"),
    }
}

fn a_violation_tells_where_it_was() {
    let listen = attempt(libc::SYS_listen, &[0, 1]);
    for result in [
        parser.run(listen, String::new()),
        pure.run(listen, String::new()),
    ] {
        let found = violation(result);
        let frame = found.claim.as_ref().unwrap().at().unwrap();
        let text = found.to_string();
        if cfg!(feature = "backtrace") {
            assert!(is_at(&frame, "make"), "{frame:?}");
            assert!(text.contains(&format!("\n  at: {frame}\n")), "{text}");
        } else {
            assert!(frame.offset.is_some() && frame.function.is_none());
            assert!(!text.contains("\n  at: "), "{text}");
        }
    }
    // Nor does it cost the report that the handler may not ask what can be read.
    let text = r#"
        format = 1
        description = "Deny what the handler calls"
        extends = ["parser"]
        [syscalls]
        deny = ["rt_sigprocmask"]
    "#;
    let policy = SandboxPolicy::from_toml("deaf", text).unwrap();
    let found = violation(chosen.sandbox(&policy).run(listen, String::new()));
    assert!(found.claim.unwrap().call.starts_with("listen("));
    // A stack pointer that leads nowhere costs the place, not the report: the handler has a stack of
    // its own, where Rust's runtime has been started.
    if !cfg!(feature = "early-entry") {
        let found = violation(calls_without_a_stack.run());
        assert!(found.claim.unwrap().call.starts_with("listen("));
    }
}

/// `listen` by hand, with a stack pointer that nothing is at.
#[func(sandbox = "parser")]
#[expect(unsafe_code, reason = "native code of an attacker")]
fn calls_without_a_stack() {
    // SAFETY: the register is put back before anything uses it; the handler has a stack of its own.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, 16",
            "syscall",
            "mov rsp, r12",
            inlateout("rax") libc::SYS_listen => _,
            in("rdi") 0,
            in("rsi") 1,
            out("rcx") _,
            out("r11") _,
            out("r12") _,
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = make(attempt(libc::SYS_listen, &[0, 1]), "");
}

fn a_policy_can_keep_places_to_itself() {
    let text = r#"
        format = 1
        description = "Tell nobody where"
        extends = ["parser"]
        [environment]
        backtrace = "off"
    "#;
    let policy = SandboxPolicy::from_toml("quiet", text).unwrap();
    let Err(Error::Panicked(panic)) = panics.sandbox(&policy).run(String::new()) else {
        panic!("no panic");
    };
    assert_eq!(panic.message.as_raw(), "on purpose: ");
    assert_eq!(panic.backtrace(), []);
    let listen = attempt(libc::SYS_listen, &[0, 1]);
    let found = violation(chosen.sandbox(&policy).run(listen, String::new()));
    let claim = found.claim.as_ref().unwrap();
    assert!(claim.call.starts_with("listen("));
    assert_eq!(claim.at(), None);
    assert!(!found.to_string().contains("\n  at: "), "{found}");
}

/// What a child would say of a panic with this many addresses on its stack.
fn panicked(count: u8, stack: &[u64]) -> Vec<u8> {
    let mut value = vec![1];
    for text in ["forged", "nowhere"] {
        value.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        value.extend(text.as_bytes());
    }
    value.push(count);
    value.extend(stack.iter().flat_map(|address| address.to_le_bytes()));
    message(&value)
}

fn a_stack_that_a_child_forges_is_refused_or_unknown() {
    let wild = [0, 1, u64::MAX, u64::MAX - 1, 1 << 47, 1 << 63];
    match forged(vec![panicked(6, &wild)], false) {
        Err(Error::Panicked(panic)) => {
            let stack = panic.backtrace();
            assert_eq!(stack.len(), 6);
            assert!(stack.iter().all(|frame| frame.function.is_none()));
        }
        other => panic!("{other:?}"),
    }
    // Any place in the program is somewhere in it, and none is a reason to fail.
    for step in [1u64, 4096, 65536] {
        let stack: Vec<u64> = (0..64).map(|index| index * step).collect();
        match forged(vec![panicked(64, &stack)], false) {
            Err(Error::Panicked(panic)) => assert!(panic.backtrace().len() >= 64),
            other => panic!("{other:?}"),
        }
    }
    for (count, length) in [(65, 65), (255, 255), (2, 1), (1, 2)] {
        let packet = panicked(count, &vec![1; length]);
        let result = forged(vec![packet], false);
        assert!(
            matches!(result, Err(Error::Decode(_))),
            "{count}: {result:?}"
        );
    }
}

#[derive(Clone, Copy, Debug, Object)]
enum End {
    Abort,
    OverflowTheStack,
    DivideByZero,
    WriteToNull,
    TakeMemory,
    Loop,
    LoopDeafly,
    Exit,
    StopItself,
    Close,
    Flood,
    Sleep,
}

#[func(
    sandbox = "parser",
    cpu_time = "1s",
    memory = "64MiB",
    wall_time = "30s"
)]
fn ends(end: End) {
    act(end);
}

/// As [`ends`], with more processor time than a slow machine takes for it.
#[func(sandbox = "parser", memory = "64MiB")]
fn lasts(end: End) {
    act(end);
}

#[expect(unsafe_code, reason = "what C code does wrong")]
fn act(end: End) {
    fn deeper(depth: u64) -> u64 {
        let room = std::hint::black_box([depth; 64]);
        if depth == u64::MAX {
            room[0]
        } else {
            deeper(depth + 1) + room[1]
        }
    }
    match end {
        End::Abort => std::process::abort(),
        End::OverflowTheStack => {
            std::hint::black_box(deeper(0));
        }
        End::DivideByZero => {
            // SAFETY: ends the process, as the division of a C program would.
            unsafe { libc::raise(libc::SIGFPE) };
        }
        End::WriteToNull => {
            // SAFETY: never: the fault is what is wanted.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        }
        End::TakeMemory => {
            let mut taken = Vec::new();
            loop {
                taken.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        End::Loop => loop {
            std::hint::black_box(0);
        },
        End::LoopDeafly => {
            // SAFETY: a disposition without a function.
            unsafe { libc::signal(libc::SIGXCPU, libc::SIG_IGN) };
            loop {
                std::hint::black_box(0);
            }
        }
        End::Exit => std::process::exit(0),
        End::StopItself => {
            // SAFETY: takes a number.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        End::Close => {
            raw::close(raw::launch_socket());
            std::thread::sleep(Duration::from_secs(60));
        }
        End::Flood => loop {
            let _ = raw::send(raw::launch_socket(), &[0xC1; 100]);
        },
        End::Sleep => std::thread::sleep(Duration::from_secs(60)),
    }
}

#[func(sandbox = "parser", wall_time = "1s")]
fn soon_over(end: End) {
    act(end);
}

fn signalled(result: Result<(), Error>, expected: i32) {
    match result {
        Err(Error::Signalled { signal, .. }) if signal == expected => {}
        other => panic!("{other:?}, expected signal {expected}"),
    }
}

fn every_end_has_an_error_of_its_own() {
    signalled(ends.run(End::Abort), libc::SIGABRT);
    // The handler of Rust's runtime says what it was, where the runtime has been started.
    let signal = match cfg!(feature = "early-entry") {
        true => libc::SIGSEGV,
        false => libc::SIGABRT,
    };
    signalled(ends.run(End::OverflowTheStack), signal);
    signalled(ends.run(End::WriteToNull), libc::SIGSEGV);
    // Touching the memory takes a slow machine longer than the processor time of `ends`.
    match lasts.run(End::TakeMemory) {
        Err(Error::Limit {
            resource: Resource::Memory,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    for (end, time) in [(End::Loop, 3), (End::LoopDeafly, 4)] {
        let result = within(Duration::from_secs(time), || ends.run(end));
        match result {
            Err(Error::Limit {
                resource: Resource::CpuTime,
                ..
            }) => {}
            other => panic!("{end:?}: {other:?}"),
        }
    }
    assert!(matches!(
        ends.run(End::Exit),
        Err(Error::Exited { status: 0 })
    ));
    // Only one's own abort can be raised, so that no other death can be feigned.
    for end in [End::StopItself, End::DivideByZero] {
        let found = violation(ends.run(end));
        assert!(found.claim.unwrap().call.starts_with("tgkill("));
    }
    let result = within(Duration::from_secs(1), || ends.run(End::Flood));
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
}

fn a_child_that_stops_or_stays_is_ended_at_its_deadline() {
    let time = support::patience(Duration::from_millis(300));
    for end in [End::Sleep, End::Loop] {
        let begun = Instant::now();
        let child = lasts.builder().deadline(time).spawn(end).unwrap();
        let id = child.id();
        let result = within(time * 2, || child.join());
        assert!(
            matches!(result, Err(Error::Deadline { .. })),
            "{end:?}: {result:?}"
        );
        assert!(begun.elapsed() >= time);
        support::wait_until_gone(id);
    }
    let result = within(Duration::from_secs(3), || ends.run(End::Close));
    assert!(matches!(result, Err(Error::Silent)), "{result:?}");
    // The policy's own time holds where the caller asks for more.
    let result = soon_over
        .builder()
        .deadline(Duration::from_secs(60))
        .run(End::Sleep);
    assert!(
        matches!(result, Err(Error::Deadline { after }) if after == Duration::from_secs(1)),
        "{result:?}"
    );
}

#[func(sandbox = "parser")]
fn waits(time: Duration) {
    std::thread::sleep(time);
}

/// A line of `/proc/PID/status`.
fn proc_status(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

#[func(sandbox = "parser", launch = "exec")]
fn waits_anew(time: Duration) {
    std::thread::sleep(time);
}

fn what_a_child_says_is_true() {
    let time = Duration::from_secs(30);
    says_true(waits.spawn(time).unwrap(), "waits");
    says_true(waits_anew.spawn(time).unwrap(), "waits_anew");
    // An unconfined one says nothing, and is none of it.
    let mut other = unconfined_sleep.spawn(time).unwrap();
    assert_eq!(other.confinement().unwrap(), None);
    assert_eq!(proc_status(other.id(), "Seccomp"), "0");
    other.kill().unwrap();
}

fn says_true(mut child: Child<()>, name: &str) {
    let status = child.confinement().unwrap().unwrap();
    let pid = child.id();
    assert!(status.seccomp_instructions > 100);
    // Which second nets there are is the kernel's matter; the tests of `second_nets` have more of it.
    let abi = crossmist::landlock_abi();
    assert_eq!(
        (status.landlock_abi, status.landlock_files != 0),
        (abi, abi > 0)
    );
    let since = |first, all| if abi >= first { all } else { 0 };
    assert_eq!(
        (status.landlock_ports, status.landlock_scopes),
        (since(4, 3), since(6, 3))
    );
    assert_eq!(
        status.denies_write_execute,
        crossmist::can_deny_write_execute()
    );
    assert_eq!(status.is_fully_enforced(), status.missing.is_empty());
    assert!(!status.dumpable && !status.allows_speculation);
    assert_eq!(status.capabilities, 0);
    // The kernel says the same.
    assert_eq!(proc_status(pid, "Seccomp"), "2");
    assert_eq!(proc_status(pid, "Seccomp_filters"), "1");
    assert_eq!(proc_status(pid, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(proc_status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(proc_status(pid, "Threads"), "1");
    assert_eq!(proc_status(pid, "SigBlk"), "0000000000000000");
    assert_eq!(proc_status(pid, "Name"), name);
    child.kill().unwrap();
    assert!(matches!(child.join(), Err(Error::Killed)));
}

#[func]
fn unconfined_sleep(time: Duration) {
    std::thread::sleep(time);
}

#[func(sandbox = "parser")]
fn looks_around(file: File) -> (Vec<i32>, Vec<(String, String)>, i32) {
    let open = (0..64).filter(|fd| raw::is_open(*fd)).collect();
    let environment = std::env::vars().collect();
    (open, environment, file.as_raw_fd())
}

fn a_child_has_what_it_was_given_and_nothing_else() {
    let holdings = {
        // The keeper is there, and the ruleset that grants nothing.
        looks_around.run(File::open("/dev/null").unwrap()).unwrap();
        waits.run(Duration::ZERO).unwrap();
        Holdings::now()
    };
    let _many: Vec<File> = (0..20).map(|_| File::open("/dev/null").unwrap()).collect();
    let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
    child.confinement().unwrap();
    let (open, environment, file) = looks_around.run(File::open("/dev/null").unwrap()).unwrap();
    let socket: Vec<i32> = open
        .iter()
        .copied()
        .filter(|fd| *fd > 2 && *fd != file)
        .collect();
    assert_eq!(socket.len(), 1, "{open:?}");
    assert_eq!(environment, []);
    let place = |what| std::fs::read_link(format!("/proc/{}/{what}", child.id())).unwrap();
    assert_eq!(place("cwd").to_str(), Some("/"));
    assert_eq!(place("fd/0").to_str(), Some("/dev/null"));
    assert_eq!(place("fd/1").to_str(), Some("/dev/null"));
    assert!(place("fd/2").to_str().unwrap().starts_with("socket:"));
    // A variable that the caller sets is there.
    let (_, environment, _) = looks_around
        .builder()
        .env("LANG", "C.UTF-8")
        .run(File::open("/dev/null").unwrap())
        .unwrap();
    assert_eq!(environment, [("LANG".to_owned(), "C.UTF-8".to_owned())]);
    child.kill().unwrap();
    drop(child);
    drop(_many);
    holdings.assert_same();
}

fn a_child_runs_as_nobody_else() {
    let children = [(); 2].map(|()| {
        let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
        let status = child.confinement().unwrap().unwrap();
        (child, status)
    });
    for (child, status) in &children {
        let user = status.own_user.unwrap();
        assert!((0x7800_0000..=0x7ffd_ffff).contains(&user), "{user}");
        assert_eq!(status.same_user, None);
        let all = format!("{user}\t{user}\t{user}\t{user}");
        assert_eq!(proc_status(child.id(), "Uid"), all);
        assert_eq!(proc_status(child.id(), "Gid"), all);
        assert_eq!(proc_status(child.id(), "Groups"), "");
    }
    assert_ne!(children[0].1.own_user, children[1].1.own_user);
    for (child, _) in &children {
        child.kill().unwrap();
    }
}

fn a_program_without_privileges_confines() {
    let status = this_program("helper_unprivileged")
        .uid(4242)
        .gid(4242)
        .status()
        .unwrap();
    assert!(status.success());
}

fn helper_unprivileged() {
    let mut child = waits.spawn(Duration::from_secs(30)).unwrap();
    let status = child.confinement().unwrap().unwrap();
    assert_eq!(status.own_user, None);
    assert_eq!(status.same_user, Some(crossmist::SameUser::NotRoot));
    assert_eq!(status.capabilities, 0);
    assert_eq!(proc_status(child.id(), "Uid"), "4242\t4242\t4242\t4242");
    assert_eq!(proc_status(child.id(), "CapPrm"), "0000000000000000");
    child.kill().unwrap();
    let kill = attempt(libc::SYS_kill, &[std::process::id().into(), 0]);
    assert_eq!(outcome(parser.run(kill, String::new())), Denied("kill"));
    let open = attempt(libc::SYS_openat, &[HERE, VICTIM, 0]);
    let path = "/etc/passwd".to_owned();
    assert_eq!(outcome(unconfined.run(open, path.clone())), Done);
    assert_eq!(outcome(parser.run(open, path)), Fails(libc::EACCES));
}

#[func(sandbox = "pure", message_bytes = "64KiB")]
fn bytes(count: usize) -> Vec<u8> {
    vec![7; count]
}

#[func(sandbox = "pure")]
fn sends_up(what: Attempt, file: File, _may_send: crossmist::Sender<File>) -> u64 {
    let socket = raw::launch_socket();
    let _ = raw::send_with(socket, &[0; 32], &[file.as_raw_fd()], 0);
    make(what, "").unwrap_or(0)
}

fn an_answer_is_held_to_the_policy() {
    let holdings = {
        assert_eq!(bytes.run(60_000).unwrap().len(), 60_000);
        // The thread that ends its channels with the child has a descriptor, and stays.
        let (files, receiver) = channel::<File>().unwrap();
        let sleep = attempt(libc::SYS_getpid, &[]);
        let _ = sends_up.run(sleep, File::open("/etc/passwd").unwrap(), files);
        drop(receiver);
        Holdings::settled()
    };
    let result = bytes.run(70_000);
    assert!(matches!(result, Err(Error::BadResult { .. })), "{result:?}");
    // A descriptor that the type doesn't name ends the call, and is closed.
    let sleep = attempt(libc::SYS_getpid, &[]);
    let (files, receiver) = channel::<File>().unwrap();
    let result = sends_up.run(sleep, File::open("/etc/passwd").unwrap(), files);
    assert!(matches!(result, Err(Error::Malformed(_))), "{result:?}");
    drop(receiver);
    holdings.assert_same();
}

#[func(sandbox = "pure")]
fn takes_an_end(end: crossmist::Sender<u8>) {
    drop(end);
}

#[func]
fn takes_an_end_unconfined(end: crossmist::Sender<u8>) {
    drop(end);
}

fn no_end_for_code_goes_to_a_confined_function() {
    let (sender, _receiver) = trusted::channel::<u8>().unwrap();
    takes_an_end_unconfined.run(sender).unwrap();
    let (sender, _receiver) = trusted::channel::<u8>().unwrap();
    let result = takes_an_end.run(sender);
    let Err(Error::Encode(error)) = result else {
        panic!("{result:?}");
    };
    assert!(error.to_string().contains("trusted"), "{error}");
    let (sender, _receiver) = channel::<u8>().unwrap();
    takes_an_end.run(sender).unwrap();
}

#[func(sandbox = dynamic)]
fn copies(
    mut from: File,
    mut to: File,
    mut progress: crossmist::Sender<u64>,
    mut words: crossmist::Receiver<String>,
) -> Result<(File, Vec<String>), String> {
    let mut buffer = [0; 1000];
    let mut sum = 0;
    loop {
        let count = from.read(&mut buffer).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])
            .map_err(|error| error.to_string())?;
        sum += count as u64;
        progress.send(&sum).map_err(|error| error.to_string())?;
    }
    let mut heard = Vec::new();
    while let Some(word) = words.recv().map_err(|error| error.to_string())? {
        heard.push(word);
    }
    Ok((from, heard))
}

fn files_and_ends_of_channels_work() {
    let directory = Directory::new();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    std::fs::write(&from, vec![5; 10_000]).unwrap();
    let policy = "format = 1\nextends = [\"parser\"]\n[limits]\nfile_size = \"1MiB\"\n";
    let writer = SandboxPolicy::from_toml("writer", policy).unwrap();
    let reader = SandboxPolicy::builtin("parser").unwrap();
    for (policy, is_allowed) in [(writer, true), (reader, false)] {
        let (progress, mut told) = channel().unwrap();
        let (mut sender, words) = channel::<String>().unwrap();
        let open = File::open(&from).unwrap();
        let child = copies
            .sandbox(&policy)
            .spawn(open, File::create(&to).unwrap(), progress, words)
            .unwrap();
        for word in ["two", "words"] {
            // Nobody may be left to hear it, where the file can't be written.
            assert!(sender.send(&word.to_owned()).is_ok() || !is_allowed);
        }
        drop(sender);
        let result = child.join().unwrap();
        let mut sums = Vec::new();
        while let Some(sum) = told.recv().unwrap() {
            sums.push(sum);
        }
        if is_allowed {
            let (_, heard) = result.unwrap();
            assert_eq!(heard, ["two", "words"]);
            assert_eq!(
                sums,
                (1..=10).map(|count| count * 1000).collect::<Vec<u64>>()
            );
            assert_eq!(std::fs::read(&to).unwrap(), vec![5; 10_000]);
        } else {
            // `parser` lets files be as large as 0 bytes, whoever handed them over.
            assert_eq!(result.unwrap_err(), "File too large (os error 27)");
            assert!(sums.is_empty(), "{sums:?}");
        }
    }
}

#[func(sandbox = "pure")]
fn prints(text: String) {
    println!("out {text}");
    eprintln!("err {text}");
}

fn standard_descriptors_are_what_policy_and_caller_say() {
    let (mut reading, writing) = std::io::pipe().unwrap();
    prints
        .builder()
        .stdout(OwnedFd::from(writing))
        .run("one".to_owned())
        .unwrap();
    let mut text = String::new();
    reading.read_to_string(&mut text).unwrap();
    assert_eq!(text, "out one\n");
    // By the policy, standard error goes through the keeper to that of the program, marked.
    let output = this_program("helper_prints").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let (name, rest) = text.split_once('[').unwrap();
    assert_eq!(name, "prints");
    assert!(rest.ends_with("]: err t\\u{1b}wo\n"), "{text}");
    assert_eq!(output.stdout, b"");
}

const CHUNK: usize = 8 << 20;

/// How many bytes can be written, up to `most`, if each stretch is made read-only then, and so is no
/// longer counted by RLIMIT_DATA.
#[func(sandbox = dynamic)]
fn hoards(most: usize) -> (usize, String) {
    let stretches = (0..most / CHUNK).map(|_| raw::hoard(CHUNK));
    let taken: Vec<_> = stretches.take_while(Result::is_ok).collect();
    let error = raw::hoard(CHUNK).err();
    (taken.len() * CHUNK, format!("{error:?}"))
}

fn memory_that_is_hidden_from_one_count_is_in_another() {
    // The control: nothing else stops it.
    let (taken, _) = hoards.call_unconfined(256 << 20);
    assert_eq!(taken, 256 << 20);
    // An emulated machine takes its time to write all that.
    let policy = SandboxPolicy::from_toml(
        "hoards",
        "format = 1\nextends = [\"pure\"]\n[limits]\nmemory = \"64MiB\"\nreserved = \"64MiB\"\n\
         cpu_time = \"5min\"\nwall_time = \"10min\"\n",
    );
    let (taken, error) = hoards.sandbox(&policy.unwrap()).run(256 << 20).unwrap();
    assert!((96 << 20..=128 << 20).contains(&taken), "{taken}");
    assert!(error.contains("code: 12"), "{error}");
}

#[func(sandbox = "parser")]
fn maps(mut file: File) -> (String, Option<i32>) {
    // What crates do that map files: shared, for reading.
    let mapped = raw::map_shared(&file).unwrap();
    let text = String::from_utf8_lossy(&mapped).into_owned();
    let by_call = file.write_all(b"by a call").err();
    raw::map_and_overwrite(&file, b"by memory");
    let errno = |error: std::io::Error| error.raw_os_error();
    (text, by_call.and_then(errno))
}

fn a_mapped_file_is_read_and_not_written() {
    let directory = Directory::new();
    let path = directory.path().join("file");
    let open = || File::options().read(true).write(true).open(&path).unwrap();
    let start = || std::fs::write(&path, "what it is").unwrap();
    // The control.
    start();
    assert_eq!(maps.call_unconfined(open()).0, "what it is");
    assert_eq!(std::fs::read(&path).unwrap(), b"by memorys");
    start();
    let (text, by_call) = maps.run(open()).unwrap();
    assert_eq!((text.as_str(), by_call), ("what it is", Some(libc::EFBIG)));
    assert_eq!(std::fs::read(&path).unwrap(), b"what it is");
}

/// Sends a datagram to a path, out of a pair; or out of a pair of streams. By its types it can send
/// descriptors, and so by `sendmsg`.
#[func(sandbox = "worker")]
fn sends_elsewhere(
    path: String,
    datagram: bool,
    _may_send: Option<crossmist::Sender<File>>,
) -> Result<(), Option<i32>> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};
    let kind = if datagram {
        SockType::Datagram
    } else {
        SockType::SeqPacket
    };
    let errno = |error: nix::Error| Some(error as i32);
    let pair = nix::sys::socket::socketpair(AddressFamily::Unix, kind, None, SockFlag::empty());
    let (ours, _theirs) = pair.map_err(errno)?;
    let to = UnixAddr::new(path.as_str()).unwrap();
    let parts = [std::io::IoSlice::new(b"out")];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = nix::sys::socket::sendmsg(ours.as_raw_fd(), &parts, &[], flags, Some(&to)).map(drop);
    sent.map_err(errno)
}

fn no_datagram_leaves_a_pair() {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 8];
    let path = path.to_str().unwrap().to_owned();
    // The control: it would arrive.
    sends_elsewhere
        .call_unconfined(path.clone(), true, None)
        .unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 3);
    let denied = sends_elsewhere.run(path.clone(), true, None).unwrap();
    assert_eq!(denied, Err(Some(libc::EPERM)));
    // The kernel sends these to the other end, whatever name they bear.
    sends_elsewhere
        .run(path.clone(), false, None)
        .unwrap()
        .unwrap();
    assert!(socket.recv(&mut buffer).is_err());
}

#[func(sandbox = "pure")]
fn prints_from_c(stays: bool) {
    raw::print_into_a_buffer(c"a line of C's\n");
    raw::print_at_exit();
    assert!(!stays, "and a panic");
}

fn a_child_ends_without_what_programs_do_at_their_end() {
    let printed = |call: &dyn Fn(OwnedFd)| {
        let (mut reading, writing) = std::io::pipe().unwrap();
        call(writing.into());
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        text
    };
    // What lies in a buffer is written, and what `atexit` was told is not done.
    for stays in [false, true] {
        let text = printed(&|to| {
            let result = prints_from_c.builder().stdout(to).run(stays);
            assert_eq!(matches!(result, Err(Error::Panicked(_))), stays);
        });
        assert_eq!(text, "a line of C's\n");
    }
    // The control: a program does both.
    let text = printed(&|to| {
        let program = this_program("helper_prints_from_c").stdout(to).status();
        assert!(program.unwrap().success());
    });
    assert!(
        text.contains("a line of C's\n") && text.contains("at exit"),
        "{text}"
    );
}

/// Starts a call that passes a file, while so many descriptors of this user are in flight that the
/// kernel takes no more for the moment, or for good.
fn helper_in_a_crowd() {
    use std::os::unix::net::UnixDatagram;
    let passes = support::case_arguments() == ["passes"];
    raw::limit_descriptors(64);
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let one = [file.as_raw_fd(); 40];
    for _ in 0..2 {
        raw::send_with(sender.as_raw_fd(), b"x", &one, 0).unwrap();
    }
    // The control: it is so.
    let full = raw::send_with(sender.as_raw_fd(), b"x", &one, 0).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ETOOMANYREFS));
    let free = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        if passes {
            drop(receiver);
        } else {
            std::thread::sleep(support::stays());
        }
    });
    let time = Duration::from_secs(if passes { 30 } else { 1 });
    let call = file_length.builder().deadline(time);
    match call.run(file) {
        Ok(0) if passes => free.join().unwrap(),
        Err(Error::Launch { .. } | Error::Deadline { .. }) if !passes => {}
        other => panic!("{other:?}"),
    }
}

#[func(sandbox = "parser")]
fn file_length(file: File) -> u64 {
    file.metadata().map_or(u64::MAX, |found| found.len())
}

fn descriptors_that_are_too_many_for_the_moment_are_waited_for() {
    for (word, most) in [("passes", 3), ("stays", 3)] {
        within(Duration::from_secs(most), || {
            let mut command = this_program("helper_in_a_crowd");
            // Root may have as many as it likes.
            command.arg(word).uid(65533).gid(65533);
            assert!(command.status().unwrap().success(), "{word}");
        });
    }
}

fn helper_prints_from_c() {
    prints_from_c.call_unconfined(false);
}

fn helper_prints() {
    prints.run("t\x1bwo".to_owned()).unwrap();
}

#[func(sandbox = dynamic)]
fn reads(paths: Vec<String>) -> Vec<Result<String, Option<i32>>> {
    let read = |path: &String| std::fs::read_to_string(path).map_err(|error| error.raw_os_error());
    paths.iter().map(read).collect()
}

const READER: &str = r#"
    format = 1
    description = "Read one folder"
    extends = ["file-reader"]
    [variables]
    folder = { type = "dir", required = true }
    [filesystem]
    read = ["${folder}"]
    [process]
    user = "same"
"#;

fn a_link_leads_nowhere_that_was_not_granted() {
    let directory = Directory::new();
    let (top, outside) = (
        directory.path().join("top"),
        directory.path().join("outside"),
    );
    std::fs::create_dir_all(top.join("job")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    for folder in [&top.join("job"), &outside] {
        std::fs::write(folder.join("file"), "text").unwrap();
    }
    let folder = directory.path().join("policies");
    std::fs::create_dir(&folder).unwrap();
    let policy = |name: &str, rest: &str| {
        let text = format!("format = 1\nextends = [\"file-reader\"]\n{rest}");
        std::fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    };
    let grants = |path: &std::path::Path, how: &str| {
        format!("[filesystem]\n{how} = [\"{}\"]\n", path.display())
    };
    policy("top", &grants(&top, "read"));
    policy(
        "job",
        &format!("within = \"top\"\n{}", grants(&top.join("job"), "read")),
    );
    policy("kernel", &grants(&top.join("link"), "write"));
    let load = |name: &str| SandboxPolicy::load(&folder, name).unwrap();
    let file = top.join("job/file").to_str().unwrap().to_owned();
    let read = || reads.sandbox(&load("job")).run(vec![file.clone()]);
    // The control.
    assert_eq!(read().unwrap(), [Ok("text".to_owned())]);
    // A call before could have left this.
    std::fs::remove_dir_all(top.join("job")).unwrap();
    std::os::unix::fs::symlink(&outside, top.join("job")).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    let error = read().unwrap_err().to_string();
    assert!(error.contains("the ceiling `top` doesn't grant"), "{error}");
    assert!(error.contains(outside.to_str().unwrap()), "{error}");
    // Nor by a ceiling that would be led to the same, nor without one; and by no other name of it.
    let alias = directory.path().join("alias");
    std::os::unix::fs::symlink(top.join("job"), &alias).unwrap();
    for name in [top.join("job"), alias] {
        let both = format!(
            "{}create = [\"{}\"]\n",
            grants(&name, "read"),
            top.display()
        );
        policy("both", &both);
        policy(
            "below",
            &format!("within = \"both\"\n{}", grants(&name, "read")),
        );
        let read = |policy: &str| reads.sandbox(&load(policy)).run(vec![file.clone()]);
        for planted in ["both", "below"] {
            let error = read(planted).unwrap_err().to_string();
            assert!(error.contains("may make links"), "{planted}: {error}");
        }
        // The control: a folder of that name is granted.
        std::fs::remove_file(top.join("job")).unwrap();
        std::fs::create_dir(top.join("job")).unwrap();
        std::fs::write(&file, "text").unwrap();
        for honest in ["both", "below"] {
            assert_eq!(read(honest).unwrap(), [Ok("text".to_owned())], "{honest}");
        }
        std::fs::remove_dir_all(top.join("job")).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("job")).unwrap();
    }
    // What is the kernel's own isn't written, whatever its name is here.
    std::os::unix::fs::symlink("/proc/self", top.join("link")).unwrap();
    let error = reads.sandbox(&load("kernel")).run(vec![]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("whose files are the kernel itself"),
        "{error}"
    );
    std::fs::remove_file(top.join("link")).unwrap();
    std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
    assert_eq!(reads.sandbox(&load("kernel")).run(vec![]).unwrap(), []);
}

fn a_path_is_granted_by_a_variable() {
    let directory = Directory::new();
    let folder = directory.path().join("granted");
    std::fs::create_dir(&folder).unwrap();
    let (inside, outside) = (folder.join("a"), directory.path().join("b"));
    std::fs::write(&inside, "inside").unwrap();
    std::fs::write(&outside, "outside").unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let paths = vec![
        text(&inside),
        text(&outside),
        text(&folder.join("link")),
        text(&folder.join("../b")),
        text(&folder.join("missing")),
        "/proc/self/environ".to_owned(),
    ];
    let policy = SandboxPolicy::from_toml("reader", READER).unwrap();
    let found = reads
        .sandbox(&policy)
        .bind("folder", text(&folder))
        .run(paths.clone())
        .unwrap();
    let denied = Err(Some(libc::EACCES));
    assert_eq!(
        found,
        [
            Ok("inside".to_owned()),
            denied.clone(),
            denied.clone(),
            denied.clone(),
            Err(Some(libc::ENOENT)),
            denied,
        ]
    );
    // Unconfined, all that is there can be read.
    let everything = reads.call_unconfined(paths);
    assert_eq!(everything.iter().filter(|read| read.is_ok()).count(), 5);

    let refused = |builder: crossmist::Builder<_, (Vec<String>,)>| match builder.run(Vec::new()) {
        Err(error @ Error::Policy { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let unbound = refused(reads.sandbox(&policy));
    assert!(unbound.contains("`folder` has no value"), "{unbound}");
    let relative = refused(reads.sandbox(&policy).bind("folder", "granted"));
    assert!(relative.contains("absolute"), "{relative}");
    let missing = refused(reads.sandbox(&policy).bind("folder", "/nowhere/at/all"));
    assert!(
        missing.contains("/nowhere/at/all") && missing.contains("optional"),
        "{missing}"
    );
    let misspelt = refused(reads.sandbox(&policy).bind("foldr", "/"));
    assert!(misspelt.contains("it has folder"), "{misspelt}");
    let moved = refused(
        reads
            .sandbox(&policy)
            .bind("folder", text(&folder))
            .current_dir("/"),
    );
    assert!(moved.contains("working directory"), "{moved}");
}

fn a_step_that_fails_is_named_and_nothing_is_run() {
    // The control: with that call it works.
    waits.run(Duration::ZERO).unwrap();
    let status = this_program("helper_without_setresuid").status().unwrap();
    assert!(status.success());
}

fn helper_without_setresuid() {
    raw::refuse(libc::SYS_setresuid, libc::EPERM);
    let result = waits.run(Duration::ZERO);
    let Err(error @ Error::Confine { .. }) = result else {
        panic!("{result:?}");
    };
    let text = error.to_string();
    for part in [
        "waits",
        "`parser`",
        "setresuid",
        "not permitted",
        "user = \"same\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let same = SandboxPolicy::from_toml(
        "same",
        "format = 1\ndescription = \"x\"\nextends = [\"pure\"]\n[process]\nuser = \"same\"\n",
    )
    .unwrap();
    let Err(Error::Panicked(_)) = panics.sandbox(&same).run(String::new()) else {
        panic!("it should have run");
    };
}

#[func(sandbox = "pure", open_files = 16)]
fn uses_up() -> (i32, Option<String>) {
    let mut kept = Vec::new();
    let file = File::from(raw::adopt(1));
    let refused = loop {
        match file.try_clone() {
            Ok(copy) => kept.push(copy),
            Err(error) => break error,
        }
    };
    let thread = std::thread::Builder::new().spawn(|| ()).err();
    (
        refused.raw_os_error().unwrap(),
        thread.map(|error| error.to_string()),
    )
}

fn limits_of_resources_hold() {
    let (descriptors, thread) = uses_up.run().unwrap();
    assert_eq!(descriptors, libc::EMFILE);
    assert_eq!(
        thread.as_deref(),
        Some("Resource temporarily unavailable (os error 11)")
    );
}

/// A message in one packet.
fn message(value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC1, 0, 0, 0];
    packet.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    packet.resize(32, 0);
    packet.extend(value);
    packet
}

/// What a handler would say of a denied call.
fn note(call: u32, path: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xC3, 0];
    packet.extend(u16::try_from(path.len()).unwrap().to_le_bytes());
    packet.extend(call.to_le_bytes());
    packet.resize(80, 0);
    packet.extend(path);
    packet
}

/// Sends packets where the answer is expected, and ends without one of its own, or with one.
#[func(sandbox = dynamic)]
fn forges(packets: Vec<Vec<u8>>, then_answers: bool) -> u8 {
    for packet in packets {
        // The caller may have hung up by then.
        let _ = raw::send(raw::launch_socket(), &packet);
    }
    if !then_answers {
        std::process::exit(0);
    }
    7
}

/// What a call comes to whose child forges.
fn forged(packets: Vec<Vec<u8>>, then_answers: bool) -> Result<u8, Error> {
    let policy = support::in_time("pure", Duration::from_secs(3), "");
    forges.sandbox(&policy).run(packets, then_answers)
}

fn what_a_child_forges_about_its_confinement_is_refused() {
    let holdings = {
        // A control: these are the forms of an answer and of a note.
        assert_eq!(forged(vec![message(&[0, 5])], false).unwrap(), 5);
        assert_eq!(forged(vec![note(2, b"/etc/passwd")], true).unwrap(), 7);
        Holdings::now()
    };
    let status = |tag| {
        let mut value = vec![tag];
        value.resize(1 + 9 * 8 + 3, 0);
        message(&value)
    };
    let mut begun = message(&[0]);
    begun[4..8].copy_from_slice(&1000u32.to_le_bytes());
    begun[24] = 1;
    for (what, packets) in [
        ("a second status", vec![status(4)]),
        ("a failure after it", vec![message(&[5, 3, 1, 0, 0, 0])]),
        ("two notes", vec![note(1, b""), note(1, b"")]),
        (
            "a note that is too short",
            vec![note(1, b"")[..79].to_vec()],
        ),
        (
            "a note with another length",
            vec![[note(1, b"ab"), vec![0]].concat()],
        ),
        ("a note with a long path", vec![note(1, &[b'a'; 257])]),
        (
            "a note of another version",
            vec![[vec![0xC3, 1], note(1, b"")[2..].to_vec()].concat()],
        ),
        ("a status that is cut off", vec![message(&[4, 0, 0])]),
        (
            "a step that there is none of",
            vec![message(&[5, 99, 0, 0, 0, 0])],
        ),
        ("two answers", vec![message(&[0, 5]), message(&[0, 5])]),
        ("an answer and a status", vec![message(&[0, 5]), status(4)]),
    ] {
        let result = within(Duration::from_secs(2), || forged(packets, false));
        assert!(
            matches!(result, Err(Error::Malformed(_) | Error::Decode(_))),
            "{what}: {result:?}"
        );
    }
    // A note ends the message that it interrupts. Who then just exits has violated nothing: the
    // kernel's word is what counts.
    let result = forged(vec![begun, note(41, b"")], false);
    assert!(
        matches!(result, Err(Error::Exited { status: 0 })),
        "{result:?}"
    );
    let result = forged(vec![note(41, b"")], false);
    assert!(
        matches!(result, Err(Error::Exited { status: 0 })),
        "{result:?}"
    );
    holdings.assert_same();
}

fn a_policy_can_be_chosen_for_each_call() {
    assert_eq!(
        SandboxPolicy::builtin("nothing")
            .unwrap_err()
            .to_string()
            .lines()
            .next(),
        Some("error[P031]: there is no policy `nothing`: looked for it at the built-in policies")
    );
    let whole = SandboxPolicy::builtin("pure").unwrap();
    let quick = whole.narrow(&[("wall_time", "200ms")]).unwrap();
    assert!(quick.narrow(&[("wall_time", "1s")]).is_err());
    assert_eq!(chosen_sleep.sandbox(&whole).run(10).unwrap(), 10);
    let result = within(Duration::from_secs(1), || {
        chosen_sleep.sandbox(&quick).run(50_000)
    });
    assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
}

#[func(sandbox = dynamic)]
fn chosen_sleep(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[func(sandbox = dynamic)]
fn chosen(attempt: Attempt, victim: String) -> Result<u64, i32> {
    make(attempt, &victim)
}

fn memory_is_never_writable_and_executable_by_that_layer_alone() {
    // No filter has a say here, and Landlock is off.
    let policy = |layer: &str| {
        let text = format!("format = 1\nextends = [\"unconfined\"]\n{layer}");
        SandboxPolicy::from_toml("layer", &text).unwrap()
    };
    let map = attempt(libc::SYS_mmap, &[0, 4096, 7, PRIVATE, NO_FD, 0]);
    let with = |layer| outcome(chosen.sandbox(&policy(layer)).run(map, String::new()));
    assert_eq!(with(""), Done);
    let layer = "[process]\ndeny_write_execute = true\n";
    assert_eq!(with(layer), Fails(libc::EACCES));
}
