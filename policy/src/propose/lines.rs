//! Lines that may allow a call. None of them is shown before it has been tried.

use super::{Denied, entry};
use crate::compiled::Compiled;
use crate::file::{KERNEL_TREES, Target, bad_parts, is_of_each_process, known_entry, parse_entry};
use crate::landlock::FsRights;
use crate::learn::elsewhere::is_converter;
use crate::resolve::needs_reason;
use crate::syscalls::groups::{self, ALWAYS, EVERYTHING, Group, NEVER, is_dangerous};

const O_ACCMODE: u64 = 0b11;
const O_WRONLY: u64 = 0b01;
pub(super) const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;
const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SOCK_DGRAM: u64 = 2;
const SOCK_TYPE_MASK: u64 = 0xf;

/// The stand-ins for a path that isn't known, or that can't stand in a policy.
const SOME_FILE: &str = "/the/path";
const SOME_FOLDER: &str = "/the/folder";

/// Marks a reason that is still to be given.
const WHY: &str = "why = \"…\"";

/// Additions to a policy, the best first.
pub(super) fn candidates(policy: &Compiled, denied: &Denied<'_>) -> Vec<String> {
    let name = denied.call.name;
    if NEVER.contains(&name) || HOPELESS.iter().any(|(_, names)| names.contains(&name)) {
        return Vec::new();
    }
    if names_a_place(denied) {
        let line = entry::exactly(denied.call, denied.arch, &denied.args).map(allow);
        return line.into_iter().collect();
    }
    if let Some((path, rights)) = needed_at(denied) {
        return for_path(policy, denied, &path, rights);
    }
    match name {
        // Libraries that try these fall back to calls whose arguments a filter can see.
        "openat2" | "clone3" => Vec::new(),
        "execve" => {
            let path = grantable(denied.path).unwrap_or(SOME_FILE);
            vec![format!(
                "[filesystem]\nexecute = [\"{path}\"]\n[syscalls]\nallow = [{{ call = \"@exec\", {WHY} }}]"
            )]
        }
        "socket" | "connect" | "bind" | "listen" | "accept" | "accept4" => for_socket(denied),
        // A mapping that is shared can be written back to the file that was lent.
        "mmap" if denied.args[3] & MAP_TYPE != MAP_PRIVATE => of_groups(denied),
        "mmap" | "mprotect" | "pkey_mprotect" if denied.args[2] & PROT_EXEC != 0 => {
            let line = entry::exactly(denied.call, denied.arch, &denied.args).map(allow);
            let more = match is_denied_as_write_execute(denied) {
                true => "[process]\ndeny_write_execute = false\n",
                false => "",
            };
            line.map(|line| format!("{more}{line}"))
                .into_iter()
                .collect()
        }
        "mlock" | "mlock2" | "mlockall" => {
            let line = entry::exactly(denied.call, denied.arch, &denied.args).map(allow);
            line.map(|line| format!("[limits]\nlocked_memory = \"1MiB\"\n{line}"))
                .into_iter()
                .collect()
        }
        "newfstatat" | "statx" | "stat" | "lstat" | "access" | "faccessat" | "faccessat2"
        | "readlink" | "readlinkat" | "getcwd" | "statfs" => {
            vec!["[filesystem]\nmetadata = \"read\"".to_owned()]
        }
        _ => {
            let exactly = entry::exactly(denied.call, denied.arch, &denied.args).map(allow);
            of_groups(denied).into_iter().chain(exactly).collect()
        }
    }
}

/// Whether a call opens a path only to name it, which needs no right on the path.
fn names_a_place(denied: &Denied<'_>) -> bool {
    const O_PATH: u64 = 0o10000000;
    match denied.call.name {
        "open" => denied.args[1] & O_PATH != 0,
        "openat" => denied.args[2] & O_PATH != 0,
        _ => false,
    }
}

/// Calls that another layer denies whatever the filter says: why, and which.
pub(super) const HOPELESS: &[(&str, &[&str])] = &[
    (
        "the child has no capability that it needs: do it in the program",
        &[
            "capset",
            "chown",
            "chroot",
            "fchown",
            "fchownat",
            "lchown",
            "migrate_pages",
            "setdomainname",
            "setfsgid",
            "setfsuid",
            "setgid",
            "setgroups",
            "sethostname",
            "setregid",
            "setresgid",
            "setresuid",
            "setreuid",
            "setuid",
            "syslog",
            "vhangup",
        ],
    ),
    (
        "signals reach nobody outside: send them in the program",
        &[
            "pidfd_send_signal",
            "rt_sigqueueinfo",
            "rt_tgsigqueueinfo",
            "tgkill",
            "tkill",
        ],
    ),
    (
        "it can be asked of the process itself, as 0 or by its own id; a filter can't tell the id of a thread from \
         that of another process",
        &[
            "getpgid",
            "getpriority",
            "getsid",
            "ioprio_get",
            "sched_getaffinity",
            "sched_getattr",
            "sched_getparam",
            "sched_getscheduler",
            "sched_rr_get_interval",
        ],
    ),
    (
        "limits are the policy's: raise the one that is too low in `[limits]`",
        &["prlimit64", "setrlimit"],
    ),
    (
        "it can be asked, and not changed: run the program that needs it outside",
        &["personality"],
    ),
    (
        "the handler of SIGSYS reports denied calls, and stays",
        &["rt_sigaction"],
    ),
];

