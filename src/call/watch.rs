//! Watches children instead of confining them, to learn what their policies need.
//!
//! Only with `--cfg crossmist_learn`, and only if the environment names a folder for the records: a child
//! then asks this process about every call that not all policies allow, and this process writes it down and
//! lets it happen. The memory that it reads of the child can have changed when the call is made: that is good
//! enough for a record, and would be no protection.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crossmist_policy::syscalls::{self, Syscall};
use crossmist_policy::{Arch, learn};

use crate::error;
use crate::sys::background;
use crate::sys::image;
use crate::sys::notify::{self, Answer, Asked};
use crate::sys::privileges;

/// The variable that names the folder.
const VARIABLE: &str = "CROSSMIST_LEARN";

/// Identifies a program that can do this: `cargo crossmist check --binary` searches for it.
#[used]
static MARK: &[u8] = b"crossmist:this-program-can-be-made-to-watch-instead-of-confine";

/// The longest path that is read.
const PATH_BYTES: usize = 4096;

/// How much of a stack is searched for a line of the program.
const STACK_BYTES: usize = 16 << 10;

/// Whether children are watched.
pub(crate) fn is_on() -> bool {
    folder().is_some()
}

pub(super) fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // Users who start a program with more privileges than they have must not be able to lift
        // its confinement, or to make it write files (secure_getenv(3)).
        if privileges::is_privileged() {
            return None;
        }
        let folder = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty())?;
        // Nobody must take this for a sandbox.
        let _ = writeln!(
            io::stderr(),
            "crossmist: {VARIABLE} is set: functions are WATCHED AND NOT CONFINED"
        );
        Some(PathBuf::from(folder))
    });
    std::hint::black_box(MARK);
    folder.as_deref()
}

/// Watches a child until no process of it is left.
pub(crate) fn supervise(listener: OwnedFd, function: &'static str, policy: &str) {
    let Some(folder) = folder() else { return };
    let policy = policy.to_owned();
    // Opened here, so that the child is known even if the program ends at once.
    let (path, opened) = new_record(folder);
    let complain = move |error: io::Error| {
        let _ = writeln!(io::stderr(), "crossmist: {}: {error}", path.display());
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) => return complain(error),
    };
    let watch = move || {
        if let Err(error) = Watch::new(function, policy, file).run(&listener) {
            complain(error);
        }
    };
    // Without it, the child's calls fail with ENOSYS when the descriptor is closed.
    let _ = background::spawn("crossmist-learn", watch);
}

/// Creates a file for a record. It is always a new file, whatever is in the folder: no link is
/// followed, and no pipe is waited for.
fn new_record(folder: &Path) -> (PathBuf, io::Result<File>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    /// How many names may be taken by earlier programs with this one's process id.
    const TRIES: u32 = 10_000;
    let mut tries = 0;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{}-{number}.jsonl", std::process::id()));
        let made = OpenOptions::new().create_new(true).append(true).open(&path);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {
                tries += 1;
            }
            made => return (path, made),
        }
    }
}

