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
}

#[derive(Debug)]
struct Reaper {
    /// The process that it belongs to: a copy made by `fork` has the memory, but no thread.
    process: u32,
    /// Those that the thread hasn't taken over yet.
    arrivals: Mutex<Vec<Orphan>>,
    wake: OwnedFd,
}

static REAPER: Mutex<Option<Arc<Reaper>>> = Mutex::new(None);

/// Takes over a child: kills it at its deadline, and takes its status when it ends.
pub(crate) fn adopt(child: Arc<Kill>, deadline: Deadline) {
    let mut current = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    let reaper = match &*current {
        Some(reaper) if reaper.process == std::process::id() => Arc::clone(reaper),
        _ => match Reaper::start() {
            Some(reaper) => {
                *current = Some(Arc::clone(&reaper));
                reaper
            }
            // No thread, no descriptor: at the next chance. It stays a zombie until then.
            None => return,
        },
    };
    reaper
        .arrivals
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Orphan { child, deadline });
    event::set(reaper.wake.as_fd());
}

impl Reaper {
    fn start() -> Option<Arc<Self>> {
        let reaper = Arc::new(Self {
            process: std::process::id(),
            arrivals: Mutex::default(),
            wake: event::new().ok()?,
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
            let deadline = orphans
                .iter()
                .fold(Deadline::NEVER, |least, orphan| least.min(orphan.deadline));
            let mut entries: Vec<_> = std::iter::once(self.wake.as_fd())
                .chain(
                    orphans
                        .iter()
                        .map(|orphan| orphan.child.process.pidfd.as_fd()),
                )
                .map(|fd| poll::entry(fd, libc::POLLIN))
                .collect();
            match poll::poll(&mut entries, deadline) {
                Ok(()) => event::clear(self.wake.as_fd()),
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
                // More children than RLIMIT_NOFILE allows to poll, or no memory: by the clock.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}
