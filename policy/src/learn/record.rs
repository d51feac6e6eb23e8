//! Records of what a function was seen to do, and what they say came of it.

use super::paths::is_beneath;
use crate::Arch;
use crate::compiled::words;
use crate::file::PortUse;
use crate::syscalls::{self, Syscall, constants};

/// One thing that a function was seen to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The call's name.
    pub call: String,
    /// Its arguments; those that say nothing of what is asked for are 0 ([`significant`](super::significant)).
    pub arguments: [u64; 6],
    /// The path that it names: absolute, links followed as the call does. Of a file that is moved the old name, of a
    /// link its own, of a call that connects the path of the Unix socket, and of one that maps code the file that
    /// the code is in.
    pub path: Option<String>,
    /// The other path of a call that names two: the new name of a file that is moved, and the file that a hard link
    /// leads to.
    pub other: Option<String>,
    /// Whether there was something at `path` before.
    pub exists: bool,
    /// Whether there was something at `other` before, which a file that is moved takes the place of.
    pub replaces: bool,
    /// Whether the process had the file at `path` mapped as code already.
    pub was_loaded: bool,
    /// The result of a call that can change what is at `path`. `None` if it isn't known, or if the call changes
    /// nothing there.
    pub result: Option<Outcome>,
    /// Whether its function did more different things than are recorded.
    pub is_partial: bool,
    /// The port that it connects to, sends to or binds.
    pub port: Option<u16>,
    /// Whether that is a port of UDP, and not of TCP.
    pub is_udp: bool,
    /// How many threads the process has with the one that the call starts; 0 if it starts none.
    pub threads: u64,
    /// How often.
    pub count: u64,
    /// The place in the program at which it was first seen, such as `src/text.rs:88`.
    pub seen_at: Option<String>,
}

/// The result of a call, as far as it can be seen at its path from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// There was nothing at the path, and is nothing.
    NotThere,
    /// There was something, and still is.
    Found,
    /// Something was there before, and is no more.
    Removed,
    /// Something is there that was not there before.
    Created,
}

impl Outcome {
    /// Returns the name that records use.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotThere => "not there",
            Self::Found => "found",
            Self::Removed => "removed",
            Self::Created => "created",
        }
    }

    /// Finds an outcome by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::NotThere, Self::Found, Self::Removed, Self::Created];
        all.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Returns the outcome from whether something was at the path before the call, and is after it.
    pub fn of(before: bool, after: bool) -> Self {
        match (before, after) {
            (false, false) => Self::NotThere,
            (true, true) => Self::Found,
            (true, false) => Self::Removed,
            (false, true) => Self::Created,
        }
    }

    /// Returns what the results of several such calls say together. One that isn't known may have changed something,
    /// so that nothing is known of all of them unless another one did.
    pub fn together(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let changed = [Self::Created, Self::Removed];
        let known = changed
            .into_iter()
            .find(|outcome| [first, second].contains(&Some(*outcome)));
        known.or_else(|| Some(first?.max(second?)))
    }
}

const O_CREAT: u64 = 0o100;
const O_EXCL: u64 = 0o200;
const O_TRUNC: u64 = 0o1000;
const O_PATH: u64 = 0o10_000_000;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const RENAME_EXCHANGE: u64 = 2;

