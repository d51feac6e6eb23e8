//! Paths and ports that were used.

use std::collections::{BTreeMap, BTreeSet};

use super::elsewhere::{Loaded, is_converter};
use super::record::{changes, flags, is_named_library, opens};
use super::{Line, Proposal, Record, evidence, is_plain};
use crate::file::{KERNEL_TREES, is_of_each_process};
use crate::policy::Policy;
use crate::syscalls;

/// Paths that a library opens of its own accord and does without.
const NOISE: &[(&str, &str)] = &[
    (
        "/proc/sys/vm/overcommit_memory",
        "the C library asks before it gives memory back",
    ),
    (
        "/proc/self/cgroup",
        "std counts processors by it, and does without",
    ),
    (
        "/proc/self/maps",
        "a backtrace reads it; the parent makes those of a child",
    ),
    (
        "/sys/fs/cgroup",
        "std counts processors by it, and does without",
    ),
    (
        "/sys/devices/system/cpu",
        "the C library counts processors by it, and does without",
    ),
    (
        "/sys/kernel/mm",
        "allocators ask for huge pages by it, and do without",
    ),
    (
        "/etc/ld.so.cache",
        "the loader's; what the program links is loaded already",
    ),
    (
        "/etc/ld.so.preload",
        "the loader's; what the program links is loaded already",
    ),
    (
        "/usr/lib/debug",
        "a backtrace looks there; the parent makes those of a child",
    ),
];

/// Trees of shared libraries.
pub(super) const LIBRARIES: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Paths whose metadata the C library asks for to see whether they have changed.
const ASKED_ABOUT: &[&str] = &["/", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Trees that many files of are read together, and hold nothing else.
const TOGETHER: &[&str] = &[
    "/usr/share/zoneinfo",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/etc/fonts",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/lib/locale",
    "/usr/share/locale",
    "/usr/share/i18n",
    "/usr/share/mime",
    "/usr/share/dict",
];

/// Folders that are never granted for the sake of a few files in them.
const NEVER_WHOLE: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/run",
    "/var/tmp",
];

/// How many files of a folder stand for the folder.
const SIBLINGS: usize = 4;

const O_ACCMODE: u64 = 3;
const O_CREAT: u64 = 0o100;
const O_TRUNC: u64 = 0o1000;

/// Takes what is about paths and ports, and leaves the rest.
pub(super) fn take<'r>(
    policy: &Policy,
    records: &'r [Record],
    loaded: &Loaded,
    proposal: &mut Proposal,
) -> Vec<&'r Record> {
    let mut rest = Vec::new();
    let mut wanted = BTreeMap::<&'static str, BTreeMap<String, Vec<&Record>>>::new();
    let mut looked = Vec::new();
    let mut writes = false;
    let made = made(records);
    for record in records {
        match record.call.as_str() {
            "open" | "openat" if record.only_names() => rest.push(record),
            "open" | "openat" | "openat2" | "creat" => {
                let keys = keys(record);
                // A file that doesn't exist yet can't be granted, but its folder can.
                let creates = keys.contains(&"create");
                let path = record.path.as_deref().map(|path| match creates {
                    true => lasting(folder_of(path), &made),
                    false => lasting(path, &made),
                });
                if keys.iter().any(|key| *key != "read") {
                    writes = true;
                }
                for (key, path) in keys.into_iter().zip(std::iter::repeat(path)) {
                    if let Some(path) = path {
                        wanted
                            .entry(key)
                            .or_default()
                            .entry(single_slashes(path))
                            .or_default()
                            .push(record);
                    }
                }
            }
            // It gets the same answer without a grant.
            call if changes(call) && !record.may_have_changed() => rest.push(record),
            call if changes(call) => {
                let folders = record.paths().map(|path| lasting(folder_of(path), &made));
                // A file is moved, or linked, within one folder or between two.
                for folder in folders.map(single_slashes).collect::<BTreeSet<_>>() {
                    let folders = wanted.entry("create").or_default();
                    folders.entry(folder).or_default().push(record);
                }
            }
            "newfstatat" | "statx" | "stat" | "lstat" | "access" | "faccessat" | "faccessat2"
            | "readlink" | "readlinkat" | "getcwd" | "statfs" => looked.push(record),
            "connect" if let Some(path) = &record.path => {
                let paths = wanted.entry("connect_unix").or_default();
                paths.entry(path.clone()).or_default().push(record);
            }
            "connect" | "bind" | "sendto" | "sendmsg" if record.port.is_some() => {
                if let Some(port) = record.port {
                    let ports = proposal.ports.entry(record.port_use().key()).or_default();
                    ports
                        .entry(port)
                        .and_modify(|known| *known = format!("{known}, {}", evidence(&[record])))
                        .or_insert_with(|| evidence(&[record]));
                }
                // No port brings this with it.
                if record.call == "sendmsg" {
                    rest.push(record);
                }
            }
            // The grants above bring these with them.
            "getdents64" | "getdents" => {}
            _ => rest.push(record),
        }
    }
    for (key, paths) in wanted {
        grants(policy, key, &paths, loaded, proposal);
    }
    looked_at(policy, &looked, proposal);
    // A limit of nothing denies every write.
    if writes && policy.values.number("limits", "file_size") == Some(0) {
        proposal.limits.insert("file_size", "\"16MiB\"".to_owned());
    }
    rest
}

