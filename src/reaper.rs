//! Children whose handle is gone: their deadlines are kept, and they leave no zombie.
//!
//! One thread, started when the first such child appears, sleeps until one of them ends.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::handle::Kill;
use crate::sys::poll::{self, Deadline};
use crate::sys::{event, process};

/// A child that nobody waits for.
#[derive(Debug)]
struct Orphan {
    child: Arc<Kill>,
    deadline: Deadline,
    /// It has ended, and yet its status isn't to be had: a process that traces it gets that first.
    has_ended: bool,
}

/// How often what can't be waited for is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Reaper {
    /// The process that it belongs to: a copy made by `fork` has the memory, but no thread.
    process: u32,
    /// Those that the thread hasn't taken over yet.
    arrivals: Mutex<Vec<Orphan>>,
    /// Sets it going. None where there was no descriptor for it; then it looks by the clock.
    wake: Option<OwnedFd>,
}

static REAPER: Mutex<Option<Arc<Reaper>>> = Mutex::new(None);

/// Those that came while no thread could be started.
static WAITING: Mutex<Vec<Orphan>> = Mutex::new(Vec::new());

/// Takes over a child: kills it at its deadline, and takes its status when it ends.
pub(crate) fn adopt(child: Arc<Kill>, deadline: Deadline) {
    let mut current = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.push(Orphan {
        child,
        deadline,
        has_ended: false,
    });
    if current
        .as_ref()
        .is_none_or(|reaper| reaper.process != std::process::id())
    {
        // Without a thread, they wait for the next one that comes.
        *current = Reaper::start();
    }
    if let Some(reaper) = &*current {
        reaper
            .arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut waiting);
        if let Some(wake) = &reaper.wake {
            event::set(wake.as_fd());
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
        // The program's signals are none of its business: it starts with all of them blocked.
        let _blocked = process::Blocked::all();
        std::thread::Builder::new()
            .name("crossmist-reaper".to_owned())
            .stack_size(64 << 10)
            .spawn(move || for_thread.run())
            .ok()?;
        Some(reaper)
    }

    fn run(&self) {
        let mut orphans: Vec<Orphan> = Vec::new();
        loop {
            orphans.append(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
            orphans.retain_mut(|orphan| {
                if orphan.deadline.has_passed() {
                    let _ = orphan.child.process.signal(libc::SIGKILL);
                    orphan.deadline = Deadline::NEVER;
                }
                // What can't be waited for is not ours any more.
                matches!(orphan.child.process.try_wait(), Ok(None))
            });
            let mut deadline = orphans
                .iter()
                .fold(Deadline::NEVER, |least, orphan| least.min(orphan.deadline));
            if self.wake.is_none() || orphans.iter().any(|orphan| orphan.has_ended) {
                deadline = deadline.min(Deadline::after(INTERVAL));
            }
            let mut entries: Vec<_> = orphans
                .iter()
                .map(|orphan| orphan.child.process.pidfd.as_fd())
                .chain(self.wake.as_ref().map(AsFd::as_fd))
                .map(|fd| poll::entry(fd, libc::POLLIN))
                .collect();
            for (entry, orphan) in entries.iter_mut().zip(&orphans) {
                if orphan.has_ended {
                    // Which `poll` leaves alone: it would be ready at once, each time.
                    entry.fd = -1;
                }
            }
            match poll::poll(&mut entries, deadline) {
                Ok(()) => {
                    for (entry, orphan) in entries.iter().zip(&mut orphans) {
                        orphan.has_ended |= entry.revents != 0;
                    }
                    if let Some(wake) = &self.wake {
                        event::clear(wake.as_fd());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
                // More children than RLIMIT_NOFILE allows to poll, or no memory: by the clock.
                Err(_) => std::thread::sleep(INTERVAL),
            }
        }
    }
}
