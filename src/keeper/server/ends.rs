//! The ends of children, and of the keeper.

use std::os::fd::AsFd;
use std::time::Duration;

use super::super::init;
use super::super::output::Output;
use super::super::protocol::{Cause, ExitReport, Report};
use super::heap;
use super::storm::StormEnd;
use super::{Keeper, LOOK_INTERVAL, tell};
use crate::confine::Group;
use crate::sys::clock;
use crate::sys::fork;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{Consumption, Ended, Process};

/// How long the keeper continues after the program's end, to wait for its children.
const BURIAL_TIME: Duration = Duration::from_secs(1);

impl Keeper {
    /// Takes the status of a child that has ended, and tells of it.
    pub(super) fn bury(&mut self, number: u32) {
        let Some(mut entry) = self.children.remove(&number) else {
            return;
        };
        // A child that was forked a moment ago may have a copy of it: closing this one would not take
        // it out.
        self.epoll.remove(entry.process.pidfd.as_fd());
        if entry.may_fork {
            let process = &entry.process;
            let end = entry
                .storm_end
                .get_or_insert_with(|| StormEnd::begin(process));
            // It takes a millisecond, unless it is held up.
            let patience = match entry.is_pending {
                true => Duration::ZERO,
                false => LOOK_INTERVAL,
            };
            if !end.is_over(Deadline::after(patience)) {
                entry.is_pending = true;
                self.children.insert(number, entry);
                return;
            }
        }
        let (ended, used) = match entry.process.try_wait_with_usage() {
            Ok(Some(status)) => status,
            Ok(None) => {
                entry.is_pending = true;
                self.children.insert(number, entry);
                return;
            }
            Err(_) => (Ended::Unknown, Consumption::default()),
        };
        let cpu_time = u64::try_from(used.cpu_time.as_nanos()).unwrap_or(u64::MAX);
        // Killed from outside, the first process of a namespace says nothing more; so is the child then.
        let told = entry
            .ending
            .as_ref()
            .and_then(|ending| init::departure(ending.as_fd()));
        let (ended, cpu_time, memory) = told.map_or((ended, cpu_time, used.memory), |told| {
            (told.ended, told.cpu_time, told.memory)
        });
        // As above.
        self.epoll.remove(entry.reports.as_fd());
        if let Some(drain) = &entry.drain {
            self.epoll.remove(drain.as_fd());
        }
        if let Some(timer) = &entry.timer {
            self.epoll.remove(timer.as_fd());
        }
        let is_killed = matches!(
            ended,
            Ended::Signalled {
                signal: libc::SIGKILL,
                ..
            }
        );
        let group = entry.group.as_ref().filter(|_| is_killed);
        let out_of_memory = group.is_some_and(Group::ran_out_of_memory);
        let departure = ExitReport {
            ended,
            killed_for: entry.killed_for.or(out_of_memory.then_some(Cause::Memory)),
            cpu_time,
            memory,
            // Sent from where it is: what is copied here is copied into every child from now on.
            stderr: Vec::new(),
        };
        let stderr = entry.drain.as_mut().map(Output::finish).unwrap_or_default();
        // Nobody may wait for it any more.
        let _ = tell(entry.reports.as_fd(), &Report::Ended(departure), stderr);
        if let Some(drain) = entry.drain.filter(Output::has_descriptors) {
            self.undertaker.take(drain.into_ends());
        }
        self.has_orphans |= entry.may_fork;
        self.groups.extend(entry.group.filter(|group| !group.end()));
        heap::merge_free_pieces();
    }

    /// Looks again at those that have ended and could not be buried.
    pub(super) fn bury_pending(&mut self) {
        let pending = self.children.iter().filter(|(_, entry)| entry.is_pending);
        let pending: Vec<u32> = pending.map(|(number, _)| *number).collect();
        pending.into_iter().for_each(|number| self.bury(number));
    }

    /// Ends what children left behind, whose parent the keeper has become as a subreaper, and says
    /// whether nothing is left.
    pub(super) fn end_orphans(&self, patience: Deadline) -> bool {
        let mut before = Vec::new();
        // Again and again: those of one that is killed become the keeper's only then.
        loop {
            let mut orphans = fork::children_of_this_thread().unwrap_or_default();
            orphans.retain(|pid| {
                let is_witness = |witness: &Process| witness.id == *pid;
                !self.witness.as_ref().is_some_and(is_witness)
                    && !self.undertaker.has(*pid)
                    && !self.children.values().any(|entry| entry.has(*pid))
            });
            if orphans.is_empty() {
                return true;
            }
            orphans.iter().copied().for_each(fork::kill_child);
            // They take a moment; one that is traced or stuck in the kernel takes as long as it likes.
            if orphans == before || patience.has_passed() {
                return false;
            }
            before = orphans;
        }
    }

    pub(super) fn kill_overdue(&mut self) {
        let now = clock::monotonic_nanos();
        for entry in self.children.values_mut() {
            let is_overdue = entry
                .deadline
                .is_some_and(|deadline| i128::from(deadline) <= now);
            if is_overdue && entry.killed_for.is_none() && !entry.is_pending {
                entry.kill(Cause::Deadline);
            }
        }
    }

    /// The program has ended: so do its children, and what they left behind.
    pub(super) fn end(&mut self) -> i32 {
        for entry in self.children.values() {
            let _ = entry.process.signal(libc::SIGKILL);
        }
        // One that is stuck in the kernel is nobody's to wait for.
        let patience = Deadline::after(BURIAL_TIME);
        for mut entry in std::mem::take(&mut self.children).into_values() {
            self.groups.extend(entry.group.take());
            if poll::readable(entry.process.pidfd.as_fd(), patience).is_ok() {
                if entry.may_fork {
                    let process = &entry.process;
                    let mut end = entry
                        .storm_end
                        .take()
                        .unwrap_or_else(|| StormEnd::begin(process));
                    end.is_over(patience);
                }
                let _ = entry.process.try_wait();
            }
        }
        loop {
            // All of them, each time.
            self.groups.retain(|group| !group.end());
            let is_done = self.end_orphans(patience) && self.groups.is_empty();
            if is_done || patience.has_passed() {
                break;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        if let Some(witness) = &self.witness {
            let _ = witness.try_wait();
        }
        0
    }
}