/// Whether a library looks at a path of its own accord and does without. What the loader looks at is, if the code that
/// it loaded is told of instead.
pub(super) fn is_noise(record: &Record, path: &str, loaded: &Loaded, tells_of_code: bool) -> bool {
    let asks = matches!(
        record.call.as_str(),
        "stat" | "newfstatat" | "statx" | "access" | "faccessat" | "faccessat2"
    );
    let of_libraries = LIBRARIES.iter().any(|tree| is_beneath(path, tree));
    let opens_library = opens(&record.call) && is_library(path);
    known_noise(path).is_some()
        || asks && ASKED_ABOUT.contains(&path)
        || opens_library && record.was_loaded
        || tells_of_code && (asks && of_libraries || opens_library && loaded.may_hold(path))
}

fn known_noise(path: &str) -> Option<&'static str> {
    let mut known = NOISE.iter().filter(|(tree, _)| is_beneath(path, tree));
    known.next().map(|(_, why)| *why)
}

fn is_library(path: &str) -> bool {
    is_named_library(path) && LIBRARIES.iter().any(|tree| is_beneath(path, tree))
}

/// Returns why a function needs no grant of a path, if only libraries open it.
pub(crate) fn why_needless(path: &str) -> Option<&'static str> {
    let of_library =
        || is_library(path).then_some("a shared library; what the program links is loaded already");
    known_noise(path).or_else(of_library)
}

/// Whether a path lies in the entry of a process in `/proc`, by the process's number.
fn is_numbered_process(path: &str) -> bool {
    let number = path.strip_prefix("/proc/");
    let number = number.and_then(|rest| rest.split('/').next());
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Folders in which managers of the machine, and of a user's session, have their sockets. They act for whoever connects,
/// outside of the sandbox.
const MANAGERS: &[&str] = &[
    "/run/user",
    "/run/systemd",
    "/run/dbus",
    "/run/containerd",
    "/run/podman",
];

/// Whether such a manager listens on a socket.
fn is_managers(path: &str) -> bool {
    let path = path.strip_prefix("/var").unwrap_or(path);
    MANAGERS.iter().any(|tree| is_beneath(path, tree)) || path.ends_with("/docker.sock")
}

/// Whether a path is never granted as a whole. A user's home holds keys and programs, and what is called like
/// `/usr/lib/x86_64-linux-gnu` holds the libraries of one architecture.
fn is_too_much(path: &str) -> bool {
    let home = path.strip_prefix("/home/");
    let is_of_arch = LIBRARIES.contains(&folder_of(path)) && path.contains("-linux-");
    NEVER_WHOLE.contains(&path) || home.is_some_and(|name| !name.contains('/')) || is_of_arch
}

/// The folder that a path is in.
fn folder_of(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

/// Returns the paths that were created. They may not be there when the policy is used.
pub(super) fn made(records: &[Record]) -> BTreeSet<&str> {
    let created = |record: &&Record| match record.result {
        Some(_) => record.has_created(),
        None => record.call.starts_with("mkdir") && !record.exists,
    };
    let created = records.iter().filter(created);
    let created = created.filter_map(|record| record.path.as_deref());
    let is_moved = |record: &&Record| {
        record.call.starts_with("rename") && record.has_changed() != Some(false) && !record.replaces
    };
    let moved = records.iter().filter(is_moved);
    let moved = moved.filter_map(|record| record.other.as_deref());
    created.chain(moved).collect()
}

/// Returns the innermost part of a path that was there before.
fn lasting<'p>(mut path: &'p str, made: &BTreeSet<&str>) -> &'p str {
    while path != "/" && made.contains(path) {
        path = folder_of(path);
    }
    path
}

