//! The groups: named sets of calls, each in the narrowest form that does its work.
//!
//! A group is a promise. Its contents change only to remove or to soften, and a golden test pins it. Entries
//! are written as in a policy file, names of one architecture only included: they count where they exist.

/// A named set of calls.
#[derive(Debug)]
pub struct Group {
    /// Its name, with the `@`.
    pub name: &'static str,
    /// The purpose of the group, in one line.
    pub about: &'static str,
    /// Its entries, other groups among them.
    pub entries: &'static [&'static str],
}

/// The group of a name.
pub fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// All groups.
pub fn all() -> &'static [Group] {
    GROUPS
}

/// The groups that every policy has: staying alive, the transport, and questions about oneself.
pub(crate) const ALWAYS: &[&str] = &["@runtime", "@channel", "@self"];

/// The group that every policy has in addition, for functions that can send a descriptor by their types.
pub(crate) const SEND_DESCRIPTORS: &str = "@send-descriptors";

/// The group that a policy that creates memory objects has in addition, for the same functions. Others would
/// only seal what they were lent.
pub(crate) const SEAL_MEMORY: &str = "@seal-memory";

/// Every known call but the forbidden ones. Only for policies that confine nothing.
pub(crate) const EVERYTHING: &str = "@all";

/// How a call that isn't allowed is answered softly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soft {
    /// It fails with this error number.
    Errno(u16),
    /// The run time's SIGSYS handler does something harmless in its place.
    Emulate,
}

/// The answers for what a C library, an allocator or `std` tries of its own accord and survives.
/// Only that may be added here. An allowed call is allowed all the same. `verdicts.rs` says why each
/// call is answered as it is.
pub(crate) const SOFT: &[(&str, &[&str])] = &[
    (
        "EACCES",
        &[
            "openat",
            "open",
            "creat",
            "newfstatat",
            "stat",
            "lstat",
            "access",
            "faccessat",
            "faccessat2",
            "readlink",
            "readlinkat",
            "getcwd",
            "chdir",
            "statfs",
            // For the name service's cache, the system's log, and the addresses of the machine: the
            // kernel's own word for a kind of socket that one may not make.
            "socket(domain in {AF_UNIX, AF_NETLINK})",
        ],
    ),
    (
        "ENOSYS",
        &[
            "clone3",
            "openat2",
            "statx",
            "pidfd_open",
            // An older call does the same, and C libraries fall back to that one.
            "fchmodat2(mode lacks S_ISUID|S_ISGID)",
            // Locks that inherit priority, and what else the kernel may lack.
            "futex",
            "futex_waitv",
            "futex_wake",
            "futex_wait",
            "futex_requeue",
            "copy_file_range",
            "sendfile",
            "splice",
            "tee",
            "io_uring_setup",
            "memfd_create",
            "cachestat",
            "map_shadow_stack",
            "mseal",
            "pkey_alloc",
            "fadvise64",
            "readahead",
            "mincore",
            "get_mempolicy",
            "move_pages",
            "get_thread_area",
            "lsm_get_self_attr",
            "lsm_list_modules",
            // Of another process it would tell that it exists, and a thread's own id can't be told
            // from one: C libraries take it that there is no such thing as affinity.
            "sched_getaffinity",
        ],
    ),
    ("EAGAIN", &["clone", "fork", "vfork"]),
    ("ECHILD", &["wait4", "waitid"]),
    (
        "EPERM",
        &[
            "tkill",
            "setpriority",
            "sched_setaffinity",
            "sched_setparam",
            "sched_setscheduler",
            "sched_setattr",
            "sched_getattr",
            "sched_getparam",
            "sched_getscheduler",
            "sched_rr_get_interval",
            "getpriority",
            "ioprio_get",
            "ioprio_set",
            // The process that it asks about lies in memory.
            "capget",
            "get_robust_list",
            "mlock",
            "mlock2",
            "mlockall",
            "munlock",
            "munlockall",
            "set_mempolicy",
            "mbind",
            "socketpair",
            "pipe",
            "pipe2",
            "setsid",
            "sigaltstack",
            "ioctl(request == FIONBIO)",
            // The library disarms what it closes, and what is queued in it; if that may not be,
            // closing may wait.
            "setsockopt(level == SOL_SOCKET && optname in {SO_LINGER, SO_PEEK_OFF, SO_TIMESTAMP})",
            // Timeouts of a lent socket are its lender's, and a filter can't tell whose it is.
            "setsockopt(level == SOL_SOCKET && optname in {SO_RCVTIMEO, SO_SNDTIMEO} || level == IPPROTO_TCP && optname == TCP_USER_TIMEOUT)",
            "prlimit64(new_limit != NULL)",
            "setrlimit",
        ],
    ),
    (
        "ENOTTY",
        &["ioctl(request in {TCGETS, TCGETS2, TIOCGWINSZ, TIOCGPGRP})"],
    ),
    (
        "EINVAL",
        &[
            "madvise",
            "membarrier",
            "clock_gettime",
            "clock_getres",
            "clock_nanosleep",
            "prctl(option in {PR_SET_VMA, PR_SET_NAME})",
            "fcntl(cmd in {F_GETPIPE_SZ, F_GETOWN, F_GETSIG, F_GETLEASE})",
            "arch_prctl(option in {ARCH_GET_FS, ARCH_GET_GS, ARCH_GET_XCOMP_SUPP, ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM})",
        ],
    ),
    (
        "emulate",
        &[
            // glibc's fstat before 2.39. The path lies in memory, so the call never runs: the
            // handler does fstat when the path is empty, and answers EACCES otherwise.
            "newfstatat(flags has AT_EMPTY_PATH)",
            // The handler maps it privately, if that is allowed.
            "mmap(prot == PROT_READ && flags has MAP_SHARED && flags only MAP_SHARED|MAP_NORESERVE|MAP_POPULATE)",
            // The handler makes a file longer by writing its last byte. No file is cut short: a lent one
            // can't be told from one's own.
            "ftruncate",
            // The handler sets O_NONBLOCK by FIONBIO, if that is allowed, and no other flag: a lent
            // descriptor can't be told from one's own.
            "fcntl(cmd == F_SETFL)",
            // A machine that has what the process has: its limit on memory, and no neighbours.
            "sysinfo",
            // A kernel without a name, of the least release.
            "uname",
        ],
    ),
];

