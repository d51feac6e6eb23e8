//! The paths and ports that a call of a waiting child names, and what is at the paths.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crossmist_policy::syscalls::Syscall;
use crossmist_policy::{is_of_each_process, learn};

use crate::sys::notify::{self, Asked};

/// The longest path that is read.
const PATH_BYTES: usize = 4096;

/// The longest address of a Unix socket.
const ADDRESS_BYTES: usize = 110;

/// How much of a list of mappings is read. The process decides how long it is.
const MAPS_BYTES: u64 = 1 << 20;

/// How many links to what isn't there are followed, one after the other. The kernel follows as many.
const MOST_LINKS: usize = 40;

/// A port, and whether it is one of UDP.
pub(super) type Port = (u16, bool);

/// The paths that a call names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Paths {
    /// The path that the call is about.
    pub(super) path: Option<Vec<u8>>,
    /// The other path of a call that names two.
    pub(super) other: Option<Vec<u8>>,
    /// Whether it names another one that couldn't be read.
    pub(super) misses_other: bool,
    /// Whether the call follows a link at the end of the path.
    pub(super) follows: bool,
}

impl Paths {
    /// Reads the paths of a call.
    pub(super) fn of(memory: &File, asked: &Asked, call: &Syscall) -> Self {
        let Some(arguments) = learn::path_arguments(call) else {
            let path = match call.name {
                "connect" => socket_of(memory, asked).map(|path| settled(&path, true)),
                "mmap" if learn::maps_code(&asked.arguments) => {
                    let [.., fd, _] = asked.arguments;
                    mapped_file(asked.thread, fd as i32)
                }
                _ => None,
            };
            return Self {
                path: path.map(|path| path.into_os_string().into_encoded_bytes()),
                other: None,
                misses_other: false,
                follows: true,
            };
        };
        let follows = learn::follows_last(call, &asked.arguments);
        let read = |argument| {
            let path = path_of(memory, asked, argument, follows)?;
            Some(
                settled(&path, follows)
                    .into_os_string()
                    .into_encoded_bytes(),
            )
        };
        let other = arguments.other.map(read);
        Self {
            path: read(arguments.path),
            misses_other: matches!(other, Some(None)),
            other: other.flatten(),
            follows,
        }
    }

    /// Whether there is something at the path now. `None` if that can't be found out. A link that leads nowhere is
    /// something to a call that doesn't follow it.
    pub(super) fn is_there(&self) -> Option<bool> {
        let Some(path) = self.path.as_deref() else {
            return Some(false);
        };
        let path = Path::new(OsStr::from_bytes(path));
        let found = match self.follows {
            true => path.metadata(),
            false => path.symlink_metadata(),
        };
        match found {
            Ok(_) => Some(true),
            // A path that is too long for one call, for example, says nothing of what is there.
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => Some(false),
                _ => None,
            },
        }
    }

    /// The same to the process of a thread, which finds its own behind some links.
    pub(super) fn is_there_for(&self, thread: u32) -> Option<bool> {
        let own = self
            .path
            .as_deref()
            .and_then(|path| own_entry(path, thread));
        match own {
            Some(path) => Self {
                path: Some(path.into_os_string().into_encoded_bytes()),
                ..self.clone()
            }
            .is_there(),
            None => self.is_there(),
        }
    }

    /// Whether there is something at the other path now, as far as that can be found out.
    pub(super) fn is_other_there(&self) -> bool {
        let other = self.other.as_deref();
        other.is_some_and(|other| {
            let other = Path::new(OsStr::from_bytes(other));
            other.symlink_metadata().is_ok()
        })
    }
}

/// Returns the absolute path that a call names.
fn path_of(
    memory: &File,
    asked: &Asked,
    (argument, folder): (usize, Option<usize>),
    follows: bool,
) -> Option<PathBuf> {
    let address = *asked.arguments.get(argument)?;
    let mut bytes = vec![0; PATH_BYTES];
    let read = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(read);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    let path = Path::new(OsStr::from_bytes(&bytes));
    let named = |path: &Path| by_own_links(&by_self(path, asked.thread), asked.thread, follows);
    if path.is_absolute() {
        return Some(named(path));
    }
    let own = |link: &str| std::fs::read_link(format!("/proc/{}/{link}", asked.thread)).ok();
    let folder = folder
        .and_then(|at| asked.arguments.get(at))
        .map(|fd| *fd as i32);
    // An empty path means the descriptor itself, and no lookup.
    if bytes.is_empty() {
        return None;
    }
    let base = match folder {
        Some(fd) if fd != libc::AT_FDCWD => own(&format!("fd/{fd}"))?,
        _ => own("cwd")?,
    };
    Some(named(&base.join(path)))
}

