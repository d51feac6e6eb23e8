//! A control group for one child, which bounds all of its processes together, and ends all of them at once.
//!
//! The program makes the group, if it may (cgroups(7), version 2). The keeper has the child begin in it, ends
//! what is in it, and removes it. A child that the keeper could not have begin there joins it before anything
//! else.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::mounts;
use crate::sys::attribute::has_attribute;
use crate::sys::group_fork::{self, GroupError};
use crate::sys::process::Process;
use crate::sys::system_files::{self, OwnFile};

/// The bounds of a child's control group. A group also ends all of its processes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, crate::Object)]
#[non_exhaustive]
pub struct ControlGroup {
    /// Whether all memory that is used for the child is bounded, including the kernel's and that of memory
    /// objects. The bound is `limits.memory` with an eighth and 16 MiB more. False if the policy sets no
    /// limit or the group has no controller for it.
    pub memory: bool,
    /// Whether processes and threads are bounded together. False if the group has no controller for it.
    pub tasks: bool,
}

/// The bounds that a group is to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) memory: Option<u64>,
    pub(super) tasks: u64,
}

impl Bounds {
    /// Adds the memory that is in use beside what the process may write: page tables, the kernel's stacks,
    /// sockets.
    fn memory_with_the_kernels(self) -> Option<u64> {
        const LEAST: u64 = 16 << 20;
        let more = |memory: u64| memory.saturating_add(memory / 8).saturating_add(LEAST);
        self.memory.map(more)
    }
}

/// A new group, which nobody is in. It is removed if it isn't handed to the keeper.
#[derive(Debug)]
pub(crate) struct NewGroup {
    parent: OwnedFd,
    name: CString,
    directory: Option<OwnedFd>,
}

impl NewGroup {
    /// The group itself.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd)
    }

    /// The keeper has it, and removes it.
    pub(crate) fn hand_over(mut self) {
        self.directory = None;
    }
}

impl Drop for NewGroup {
    fn drop(&mut self) {
        if self.directory.is_some() {
            // Nothing is in it.
            let _ = unlinkat(&self.parent, self.name.as_c_str(), UnlinkatFlags::RemoveDir);
        }
    }
}

/// By which a child joins its group.
#[derive(Debug, crate::Object)]
pub(super) struct Entrance {
    pub(super) processes: OwnedFd,
    /// The file that bounds processes and threads, and how many there may be.
    pub(super) tasks: Option<(OwnedFd, u64)>,
    /// Whether memory is bounded already.
    pub(super) memory: bool,
}

impl Entrance {
    pub(super) fn bounds(&self) -> ControlGroup {
        ControlGroup {
            memory: self.memory,
            tasks: self.tasks.is_some(),
        }
    }

    /// Moves this process into the group, unless it began there, and bounds how many may follow. Until now the
    /// process that has started this one could be in the group beside it.
    pub(super) fn join(self, began_there: bool) -> io::Result<ControlGroup> {
        let bounds = self.bounds();
        if !began_there {
            File::from(self.processes).write_all(b"0")?;
        }
        if let Some((setting, tasks)) = self.tasks {
            File::from(setting).write_all(tasks.to_string().as_bytes())?;
        }
        Ok(bounds)
    }
}

/// Makes a group with bounds for one child. An error says why there can be none, or none that bounds what
/// is to be bounded.
pub(super) fn make(bounds: Bounds) -> Result<(NewGroup, Entrance), String> {
    let mut reason = "there is no control group, version 2, of this process".to_owned();
    for place in places().map_err(|error| error.to_string())? {
        match make_in(&place, bounds) {
            Ok(made) => return Ok(made),
            Err(error) => {
                reason = format!("no group can be made in `{}`: {error}", place.display());
            }
        }
    }
    Err(reason)
}