/// The calls that no policy may allow: with any of these a process steps around its confinement.
pub(crate) const NEVER: &[&str] = &[
    "acct",
    "add_key",
    "adjtimex",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
    "vmsplice",
];

/// The calls that honest code never makes: like [`NEVER`], these are answered by death at once, without
/// asking the process to report itself.
pub(crate) const KILLED: &[&str] = &[
    "chroot",
    "execve",
    "execveat",
    "kcmp",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "personality",
    "pidfd_send_signal",
    "process_madvise",
    "process_mrelease",
    "seccomp",
];

/// The calls that need a reason to be allowed, even with a condition.
pub(crate) const DANGEROUS: &[&str] = &[
    "@all",
    "@exec",
    "@file-attr",
    "@process",
    "arch_prctl",
    "chroot",
    "connect",
    "execve",
    "execveat",
    "fanotify_init",
    "fanotify_mark",
    "file_setattr",
    "fork",
    "futimesat",
    "inotify_init",
    "inotify_init1",
    "kcmp",
    "kill",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "lremovexattr",
    "lsetxattr",
    "mq_open",
    "msgget",
    "personality",
    "pidfd_open",
    "pidfd_send_signal",
    "process_madvise",
    "process_mrelease",
    "remap_file_pages",
    "removexattr",
    "removexattrat",
    "seccomp",
    "semget",
    "setitimer",
    "setxattr",
    "setxattrat",
    "shmat",
    "shmget",
    "tgkill",
    "timer_create",
    "tkill",
    "utime",
    "utimes",
    "vfork",
];

/// The calls that change modes, owners, times and other attributes of files. Landlock restricts none of them.
pub(crate) const CHANGES_ATTRIBUTES: &[&str] = &[
    "chmod",
    "chown",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "file_setattr",
    "fremovexattr",
    "fsetxattr",
    "futimesat",
    "lchown",
    "lremovexattr",
    "lsetxattr",
    "removexattr",
    "removexattrat",
    "setxattr",
    "setxattrat",
    "utime",
    "utimensat",
    "utimes",
];

/// The calls that need a reason to be allowed without a condition.
pub(crate) const DANGEROUS_UNFILTERED: &[&str] = &[
    "bind",
    // A mode can mark a program to be run as its owner.
    "chmod",
    "clone",
    "clone3",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "ioctl",
    "memfd_create",
    "mmap",
    "mprotect",
    "pkey_mprotect",
    "prctl",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "socket",
];

