//! The result of every system call under the baseline, the policy `pure`, and the reason.
//!
//! One question decides: can an honest process make this call without needing its effect, perhaps through
//! a library? A question about the process itself is answered, with the truth if that reveals nothing about
//! others. A call that is only tried on the way to something else fails with an error that its callers
//! handle. Any other call is a violation, which ends the process with a report. A call that no honest code
//! makes kills the process at once.
//!
//! A test checks that the table is complete, and compares it with the compiled filters.

use Answer::{Allowed, Emulated, Errno, Killed, Violation};

use super::Syscall;

/// A possible result of a call; its arguments decide which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It happens.
    Allowed,
    /// It fails with this error.
    Errno(&'static str),
    /// The handler of SIGSYS does something harmless in its place.
    Emulated,
    /// The process reports the call and ends.
    Violation,
    /// The kernel kills the process.
    Killed,
}

/// The results of some calls, and why.
#[derive(Debug)]
pub struct Verdict {
    /// Under `pure`.
    pub pure: &'static [Answer],
    /// Under `parser`, if something else does.
    pub parser: Option<&'static [Answer]>,
    /// The reason.
    pub why: &'static str,
    /// The calls.
    pub calls: &'static [&'static str],
}

/// The verdict on a call.
pub fn find(call: &Syscall) -> Option<&'static Verdict> {
    all()
        .iter()
        .find(|verdict| verdict.calls.contains(&call.name))
}

/// All verdicts.
pub fn all() -> &'static [Verdict] {
    VERDICTS
}

const fn row(
    pure: &'static [Answer],
    why: &'static str,
    calls: &'static [&'static str],
) -> Verdict {
    Verdict {
        pure,
        parser: None,
        why,
        calls,
    }
}

/// A verdict that differs under a policy with threads.
const fn threaded(
    pure: &'static [Answer],
    parser: &'static [Answer],
    why: &'static str,
    calls: &'static [&'static str],
) -> Verdict {
    Verdict {
        parser: Some(parser),
        ..row(pure, why, calls)
    }
}

