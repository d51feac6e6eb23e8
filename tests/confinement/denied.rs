//! System calls that no confined child makes: each is denied, with an exact outcome.

use std::fs::File;
use std::os::fd::AsRawFd;

use crossmist::{SandboxPolicy, func};

use crate::attempt::Outcome::{Denied, Done, Fails, Killed};
use crate::attempt::{
    Attempt, HERE, MEMORY, NEW, NO_FD, Outcome, PRIVATE, VICTIM, attempt, chosen, outcome, parser,
    pure, unconfined,
};
use crate::cases;
use crate::support::{Case, Directory};

pub(crate) const CASES: &[Case] = cases![
    calls_that_no_parser_makes_are_denied_exactly_so,
    other_architectures_are_killed,
    no_datagram_leaves_a_pair,
    memory_is_never_writable_and_executable_by_that_layer_alone needs WriteExecute,
];

const READ_EXECUTE: u64 = 5;

const SHARED: u64 = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;

/// Returns the attempts: a name, the call, its outcome without a sandbox, and its outcome under `parser`.
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
        // Of no process and no processor, so that it doesn't matter which counters there are.
        row("perf", SYS_perf_event_open, &[MEMORY, NO_FD, NO_FD, NO_FD, 0], Fails(EINVAL), Killed),
        row("keys", SYS_keyctl, &[0, NO_FD - 2, 0], Done, Killed),
        row("mount", SYS_mount, &[0, MEMORY, 0, 0, 0], Fails(ENOENT), Killed),
        row("personality", SYS_personality, &[ADDR_NO_RANDOMIZE as u64], Done, Killed),
        row("seccomp", SYS_seccomp, &[2, 0, MEMORY], Done, Killed),
        row("landlock", SYS_landlock_create_ruleset, &[0, 0, 1], Done, Killed),
        row("message queue", SYS_msgget, &[0, 0o1600], Done, Denied("msgget")),
        row("shared segment", SYS_shmget, &[0, 4096, 0o1600], Done, Denied("shmget")),
        // Its identity.
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

fn calls_that_no_parser_makes_are_denied_exactly_so() {
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
                assert_eq!(
                    crate::attempt::violation(old_call_confined.run()).claim,
                    None
                );
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