/// Returns a path in a process's own entry of `/proc` by the name that every process has for its own: its number is
/// another one each time. A folder that was opened is called by the number.
fn by_self(path: &Path, thread: u32) -> PathBuf {
    let number = || {
        let mut parts = path.strip_prefix("/proc").ok()?.components();
        let number = parts.next()?.as_os_str().to_str()?.parse::<u32>().ok()?;
        Some((number, parts.as_path()))
    };
    match number() {
        Some((number, rest)) if is_of_process(number, thread) => in_folder("/proc/self", rest),
        _ => path.to_owned(),
    }
}

/// Whether a number of `/proc` is that of a thread, or of its process.
fn is_of_process(number: u32, thread: u32) -> bool {
    number == thread || status_of(thread, "Tgid:") == Some(u64::from(number))
}

/// Returns a number of what `/proc` says of a thread (proc_pid_status(5)).
pub(super) fn status_of(thread: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let number = status.lines().find_map(|line| line.strip_prefix(name))?;
    number.trim().parse().ok()
}

/// Returns the path of something in a folder, or of the folder if nothing is named.
fn in_folder(folder: impl AsRef<Path>, rest: &Path) -> PathBuf {
    let folder = folder.as_ref();
    match rest.as_os_str().is_empty() {
        true => folder.to_owned(),
        false => folder.join(rest),
    }
}

/// Returns the path with a link at its beginning followed that leads each process to its own: an open file, such as
/// `/proc/self/fd/3`, or a folder. A path that leads to something without a path stays as it is, and so does one that
/// is nothing but the link if the call is about the link itself, as `readlink` is.
fn by_own_links(path: &Path, thread: u32, follows: bool) -> PathBuf {
    let of_process = |rest: &Path| {
        let mut parts = rest.components();
        let link = match parts.next()?.as_os_str().to_str()? {
            link @ ("cwd" | "root" | "exe") => link.to_owned(),
            "fd" => format!(
                "fd/{}",
                parts.next()?.as_os_str().to_str()?.parse::<u32>().ok()?
            ),
            _ => return None,
        };
        if !follows && parts.as_path().as_os_str().is_empty() {
            return None;
        }
        let link = Path::new("/proc").join(thread.to_string()).join(link);
        let target = link.read_link().ok()?;
        // What a removed file, a pipe or a memory object is called leads elsewhere, or nowhere.
        let same =
            |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        let is_there = same(link.metadata().ok()?, target.symlink_metadata().ok()?);
        is_there.then(|| in_folder(target, parts.as_path()))
    };
    let mut own = ["/proc/self", "/proc/thread-self"].into_iter();
    let standard = ["stdin", "stdout", "stderr"];
    let number = |name| standard.iter().position(|known| *known == name);
    let by_device = || {
        let name = path.strip_prefix("/dev").ok()?.to_str()?;
        let number = number(name).map(|number| format!("fd/{number}"));
        of_process(Path::new(&number.unwrap_or_else(|| name.to_owned())))
    };
    let by_process = own.find_map(|own| path.strip_prefix(own).ok());
    let found = match by_process {
        Some(rest) => of_process(rest),
        None => by_device(),
    };
    found.unwrap_or_else(|| path.to_owned())
}

/// Returns the path with its links followed, except for one at its end if the call doesn't follow that.
fn settled(path: &Path, follows: bool) -> PathBuf {
    // In one spelling: `/dev//stdin` and `/dev/./stdin` are `/dev/stdin`.
    let mut path: PathBuf = path.components().collect();
    // These links would lead to the reader's own entries, so the path stays as the child wrote it.
    let is_own = path.to_str().is_some_and(is_of_each_process);
    if is_own || path.starts_with("/proc") {
        return path;
    }
    for _ in 0..MOST_LINKS {
        if follows && let Ok(settled) = path.canonicalize() {
            return by_readers_self(&settled);
        }
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return path;
        };
        path = by_readers_self(&folder).join(name);
        // What is created is what such a link leads to.
        match path.read_link() {
            Ok(target) if follows => path = folder.join(target),
            _ => return path,
        }
    }
    path
}

/// Returns a path that a link has led to by the link's own words, if it led this process to its own entry of `/proc`:
/// `/etc/mtab` leads to `/proc/self/mounts`.
fn by_readers_self(path: &Path) -> PathBuf {
    let entry = Path::new("/proc").join(std::process::id().to_string());
    let Ok(rest) = path.strip_prefix(&entry) else {
        return path.to_owned();
    };
    let thread = nix::unistd::gettid().to_string();
    match rest.strip_prefix(Path::new("task").join(thread)) {
        Ok(rest) => in_folder("/proc/thread-self", rest),
        Err(_) => in_folder("/proc/self", rest),
    }
}

