//! Watches children instead of confining them, to learn what their policies need.
//!
//! Only with `--cfg crossmist_learn`, and only if the environment names a folder for the records: a child
//! then asks this process about every call that not all policies allow, and this process writes it down and
//! lets it happen. The memory that it reads of the child can have changed when the call is made: that is good
//! enough for a record, and would be no protection.

mod paths;
mod places;
mod results;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crossmist_policy::Arch;
use crossmist_policy::learn::{self, Outcome};
use crossmist_policy::syscalls::{self, Syscall};

use self::paths::{Paths, Port};
use self::results::{Maker, Place, UnderWay};
use crate::sys::background;
use crate::sys::confinement;
use crate::sys::notify::{self, Answer, Asked};
use crate::sys::privileges;

/// The variable that names the folder.
const VARIABLE: &str = "CROSSMIST_LEARN";

/// Identifies a program that can do this: `cargo crossmist check --binary` searches for it.
#[used]
static MARK: &[u8] = b"crossmist:this-program-can-be-made-to-watch-instead-of-confine";

/// How many bytes of different records are taken of one child, which decides what it does.
const MOST_BYTES: usize = 16 << 20;

/// How long a call waits for the record of a child that has ended. Processes that it has started may live on.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Watches a child until no process of it is left. Returns what tells that its record is complete.
pub(crate) fn supervise(
    listener: OwnedFd,
    function: &'static str,
    policy: &str,
) -> Option<Recording> {
    let folder = folder()?;
    let policy = policy.to_owned();
    // Opened here, so that the child is known even if the program ends at once.
    let (path, opened) = new_record(folder, &NUMBERS);
    let complain = move |error: io::Error| {
        let _ = writeln!(io::stderr(), "crossmist: {}: {error}", path.display());
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            complain(error);
            return None;
        }
    };
    let (end, ended) = mpsc::channel();
    let watch = move || {
        if let Err(error) = Watch::new(function, policy, file).run(&listener) {
            complain(error);
        }
        let _ = end.send(());
    };
    // Without it, the child's calls fail with ENOSYS when the descriptor is closed.
    let _ = background::spawn("crossmist-learn", watch);
    Some(Recording(Mutex::new(ended)))
}

/// The record of a child, which another thread writes.
#[derive(Debug)]
pub(crate) struct Recording(Mutex<Receiver<()>>);

impl Recording {
    /// Waits for the last line of it, once the child has ended: the program may end next.
    pub(crate) fn complete(self) {
        let ended = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(PATIENCE);
    }
}