impl Record {
    /// Returns the paths that it names.
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.path.iter().chain(&self.other)
    }

    /// Whether it has created or removed something. `None` if that isn't known, or if such a call doesn't.
    pub(super) fn has_changed(&self) -> Option<bool> {
        let can = syscalls::find(&self.call).is_some_and(|call| can_change(call, &self.arguments));
        match self.result.filter(|_| can)? {
            // What such a call doesn't do, something else has done meanwhile.
            Outcome::Created => self.can_create().then_some(true),
            Outcome::Removed => (!self.can_create()).then_some(true),
            // Something is at both names before and after.
            Outcome::Found if self.exchanges() => None,
            Outcome::Found | Outcome::NotThere => Some(false),
        }
    }

    /// Whether it has created what is at its path.
    pub(super) fn has_created(&self) -> bool {
        self.result == Some(Outcome::Created) && self.can_create()
    }

    fn can_create(&self) -> bool {
        makes(&self.call) || may_create(&self.call, &self.arguments)
    }

    /// Whether it got what it asked for at its path, as far as is known: a call that may have does count.
    pub(super) fn has_succeeded(&self) -> bool {
        let flags = flags(&self.call, &self.arguments);
        match self.has_changed() {
            Some(true) => true,
            // Such a call opens what it finds, unless it insists on creating it.
            Some(false) if may_create(&self.call, &self.arguments) => {
                self.result == Some(Outcome::Found) && flags & O_EXCL == 0
            }
            Some(false) => false,
            None if changes(&self.call) => self.exists != makes(&self.call),
            None => self.exists || may_create(&self.call, &self.arguments),
        }
    }

    /// Returns the arguments, with the length of an address that stands for its family: an explanation of the call
    /// tells the families by it.
    pub(super) fn arguments_with_length(&self) -> [u64; 6] {
        let mut arguments = self.arguments;
        if ["connect", "bind"].contains(&self.call.as_str()) {
            arguments[2] = match self.port {
                Some(_) => 16,
                None => 110,
            };
        }
        arguments
    }

    /// Whether it may have created or removed something. What is to be made where something was before is not.
    pub(super) fn may_have_changed(&self) -> bool {
        self.has_changed()
            .unwrap_or(!(makes(&self.call) && self.exists))
    }

    /// Returns the error number that a call which changed nothing got, as far as that can be told. `all` is everything
    /// that was seen.
    pub(super) fn unchanged(&self, all: &[Self]) -> Option<&'static str> {
        match (makes(&self.call), self.result) {
            (true, Some(Outcome::Found)) => Some("EEXIST"),
            // There was something, and nothing was seen to take it away.
            (true, None) if self.exists => {
                let path = self.path.as_deref()?;
                let is_kept = !all.iter().any(|other| other.may_remove(path));
                is_kept.then_some("EEXIST")
            }
            // What is to be made lies in a folder, or leads to a file, that isn't there; which is not known.
            (false, Some(Outcome::NotThere)) => Some("ENOENT"),
            _ => None,
        }
    }

    /// Whether it may have removed or moved what is at a path, or what that lies in.
    fn may_remove(&self, path: &str) -> bool {
        let removes = changes(&self.call) && !makes(&self.call) && self.may_have_changed();
        removes && self.paths().any(|own| is_beneath(path, own))
    }

    /// Whether it opens a path without a right to what is there, by O_PATH.
    pub(super) fn only_names(&self) -> bool {
        opens(&self.call) && flags(&self.call, &self.arguments) & O_PATH != 0
    }

    fn exchanges(&self) -> bool {
        self.call == "renameat2" && self.arguments[4] & RENAME_EXCHANGE != 0
    }

    /// The use of its port, if it has one.
    pub(super) fn port_use(&self) -> PortUse {
        match (self.call.as_str(), self.is_udp) {
            ("bind", false) => PortUse::TcpBind,
            ("bind", true) => PortUse::UdpBind,
            (_, false) => PortUse::TcpConnect,
            (_, true) => PortUse::UdpConnect,
        }
    }
}

/// Whether a call can create or remove what its path names.
pub fn can_change(call: &Syscall, arguments: &[u64; 6]) -> bool {
    changes(call.name) || may_create(call.name, arguments)
}

/// Whether a call makes, moves or removes what its path names.
pub(super) fn changes(call: &str) -> bool {
    const CHANGES: &[&str] = &[
        "unlink",
        "unlinkat",
        "rmdir",
        "rename",
        "renameat",
        "renameat2",
    ];
    CHANGES.contains(&call) || makes(call)
}

/// Whether a call makes what its path names, and fails if there is something.
pub fn makes(call: &str) -> bool {
    const MAKES: &[&str] = &[
        "mkdir",
        "mkdirat",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "mknod",
        "mknodat",
    ];
    MAKES.contains(&call)
}