/// Whether a call or a group needs a reason, whatever the condition.
pub(crate) fn is_dangerous(name: &str) -> bool {
    DANGEROUS.contains(&name) || dangerous_group(name).is_some()
}

/// The dangerous group that a call is in, unless it is in a harmless one as well.
pub(crate) fn dangerous_group(name: &str) -> Option<&'static str> {
    let is_dangerous = |group: &&Group| DANGEROUS.contains(&group.name);
    let has = |group: &&Group| {
        let mut entries = group.entries.iter();
        entries.any(|entry| entry.split('(').next() == Some(name))
    };
    let mut groups = GROUPS.iter().filter(has);
    let first = groups.clone().find(is_dangerous)?;
    groups
        .all(|group| is_dangerous(&group))
        .then_some(first.name)
}

/// The key of `[filesystem]` that grants a path, and with it the calls that this takes; `None` for a call
/// that isn't about a path.
pub(crate) fn path_key(name: &str) -> Option<&'static str> {
    let has = |group: &str| {
        let entries = find(group).into_iter().flat_map(|group| group.entries);
        let mut names = entries.map(|entry| entry.split('(').next());
        names.any(|known| known == Some(name))
    };
    let keys = [
        ("@path-open", "read"),
        ("@path-write", "write"),
        ("@path-create", "create"),
    ];
    let found = keys.iter().find(|(group, _)| has(group));
    found.map(|(_, key)| *key)
}