/// The number of the next record.
static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// Creates a file for a record. It is always a new file, whatever is in the folder: no link is
/// followed, and no pipe is waited for.
fn new_record(folder: &Path, numbers: &AtomicU32) -> (PathBuf, io::Result<File>) {
    /// How many names may be taken by earlier programs with this one's process id.
    const TRIES: u32 = 10_000;
    let mut tries = 0;
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
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
type Key = (&'static str, [u64; 6], Paths, Option<Port>);

struct Watch {
    function: &'static str,
    policy: String,
    file: File,
    seen: BTreeMap<Key, Seen>,
    under_way: UnderWay<Key>,
    /// How many bytes of records may still be added. `None` if one found no room.
    room: Option<usize>,
}

struct Seen {
    count: u64,
    /// The most threads that there were with the one that the call starts; 0 if it starts none.
    threads: u64,
    exists: bool,
    replaces: bool,
    /// Whether the process had the file at the path mapped as code already.
    was_loaded: bool,
    /// How many of the calls are under way, and what came of the others; `None` while there are none.
    open: u32,
    result: Option<Option<Outcome>>,
    /// The result that the record has.
    written: Option<Outcome>,
    at: Option<String>,
}

impl Seen {
    /// Returns the result of all of the calls, as far as it is known.
    fn result(&self) -> Option<Outcome> {
        let known = self.result.flatten();
        match self.open {
            0 => known,
            // What the others have done is not known yet.
            _ => Outcome::together(known, None),
        }
    }
}

impl Watch {
    fn new(function: &'static str, policy: String, file: File) -> Self {
        Self {
            function,
            policy,
            file,
            seen: BTreeMap::new(),
            under_way: UnderWay::default(),
            room: Some(MOST_BYTES),
        }
    }

    fn run(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let arch = Arch::host();
        (&self.file).write_all(made_on().as_bytes())?;
        while let Some(asked) = notify::receive(listener.as_fd())? {
            // A thread makes one call at a time.
            if let Some(made) = self.under_way.made_by(asked.thread) {
                self.settle(made)?;
            }
            let call = arch.and_then(|arch| syscalls::by_number(arch, asked.number));
            let mut answer = Answer::Continue;
            if let Some(call) = call {
                if learn::is_forbidden(call) {
                    answer = Answer::Errno(libc::EPERM);
                } else if learn::is_unknown(call) {
                    answer = Answer::Errno(libc::ENOSYS);
                }
                self.note(listener, &asked, call, answer)?;
            }
            notify::answer(listener.as_fd(), &asked, answer)?;
        }
        while let Some(made) = self.under_way.made_by_any() {
            self.settle(made)?;
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
        answer: Answer,
    ) -> io::Result<()> {
        let memory = File::open(format!("/proc/{}/mem", asked.thread)).ok();
        let memory = memory.as_ref();
        let paths = memory.map_or_else(Paths::default, |memory| Paths::of(memory, asked, call));
        let port = match call.name {
            "connect" | "bind" | "sendto" | "sendmsg" => {
                memory.and_then(|memory| paths::port_of(memory, asked, call.name))
            }
            _ => None,
        };
        let threads = match call.name {
            "clone" => threads_with_another(asked.thread),
            _ => 0,
        };
        let can_change = learn::can_change(call, &asked.arguments);
        let is_made = answer == Answer::Continue && can_change;
        let place = match is_made {
            true => self.place(Maker::from(asked), &paths)?,
            false => None,
        };
        let there = paths.is_there_for(asked.thread);
        let replaces = call.name.starts_with("rename") && paths.is_other_there();
        let arguments = learn::significant(call, asked.arguments);
        let key = (call.name, arguments, paths, port);
        let is_new = self.room.is_some() && !self.seen.contains_key(&key);
        // A library that may be the process's own is not called data.
        let was_loaded = key.2.path.as_deref().is_some_and(|path| {
            is_new
                && learn::opens_library(call, path)
                && paths::is_mapped_as_code(path, asked.thread).unwrap_or(true)
        });
        let at = memory.filter(|_| is_new);
        let at = at.and_then(|memory| places::line_of(memory, asked.thread));
        if !notify::still_waits(listener.as_fd(), asked) {
            // The process has gone, and what was read may belong to another one.
            return Ok(());
        }
        self.repeat(&key, threads, there)?;
        if is_new {
            let seen = Seen {
                count: 1,
                threads,
                // A call that may have succeeded counts as one that has.
                exists: there.unwrap_or(!learn::makes(call.name)),
                replaces,
                was_loaded,
                open: 0,
                result: None,
                written: None,
                at,
            };
            // Written at once, so that it is known while the child still runs.
            let line = self.line(&key, &seen);
            if self.take(line.len())? {
                (&self.file).write_all(line.as_bytes())?;
                self.seen.insert(key.clone(), seen);
            }
        }
        if is_made {
            if let Some(seen) = self.seen.get_mut(&key) {
                seen.open = seen.open.saturating_add(1);
            }
            match place {
                Some(place) => self.under_way.begin(place, there, key),
                None => self.settle((key, None))?,
            }
        }
        Ok(())
    }

    /// Takes in that a call is made again, if it is known.
    fn repeat(&mut self, key: &Key, threads: u64, there: Option<bool>) -> io::Result<()> {
        let Some(seen) = self.seen.get_mut(key) else {
            return Ok(());
        };
        seen.count = seen.count.saturating_add(1);
        seen.threads = seen.threads.max(threads);
        if seen.exists && learn::makes(key.0) && there != Some(true) {
            // Nothing was there this time. It is written now, since the program may end before the result is known.
            seen.exists = false;
            let line = self.line(key, &self.seen[key]);
            if self.take(line.len())? {
                (&self.file).write_all(line.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Takes a place for a call among those under way, if there is one left.
    fn place(&mut self, maker: Maker, paths: &Paths) -> io::Result<Option<Place>> {
        for made in self.under_way.made_if_full() {
            self.settle(made)?;
        }
        Ok(self.under_way.place(maker, paths))
    }

    /// Takes room for a record. Returns whether there is enough; if not, the record says that it isn't complete.
    fn take(&mut self, bytes: usize) -> io::Result<bool> {
        let Some(room) = self.room else {
            return Ok(false);
        };
        self.room = room.checked_sub(bytes);
        if self.room.is_none() {
            let [function, policy] = [self.function, &self.policy].map(quoted);
            let line =
                format!("{{\"function\":{function},\"policy\":{policy},\"incomplete\":true}}\n");
            (&self.file).write_all(line.as_bytes())?;
        }
        Ok(self.room.is_some())
    }

    /// Takes in what came of a call, and writes it down: the program may end before the child is known to have.
    fn settle(&mut self, (key, outcome): (Key, Option<Outcome>)) -> io::Result<()> {
        let Some(seen) = self.seen.get_mut(&key) else {
            return Ok(());
        };
        seen.open = seen.open.saturating_sub(1);
        seen.result = Some(match seen.result {
            Some(known) => Outcome::together(known, outcome),
            None => outcome,
        });
        let result = seen.result();
        // While others are under way, only a change is known.
        if result == seen.written || seen.open > 0 && result.is_none() {
            return Ok(());
        }
        seen.written = result;
        let line = self.line(&key, &self.seen[&key]);
        if self.take(line.len())? {
            (&self.file).write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// One record, as an object of JSON on a line of its own.
    fn line(&self, (call, arguments, paths, port): &Key, seen: &Seen) -> String {
        let text = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), quoted);
        let [path, other] = [&paths.path, &paths.other].map(|path| {
            let path = path.as_deref().map(String::from_utf8_lossy);
            text(path.as_deref())
        });
        let arguments = arguments.map(|argument| format!("\"{argument:#x}\""));
        let is_udp = port.is_some_and(|(_, is_udp)| is_udp);
        let port = port.map_or_else(|| "null".to_owned(), |(port, _)| port.to_string());
        format!(
            "{{\"function\":{},\"policy\":{},\"call\":{},\"arguments\":[{}],\"path\":{path},\"other\":{other},\
             \"exists\":{},\"replaces\":{},\"loaded\":{},\"result\":{},\"port\":{port},\"udp\":{is_udp},\"threads\":{},\"count\":{},\"seen_at\":{}}}\n",
            quoted(self.function),
            quoted(&self.policy),
            quoted(call),
            arguments.join(","),
            seen.exists,
            seen.replaces,
            seen.was_loaded,
            text(seen.result().map(Outcome::name)),
            seen.threads,
            seen.count,
            text(seen.at.as_deref()),
        )
    }
}

/// The line of a record that says where it was made. Whoever learns from it asks what can be enforced there.
fn made_on() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{{\"kernel\":{},\"arch\":{},\"landlock_abi\":{},\"denies_write_execute\":{}}}\n",
        quoted(release.trim_end()),
        quoted(std::env::consts::ARCH),
        confinement::landlock_abi(),
        confinement::can_deny_write_execute()
    )
}

/// Returns the number of threads of the process that a thread is of, with one more; 0 if it isn't known.
fn threads_with_another(thread: u32) -> u64 {
    let number = paths::status_of(thread, "Threads:");
    number.map_or(0, |number| number.saturating_add(1))
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// A record of one call, and what is written by what happens next.
    fn lines_of(
        call: &'static str,
        exists: bool,
        room: usize,
        happens: impl FnOnce(&mut Watch, &Key),
    ) -> Vec<String> {
        let (path, file) = new_record(&std::env::temp_dir(), &NUMBERS);
        let mut watch = Watch::new("f", "p".to_owned(), file.unwrap());
        watch.room = Some(room);
        let key: Key = (call, [0; 6], Paths::default(), None);
        let seen = Seen {
            count: 1,
            threads: 0,
            exists,
            replaces: false,
            was_loaded: false,
            open: 0,
            result: None,
            written: None,
            at: None,
        };
        watch.seen.insert(key.clone(), seen);
        happens(&mut watch, &key);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The same after it was made a number of times.
    fn lines_after(calls: u32, results: &[Option<Outcome>], room: usize) -> Vec<String> {
        lines_of("openat", false, room, |watch, key| {
            for result in results.iter().cycle().take(calls as usize) {
                watch.seen.get_mut(key).unwrap().open += 1;
                watch.settle((key.clone(), *result)).unwrap();
            }
        })
    }

    #[test]
    fn that_nothing_was_there_once_is_written_of_what_makes_something() {
        let lines = |call, there: &[Option<bool>]| {
            lines_of(call, true, MOST_BYTES, |watch, key| {
                for there in there {
                    watch.repeat(key, 0, *there).unwrap();
                }
            })
        };
        // Once, and whatever is there later.
        for nothing in [Some(false), None] {
            let made = lines("mkdir", &[Some(true), nothing, Some(true), nothing]);
            assert_eq!(made.len(), 1, "{made:?}");
            assert!(made[0].contains("\"exists\":false"), "{made:?}");
        }
        // The controls.
        assert_eq!(lines("mkdir", &[Some(true); 3]), [""; 0]);
        assert_eq!(lines("openat", &[Some(false); 3]), [""; 0]);
    }

    #[test]
    fn a_call_that_is_repeated_is_written_only_if_its_result_is_news() {
        use Outcome::{Created, Found};
        let found = lines_after(1000, &[Some(Found)], MOST_BYTES);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("\"result\":\"found\""), "{found:?}");
        // What isn't known is what the record says already.
        assert_eq!(lines_after(1000, &[None], MOST_BYTES).len(), 0);
        let changes = lines_after(1000, &[Some(Found), None, Some(Created)], MOST_BYTES);
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert!(changes[2].contains("\"result\":\"created\""), "{changes:?}");
    }

    #[test]
    fn a_result_takes_room_and_without_room_the_record_says_so() {
        let full = lines_after(1000, &[Some(Outcome::Found)], 10);
        assert_eq!(
            full,
            ["{\"function\":\"f\",\"policy\":\"p\",\"incomplete\":true}"]
        );
    }

    #[test]
    fn a_record_is_a_new_file_whatever_lies_in_the_folder() {
        let folder = std::env::temp_dir().join(format!("crossmist-records-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let target = folder.join("target");
        std::fs::write(&target, "text").unwrap();
        let numbers = AtomicU32::new(0);
        let (first, file) = new_record(&folder, &numbers);
        drop(file.unwrap());
        let name = first.file_name().and_then(OsStr::to_str).unwrap();
        let number = name.trim_end_matches(".jsonl").rsplit_once('-').unwrap().1;
        let number: u32 = number.parse().unwrap();
        let next =
            |more: u32| folder.join(format!("{}-{}.jsonl", std::process::id(), number + more));
        std::os::unix::fs::symlink(&target, next(1)).unwrap();
        std::os::unix::fs::symlink(folder.join("nothing"), next(2)).unwrap();
        let (path, file) = new_record(&folder, &numbers);
        file.unwrap().write_all(b"record").unwrap();
        assert_eq!(path, next(3));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "text");
        assert!(!folder.join("nothing").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