/// Lines that have the call fail with an error, for code that can do without it.
pub(super) fn answers(denied: &Denied<'_>) -> Vec<String> {
    let name = denied.call.name;
    let number = match crate::compiled::words::path_argument(denied.call) {
        Some(_) => "EACCES",
        None => "EPERM",
    };
    let exactly = entry::exactly(denied.call, denied.arch, &denied.args);
    let entries = exactly.into_iter().chain([name.to_owned()]);
    entries
        .map(|entry| format!("[syscalls.errno]\n{number} = [\"{entry}\"]"))
        .collect()
}

/// The path that a call leads to, and the rights that Landlock asks for there; `None` for a call that
/// Landlock doesn't look at.
pub(super) fn needed_at(denied: &Denied<'_>) -> Option<(String, FsRights)> {
    if names_a_place(denied) {
        return None;
    }
    let folder = |bit: u64| {
        let known = grantable(denied.path).filter(|path| *path != "/");
        let folder = known.and_then(|path| Some(path.rsplit_once('/')?.0));
        let folder = match folder {
            Some("") => "/",
            folder => folder.unwrap_or(SOME_FOLDER),
        };
        Some((folder.to_owned(), FsRights::from_bits(bit)?))
    };
    let file = |rights: FsRights| {
        let known = grantable(denied.path);
        Some((known.unwrap_or(SOME_FILE).to_owned(), rights))
    };
    let opened = |flags: u64| {
        let mut rights = FsRights::NONE;
        if flags & O_ACCMODE != O_WRONLY {
            rights = rights.with(FsRights::READ);
        }
        if flags & O_ACCMODE != 0 || flags & (O_CREAT | O_TRUNC) != 0 {
            rights = rights.with(FsRights::WRITE);
        }
        rights
    };
    match denied.call.name {
        "openat" => file(opened(denied.args[2])),
        "open" => file(opened(denied.args[1])),
        "creat" => file(opened(O_WRONLY | O_CREAT | O_TRUNC)),
        "truncate" => file(FsRights::WRITE),
        "mkdir" | "mkdirat" => folder(1 << 7),
        "mknod" | "mknodat" => folder(1 << 8),
        "unlink" => folder(1 << 5),
        "unlinkat" => folder(if denied.args[2] & 0x200 != 0 {
            1 << 4
        } else {
            1 << 5
        }),
        "rmdir" => folder(1 << 4),
        "symlink" | "symlinkat" => folder(1 << 12),
        "link" | "linkat" | "rename" | "renameat" | "renameat2" => folder(1 << 13),
        _ => None,
    }
}

/// The flags of a call that opens a file.
pub(super) fn flags(denied: &Denied<'_>) -> u64 {
    match denied.call.name {
        "openat" => denied.args[2],
        "open" => denied.args[1],
        "creat" => O_WRONLY | O_CREAT | O_TRUNC,
        _ => 0,
    }
}

/// The lines that let a path be used so; none if no policy may grant that.
fn for_path(policy: &Compiled, denied: &Denied<'_>, path: &str, rights: FsRights) -> Vec<String> {
    // With it, the next call is denied, which loads the code.
    if is_of_each_process(path) || is_converter(path) {
        return Vec::new();
    }
    // A file that doesn't exist yet can't be granted, but its folder can.
    let creates = flags(denied) & O_CREAT != 0;
    let path = match path.rsplit_once('/') {
        _ if !creates => path,
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    };
    let makes = creates || rights.bits() & FsRights::CREATE.bits() != 0;
    let in_kernel_tree = |path: &str| {
        let tree = path.split('/').nth(1).unwrap_or_default();
        path == "/"
            || KERNEL_TREES
                .iter()
                .any(|known| known.trim_start_matches('/') == tree)
    };
    if rights.writes() && in_kernel_tree(path) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let writes = rights.bits() & FsRights::WRITE.bits() != 0;
    // A limit of nothing denies every write.
    if writes && policy.limits.file_size == Some(0) {
        lines.push("[limits]\nfile_size = \"16MiB\"".to_owned());
    }
    lines.push("[filesystem]".to_owned());
    let reads = rights.bits() & FsRights::READ.bits() != 0;
    lines.extend(reads.then(|| format!("read = [\"{path}\"]")));
    lines.extend(writes.then(|| format!("write = [\"{path}\"]")));
    lines.extend(makes.then(|| format!("create = [\"{path}\"]")));
    vec![lines.join("\n")]
}

