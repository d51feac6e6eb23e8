//! The arguments of a call as one would write them: flags and choices by the kernel's names.

use crate::Arch;
use crate::syscalls::{Syscall, Width, constants};

/// How an argument is written.
enum Style {
    /// One of the constants with one of these beginnings.
    Choice(&'static [&'static str]),
    /// Any number of them together, with what zero is called.
    Flags(&'static [&'static str], &'static str),
}

fn style(call: &Syscall, at: usize, args: &[u64; 6]) -> Option<Style> {
    use Style::{Choice, Flags};
    let argument = call.args[at].0;
    Some(match (call.name, argument) {
        (_, "prot") => Flags(&["PROT_"], "PROT_NONE"),
        ("mmap", "flags") => Flags(&["MAP_"], "0"),
        ("mremap", "flags") => Flags(&["MREMAP_"], "0"),
        ("msync", "flags") => Flags(&["MS_"], "0"),
        ("mlockall", "flags") => Flags(&["MCL_"], "0"),
        ("mlock2", "flags") => Flags(&["MLOCK_"], "0"),
        ("open" | "openat", "flags") => Flags(&["O_"], "O_RDONLY"),
        ("dup3" | "pipe2", "flags") => Flags(&["O_CLOEXEC", "O_NONBLOCK", "O_DIRECT"], "0"),
        ("memfd_create", "flags") => Flags(&["MFD_"], "0"),
        ("clone" | "unshare", _) if argument.contains("flags") => Flags(&["CLONE_"], "0"),
        ("setns", "flags" | "nstype") => Flags(&["CLONE_"], "0"),
        ("getrandom", "flags") => Flags(&["GRND_"], "0"),
        ("close_range", "flags") => Flags(&["CLOSE_RANGE_"], "0"),
        ("epoll_create1", "flags") => Flags(&["EPOLL_CLOEXEC"], "0"),
        ("epoll_ctl", "op") => Choice(&["EPOLL_CTL_"]),
        ("eventfd2", "flags") => Flags(&["EFD_"], "0"),
        ("inotify_init1", "flags") => Flags(&["IN_"], "0"),
        ("signalfd4", "flags") => Flags(&["SFD_"], "0"),
        ("timerfd_create", "flags") => Flags(&["TFD_CLOEXEC", "TFD_NONBLOCK"], "0"),
        ("timerfd_settime", "flags") => Flags(&["TFD_TIMER_"], "0"),
        ("clock_nanosleep" | "timer_settime", "flags") => Flags(&["TIMER_ABSTIME"], "0"),
        ("preadv2" | "pwritev2", "flags") => Flags(&["RWF_"], "0"),
        ("splice" | "tee" | "vmsplice", "flags") => Flags(&["SPLICE_F_"], "0"),
        ("renameat2", "flags") => Flags(&["RENAME_"], "0"),
        ("setxattr" | "lsetxattr" | "fsetxattr", "flags") => Flags(&["XATTR_"], "0"),
        ("accept4", "flags") => Flags(&["SOCK_CLOEXEC", "SOCK_NONBLOCK"], "0"),
        ("sendto" | "sendmsg" | "sendmmsg" | "recvfrom" | "recvmsg" | "recvmmsg", "flags") => {
            Flags(&["MSG_"], "0")
        }
        ("unlinkat", "flags") => Flags(&["AT_REMOVEDIR"], "0"),
        ("faccessat2", "flags") => Flags(&["AT_E", "AT_SYMLINK"], "0"),
        ("statx", "flags") => Flags(&["AT_EMPTY", "AT_NO", "AT_STATX", "AT_SYMLINK"], "0"),
        (name, "flags") if name.ends_with("at") || name.ends_with("at2") => {
            Flags(&["AT_EMPTY", "AT_SYMLINK"], "0")
        }
        (_, "dfd" | "dirfd" | "olddirfd" | "newdirfd") => Choice(&["AT_FDCWD"]),
        ("socket" | "socketpair", "domain") => Choice(&["AF_"]),
        ("socket" | "socketpair", "type") => Flags(&["SOCK_"], "0"),
        // To a Unix socket, 0 is no protocol of the internet's.
        ("socket", "protocol") if [2, 10].contains(&args[0]) && args[2] != 0 => {
            Choice(&["IPPROTO_"])
        }
        ("setsockopt" | "getsockopt", "level") => match args[1] {
            SOL_SOCKET => Choice(&["SOL_SOCKET"]),
            _ => Choice(&["IPPROTO_"]),
        },
        // The same number is another option at each level.
        ("setsockopt" | "getsockopt", "optname") => match args[1] {
            SOL_SOCKET => Choice(&["SO_"]),
            IPPROTO_IP => Choice(&["IP_"]),
            IPPROTO_TCP => Choice(&["TCP_"]),
            IPPROTO_UDP => Choice(&["UDP_"]),
            IPPROTO_IPV6 => Choice(&["IPV6_"]),
            _ => return None,
        },
        ("fcntl", "cmd") => Choice(&["F_"]),
        ("flock", "cmd") => Flags(&["LOCK_"], "0"),
        ("futex", "op") => Choice(&["FUTEX_"]),
        ("membarrier", "cmd") => Choice(&["MEMBARRIER_CMD_"]),
        ("msgctl" | "semctl" | "shmctl", "cmd") => Choice(&["IPC_"]),
        ("ioctl", "request") => Choice(&["TC", "TIOC", "FIO"]),
        ("prctl", "option") => Choice(&["PR_GET_", "PR_SET_", "PR_CAP", "PR_MCE"]),
        ("arch_prctl", "option") => Choice(&["ARCH_"]),
        ("madvise", "advice") => Choice(&["MADV_"]),
        ("fadvise64", "advice") => Choice(&["POSIX_FADV_"]),
        (_, "clockid") => Choice(&["CLOCK_"]),
        (_, "resource") => Choice(&["RLIMIT_"]),
        (_, "sig") => Choice(&["SIG"]),
        ("getrusage", "who") => Choice(&["RUSAGE_"]),
        ("getitimer" | "setitimer", "which") => Choice(&["ITIMER_"]),
        ("getpriority" | "setpriority", "which") => Choice(&["PRIO_"]),
        ("waitid", "which") => Choice(&["P_"]),
        _ => return None,
    })
}