#[rustfmt::skip]
static GROUPS: &[Group] = &[
    Group { name: "@runtime", about: "running and exiting; part of every policy", entries: &[
        "exit", "exit_group", "restart_syscall", "rt_sigreturn", "rt_sigprocmask",
        // The handler of SIGSYS stays the run time's.
        "rt_sigaction(sig != SIGSYS)",
        // A panic's message asks for the thread's id.
        "gettid", "getpid",
        // abort, and nothing else: so death by SIGSYS is the kernel's word.
        "tgkill(tgid == self.pid && sig == SIGABRT)",
        "sched_yield", "rseq", "set_robust_list", "set_tid_address",
        // Among its own threads. The others interrupt, or wait for, every processor of the machine.
        "membarrier(cmd in {MEMBARRIER_CMD_QUERY, MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ})",
        // No priority inheritance: its history is one of kernel bugs.
        "futex(op & FUTEX_CMD_MASK in {FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET})",
    ] },
    Group { name: "@channel", about: "the channel to the parent; part of every policy", entries: &[
        "read", "readv", "write", "writev", "close", "fstat", "poll", "ppoll", "shutdown",
        "recvmsg(flags only MSG_CMSG_CLOEXEC|MSG_DONTWAIT|MSG_WAITALL|MSG_TRUNC|MSG_PEEK)",
        "recvfrom(flags only MSG_DONTWAIT|MSG_WAITALL|MSG_TRUNC|MSG_PEEK && addr == NULL)",
        "sendto(flags only MSG_DONTWAIT|MSG_NOSIGNAL|MSG_EOR && addr == NULL)",
        "fcntl(cmd in {F_GETFD, F_SETFD, F_GETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS})",
        // Tells the kind of a received descriptor. Not SO_PEERPIDFD, which would hand out the parent.
        "getsockopt(level == SOL_SOCKET && optname in {SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD})",
        "getsockname", "getpeername", "fstatfs",
    ] },
    Group { name: "@self", about: "questions of the process about itself; part of every policy", entries: &[
        "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid",
        "getpgid(pid in {0, self.pid})", "getsid(pid in {0, self.pid})", "getppid", "getpgrp",
        "times", "getrusage", "getcpu", "getrlimit", "prlimit64(pid in {0, self.pid} && new_limit == NULL)",
        "getpriority(which == PRIO_PROCESS && who in {0, self.pid})",
        "ioprio_get(which == IOPRIO_WHO_PROCESS && who in {0, self.pid})",
        // Of others they would tell which there are.
        "sched_getaffinity(pid in {0, self.pid})", "sched_getattr(pid in {0, self.pid})",
        "sched_getparam(pid in {0, self.pid})", "sched_getscheduler(pid in {0, self.pid})",
        "sched_rr_get_interval(pid in {0, self.pid})",
        "sched_get_priority_max", "sched_get_priority_min", "getitimer", "rt_sigpending",
        // There is no other way to ask for it; it is the process's own, and ends with it.
        "umask",
        "prctl(option in {PR_GET_NAME, PR_GET_DUMPABLE, PR_GET_PDEATHSIG, PR_GET_KEEPCAPS, PR_GET_SECCOMP, PR_CAPBSET_READ, PR_GET_SECUREBITS, PR_GET_TIMERSLACK, PR_GET_NO_NEW_PRIVS, PR_GET_THP_DISABLE, PR_GET_SPECULATION_CTRL, PR_GET_MDWE})",
        // Asks for the current personality, and sets nothing.
        "personality(personality == 0xffffffff)",
    ] },
    Group { name: "@send-descriptors", about: "sending descriptors over a channel; part of every policy if the type of the function's answer, or of a channel that it is given, can hold one", entries: &[
        "sendmsg(flags only MSG_DONTWAIT|MSG_NOSIGNAL|MSG_EOR)",
    ] },
    Group { name: "@seal-memory", about: "sealing memory objects before they are sent; part of every policy that creates some, if the type of the function's answer, or of a channel that it is given, can hold a descriptor", entries: &[
        "fcntl(cmd == F_ADD_SEALS)",
    ] },
    Group { name: "@memory", about: "private memory, never executable, never shared", entries: &[
        "brk", "munmap", "mremap(flags only MREMAP_MAYMOVE)",
        // Nothing is shared, so nothing is flushed: libunwind asks by it what is mapped.
        "msync",
        "mmap(prot only PROT_READ|PROT_WRITE && flags has MAP_PRIVATE|MAP_ANONYMOUS && flags only MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE|MAP_POPULATE|MAP_STACK|MAP_FIXED|MAP_FIXED_NOREPLACE)",
        // glibc's vDSO getrandom state.
        "mmap(prot only PROT_READ|PROT_WRITE && flags == MAP_DROPPABLE|MAP_ANONYMOUS)",
        "mprotect(prot only PROT_READ|PROT_WRITE)",
        "madvise(advice in {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE})",
        "prctl(option == PR_SET_VMA && a1 == PR_SET_VMA_ANON_NAME)",
    ] },
    Group { name: "@random", about: "random bytes for hash keys", entries: &[
        // GRND_RANDOM waits no longer than the rest since Linux 5.6.
        "getrandom(flags only GRND_NONBLOCK|GRND_RANDOM|GRND_INSECURE)",
    ] },
    Group { name: "@clock", about: "reading clocks and sleeping, but no clocks of other processes", entries: &[
        "clock_gettime(clockid lacks CLOCK_DYNAMIC_BIT)", "clock_getres(clockid lacks CLOCK_DYNAMIC_BIT)",
        "clock_nanosleep(clockid lacks CLOCK_DYNAMIC_BIT)", "gettimeofday", "nanosleep", "time",
    ] },
    Group { name: "@io", about: "reading and writing descriptors that are already held", entries: &[
        "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
        "pwritev2(flags lacks RWF_NOAPPEND)", "lseek", "close", "close_range", "dup", "dup2", "dup3",
        "fstat", "fcntl(cmd in {F_GETFD, F_SETFD, F_GETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS})",
        "ioctl(request in {FIOCLEX, FIONCLEX, FIONREAD})",
        // Also a way to sleep, among C libraries.
        "select", "pselect6",
    ] },
    Group { name: "@baseline", about: "what every computation needs", entries: &[
        "@runtime", "@channel", "@memory", "@random", "@clock", "@io",
    ] },
    Group { name: "@threads", about: "starting threads with exactly the flags of glibc and musl", entries: &[
        "clone(flags in {0x3d0f00, 0x7d0f00})", "sigaltstack",
        "prctl(option == PR_SET_NAME)",
    ] },
    Group { name: "@poll", about: "waiting for descriptors, events and timers", entries: &[
        "poll", "ppoll", "pselect6", "select", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait",
        "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime",
        "timerfd_gettime",
    ] },
    Group { name: "@async", about: "what an asynchronous runtime needs", entries: &[
        "@poll", "pipe2(flags only O_CLOEXEC|O_NONBLOCK)", 
        // No datagrams: they are sent to anybody's name, which lies in memory.
        "socketpair(domain == AF_UNIX && type & SOCK_TYPE_MASK in {SOCK_STREAM, SOCK_SEQPACKET})",
    ] },
    Group { name: "@shared-memory", about: "the process's own memory objects, mapped shared", entries: &[
        "memfd_create(flags only MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_NOEXEC_SEAL)", "msync",
        "mmap(prot only PROT_READ|PROT_WRITE && flags == MAP_SHARED)",
    ] },
    Group { name: "@file-map", about: "mapping descriptors for reading, or as a private copy; MAP_SHARED is turned into MAP_PRIVATE", entries: &[
        // A shared mapping of what is open for writing is one mprotect away from being written.
        "mmap(prot only PROT_READ|PROT_WRITE && flags has MAP_PRIVATE && flags only MAP_PRIVATE|MAP_NORESERVE|MAP_POPULATE|MAP_FIXED|MAP_FIXED_NOREPLACE)",
    ] },
    Group { name: "@path-open", about: "opening files for reading; Landlock decides which", entries: &[
        "openat(flags only O_CLOEXEC|O_NOFOLLOW|O_DIRECTORY|O_NONBLOCK|O_NOCTTY|O_LARGEFILE|O_NOATIME)",
        "open(flags only O_CLOEXEC|O_NOFOLLOW|O_DIRECTORY|O_NONBLOCK|O_NOCTTY|O_LARGEFILE|O_NOATIME)",
    ] },
    Group { name: "@path-write", about: "opening files for writing, and creating them; Landlock decides which", entries: &[
        // Not O_PATH, which no right is needed for. The mode counts only if something is made, and O_DIRECTORY
        // is a part of O_TMPFILE.
        "openat(flags lacks O_ASYNC|O_DIRECT|O_PATH|O_CREAT|O_TMPFILE || flags lacks O_ASYNC|O_DIRECT|O_PATH && mode lacks S_ISUID|S_ISGID)",
        "open(flags lacks O_ASYNC|O_DIRECT|O_PATH|O_CREAT|O_TMPFILE || flags lacks O_ASYNC|O_DIRECT|O_PATH && mode lacks S_ISUID|S_ISGID)",
        "creat(mode lacks S_ISUID|S_ISGID)", "truncate", "ftruncate",
    ] },
    Group { name: "@path-create", about: "creating, linking, renaming and removing files; Landlock decides which", entries: &[
        // The kernel itself masks the modes of new folders.
        "mkdir", "mkdirat",
        "mknodat(mode & S_IFMT in {0, S_IFREG, S_IFIFO, S_IFSOCK} && mode lacks S_ISUID|S_ISGID)", "unlink", "unlinkat",
        "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
    ] },
    Group { name: "@path-stat", about: "reading the metadata of any path: Landlock does not restrict it", entries: &[
        "newfstatat", "statx", "stat", "lstat", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
        "getcwd", "statfs", "fstatfs",
    ] },
    Group { name: "@dir", about: "listing directories that are open", entries: &["getdents", "getdents64"] },
    Group { name: "@file-sync", about: "flushing files", entries: &["fsync", "fdatasync", "sync_file_range", "msync"] },
    Group { name: "@file-lock", about: "locking files; a lock outlives the child that took it", entries: &[
        "flock", "fcntl(cmd in {F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW})",
    ] },
    Group { name: "@file-size", about: "growing and truncating open files", entries: &["ftruncate", "fallocate"] },
    Group { name: "@file-attr", about: "changing modes and owners: Landlock does not restrict it", entries: &[
        "chmod(mode lacks S_ISUID|S_ISGID)", "fchmod(mode lacks S_ISUID|S_ISGID)",
        "fchmodat(mode lacks S_ISUID|S_ISGID)", "fchmodat2(mode lacks S_ISUID|S_ISGID)",
        "chown", "fchown", "fchownat", "lchown", "utimensat", "fsetxattr", "fgetxattr", "flistxattr", "fremovexattr",
    ] },
    Group { name: "@copy", about: "copying inside the kernel", entries: &[
        "copy_file_range", "sendfile", "splice(flags only SPLICE_F_MOVE|SPLICE_F_NONBLOCK|SPLICE_F_MORE)",
    ] },
    Group { name: "@net-tcp-client", about: "TCP connections; Landlock decides to which ports", entries: &[
        "socket(domain in {AF_INET, AF_INET6} && type & SOCK_TYPE_MASK == SOCK_STREAM && protocol in {0, IPPROTO_TCP})",
        "connect", "getsockname", "getpeername",
        // A descriptor that was lent can't be told from one's own: O_NONBLOCK of both, and nothing else.
        "ioctl(request == FIONBIO)",
        // No timeouts: those of a lent socket are its lender's.
        // No SO_LINGER: it makes whoever closes the socket wait. No TCP_FASTOPEN: it connects past Landlock.
        "setsockopt(level == IPPROTO_TCP && optname in {TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT} || level == SOL_SOCKET && optname in {SO_REUSEADDR, SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF} || level == IPPROTO_IPV6 && optname == IPV6_V6ONLY)",
        "getsockopt(level == IPPROTO_TCP && optname in {TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT} || level == SOL_SOCKET && optname in {SO_ERROR, SO_REUSEADDR, SO_KEEPALIVE, SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVBUF, SO_SNDBUF})",
        "sendto(flags lacks MSG_FASTOPEN|MSG_OOB)",
        "recvfrom(flags lacks MSG_OOB)", "recvmsg(flags lacks MSG_OOB)",
    ] },
    Group { name: "@net-tcp-server", about: "accepting TCP connections; listen without bind uses a port that the kernel chooses", entries: &[
        "@net-tcp-client", "bind", "listen", "accept", "accept4",
        "setsockopt(level == SOL_SOCKET && optname == SO_REUSEPORT)",
    ] },
    Group { name: "@net-udp", about: "UDP datagrams by `send_to` and `recv_from`; Landlock decides to and from which ports if the policy grants some", entries: &[
        "socket(domain in {AF_INET, AF_INET6} && type & SOCK_TYPE_MASK == SOCK_DGRAM && protocol in {0, IPPROTO_UDP})",
        "connect", "bind", "getsockname", "getpeername",
        "ioctl(request == FIONBIO)",
        "setsockopt(level == SOL_SOCKET && optname in {SO_REUSEADDR, SO_RCVBUF, SO_SNDBUF} || level == IPPROTO_IPV6 && optname == IPV6_V6ONLY)",
        "getsockopt(level == SOL_SOCKET && optname in {SO_ERROR, SO_REUSEADDR, SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVBUF, SO_SNDBUF})",
        "sendto(flags lacks MSG_FASTOPEN|MSG_OOB)",
        "recvfrom(flags lacks MSG_OOB)", "recvmsg(flags lacks MSG_OOB)",
    ] },
    Group { name: "@net-unix", about: "Unix sockets to other programs", entries: &[
        "socket(domain == AF_UNIX && protocol == 0)", "connect", "getsockname", "getpeername",
        "socketpair(domain == AF_UNIX)",
    ] },
    Group { name: "@identity", about: "asking for the process's own ids", entries: &[
        "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid",
        "getpgid(pid in {0, self.pid})", "getsid(pid in {0, self.pid})", "getppid", "getpgrp",
    ] },
    Group { name: "@system-info", about: "questions about the machine", entries: &["uname", "sysinfo"] },
    Group { name: "@process", about: "starting processes and waiting for them", entries: &[
        "clone(flags only 0xff|CLONE_VM|CLONE_VFORK|CLONE_CHILD_SETTID|CLONE_CHILD_CLEARTID)", "fork", "vfork",
        "wait4", "waitid", "pipe2(flags only O_CLOEXEC|O_NONBLOCK)", "kill(pid == self.pid)",
    ] },
    Group { name: "@exec", about: "running other programs by path", entries: &["execve"] },
    Group { name: "@nested", about: "confining the process further; part of a policy with `nested = true`", entries: &[
        "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
        "seccomp(flags lacks SECCOMP_FILTER_FLAG_NEW_LISTENER)", "prctl(option == PR_SET_NO_NEW_PRIVS)",
    ] },
    Group { name: EVERYTHING, about: "every known call, except those that no policy may allow", entries: &[] },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls;

    #[test]
    fn every_table_names_calls_and_groups_that_exist() {
        let names = NEVER
            .iter()
            .chain(KILLED)
            .chain(DANGEROUS)
            .chain(DANGEROUS_UNFILTERED)
            .chain(CHANGES_ATTRIBUTES);
        for name in names {
            assert!(
                syscalls::find(name).is_some() || find(name).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn no_group_contains_what_no_policy_may_allow() {
        for entry in GROUPS.iter().flat_map(|group| group.entries) {
            let name = entry.split('(').next().unwrap();
            assert!(!NEVER.contains(&name), "{name}");
        }
    }
}