/// A path as a policy names it: programs write `//` where they put paths together.
fn single_slashes(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

/// Under which keys a path has to stand to be opened so; none for what opens nothing.
pub(super) fn keys(record: &Record) -> Vec<&'static str> {
    // No right is asked for by O_PATH, so that no grant is about it.
    if !opens(&record.call) || record.only_names() {
        return Vec::new();
    }
    let flags = flags(&record.call, &record.arguments);
    let mut keys = Vec::new();
    if flags & O_ACCMODE != 1 {
        keys.push("read");
    }
    if flags & O_ACCMODE != 0 || flags & (O_CREAT | O_TRUNC) != 0 {
        keys.push("write");
    }
    if flags & O_CREAT != 0 && record.has_changed().unwrap_or(!record.exists) {
        keys.push("create");
    }
    keys
}

fn grants(
    policy: &Policy,
    key: &'static str,
    paths: &BTreeMap<String, Vec<&Record>>,
    loaded: &Loaded,
    proposal: &mut Proposal,
) {
    let mut kept = BTreeMap::<String, Vec<&Record>>::new();
    for (path, records) in paths {
        let path = match path.trim_end_matches('/') {
            "" => "/",
            bare => bare,
        };
        let mut leave = |why: &str| {
            let shown: String = path.escape_debug().take(200).collect();
            proposal.left_out.push(Line {
                text: format!("{key} {shown}"),
                evidence: format!("{} ({why})", evidence(records)),
                expect: None,
            });
        };
        let is_granted = policy
            .grants_of_path(path)
            .iter()
            .any(|grant| grant.what == key || grant.what == "all");
        let in_kernel_tree = KERNEL_TREES.iter().any(|tree| is_beneath(path, tree));
        // Only what is mapped as code is code. What is written may be mapped by any other process.
        let is_data = key == "read" && records.iter().any(|record| loaded.is_data(record));
        let harmless = ["/dev/null", "/dev/zero", "/dev/full"].contains(&path);
        if is_granted {
            continue;
        } else if !is_plain(path) || path.contains(['$', '*']) || !path.starts_with('/') {
            leave("not a path that a policy can name");
        } else if is_converter(path) && !is_data {
            leave("the C library's converters; see the advice on them");
        } else if let Some(why) = known_noise(path) {
            leave(why);
        } else if let Some(why) = why_needless(path).filter(|_| !is_data) {
            leave(why);
        } else if ["read", "connect_unix"].contains(&key)
            && records.iter().all(|record| !record.exists)
        {
            leave("tried, and not there");
        } else if (records.iter())
            .all(|record| !record.exists && record.has_changed() == Some(false))
        {
            leave("tried, and nothing was created");
        } else if !["read", "connect_unix"].contains(&key) && in_kernel_tree && !harmless {
            leave("DANGEROUS: writing there reaches into the kernel's own trees");
        } else if is_of_each_process(path) {
            leave("each process finds its own there, and a grant would be of the program's");
        } else if is_numbered_process(path) {
            leave("a process's own entry, whose number is another one next time");
        } else if key == "connect_unix" && is_managers(path) {
            leave(
                "DANGEROUS: a manager of the machine or of the session listens there, and acts for whoever asks",
            );
        } else if is_too_much(path) {
            leave("too much of the machine: pass what is needed, or grant a part of it");
        } else {
            kept.entry(path.to_owned()).or_default().extend(records);
        }
    }
    for (path, records) in together(kept, key) {
        let why = match records.len() {
            0 | 1 => String::new(),
            count => format!("{count} things in it, "),
        };
        proposal.paths.entry(key).or_default().push(Line {
            text: format!("\"{path}\""),
            evidence: format!("{why}{}", evidence(&records)),
            expect: ["read", "write"]
                .contains(&key)
                .then(|| format!("path = \"{path}\"\naccess = \"{key}\"\nis = \"allowed\"\n")),
        });
    }
}