const SOL_SOCKET: u64 = 1;
const IPPROTO_IP: u64 = 0;
const IPPROTO_TCP: u64 = 6;
const IPPROTO_UDP: u64 = 17;
const IPPROTO_IPV6: u64 = 41;

/// An argument in words. `path` is what a pointer to a path leads to, by the word of whoever called.
pub(crate) fn argument(
    call: &Syscall,
    arch: Arch,
    args: &[u64; 6],
    at: usize,
    path: Option<&[u8]>,
) -> String {
    let (name, width) = call.args[at];
    let value = args[at] & width.mask();
    match (style(call, at, args), width) {
        (_, Width::Pointer) if path.is_some() && path_argument(call) == Some(at) => {
            quoted(path.unwrap_or_default())
        }
        (_, Width::Pointer) if value == 0 => "NULL".to_owned(),
        (_, Width::Pointer) => format!("{value:#x}"),
        (Some(Style::Choice(beginnings)), _) => {
            choice(call, arch, beginnings, value, width).unwrap_or_else(|| plain(value, width))
        }
        (Some(Style::Flags(beginnings, none)), _) => flags(arch, beginnings, none, value),
        (None, _) if name == "fd" => (value as i32).to_string(),
        (None, _) if name == "addr" && value == 0 => "NULL".to_owned(),
        (None, _) => plain(value, width),
    }
}

/// Returns the argument that holds the path of a call: for a call with two paths the first one, and for a
/// symbolic link its own place.
pub(crate) fn path_argument(call: &Syscall) -> Option<usize> {
    let wanted: &[&str] = match call.name {
        "symlink" | "symlinkat" => &["newname"],
        // Of an attribute, or of the machine.
        "fgetxattr" | "fremovexattr" | "fsetxattr" | "setdomainname" | "sethostname" | "uname" => {
            return None;
        }
        _ => &["path", "oldname", "name"],
    };
    let is_path = |(name, width): &(&str, Width)| wanted.contains(name) && *width == Width::Pointer;
    call.args.iter().position(is_path)
}

fn plain(value: u64, width: Width) -> String {
    match width {
        Width::Int => (value as i32).to_string(),
        Width::Short => format!("{value:#o}"),
        _ if value >= 0x1_0000 => format!("{value:#x}"),
        _ => value.to_string(),
    }
}

/// The constants with one of these beginnings, with their values.
fn known<'b>(
    arch: Arch,
    beginnings: &'b [&'static str],
) -> impl Iterator<Item = (&'static str, u64)> + 'b {
    constants::names()
        .filter(|name| {
            beginnings
                .iter()
                .any(|beginning| name.starts_with(beginning))
        })
        .filter_map(move |name| Some((name, constants::value(name, arch)?)))
}

fn choice(
    call: &Syscall,
    arch: Arch,
    beginnings: &[&'static str],
    value: u64,
    width: Width,
) -> Option<String> {
    // The command of a futex is a number with flags beside it.
    let (number, flags) = match call.name {
        "futex" => (value & 0x7f, value & 0x180),
        _ => (value, 0),
    };
    let is_flag = |name: &str| name.ends_with("_FLAG") || name.ends_with("_MASK");
    let named = |wanted| {
        let mut all = known(arch, beginnings).filter(|(name, _)| !is_flag(name));
        all.find(|(_, known)| known & width.mask() == wanted)
    };
    if let Some((name, _)) = named(value) {
        return Some(name.to_owned());
    }
    let mut parts = vec![named(number).filter(|_| flags != 0)?.0];
    let private = (flags & 0x80 != 0).then_some("FUTEX_PRIVATE_FLAG");
    let realtime = (flags & 0x100 != 0).then_some("FUTEX_CLOCK_REALTIME");
    parts.extend(private.into_iter().chain(realtime));
    Some(parts.join("|")).filter(|_| number | flags == value)
}

fn flags(arch: Arch, beginnings: &[&'static str], none: &str, value: u64) -> String {
    let mut parts = Vec::new();
    let mut left = value;
    // The kind of a socket, the access mode of a file and the signal of a clone are numbers in the
    // low bits, not flags.
    let low = match beginnings {
        ["SOCK_"] => Some((0xf, &["SOCK_"][..])),
        ["CLONE_"] => Some((0xff, &["SIG"][..])),
        ["O_"] => Some((3, &["O_RDONLY", "O_WRONLY", "O_RDWR"][..])),
        _ => None,
    };
    if let Some((mask, beginnings)) = low {
        let number = left & mask;
        let name = known(arch, beginnings).find(|(_, known)| *known == number);
        if let (Some((name, _)), true) = (name, number != 0 || mask == 3) {
            parts.push(name.to_owned());
            left &= !mask;
        }
    }
    let mut bits: Vec<_> = known(arch, beginnings).collect();
    bits.sort_by_key(|(_, bit)| *bit);
    for (name, bit) in bits {
        if bit.is_power_of_two() && left & bit != 0 {
            parts.push(name.to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    match parts.is_empty() {
        true => none.to_owned(),
        false => parts.join("|"),
    }
}

/// A path between quotes, whatever bytes it is of.
pub(crate) fn quoted(path: &[u8]) -> String {
    format!("\"{}\"", path.escape_ascii())
}