/// The parts of a call by which it is told from others.
type Key = (&'static str, [u64; 6], Option<Vec<u8>>, Option<Port>);

/// A port, and whether it is one of UDP.
type Port = (u16, bool);

struct Watch {
    function: &'static str,
    policy: String,
    file: File,
    seen: BTreeMap<Key, Seen>,
}

struct Seen {
    count: u64,
    exists: bool,
    at: Option<String>,
}

impl Watch {
    fn new(function: &'static str, policy: String, file: File) -> Self {
        Self {
            function,
            policy,
            file,
            seen: BTreeMap::new(),
        }
    }

    fn run(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let arch = Arch::host();
        while let Some(asked) = notify::receive(listener.as_fd())? {
            let call = arch.and_then(|arch| syscalls::by_number(arch, asked.number));
            let mut answer = Answer::Continue;
            if let Some(call) = call {
                if learn::is_forbidden(call) {
                    answer = Answer::Errno(libc::EPERM);
                } else if learn::is_unknown(call) {
                    answer = Answer::Errno(libc::ENOSYS);
                }
                self.note(listener, &asked, call)?;
            }
            notify::answer(listener.as_fd(), &asked, answer)?;
        }
        // How often each was made, which is known now.
        for (key, seen) in &self.seen {
            let line = self.line(key, seen);
            (&self.file).write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        listener: &OwnedFd,
        asked: &Asked,
        call: &'static Syscall,
    ) -> io::Result<()> {
        let memory = File::open(format!("/proc/{}/mem", asked.thread)).ok();
        let memory = memory.as_ref();
        let path = learn::path_argument(call)
            .and_then(|(path, folder)| path_of(memory?, asked, path, folder));
        let port = match call.name {
            "connect" | "bind" | "sendto" | "sendmsg" => {
                memory.and_then(|memory| port_of(memory, asked, call.name))
            }
            _ => None,
        };
        let (path, exists) = match path {
            Some(path) => settled(&path),
            None => (None, false),
        };
        if !notify::still_waits(listener.as_fd(), asked) {
            // The process has gone, and what was read may belong to another one.
            return Ok(());
        }
        let arguments = learn::significant(call, asked.arguments);
        let key = (call.name, arguments, path, port);
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.count = seen.count.saturating_add(1);
            return Ok(());
        }
        let seen = Seen {
            count: 1,
            exists,
            at: memory.and_then(|memory| line_of(memory, asked.thread)),
        };
        // Written at once, so that it is known while the child still runs.
        let line = self.line(&key, &seen);
        (&self.file).write_all(line.as_bytes())?;
        self.seen.insert(key, seen);
        Ok(())
    }

    /// One record, as an object of JSON on a line of its own.
    fn line(&self, (call, arguments, path, port): &Key, seen: &Seen) -> String {
        let text = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
        let path = path.as_deref().map(String::from_utf8_lossy);
        let arguments = arguments.map(|argument| format!("\"{argument:#x}\""));
        let is_udp = port.is_some_and(|(_, is_udp)| is_udp);
        let port = port.map_or_else(|| "null".to_owned(), |(port, _)| port.to_string());
        format!(
            "{{\"function\":{},\"policy\":{},\"call\":{},\"arguments\":[{}],\"path\":{},\"exists\":{},\
             \"port\":{port},\"udp\":{is_udp},\"count\":{},\"seen_at\":{}}}\n",
            quoted(self.function),
            quoted(&self.policy),
            quoted(call),
            arguments.join(","),
            text(path.as_deref()),
            seen.exists,
            seen.count,
            text(seen.at.as_deref()),
        )
    }
}

/// Returns a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the absolute path that a call names.
fn path_of(
    memory: &File,
    asked: &Asked,
    argument: usize,
    folder: Option<usize>,
) -> Option<PathBuf> {
    let address = *asked.arguments.get(argument)?;
    let mut bytes = vec![0; PATH_BYTES];
    let read = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(read);
    let end = bytes.iter().position(|byte| *byte == 0)?;
    bytes.truncate(end);
    let path = Path::new(OsStr::from_bytes(&bytes));
    if path.is_absolute() {
        return Some(path.to_owned());
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
    Some(base.join(path))
}

/// Returns the path with its links followed, and whether it exists.
fn settled(path: &Path) -> (Option<Vec<u8>>, bool) {
    let bytes = |path: PathBuf| Some(path.into_os_string().into_encoded_bytes());
    // Links in `/proc` would lead to the reader's own entries, so the path stays as the child wrote
    // it.
    if path.starts_with("/proc") {
        return (bytes(path.to_owned()), path.exists());
    }
    if let Ok(settled) = path.canonicalize() {
        return (bytes(settled), true);
    }
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => (bytes(folder.join(name)), false),
        _ => (bytes(path.to_owned()), false),
    }
}

/// Returns the port of the address that a call names, if a policy decides about it.
fn port_of(memory: &File, asked: &Asked, call: &str) -> Option<Port> {
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

/// Returns the innermost line of the program on a thread's stack: one that something that looks
/// like a return address belongs to. A guess, for people.
fn line_of(memory: &File, thread: u32) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{thread}/{name}")).ok();
    // "number arguments… stack-pointer program-counter", of a thread that waits in a call (proc(5)).
    let state = read("syscall")?;
    let mut words = state.split_whitespace().rev();
    let (_, stack) = (words.next()?, words.next()?);
    let stack = u64::from_str_radix(stack.strip_prefix("0x")?, 16).ok()?;
    let mut bytes = vec![0; STACK_BYTES];
    let length = memory.read_at(&mut bytes, stack).ok()?;
    bytes.truncate(length);
    let image = image::image()?;
    let own = lowest(&std::fs::read_to_string("/proc/self/maps").ok()?)?;
    let theirs = lowest(&read("maps")?)?;
    let bias = theirs.checked_sub(own.checked_sub(image.base() as u64)?)?;
    let words = bytes.as_chunks::<8>().0.iter();
    let words = words.map(|word| u64::from_ne_bytes(*word));
    let offsets = words.filter_map(|word| word.checked_sub(bias));
    let mut lines = offsets.filter_map(|offset| {
        let address = usize::try_from(offset).ok()?.checked_add(image.base())?;
        image.offset_of_return(address)?;
        error::line_of(offset)
    });
    // A line of the program itself says more than one of its dependencies.
    let is_own =
        |line: &String| !line.contains("/registry/src/") && !line.contains("/git/checkouts/");
    let first = lines.next()?;
    match is_own(&first) {
        true => Some(first),
        false => lines.find(is_own).or(Some(first)),
    }
}

/// Returns where the executable begins, from a list of mappings: it is the first of them.
fn lowest(maps: &str) -> Option<u64> {
    let first = maps.lines().find(|line| line.contains('/'))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_new_file_whatever_lies_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("crossmist-records-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let target = folder.join("target");
        std::fs::write(&target, "text").unwrap();
        let (first, file) = new_record(&folder);
        drop(file.unwrap());
        let name = first.file_name().and_then(OsStr::to_str).unwrap();
        let number = name.trim_end_matches(".jsonl").rsplit_once('-').unwrap().1;
        let number: u32 = number.parse().unwrap();
        let next =
            |more: u32| folder.join(format!("{}-{}.jsonl", std::process::id(), number + more));
        std::os::unix::fs::symlink(&target, next(1)).unwrap();
        std::os::unix::fs::symlink(folder.join("nothing"), next(2)).unwrap();
        let (path, file) = new_record(&folder);
        file.unwrap().write_all(b"record").unwrap();
        assert_eq!(path, next(3));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
        assert!(!folder.join("nothing").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