#[rustfmt::skip] // A table.
static VERDICTS: &[Verdict] = &[
    // Being alive.
    row(&[Allowed], "ends a thread or the process", &["exit", "exit_group"]),
    row(&[Allowed], "memory of its own, bounded by `memory`", &["brk", "munmap"]),
    row(&[Allowed], "flushes shared mappings, which do not exist; libunwind uses it to find out what is mapped", &["msync"]),
    row(&[Allowed, Emulated, Violation], "private memory; executable and shared writable memory is a violation, and a shared mapping for reading is made a private one", &["mmap"]),
    row(&[Allowed, Violation], "memory of its own, never executable", &["mprotect", "mremap"]),
    row(&[Allowed, Errno("EINVAL")], "advice on its own memory; advice that is not known to be harmless fails, as on older kernels", &["madvise"]),
    row(&[Allowed], "locks of its own, per-processor data, yielding", &["rseq", "sched_yield", "set_robust_list", "set_tid_address"]),
    row(&[Allowed, Errno("ENOSYS")], "waits and wakes; priority inheritance, which has a history of kernel bugs, is answered as if the kernel lacked it", &["futex"]),
    row(&[Errno("ENOSYS")], "newer forms of `futex`", &["futex_requeue", "futex_wait", "futex_waitv", "futex_wake"]),
    row(&[Allowed, Errno("EINVAL")], "orders memory among its own threads; the global commands involve every processor", &["membarrier"]),
    row(&[Allowed], "signals that it is sent", &["restart_syscall", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn"]),
    row(&[Allowed, Violation], "handles signals, except SIGSYS, which is for reports", &["rt_sigaction"]),
    threaded(&[Errno("EPERM")], &[Allowed], "a stack for handlers, which std's threads have", &["sigaltstack"]),
    row(&[Allowed, Violation], "abort: SIGABRT to itself, and nothing else, so that death by SIGSYS is the kernel's word", &["tgkill"]),
    row(&[Errno("EPERM")], "the older form, whose thread may belong to another process", &["tkill"]),
    row(&[Allowed, Violation], "random bytes", &["getrandom"]),
    row(&[Allowed], "clocks and sleeping", &["gettimeofday", "nanosleep", "time", "times"]),
    row(&[Allowed, Errno("EINVAL")], "clocks and sleeping; clocks of other processes and of devices don't exist", &["clock_getres", "clock_gettime", "clock_nanosleep"]),
    // Descriptors that it holds.
    row(&[Allowed], "reads, writes, positions and copies of descriptors that it holds", &["close", "close_range", "dup", "dup2", "dup3", "lseek", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "read", "readv", "write", "writev"]),
    row(&[Allowed, Violation], "the same; a file that is open for appending can't be written elsewhere", &["pwritev2"]),
    row(&[Allowed], "waits for descriptors that it holds; C libraries also sleep with it", &["poll", "ppoll", "pselect6", "select"]),
    row(&[Allowed], "what a descriptor is", &["fstat", "fstatfs", "getpeername", "getsockname"]),
    row(&[Allowed, Violation], "what a socket is, but not who is at its other end", &["getsockopt"]),
    row(&[Allowed], "ends one direction of a socket", &["shutdown"]),
    row(&[Allowed, Violation], "sends and receives on the channel; other addresses and out-of-band data are a violation", &["recvfrom", "recvmsg", "sendmsg", "sendto"]),
    row(&[Allowed, Emulated, Errno("EINVAL"), Violation], "flags of its own descriptors; of the flags that it shares with a lender, at most O_NONBLOCK can be changed; owners for signals and locks are a violation", &["fcntl"]),
    row(&[Allowed, Errno("ENOTTY"), Errno("EPERM"), Violation], "asks whether a descriptor is a terminal, which it is not; most other commands are a violation", &["ioctl"]),
    row(&[Errno("EPERM"), Violation], "the library disarms sockets before it closes them, and timeouts are their lender's; anything else about one is a violation", &["setsockopt"]),
    // Oneself.
    row(&[Allowed], "ids of its own", &["getegid", "geteuid", "getgid", "getgroups", "getpgrp", "getpid", "getppid", "getresgid", "getresuid", "gettid", "getuid"]),
    row(&[Allowed, Violation], "its own ids; with another process's id it would reveal whether that exists", &["getpgid", "getsid"]),
    row(&[Allowed], "its own use, limits, timer and place", &["getcpu", "getitimer", "getrlimit", "getrusage"]),
    row(&[Allowed], "sets the rights that new files do not get; no other call reads them", &["umask"]),
    row(&[Allowed, Errno("EPERM"), Violation], "asks for its own limits, which can't be set; the limits of others are a violation", &["prlimit64"]),
    row(&[Errno("EPERM")], "sets limits, which cannot be changed", &["setrlimit"]),
    row(&[Allowed, Errno("EPERM")], "asks how it is scheduled; an id is refused, since a thread's cannot be told from another process's", &["getpriority", "ioprio_get", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval"]),
    row(&[Allowed, Errno("ENOSYS")], "asks on which processors it may run; with a thread's id it would reveal other processes, and C libraries do without that", &["sched_getaffinity"]),
    row(&[Allowed], "the same for everybody", &["sched_get_priority_max", "sched_get_priority_min"]),
    row(&[Errno("EPERM")], "changes how it is scheduled; libraries try it and do without", &["ioprio_set", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "setpriority"]),
    row(&[Allowed, Errno("EINVAL"), Violation], "asks for its name and its flags; most settings are a violation", &["prctl"]),
    row(&[Allowed, Killed], "asks which personality it has; a change would make memory executable or its layout predictable", &["personality"]),
    row(&[Errno("EPERM")], "asks about a process that a filter can't see, or that may be another", &["capget", "get_robust_list"]),
    row(&[Errno("ENOSYS")], "of i386 only; the kernel says the same", &["get_thread_area"]),
    row(&[Errno("ENOSYS")], "asks for labels and security modules; libraries then assume that there are none", &["lsm_get_self_attr", "lsm_list_modules"]),
    row(&[Errno("ENOSYS")], "asks on which node memory is; libnuma then assumes that there is one node", &["get_mempolicy", "move_pages"]),
    row(&[Errno("EPERM")], "decides on which node memory is, which is left to the kernel", &["mbind", "set_mempolicy"]),
    row(&[Errno("EPERM")], "keeps memory from being swapped; libraries try it and do without", &["mlock", "mlock2", "mlockall", "munlock", "munlockall"]),
    row(&[Errno("ENOSYS")], "tells which parts of a file others have read lately, or gives a hint about that", &["cachestat", "fadvise64", "mincore", "readahead"]),
    row(&[Errno("ENOSYS")], "protection of memory that older kernels lack", &["map_shadow_stack", "mseal", "pkey_alloc"]),
    row(&[Errno("EINVAL"), Violation], "questions about registers and the matrix unit; settings are a violation", &["arch_prctl"]),
    // The machine.
    row(&[Emulated], "answered with what the process may have of the machine, not with the machine's memory, load and name", &["sysinfo", "uname"]),
    row(&[Violation], "the kernel's log and file systems, which tell of the machine", &["lookup_dcookie", "sysfs", "syslog", "ustat"]),
    // Paths.
    row(&[Errno("EACCES")], "looks for optional files: locales, time zones, users, symbols; they are out of reach, and honest code does without", &["access", "chdir", "creat", "faccessat", "faccessat2", "getcwd", "lstat", "open", "openat", "readlink", "readlinkat", "stat", "statfs"]),
    row(&[Errno("EACCES"), Emulated], "the same; with an empty path it is `fstat`, and is answered as such", &["newfstatat"]),
    row(&[Errno("ENOSYS")], "newer forms whose arguments are in memory; libraries fall back to forms whose arguments a filter can see", &["clone3", "openat2", "statx"]),
    row(&[Errno("ENOSYS"), Violation], "the newest `chmod`, for which C libraries have an older one; set-user-ID is a violation", &["fchmodat2"]),
    row(&[Violation], "changes what lies in folders", &["link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat", "truncate", "unlink", "unlinkat"]),
    row(&[Violation], "changes modes, owners and times", &["chmod", "chown", "fchmod", "fchmodat", "fchown", "fchownat", "futimesat", "lchown", "utime", "utimensat", "utimes"]),
    row(&[Violation], "attributes of files", &["fgetxattr", "file_getattr", "file_setattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr", "setxattrat"]),
    row(&[Violation], "lists, enters and watches folders", &["fanotify_init", "fanotify_mark", "fchdir", "getdents", "getdents64", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch"]),
    row(&[Emulated], "makes a file longer, as a write could; truncating is EPERM, since a lent file cannot be told from its own", &["ftruncate"]),
    row(&[Violation], "reserves, locks and flushes files; flushing waits for others' writes", &["fallocate", "fdatasync", "flock", "fsync", "sync", "sync_file_range", "syncfs"]),
    // More descriptors.
    row(&[Errno("ENOSYS")], "copies inside the kernel, for which std has read and write", &["copy_file_range", "sendfile", "splice", "tee"]),
    row(&[Errno("ENOSYS")], "a file in memory, which no limit on memory counts", &["memfd_create"]),
    row(&[Violation], "memory that is hidden from others, and that no limit counts", &["memfd_secret"]),
    row(&[Errno("EPERM")], "pipes and pairs, which `popen` makes before it starts anything", &["pipe", "pipe2", "socketpair"]),
    row(&[Violation], "event loops, which no library makes on its own account", &["epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "timerfd_create", "timerfd_gettime", "timerfd_settime"]),
    row(&[Violation], "waits for signals", &["pause", "rt_sigsuspend", "rt_sigtimedwait", "signalfd", "signalfd4"]),
    row(&[Violation], "timers that send signals or start threads", &["alarm", "setitimer", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime"]),
    row(&[Violation], "reads and writes in the background, by the oldest interface", &["io_cancel", "io_destroy", "io_getevents", "io_setup", "io_submit"]),
    row(&[Errno("ENOSYS")], "no filter sees the calls that it starts; libraries fall back to the usual calls", &["io_uring_setup"]),
    row(&[Killed], "needs what `io_uring_setup` would have given", &["io_uring_enter", "io_uring_register"]),
    // Others.
    row(&[Errno("EACCES"), Violation], "the name service, the log and addresses of the machine are out of reach; any other socket is an attempt to talk to somebody", &["socket"]),
    row(&[Violation], "talks to others", &["accept", "accept4", "bind", "connect", "listen", "recvmmsg", "sendmmsg"]),
    row(&[Violation], "objects by which processes that share nothing else find each other", &["mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat", "shmctl", "shmdt", "shmget"]),
    threaded(&[Errno("EAGAIN")], &[Allowed, Errno("EAGAIN")], "starts a thread with exactly the flags that C libraries use; std, `system` and `popen` handle the error", &["clone"]),
    row(&[Errno("EAGAIN")], "starts another process", &["fork", "vfork"]),
    row(&[Errno("ECHILD")], "it has no children: the kernel says the same", &["wait4", "waitid"]),
    row(&[Errno("ENOSYS")], "opens a descriptor of another process", &["pidfd_open"]),
    row(&[Violation], "signals others", &["kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"]),
    row(&[Errno("EPERM")], "starts a session of its own", &["setsid"]),
    row(&[Violation], "another group of processes, other ids, other rights", &["capset", "lsm_set_self_attr", "setfsgid", "setfsuid", "setgid", "setgroups", "setpgid", "setregid", "setresgid", "setresuid", "setreuid", "setuid"]),
    row(&[Violation], "moves memory between nodes, including that of others", &["migrate_pages", "set_mempolicy_home_node"]),
    row(&[Violation], "rearranges or protects mappings in rarely used ways", &["pkey_free", "pkey_mprotect", "remap_file_pages"]),
    row(&[Killed], "runs another program", &["execve", "execveat"]),
    row(&[Killed], "looks into other processes, or takes hold of them", &["kcmp", "pidfd_getfd", "pidfd_send_signal", "process_madvise", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace"]),
    row(&[Killed], "confines itself further, which needs `nested`", &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"]),
    row(&[Killed], "other namespaces, other roots, what is mounted", &["chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree", "open_tree_attr", "pivot_root", "setns", "umount2", "unshare"]),
    row(&[Killed], "opens files past their paths", &["name_to_handle_at", "open_by_handle_at"]),
    row(&[Killed], "loads programs into the kernel, or looks into it", &["bpf", "perf_event_open", "userfaultfd", "vmsplice"]),
    row(&[Killed], "the keys of users and of the kernel", &["add_key", "keyctl", "request_key"]),
    row(&[Killed], "the machine as a whole: its clock, quotas, swap, modules, ports, its next kernel", &["acct", "adjtimex", "clock_adjtime", "clock_settime", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load", "modify_ldt", "quotactl", "quotactl_fd", "reboot", "settimeofday", "swapoff", "swapon"]),
    row(&[Violation], "the machine's names and terminals, and what is mounted", &["listmount", "setdomainname", "sethostname", "statmount", "vhangup"]),
    row(&[Violation], "not for programs: internal to the kernel, of other systems, or removed", &["_sysctl", "afs_syscall", "epoll_ctl_old", "epoll_wait_old", "getpmsg", "nfsservctl", "putpmsg", "security", "set_thread_area", "tuxcall", "uprobe", "uretprobe", "uselib", "vserver"]),
];