fn make_in(place: &Path, bounds: Bounds) -> io::Result<(NewGroup, Entrance)> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let parent = open(place, flags, Mode::empty())?;
    let name = loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossmist-{}-{number}", std::process::id());
        let name = CString::new(name).map_err(io::Error::other)?;
        match mkdirat(&parent, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) => break name,
            // Of a program that had this one's number.
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let directory = openat(&parent, name.as_c_str(), flags, Mode::empty());
    let mut group = NewGroup {
        parent,
        name,
        directory: None,
    };
    let directory = match directory {
        Ok(directory) => group.directory.insert(directory).try_clone()?,
        Err(error) => return Err(error.into()),
    };
    // Linux 5.14 has it. Without it there is no end for all at once.
    drop(setting(directory.as_fd(), "cgroup.kill")?);
    let memory = match bounds.memory_with_the_kernels() {
        None => false,
        Some(most) => {
            let is_set = set(directory.as_fd(), "memory.max", &most.to_string())?;
            if is_set {
                set(directory.as_fd(), "memory.oom.group", "1")?;
                // There is none if the kernel has no swap.
                set(directory.as_fd(), "memory.swap.max", "0")?;
            }
            is_set
        }
    };
    let tasks = match setting(directory.as_fd(), "pids.max") {
        Ok(setting) => Some((setting.into(), bounds.tasks)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let processes = setting(directory.as_fd(), "cgroup.procs")?.into();
    let entrance = Entrance {
        processes,
        tasks,
        memory,
    };
    Ok((group, entrance))
}

/// Opens a file of a group for writing.
fn setting(group: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    Ok(openat(group, name, flags, Mode::empty())?.into())
}

/// Sets a bound; false if the group has no such setting.
fn set(group: BorrowedFd<'_>, name: &str, value: &str) -> io::Result<bool> {
    match setting(group, name) {
        Ok(mut file) => file.write_all(value.as_bytes()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the folders in which groups may be created, the best first.
///
/// That is the program's own group, or, since one with processes can't bound its groups, its parent if that
/// was delegated (systemd's `Delegate=` with `DelegateSubgroup=`): a child beside the program is then bound by
/// whatever bounds both.
fn places() -> io::Result<Vec<PathBuf>> {
    static OWN: OwnFile = OwnFile::new("self/cgroup");
    let own = OWN.read()?;
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Ok(Vec::new());
    };
    let mounted = mounts::control_groups()?;
    let own = mounted.iter().find_map(|(root, point)| {
        let group = point.join(Path::new(own).strip_prefix(root).ok()?);
        // Another mount may lie above this one.
        group.join("cgroup.procs").exists().then_some(group)
    });
    let Some(own) = own else {
        return Ok(Vec::new());
    };
    let bounds = |place: &Path| {
        let enabled = std::fs::read_to_string(place.join("cgroup.subtree_control"));
        let enabled = enabled.unwrap_or_default();
        let is_enabled = |name| enabled.split_whitespace().any(|enabled| enabled == name);
        is_enabled("memory") && is_enabled("pids")
    };
    let delegated = own.parent().filter(|parent| is_delegated(parent));
    let delegated = delegated.map(Path::to_owned);
    Ok(match delegated.filter(|parent| bounds(parent)) {
        Some(parent) if !bounds(&own) => vec![parent, own],
        _ => vec![own],
    })
}

/// Whether whoever manages the machine has marked a group as one to make groups in.
fn is_delegated(group: &Path) -> bool {
    [c"user.delegate", c"trusted.delegate"]
        .iter()
        .any(|name| has_attribute(group, name))
}

/// The group of a child, as the keeper has it. It ends with this, unless something in it takes its time.
#[derive(Debug)]
pub(crate) struct Group(OwnedFd);

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

impl Group {
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Forks this process into the group: see [`group_fork::fork_into`].
    pub(crate) fn fork(&self, ending: &mut Vec<Process>) -> Result<Option<Process>, GroupError> {
        group_fork::fork_into(self.0.as_fd(), ending)
    }

    /// Starts a process in the group: see [`group_fork::start_in`].
    pub(crate) fn start(
        &self,
        ending: &mut Vec<Process>,
        start: impl FnOnce(libc::pid_t) -> io::Result<Process>,
    ) -> Result<Process, GroupError> {
        group_fork::start_in(self.0.as_fd(), ending, start)
    }

    /// Whether the kernel has killed something in it because it used too much memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let Ok(events) = openat(&self.0, "memory.events.local", flags, Mode::empty()) else {
            return false;
        };
        let events = system_files::read_from_beginning(events.as_fd()).unwrap_or_default();
        let mut killed = events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "));
        killed.any(|count| count.trim() != "0")
    }

    /// Kills all that is in it, removes it, and returns whether it is gone. Killed processes take a moment to
    /// end.
    pub(crate) fn end(&self) -> bool {
        let killed = group_fork::kill_all(self.0.as_fd());
        let path = system_files::read_link(&format!("self/fd/{}", self.0.as_raw_fd()));
        let Ok(path) = path else { return true };
        match std::fs::remove_dir(&path) {
            Ok(()) => true,
            // Somebody has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => killed.is_err(),
            Err(_) => true,
        }
    }
}
