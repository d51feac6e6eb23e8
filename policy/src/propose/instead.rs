//! Reasons against allowing a call, and better ways.

use super::Denied;
use super::lines::HOPELESS;
use crate::file::is_of_each_process;
use crate::learn::elsewhere::other_way;
use crate::learn::paths::why_needless;
use crate::syscalls::groups::{NEVER, is_dangerous};

/// Returns the danger of the lines that would allow a call.
pub(super) fn caution(name: &str, lines: &str) -> Option<&'static str> {
    let has = |part: &str| lines.contains(part);
    Some(match name {
        _ if has("PROT_EXEC") => "an attacker can run code that it writes into such memory",
        "execve" | "execveat" => "it runs other programs, with all that the policy allows",
        "fork" | "vfork" | "clone" if has("@process") => {
            "processes can multiply, and outlive the function"
        }
        "kill" => "signals reach other processes of the same user",
        "socket" | "connect" | "sendto" | "sendmsg" | "sendmmsg" => {
            "the function can send away everything that it was given"
        }
        "bind" | "listen" | "accept" | "accept4" => {
            "anybody who reaches the port can talk to the function"
        }
        "open" | "openat" | "creat" | "truncate" if has("write = ") || has("create = ") => {
            "hostile input decides what is written there"
        }
        _ if has("create = ") => "hostile input decides what is created, moved and removed there",
        _ if has("metadata = ") || has("O_PATH") => {
            "it reveals for every path whether it exists, its size and its times: Landlock doesn't restrict that"
        }
        name if changes_attributes(name) => {
            "it reaches every file that the child's user owns: Landlock doesn't restrict it"
        }
        "inotify_add_watch" | "fanotify_mark" => {
            "it reveals what happens at every path: Landlock doesn't restrict that"
        }
        "memfd_create" => "memory objects don't count towards `limits.memory`",
        "flock" => "a lock on a lent file holds for everybody who has it",
        "fcntl" | "ioctl" | "setsockopt" => "it changes a lent descriptor for everybody who has it",
        _ if is_dangerous(name) || has("why = ") => "it is one of the calls that need a reason",
        _ => return None,
    })
}

fn changes_attributes(name: &str) -> bool {
    name.contains("chmod")
        || name.contains("xattr")
        || name.starts_with("utime")
        || ["futimesat", "utimensat", "file_setattr", "file_getattr"].contains(&name)
}

/// Returns what is known of the path of a call that opens it, or reads it as a link, if a grant of the path is of no use,
/// or not enough.
pub(super) fn by_path(denied: &Denied<'_>) -> Option<&'static str> {
    let path = std::str::from_utf8(denied.path?).ok()?;
    if ["readlink", "readlinkat"].contains(&denied.call.name) {
        return is_of_each_process(path).then_some(
            "each process finds its own there: read the link in the program, and pass what it says",
        );
    }
    if !["open", "openat", "openat2"].contains(&denied.call.name) {
        return None;
    }
    let own = is_of_each_process(path).then_some(
        "each process finds its own there, and a grant would be of the program's: read it in the program, and pass it",
    );
    why_needless(path).or_else(|| other_way(path)).or(own)
}

/// Returns a better way than allowing the call.
pub(super) fn instead(denied: &Denied<'_>) -> Option<&'static str> {
    const AF_NETLINK: u64 = 16;
    const SOCK_TYPE: u64 = 0xf;
    const SOCK_STREAM: u64 = 1;
    const PROT_EXEC: u64 = 4;
    let name = denied.call.name;
    let [first, second, ..] = denied.args;
    if let Some((why, _)) = HOPELESS.iter().find(|(_, names)| names.contains(&name)) {
        return Some(why);
    }
    Some(match name {
        "ptrace" | "process_vm_readv" | "process_vm_writev" | "pidfd_getfd" => {
            "no policy may allow it: no child looks into other processes"
        }
        _ if NEVER.contains(&name) => {
            "no policy may allow it: do it in the program, and pass the result"
        }
        "open" | "openat" | "openat2" | "creat" => {
            "open the file in the program, and pass it as a `File`"
        }
        "mkdir" | "mkdirat" | "mknod" | "mknodat" | "rename" | "renameat" | "renameat2"
        | "link" | "linkat" | "symlink" | "symlinkat" | "unlink" | "unlinkat" | "rmdir"
        | "truncate" => "return what to create or remove, and do it in the program",
        "execve" | "execveat" | "fork" | "vfork" | "clone" | "clone3" => {
            "start it in the program, and pass its pipes"
        }
        "socket" if first == AF_NETLINK => "resolve the name in the program, and pass the address",
        "socket" if second & SOCK_TYPE != SOCK_STREAM => {
            "resolve names in the program, and pass the address, or a connected socket"
        }
        "socket" | "connect" | "sendto" | "sendmsg" | "sendmmsg" => {
            "connect in the program, and pass the connected socket"
        }
        "bind" | "listen" | "accept" | "accept4" => {
            "accept in the program, and pass the accepted socket"
        }
        "kill" => "a child can abort to end itself; end other processes in the program",
        "mprotect" | "pkey_mprotect" => {
            "turn off the JIT: many libraries work without it, more slowly"
        }
        "mmap" if denied.args[2] & PROT_EXEC != 0 => {
            "load libraries and plugins before the input is there, in a function that `preload` names; turn off \
             a JIT: many libraries work without it, more slowly"
        }
        "mmap" => {
            "map it with MAP_PRIVATE (`@file-map`); for memory of its own to be shared, `@shared-memory` \
             allows the flags MAP_SHARED alone"
        }
        "newfstatat" | "statx" | "stat" | "lstat" | "access" | "faccessat" | "faccessat2"
        | "readlink" | "readlinkat" | "getcwd" | "statfs" => {
            "open the file in the program and pass it: `File::metadata` works in every child"
        }
        "chdir" | "fchdir" => "use absolute paths, or `openat` on an open folder",
        name if changes_attributes(name) => {
            "change it in the program, before or after the call; a new file gets its mode when it is \
             created"
        }
        "ioctl" => {
            "look up in the kernel's headers what the command does to which device; if it is harmless, \
             allow `ioctl(request == …)` by its number"
        }
        "prctl" => "set it in the program: a child keeps what its thread has",
        _ => return None,
    })
}