/// Whether a call with these arguments, which is `mmap`, makes the contents of a file executable.
pub fn maps_code(arguments: &[u64; 6]) -> bool {
    const PROT_EXEC: u64 = 4;
    const MAP_ANONYMOUS: u64 = 0x20;
    let [_, _, prot, flags, ..] = arguments;
    prot & PROT_EXEC != 0 && flags & MAP_ANONYMOUS == 0
}

/// Whether a call opens a file that is called like a shared library.
pub fn opens_library(call: &Syscall, path: &[u8]) -> bool {
    opens(call.name) && std::str::from_utf8(path).is_ok_and(is_named_library)
}

/// Whether a file is called like a shared library. The loader's own files, such as its cache, are none.
pub(super) fn is_named_library(path: &str) -> bool {
    if path.starts_with("/etc/ld.so.") {
        return false;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    file.ends_with(".so") || file.contains(".so.")
}

/// Whether a call opens a file by its path.
pub(super) fn opens(call: &str) -> bool {
    ["open", "openat", "openat2", "creat"].contains(&call)
}

/// Whether a call opens a file that it creates if there is none.
pub(super) fn may_create(call: &str, arguments: &[u64; 6]) -> bool {
    opens(call) && flags(call, arguments) & O_CREAT != 0
}

/// The flags of a call that opens a file.
pub(super) fn flags(call: &str, arguments: &[u64; 6]) -> u64 {
    let at = usize::from(call.starts_with("openat")) + 1;
    match call {
        "creat" => O_CREAT | O_TRUNC | 1,
        _ => arguments.get(at).copied().unwrap_or(0),
    }
}

/// Whether a call follows a link that its path leads to, and is not about the link itself.
pub fn follows_last(call: &Syscall, arguments: &[u64; 6]) -> bool {
    if opens(call.name) {
        let flags = flags(call.name, arguments);
        let no_follow = Arch::host().and_then(|arch| constants::value("O_NOFOLLOW", arch));
        let insists = O_CREAT | O_EXCL;
        return flags & no_follow.unwrap_or(0) == 0 && flags & insists != insists;
    }
    let says_not = |((name, _), value): (&(&str, _), &u64)| {
        *name == "flags" && value & AT_SYMLINK_NOFOLLOW != 0
    };
    const OF_LINKS: &[&str] = &[
        "readlink",
        "readlinkat",
        "lstat",
        "lchown",
        "lgetxattr",
        "lsetxattr",
        "llistxattr",
        "lremovexattr",
    ];
    let is_of_link = changes(call.name) || OF_LINKS.contains(&call.name);
    !is_of_link && !call.args.iter().zip(arguments).any(says_not)
}

/// The arguments of a call that hold paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathArguments {
    /// The argument for [`Record::path`], and the one that holds the directory at which the path begins, if there is
    /// one.
    pub path: (usize, Option<usize>),
    /// The same for [`Record::other`].
    pub other: Option<(usize, Option<usize>)>,
}

/// Returns the arguments of a call that hold paths, if any does.
pub fn path_arguments(call: &Syscall) -> Option<PathArguments> {
    let with_folder = |at: usize| {
        let is_directory = |before: &usize| match call.args[*before].0 {
            "dirfd" | "olddirfd" | "newdirfd" => true,
            "fd" => call.name == "execveat",
            _ => false,
        };
        (at, at.checked_sub(1).filter(is_directory))
    };
    let named = |wanted: &str| call.args.iter().position(|(name, _)| *name == wanted);
    let (old, new) = (named("oldname"), named("newname"));
    let (path, other) = match (call.name, old, new) {
        ("link" | "linkat", Some(old), Some(new)) => (new, Some(old)),
        ("rename" | "renameat" | "renameat2", Some(old), Some(new)) => (old, Some(new)),
        _ => (words::path_argument(call)?, None),
    };
    Some(PathArguments {
        path: with_folder(path),
        other: other.map(with_folder),
    })
}
