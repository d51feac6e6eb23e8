//! Threads for work that a stranger may hold up.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::background;

/// How long a thread waits for work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Threads that do one kind of work. They are started when there is work, and end without it.
#[derive(Debug)]
pub(super) struct Workers<J: 'static> {
    name: &'static str,
    /// How many threads there are at most. One that is held up holds up none of the others.
    threads: usize,
    /// How many jobs wait for a thread at most.
    waiting: usize,
    /// Called first in each thread.
    begin: fn(),
    work: fn(J),
    current: Mutex<Option<Arc<Pool<J>>>>,
}

impl<J: Send + 'static> Workers<J> {
    pub(super) const fn new(
        name: &'static str,
        threads: usize,
        waiting: usize,
        begin: fn(),
        work: fn(J),
    ) -> Self {
        Self {
            name,
            threads,
            waiting,
            begin,
            work,
            current: Mutex::new(None),
        }
    }

    /// Has a thread do the job soon. Returns it if too many wait, or if there is no thread and none can be
    /// started.
    pub(super) fn take(&'static self, job: J) -> Result<(), J> {
        self.pool().take(job)
    }

    fn pool(&'static self) -> Arc<Pool<J>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(pool) if pool.process == std::process::id() => Arc::clone(pool),
            _ => Arc::clone(current.insert(Arc::new(Pool {
                workers: self,
                process: std::process::id(),
                state: Mutex::default(),
                changed: Condvar::new(),
            }))),
        }
    }
}

#[derive(Debug)]
struct Pool<J: 'static> {
    workers: &'static Workers<J>,
    /// The process that it belongs to: a copy made by `fork` has the memory, but no threads.
    process: u32,
    state: Mutex<State<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<J>,
    threads: usize,
    /// How many of them have nothing to do.
    idle: usize,
}

impl<J> Default for State<J> {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            threads: 0,
            idle: 0,
        }
    }
}

impl<J: Send + 'static> Pool<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: Arc<Self>, job: J) -> Result<(), J> {
        let mut state = self.lock();
        let unstarted = self.workers.threads.saturating_sub(state.threads);
        let free = unstarted.saturating_add(state.idle);
        if state.jobs.len() >= self.workers.waiting.saturating_add(free) {
            return Err(job);
        }
        if state.idle <= state.jobs.len() && state.threads < self.workers.threads {
            let for_thread = Arc::clone(&self);
            match background::spawn(self.workers.name, move || for_thread.run()) {
                Ok(()) => state.threads += 1,
                Err(_) if state.threads == 0 => return Err(job),
                // Another one does it later.
                Err(_) => {}
            }
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    fn run(&self) {
        (self.workers.begin)();
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                (self.workers.work)(job);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let is_idle = |state: &mut State<J>| state.jobs.is_empty();
            let waited = self.changed.wait_timeout_while(state, IDLE_TIME, is_idle);
            let (still, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = still;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}
