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

fn style(call: &str, argument: &str) -> Option<Style> {
    use Style::{Choice, Flags};
    Some(match (call, argument) {
        (_, "prot") => Flags(&["PROT_"], "PROT_NONE"),
        ("mmap", "flags") => Flags(&["MAP_"], "0"),
        ("mremap", "flags") => Flags(&["MREMAP_"], "0"),
        ("open" | "openat", "flags") => Flags(&["O_"], "O_RDONLY"),
        ("memfd_create", "flags") => Flags(&["MFD_"], "0"),
        ("clone" | "unshare", _) if argument.contains("flags") => Flags(&["CLONE_"], "0"),
        ("setns", "flags" | "nstype") => Flags(&["CLONE_"], "0"),
        ("getrandom", "flags") => Flags(&["GRND_"], "0"),
        ("sendto" | "sendmsg" | "sendmmsg" | "recvfrom" | "recvmsg" | "recvmmsg", "flags") => {
            Flags(&["MSG_"], "0")
        }
        ("unlinkat", "flags" | "flag") => Flags(&["AT_REMOVEDIR"], "0"),
        ("faccessat2", "flags") => Flags(&["AT_E", "AT_SYMLINK"], "0"),
        (_, "flags" | "flag") if call.ends_with("at") || call.ends_with("at2") => {
            Flags(&["AT_EMPTY", "AT_SYMLINK"], "0")
        }
        (_, "dfd" | "dirfd" | "olddfd" | "newdfd") => Choice(&["AT_FDCWD"]),
        ("socket" | "socketpair", "domain" | "family") => Choice(&["AF_"]),
        ("socket" | "socketpair", "type") => Flags(&["SOCK_"], "0"),
        ("setsockopt" | "getsockopt", "level") => Choice(&["SOL_", "IPPROTO_"]),
        ("setsockopt" | "getsockopt", "optname") => Choice(&["SO_"]),
        ("fcntl", "cmd") => Choice(&["F_"]),
        ("ioctl", "request" | "cmd") => Choice(&["TC", "TIOC", "FIO"]),
        ("prctl", "option") => Choice(&["PR_"]),
        ("madvise", "advice" | "behavior") => Choice(&["MADV_"]),
        (_, "clockid" | "which_clock") => Choice(&["CLOCK_"]),
        (_, "resource") => Choice(&["RLIMIT_"]),
        (_, "sig") => Choice(&["SIG"]),
        ("getrusage", "who") => Choice(&["RUSAGE_"]),
        _ => return None,
    })
}

/// An argument in words. `path` is what a pointer to a path leads to, by the word of whoever called.
pub(crate) fn argument(
    call: &Syscall,
    arch: Arch,
    (name, width): (&str, Width),
    value: u64,
    path: Option<&[u8]>,
) -> String {
    let value = value & width.mask();
    match (style(call.name, name), width) {
        (_, Width::Pointer) if names_path(name) && path.is_some() => {
            quoted(path.unwrap_or_default())
        }
        (_, Width::Pointer) if value == 0 => "NULL".to_owned(),
        (_, Width::Pointer) => format!("{value:#x}"),
        (Some(Style::Choice(beginnings)), _) => {
            choice(arch, beginnings, value, width).unwrap_or_else(|| plain(value, width))
        }
        (Some(Style::Flags(beginnings, none)), _) => flags(arch, beginnings, none, value),
        (None, _) if name == "fd" => (value as i32).to_string(),
        (None, _) if name == "addr" && value == 0 => "NULL".to_owned(),
        (None, _) => plain(value, width),
    }
}

/// Whether a pointer of this name leads to the path that a call is about.
pub(crate) fn names_path(name: &str) -> bool {
    matches!(name, "path" | "pathname" | "filename" | "oldname" | "name")
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

fn choice(arch: Arch, beginnings: &[&'static str], value: u64, width: Width) -> Option<String> {
    let found = known(arch, beginnings).find(|(_, known)| known & width.mask() == value);
    found.map(|(name, _)| name.to_owned())
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
pub(super) fn quoted(path: &[u8]) -> String {
    format!("\"{}\"", path.escape_ascii())
}
