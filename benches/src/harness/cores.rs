//! The processors that the rows run on.

use std::fs;
use std::io;
use std::mem;

use super::Result;

/// The processors of the parent and the child of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Both on the first processor.
    OneCore,
    /// The parent on the first, what `set_up` started on the second.
    TwoCores,
    /// The scheduler chooses among the two.
    EitherCore,
}

impl Placement {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::OneCore => "one core",
            Self::TwoCores => "two cores",
            Self::EitherCore => "either of two cores",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    first: usize,
    second: Option<usize>,
}

impl Cores {
    /// Takes the first processor that this process may use, and the next that is not its
    /// hyperthread, or the next at all.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = allowed()?;
        let first = *allowed.first().ok_or("no processor is allowed")?;
        let siblings = siblings(first);
        let mut others = allowed[1..].iter().copied();
        let second = others
            .clone()
            .find(|core| !siblings.contains(core))
            .or_else(|| others.next());
        Ok(Self { first, second })
    }

    pub(crate) fn can(&self, placement: Placement) -> bool {
        placement == Placement::OneCore || self.second.is_some()
    }

    /// Moves this thread to where a row's children belong; they inherit it.
    pub(crate) fn pin_for_children(&self, placement: Placement) -> io::Result<()> {
        match placement {
            Placement::TwoCores => pin(&[self.second.unwrap_or(self.first)]),
            _ => self.pin_for_parent(placement),
        }
    }

    pub(crate) fn pin_for_parent(&self, placement: Placement) -> io::Result<()> {
        match (placement, self.second) {
            (Placement::EitherCore, Some(second)) => pin(&[self.first, second]),
            _ => pin(&[self.first]),
        }
    }

    /// Names the processors for the report.
    pub(crate) fn describe(&self) -> String {
        let first = self.first;
        match self.second {
            None => format!("processor {first} only"),
            Some(second) if siblings(first).contains(&second) => {
                format!("processors {first} and {second} (two threads of one core)")
            }
            Some(second) => format!("processors {first} and {second}"),
        }
    }
}

/// Moves a process to where this thread may run.
///
/// For helpers that outlive a row and serve several, such as a fork server that the library keeps:
/// call it in [`Row::enter`](super::Row::enter), when this thread is where children belong.
pub(crate) fn bring(pid: u32) -> io::Result<()> {
    set_affinity(pid as libc::pid_t, &allowed()?)
}

fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: a `cpu_set_t` is plain integers, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `set` is as large as the length given, and borrowed for the call.
    let status = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..libc::CPU_SETSIZE as usize)
        // SAFETY: `core` is below CPU_SETSIZE, hence within the set.
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect())
}

fn pin(cores: &[usize]) -> io::Result<()> {
    set_affinity(0, cores)
}

/// 0 means this thread.
fn set_affinity(pid: libc::pid_t, cores: &[usize]) -> io::Result<()> {
    // SAFETY: as in `allowed`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &core in cores {
        // SAFETY: the numbers come from `allowed`, hence are below CPU_SETSIZE.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is as large as the length given, and only read.
    match unsafe { libc::sched_setaffinity(pid, mem::size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The hardware threads that share a core with this one, itself among them.
fn siblings(core: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut found = Vec::new();
    for range in text.trim().split(',') {
        let mut ends = range.split('-').flat_map(str::parse::<usize>);
        if let Some(start) = ends.next() {
            found.extend(start..=ends.next().unwrap_or(start));
        }
    }
    found
}