/// Puts a folder in the place of many files in it, if that says no more than was meant.
fn together<'r>(
    paths: BTreeMap<String, Vec<&'r Record>>,
    key: &str,
) -> BTreeMap<String, Vec<&'r Record>> {
    // Each socket is another process.
    if key == "connect_unix" {
        return paths;
    }
    let mut result = BTreeMap::<String, Vec<&Record>>::new();
    let mut by_folder = BTreeMap::<String, BTreeSet<String>>::new();
    // A few libraries don't stand for all, whatever they are read for.
    for path in paths.keys().filter(|path| !is_library(path)) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            by_folder
                .entry(folder.to_owned())
                .or_default()
                .insert(path.clone());
        }
    }
    for (path, records) in paths {
        let known = TOGETHER.iter().find(|tree| is_beneath(&path, tree));
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let many = by_folder
            .get(folder)
            .is_some_and(|files| files.len() >= SIBLINGS);
        let named = if is_library(&path) {
            path
        } else if let Some(tree) = known.filter(|_| key == "read") {
            (*tree).to_owned()
        } else if let Some(stable) = before_chance(&path) {
            stable
        } else if many && !is_too_much(folder) && !folder.is_empty() {
            folder.to_owned()
        } else {
            path
        };
        result.entry(named).or_default().extend(records);
    }
    // A path beneath another grant is granted already.
    let wide: Vec<_> = result.keys().cloned().collect();
    let mut merged = BTreeMap::<String, Vec<&Record>>::new();
    for (path, records) in result {
        let above = wide
            .iter()
            .find(|wide| **wide != path && is_beneath(&path, wide));
        let named = above.cloned().unwrap_or(path);
        merged.entry(named).or_default().extend(records);
    }
    merged
}

/// The folder above the first part of a path that was made up by chance: a process's id, a
/// temporary name, a digest. It has to be a folder that may be granted.
fn before_chance(path: &str) -> Option<String> {
    let mut whole = String::new();
    for part in path.split('/').skip(1) {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        let hex = part.len() >= 16
            && part
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let is_temporary = part.starts_with(".tmp") || part.starts_with("tmp.") && digits > 0;
        if hex && digits > 0 || is_temporary || (!part.is_empty() && digits == part.len()) {
            let is_whole = !is_too_much(&whole) && !whole.is_empty();
            return is_whole.then_some(whole);
        }
        whole.push('/');
        whole.push_str(part);
    }
    None
}

pub(super) fn is_beneath(path: &str, tree: &str) -> bool {
    let rest = path.strip_prefix(tree.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Metadata of paths: all of it or nothing, so it is left to a person.
fn looked_at(policy: &Policy, records: &[&Record], proposal: &mut Proposal) {
    let is_allowed = |record: &&&Record| {
        syscalls::find(&record.call)
            .is_some_and(|call| policy.can_happen(call.name, |_, _| true).is_some())
    };
    let denied: Vec<&Record> = records
        .iter()
        // Without a path it is about a descriptor, which the run time serves.
        .filter(|record| record.path.is_some() && !is_allowed(record))
        .copied()
        .collect();
    let is_own = |record: &&Record| record.path.as_deref().is_some_and(is_of_each_process);
    let (own, denied): (Vec<&Record>, Vec<&Record>) = denied.into_iter().partition(is_own);
    // A policy can let it be seen only with all paths.
    let mut by_path = BTreeMap::<(&str, &str), Vec<&Record>>::new();
    for record in own {
        let path = record.path.as_deref().unwrap_or_default();
        let records = by_path.entry((path, &record.call)).or_default();
        records.push(record);
    }
    for ((path, call), records) in by_path {
        let path: String = path.escape_debug().take(200).collect();
        proposal.left_out.push(Line {
            text: format!("{call} {path}"),
            evidence: format!(
                "{} (each process finds its own there: look in the program, and pass what it finds)",
                evidence(&records)
            ),
            expect: None,
        });
    }
    if denied.is_empty() {
        return;
    }
    let paths: BTreeSet<_> = denied
        .iter()
        .filter_map(|record| record.path.as_deref())
        .filter(|path| is_plain(path))
        .take(3)
        .collect();
    let paths: Vec<_> = paths.into_iter().collect();
    proposal.left_out.push(Line {
        text: "[filesystem] metadata = \"read\"".to_owned(),
        evidence: format!(
            "{} ({}: answered EACCES, which libraries do without; it would show any path)",
            evidence(&denied),
            if paths.is_empty() {
                "paths looked at".to_owned()
            } else {
                paths.join(", ")
            },
        ),
        expect: None,
    });
}