/// Returns the path by which this process finds what another one finds at a path of its own entry in `/proc`.
fn own_entry(path: &[u8], thread: u32) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let entry = Path::new("/proc").join(thread.to_string());
    let mut links = [
        ("/proc/self", ""),
        ("/proc/thread-self", ""),
        ("/dev/fd", "fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ]
    .into_iter();
    links.find_map(|(link, own)| {
        let rest = path.strip_prefix(link).ok()?;
        Some(in_folder(entry.join(own), rest))
    })
}

/// Whether a process may find something else at a path than this one does.
pub(super) fn is_per_process(path: &[u8]) -> bool {
    let is_in_proc = Path::new(OsStr::from_bytes(path)).starts_with("/proc");
    is_in_proc || own_entry(path, 0).is_some()
}

/// Returns the path of the file that a call maps.
fn mapped_file(thread: u32, fd: i32) -> Option<PathBuf> {
    let link = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let path = by_own_links(&link, thread, true);
    (path != link).then_some(path)
}

/// Whether the process of a thread has a file mapped as code. `None` if that can't be found out.
pub(super) fn is_mapped_as_code(path: &[u8], thread: u32) -> Option<bool> {
    let maps = File::open(format!("/proc/{thread}/maps")).ok()?;
    lists_as_code(path, maps)
}

/// Whether a list of mappings has a file as code. `None` if the list can't be read, or is too long to be read to its
/// end.
fn lists_as_code(path: &[u8], list: impl Read) -> Option<bool> {
    let mut maps = Vec::new();
    let read = list.take(MAPS_BYTES).read_to_end(&mut maps);
    // "start-end rights offset device inode path" (proc_pid_maps(5)).
    let is_code_of = |line: &[u8]| {
        let rights = line.split(|byte| *byte == b' ').nth(1);
        rights.is_some_and(|rights| rights.contains(&b'x'))
            && line
                .strip_suffix(path)
                .is_some_and(|start| start.ends_with(b" "))
    };
    if maps.split(|byte| *byte == b'\n').any(is_code_of) {
        return Some(true);
    }
    let is_whole = u64::try_from(read.ok()?).ok()? < MAPS_BYTES;
    is_whole.then_some(false)
}

/// Returns the absolute path of the Unix socket that a call names, if the socket has one.
fn socket_of(memory: &File, asked: &Asked) -> Option<PathBuf> {
    let [_, address, length, ..] = asked.arguments;
    let mut bytes = [0; ADDRESS_BYTES];
    let length = usize::try_from(length).ok()?.min(ADDRESS_BYTES);
    let bytes = bytes.get_mut(..length)?;
    memory.read_exact_at(bytes, address).ok()?;
    let (family, path) = bytes.split_at_checked(2)?;
    if family != u16::try_from(libc::AF_UNIX).ok()?.to_ne_bytes() {
        return None;
    }
    // One that begins with NUL is a name and no path.
    let path = path.split(|byte| *byte == 0).next()?;
    let path = (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))?;
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let folder = std::fs::read_link(format!("/proc/{}/cwd", asked.thread)).ok()?;
    Some(folder.join(path))
}

/// Returns the port of the address that a call names, if a policy decides about it.
pub(super) fn port_of(memory: &File, asked: &Asked, call: &str) -> Option<Port> {
    let [socket, address, _, _, to, _] = asked.arguments;
    let address = match call {
        "sendto" => to,
        // A message begins with the address of its destination.
        "sendmsg" => {
            let mut name = [0; 8];
            memory.read_exact_at(&mut name, address).ok()?;
            u64::from_ne_bytes(name)
        }
        _ => address,
    };
    // A connected socket sends without one.
    if address == 0 {
        return None;
    }
    let mut head = [0; 4];
    memory.read_exact_at(&mut head, address).ok()?;
    let [f0, f1, p0, p1] = head;
    let family = i32::from(u16::from_ne_bytes([f0, f1]));
    if ![libc::AF_INET, libc::AF_INET6].contains(&family) {
        return None;
    }
    let port = u16::from_be_bytes([p0, p1]);
    let is_udp = notify::sends_datagrams(asked, socket as i32).unwrap_or(false);
    let decides = match (call, is_udp) {
        // The kernel chooses one.
        ("bind", true) => port != 0,
        ("connect" | "bind", _) => true,
        // A stream is connected already.
        (_, is_udp) => is_udp,
    };
    decides.then_some((port, is_udp))
}

#[cfg(test)]
mod tests;
