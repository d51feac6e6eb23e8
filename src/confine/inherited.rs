//! Settings that a child takes over from its calling thread. Without this it would have the settings of the
//! keeper, and so of the program's first caller.

use std::io;
use std::sync::OnceLock;

use nix::sys::stat::{Mode, umask};

use crate::sys::inherited::{self as sys, RESOURCES, Scheduling};
use crate::sys::system_files;

/// The settings that a process inherits from the thread that starts it. A setting that couldn't be read is
/// `None`, and isn't changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, crate::Object)]
pub(crate) struct Inherited {
    processors: Option<Vec<u8>>,
    /// 0 to 19: no child may be favoured over the keeper, so none has a negative value.
    nice: Option<i32>,
    scheduling: Option<Scheduling>,
    io_priority: Option<u32>,
    timer_slack: Option<u64>,
    personality: Option<u32>,
    umask: Option<u32>,
    limits: Option<[(u64, u64); RESOURCES]>,
}

/// The settings of this process, with which each copy of it starts.
static OWN: OnceLock<Inherited> = OnceLock::new();

impl Inherited {
    /// Returns what the calling thread has. Reading the umask takes time, so it is read only if the child
    /// `makes_files`.
    pub(super) fn of_caller(makes_files: bool) -> Self {
        Self {
            umask: makes_files.then(umask_of_program).flatten(),
            ..Self::of_this_thread()
        }
    }

    fn of_this_thread() -> Self {
        Self {
            processors: sys::processors(),
            nice: sys::nice().map(|nice| nice.max(0)),
            scheduling: sys::scheduling(),
            io_priority: sys::io_priority(),
            timer_slack: sys::timer_slack(),
            personality: sys::personality(),
            umask: None,
            limits: sys::limits(),
        }
    }

    /// Returns what this process has, which must have one thread.
    fn of_this_process() -> Self {
        let own = umask(Mode::empty());
        umask(own);
        Self {
            umask: Some(own.bits()),
            ..Self::of_this_thread()
        }
    }

    /// Gives this process these settings, if its own differ. If the kernel doesn't allow a setting to be
    /// raised above the keeper's, it stays lower.
    pub(super) fn take(&self) -> io::Result<()> {
        let own = OWN.get_or_init(Self::of_this_process);
        if let Some(mask) = changed(&self.processors, &own.processors) {
            sys::set_processors(mask)?;
        }
        if let Some(scheduling) = self.scheduling.filter(|now| Some(*now) > own.scheduling) {
            sys::set_scheduling(scheduling)?;
        }
        if let Some(nice) = self.nice.filter(|now| Some(*now) > own.nice) {
            sys::set_nice(nice)?;
        }
        if let Some(priority) = changed(&self.io_priority, &own.io_priority) {
            sys::set_io_priority(*priority)?;
        }
        if let Some(slack) = changed(&self.timer_slack, &own.timer_slack) {
            sys::set_timer_slack(*slack)?;
        }
        if let Some(personality) = changed(&self.personality, &own.personality) {
            sys::set_personality(*personality)?;
        }
        if let Some(mask) = changed(&self.umask, &own.umask) {
            umask(Mode::from_bits_truncate(*mask));
        }
        let Some(limits) = changed(&self.limits, &own.limits) else {
            return Ok(());
        };
        let before = own.limits.unwrap_or_default();
        for ((resource, now), before) in (0..).zip(limits).zip(before) {
            if *now != before {
                sys::set_limit(resource, now.0, now.1)?;
            }
        }
        Ok(())
    }
}

/// Records what copies of this process start with. Before that, resets the settings of the first caller to
/// ordinary ones, if the kernel allows it.
pub(crate) fn prepare_copies() {
    let _ = sys::set_nice(sys::nice().unwrap_or(0).min(0));
    if sys::scheduling() != Some(Scheduling::Ordinary) {
        let _ = sys::set_scheduling(Scheduling::Ordinary);
    }
    let _ = OWN.set(Inherited::of_this_process());
}

fn changed<'a, T: PartialEq>(now: &'a Option<T>, own: &Option<T>) -> Option<&'a T> {
    now.as_ref().filter(|now| Some(*now) != own.as_ref())
}

/// Reads the umask of this process from `/proc`. The call `umask` would change it for other threads.
fn umask_of_program() -> Option<u32> {
    let status = system_files::read("thread-self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_as_the_kernel_has_it() {
        assert_eq!(umask_of_program(), Inherited::of_this_process().umask);
    }
}