/// A path that can stand in a policy as it is. An attacker chose it: what a reader couldn't see is not
/// for a line that somebody copies.
pub(super) fn grantable(path: Option<&[u8]>) -> Option<&str> {
    let path = std::str::from_utf8(path?).ok()?;
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'$' | b'"' | b'\\' | b'*');
    let is_whole = path.starts_with('/') && bad_parts(path).is_none();
    (is_whole && path.bytes().all(is_plain)).then_some(path)
}

/// The key of `[network]` that a call needs, if it is one that ports are about.
pub(super) fn port_key(denied: &Denied<'_>) -> Option<&'static str> {
    match denied.call.name {
        "bind" if !is_address_of_the_internet(denied.args[2]) => None,
        "bind" | "listen" | "accept" | "accept4" => Some("tcp_bind"),
        "socket" if [AF_INET, AF_INET6].contains(&denied.args[0]) => {
            match denied.args[1] & SOCK_TYPE_MASK {
                SOCK_DGRAM => Some("udp_connect"),
                _ => Some("tcp_connect"),
            }
        }
        "connect" if denied.path.is_none() && is_address_of_the_internet(denied.args[2]) => {
            Some("tcp_connect")
        }
        _ => None,
    }
}

/// Whether an address of this length is one of the internet, as far as that can be known: the filter
/// and the report see no more of it. Unix sockets have up to 110 bytes, and the length that was not
/// said is 0.
fn is_address_of_the_internet(length: u64) -> bool {
    [0, 16, 28].contains(&length)
}

fn for_socket(denied: &Denied<'_>) -> Vec<String> {
    let path = grantable(denied.path).unwrap_or("/the/socket");
    let by_path = format!("[filesystem]\nconnect_unix = [\"{path}\"]");
    match (denied.call.name, port_key(denied)) {
        (_, Some("tcp_bind")) => {
            vec!["[network]\ntcp_bind = [8080] # or whichever port it is".to_owned()]
        }
        (_, Some("udp_connect")) => {
            vec!["[network]\nudp_connect = [53] # or whichever port it is".to_owned()]
        }
        (_, Some(key)) => vec![format!(
            "[network]\n{key} = [443] # or whichever port it is"
        )],
        ("socket", None) if denied.args[0] == AF_UNIX => vec![by_path],
        ("connect", None) => vec![by_path],
        _ => Vec::new(),
    }
}

/// Whether PR_SET_MDWE denies a call: it makes memory executable that is, or was, writable.
pub(super) fn is_denied_as_write_execute(denied: &Denied<'_>) -> bool {
    let prot = denied.args[2];
    match denied.call.name {
        "mprotect" | "pkey_mprotect" => prot & PROT_EXEC != 0,
        "mmap" => prot & PROT_EXEC != 0 && prot & PROT_WRITE != 0,
        _ => false,
    }
}

/// The groups that allow the call, or their entry for it if the rest of the group is another matter.
fn of_groups(denied: &Denied<'_>) -> Vec<String> {
    let name = denied.call.name;
    let covering = |group: &Group| {
        group.entries.iter().copied().find(|entry| {
            matches!(known_entry(entry), Some(Target::Call(known, condition))
                if known.name == name && condition.as_ref()
                    .is_none_or(|condition| condition.holds(denied.arch, &denied.args, u32::MAX)))
        })
    };
    let is_base = |group: &Group| {
        [EVERYTHING, "@nested", "@shared-memory"].contains(&group.name)
            || ALWAYS.contains(&group.name)
            || group.name.starts_with("@net")
            || group.name.starts_with("@path")
    };
    let groups = groups::all().iter().filter(|group| !is_base(group));
    let lines = groups.filter_map(|group| {
        let entry = covering(group)?;
        Some(match group.name {
            "@process" => format!("[limits]\nprocesses = 1\n{}", allow(group.name.to_owned())),
            "@threads" => format!("[limits]\nthreads = 4\n{}", allow(group.name.to_owned())),
            name if is_dangerous(name) => allow(entry.to_owned()),
            name => allow(name.to_owned()),
        })
    });
    let mut lines: Vec<_> = lines.collect();
    if let Some(shared) = groups::find("@shared-memory")
        && covering(shared).is_some()
        && name == "memfd_create"
    {
        lines.push(allow(shared.name.to_owned()));
    }
    lines
}

/// The lines that allow an entry, with room for its reason if it takes one.
fn allow(entry: String) -> String {
    let needs = parse_entry(&entry).is_ok_and(|(target, _)| needs_reason(&target).is_some());
    match needs {
        true => format!("[syscalls]\nallow = [{{ call = \"{entry}\", {WHY} }}]"),
        false => format!("[syscalls]\nallow = [\"{entry}\"]"),
    }
}
