//! Looks after children that nobody is waiting for: it enforces their deadlines, and reaps those
//! whose handle is gone.
//!
//! One thread, which is started for the first such child, sleeps until one of them ends or is
//! overdue.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::output;
use super::process::ChildProcess;
use crate::keeper::Outcome;
use crate::sys::background;
use crate::sys::connection::Connection;
use crate::sys::event;
use crate::sys::poll::{self, Deadline};

/// A child, and what to do about it.
#[derive(Debug)]
struct Tracked {
    child: Arc<ChildProcess>,
    deadline: Deadline,
    task: Task,
    /// It has ended, but its status is not available yet, because a process that traces it gets the
    /// status first.
    has_ended: bool,
}

#[derive(Debug)]
enum Task {
    /// Kill it at its deadline. Somebody else takes its status.
    Watch,
    /// Kill it at its deadline, and take its status when it ends.
    Bury,
    /// Show what it has printed, when it ends. It was killed.
    ShowLastWords(&'static str),
    /// End the channels whose other ends it has, when it ends.
    EndChannels(Vec<Weak<Connection>>),
}

/// How often children that cannot be waited for are checked.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Reaper {
    /// The process that it belongs to: a copy that was made by `fork` has the memory, but not the
    /// thread.
    process: u32,
    /// Children that the thread has not taken over yet.
    arrivals: Mutex<Vec<Tracked>>,
    /// Wakes the thread. `None` if there was no descriptor for it; the thread then checks at
    /// intervals.
    wake: Option<OwnedFd>,
}

struct Current {
    reaper: Option<Arc<Reaper>>,
    /// Children that came while no thread could be started.
    waiting: Vec<Tracked>,
}

static CURRENT: Mutex<Current> = Mutex::new(Current {
    reaper: None,
    waiting: Vec::new(),
});

/// Takes over a child: kills it at its deadline, and takes its status when it ends.
pub(crate) fn adopt(child: Arc<ChildProcess>, deadline: Deadline) {
    take(Tracked {
        child,
        deadline,
        task: Task::Bury,
        has_ended: false,
    });
}

/// Kills a child at its deadline, whoever has its handle and whatever they do.
pub(crate) fn watch(child: Arc<ChildProcess>, deadline: Deadline) {
    take(Tracked {
        child,
        deadline,
        task: Task::Watch,
        has_ended: false,
    });
}

/// Shows what a child of the keeper has printed, once it has ended. It was killed.
pub(crate) fn show_last_words(child: Arc<ChildProcess>, function: &'static str) {
    take(Tracked {
        child,
        deadline: Deadline::NEVER,
        task: Task::ShowLastWords(function),
        has_ended: false,
    });
}

/// Ends channels with a child that has the other ends.
pub(crate) fn end_with(child: Arc<ChildProcess>, channels: Vec<Weak<Connection>>) {
    take(Tracked {
        child,
        deadline: Deadline::NEVER,
        task: Task::EndChannels(channels),
        has_ended: false,
    });
}

fn take(child: Tracked) {
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.waiting.push(child);
    if current
        .reaper
        .as_ref()
        .is_none_or(|reaper| reaper.process != std::process::id())
    {
        current.reaper = Reaper::start();
    }
    let Current { reaper, waiting } = &mut *current;
    match reaper {
        Some(reaper) => {
            reaper
                .arrivals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(waiting);
            if let Some(wake) = &reaper.wake {
                event::set(wake.as_fd());
            }
        }
        // Without a thread, they wait until the next child comes.
        None => waiting.retain_mut(Tracked::is_needed),
    }
}

impl Tracked {
    /// Does what is due, and returns whether there will be more to do.
    fn is_needed(&mut self) -> bool {
        let process = &self.child;
        if self.deadline.has_passed() {
            let _ = process.signal_kill();
            self.deadline = Deadline::NEVER;
        }
        match &mut self.task {
            // A child that cannot be waited for no longer belongs to this process.
            Task::Bury => matches!(process.try_wait(), Ok(None)),
            Task::Watch => !self.has_ended && !self.deadline.is_never(),
            Task::ShowLastWords(function) => {
                if !self.has_ended && !process.has_left() {
                    return true;
                }
                if let Some(Outcome::Reported(report)) = process.parting() {
                    output::show(
                        function,
                        &report.stderr,
                        process.id().unwrap_or_default(),
                        false,
                    );
                }
                false
            }
            Task::EndChannels(channels) => {
                // A child can have many calls, and live longer than their channels.
                channels.retain(|channel| channel.strong_count() > 0);
                if !channels.is_empty() && !self.has_ended && !process.has_left() {
                    return true;
                }
                let channels = channels.iter().filter_map(Weak::upgrade);
                channels.for_each(|channel| channel.shut_down());
                false
            }
        }
    }
}

impl Reaper {
    fn start() -> Option<Arc<Self>> {
        let reaper = Arc::new(Self {
            process: std::process::id(),
            arrivals: Mutex::default(),
            wake: event::new().ok(),
        });
        let for_thread = Arc::clone(&reaper);
        background::spawn("crossmist-reaper", move || for_thread.run()).ok()?;
        Some(reaper)
    }

    fn run(&self) {
        let mut children: Vec<Tracked> = Vec::new();
        loop {
            children.append(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
            children.retain_mut(Tracked::is_needed);
            let mut deadline = children
                .iter()
                .fold(Deadline::NEVER, |least, child| least.min(child.deadline));
            if self.wake.is_none() || children.iter().any(|child| child.has_ended) {
                deadline = deadline.min(Deadline::after(RETRY_INTERVAL));
            }
            let mut entries: Vec<_> = children
                .iter()
                .map(|child| match child.task {
                    // Somebody else has to report on it before its end.
                    Task::EndChannels(_) | Task::ShowLastWords(_) => child.child.left_entry(),
                    _ => poll::entry(child.child.as_fd(), libc::POLLIN),
                })
                .chain(
                    self.wake
                        .as_ref()
                        .map(|wake| poll::entry(wake.as_fd(), libc::POLLIN)),
                )
                .collect();
            for (entry, child) in entries.iter_mut().zip(&children) {
                if child.has_ended {
                    // `poll` ignores this entry. It would otherwise be ready at once, each time.
                    entry.fd = -1;
                }
            }
            match poll::poll(&mut entries, deadline) {
                Ok(()) => {
                    for (entry, child) in entries.iter().zip(&mut children) {
                        child.has_ended |= entry.revents != 0;
                    }
                    if let Some(wake) = &self.wake {
                        event::clear(wake.as_fd());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
                // There are more children than RLIMIT_NOFILE allows to poll, or there is no memory:
                // check at intervals.
                Err(_) => std::thread::sleep(RETRY_INTERVAL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{Process, open_pidfd};
    use crate::sys::socket;

    /// A child that is reused can have any number of calls.
    #[test]
    fn channels_that_the_program_has_dropped_are_forgotten_while_their_child_runs() {
        let id = i32::try_from(std::process::id()).unwrap();
        let pidfd = Arc::new(open_pidfd(id).unwrap());
        let (first, second) = socket::pair().unwrap();
        let [first, second] = [first, second].map(|end| Arc::new(Connection::new(end)));
        let mut tracked = Tracked {
            child: Arc::new(ChildProcess::own(Process { id, pidfd })),
            deadline: Deadline::NEVER,
            task: Task::EndChannels(vec![Arc::downgrade(&first), Arc::downgrade(&second)]),
            has_ended: false,
        };
        assert!(tracked.is_needed());
        drop(first);
        // The control: one is left.
        assert!(tracked.is_needed());
        drop(second);
        assert!(!tracked.is_needed());
    }
}
