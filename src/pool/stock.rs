//! The spare children of a pool, and the thread that looks after them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::caller::Caller;
use super::leaving::{self, Leaving};
use super::lending::Lending;
use super::refill::{REFILL_PAUSE, Refill};
use super::stats::{Counters, count};
use crate::call::{Options, Spare};
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::events;
#[cfg(feature = "metrics")]
use crate::meters::Level;
use crate::object::Object;
use crate::sys::poll::{self, Deadline};
use crate::sys::timer::{self, Timer};
use crate::sys::{background, event};

/// Starts a spare child of the pool's function.
pub(super) type Start<R> = fn(&Options) -> Result<Spare<R>, Error>;

/// The spare children of a pool.
#[derive(Debug)]
pub(super) struct Stock<R: Object> {
    /// The process that built the pool. A copy of it made by `fork` has no thread, and perhaps a lock that
    /// nobody will open.
    process: u32,
    pub(super) start: Start<R>,
    pub(super) options: Options,
    /// How many spares there are to be.
    pub(super) wanted: usize,
    /// How many calls a child answers.
    pub(super) answers: u32,
    /// The children that come back from a call.
    pub(super) lending: Arc<Lending>,
    /// How long they stay when nobody calls.
    pub(super) idle_time: Duration,
    /// How many children may linger after their answer.
    pub(super) most_leaving: usize,
    state: Mutex<State<R>>,
    pub(super) wake: Arc<OwnedFd>,
    /// Wakes the thread a little later.
    wake_later: Timer,
    pub(super) counters: Counters,
    #[cfg(feature = "metrics")]
    pub(super) function: &'static str,
}

#[derive(Debug)]
pub(super) struct State<R: Object> {
    pub(super) spares: VecDeque<Stocked<R>>,
    /// Children that have answered.
    pub(super) leaving: Vec<Leaving<R>>,
    /// How many of them somebody is looking after at this moment, outside of the lock.
    pub(super) in_hand: usize,
    /// Spares that have had no call and are of no use, to be dropped by the thread, since that can take a moment.
    pub(super) useless: Vec<Spare<R>>,
    /// When the spares are given up if nobody calls before.
    pub(super) idle_until: Deadline,
    /// When the thread wakes up by itself.
    wake_at: Deadline,
    pub(super) refill: Refill,
    pub(super) is_closed: bool,
    /// Nobody takes a spare or gives back a child any more.
    pub(super) has_no_callers: bool,
}

#[derive(Debug)]
pub(super) struct Stocked<R: Object> {
    pub(super) spare: Spare<R>,
    pub(super) made_by: Caller,
    /// How many calls it has answered.
    pub(super) answered: u32,
    /// Counts it among those that wait.
    #[cfg(feature = "metrics")]
    pub(super) _waiting: Level,
}

/// How many spares are started at a time, before others are looked after.
const BATCH: usize = 4;

/// The pauses after a spare could not be started, from the first to the longest.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const MOST_PAUSE: Duration = Duration::from_secs(5);

impl<R: Object + Send> Stock<R> {
    /// Starts the thread. The first spare is started at once, so that its failure is the pool's.
    pub(super) fn new(
        start: Start<R>,
        options: Options,
        wanted: usize,
        answers: u32,
        workers: usize,
        idle_time: Duration,
        #[cfg(feature = "metrics")] function: &'static str,
    ) -> Result<Arc<Self>, Error> {
        let failed = |step| move |source| Error::Launch { step, source };
        let wake = event::new().map_err(failed("create an event (eventfd)"))?;
        let wake = Arc::new(wake);
        let mut spares = VecDeque::new();
        if wanted > 0 {
            let made_by = Caller::now()?;
            let mut spare = start(&options)?;
            spare.wait_until_ready()?;
            spares.push_back(Stocked {
                spare,
                made_by,
                answered: 0,
                #[cfg(feature = "metrics")]
                _waiting: Level::pool_spare(function),
            });
        }
        let stock = Arc::new(Self {
            process: std::process::id(),
            start,
            options,
            wanted,
            answers,
            lending: Arc::new(Lending::new(Arc::clone(&wake))),
            idle_time,
            most_leaving: leaving::most(workers, wanted),
            state: Mutex::new(State {
                spares,
                leaving: Vec::new(),
                in_hand: 0,
                useless: Vec::new(),
                idle_until: Deadline::after(idle_time),
                wake_at: Deadline::NEVER,
                refill: Refill::default(),
                is_closed: false,
                has_no_callers: false,
            }),
            wake,
            wake_later: Timer::new().map_err(failed("create a timer (timerfd_create)"))?,
            counters: Counters::default(),
            #[cfg(feature = "metrics")]
            function,
        });
        let for_thread = Arc::clone(&stock);
        background::spawn("crossmist-pool", move || for_thread.look_after())
            .map_err(failed("start the thread of a pool"))?;
        Ok(stock)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_in_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    pub(super) fn take_spare(&self, caller: &Caller) -> Option<Stocked<R>> {
        let mut state = self.lock();
        state.idle_until = Deadline::after(self.idle_time);
        let mut found = None;
        while found.is_none()
            && let Some(mut stocked) = state.spares.pop_front()
        {
            if stocked.made_by != *caller {
                count(&self.counters.released);
                state.give_up(stocked);
            } else if stocked.spare.is_waiting() {
                found = Some(stocked);
            } else {
                count(&self.counters.died_idle);
                state.give_up(stocked);
            }
        }
        let is_low = self.is_low(&state);
        state.refill.call_begins(is_low);
        found
    }

    /// Has the thread start spares even if the calls take long, if few are left. Otherwise the end of a call wakes
    /// it.
    pub(super) fn refill_in_time(&self) {
        let mut state = self.lock();
        if self.is_low(&state) {
            self.wake_in(&mut state, REFILL_PAUSE);
        }
    }

    fn is_low(&self, state: &State<R>) -> bool {
        self.wanted > 0 && state.spares.len() <= self.wanted / 2
    }

    /// Has the thread wake up after a time at the latest.
    pub(super) fn wake_in(&self, state: &mut State<R>, pause: Duration) {
        let at = Deadline::after(pause);
        if at.min(state.wake_at) == at {
            match self.wake_later.set(at) {
                Ok(()) => state.wake_at = at,
                Err(_) => event::set(self.wake.as_fd()),
            }
        }
    }

    /// Ends all spares. The thread stays for the children that have a call, or get one that was let in before.
    pub(super) fn close(&self) {
        if self.is_in_this_process() {
            self.lock().is_closed = true;
            event::set(self.wake.as_fd());
        }
    }

    /// Ends all spares, and the thread once the last child has ended. Nobody calls any more.
    pub(super) fn end(&self) {
        if self.is_in_this_process() {
            let mut state = self.lock();
            (state.is_closed, state.has_no_callers) = (true, true);
            drop(state);
            event::set(self.wake.as_fd());
        }
    }

    /// Returns how many spares wait.
    pub(super) fn len(&self) -> usize {
        match self.is_in_this_process() {
            true => self.lock().spares.len(),
            false => 0,
        }
    }

    /// The thread.
    fn look_after(&self) {
        let mut pause = Duration::ZERO;
        let mut try_again = Deadline::NEVER;
        loop {
            if self.clear_away() {
                return;
            }
            let (missing, due) = self.missing();
            let may_try = pause.is_zero() || try_again.has_passed();
            if missing > 0 && may_try && due.has_passed() {
                match self.fill(missing.min(BATCH)) {
                    Ok(()) => {
                        self.lock().refill.clear();
                        pause = Duration::ZERO;
                        continue;
                    }
                    Err(error) => {
                        count(&self.counters.failed_starts);
                        #[cfg(feature = "tracing")]
                        events::no_spare(&error);
                        #[cfg(not(feature = "tracing"))]
                        drop(error);
                        pause = pause.saturating_mul(2).clamp(LEAST_PAUSE, MOST_PAUSE);
                        try_again = Deadline::after(pause);
                    }
                }
            }
            self.sleep(match missing {
                0 => Deadline::NEVER,
                _ if !pause.is_zero() && !try_again.has_passed() => try_again,
                _ => due,
            });
        }
    }

    /// Returns how many spares to start, and when.
    fn missing(&self) -> (usize, Deadline) {
        let mut state = self.lock();
        let missing = match state.is_closed || state.idle_until.has_passed() {
            true => 0,
            false => {
                // Those that have a call come back.
                let lent = self.lending.count();
                self.wanted
                    .saturating_sub(state.spares.len().saturating_add(lent))
            }
        };
        if missing == 0 {
            state.refill.clear();
        }
        (missing, state.refill.due())
    }

    fn fill(&self, missing: usize) -> Result<(), Error> {
        let mut started = Vec::with_capacity(missing);
        for _ in 0..missing {
            let made_by = Caller::now()?;
            let spare = (self.start)(&self.options)?;
            started.push(Stocked {
                spare,
                made_by,
                answered: 0,
                #[cfg(feature = "metrics")]
                _waiting: Level::pool_spare(self.function),
            });
        }
        for mut stocked in started {
            stocked.spare.wait_until_ready()?;
            let mut state = self.lock();
            // Meanwhile a child may have come back from a call.
            match state.spares.len() < self.wanted {
                true => state.spares.push_back(stocked),
                false => state.give_up(stocked),
            }
        }
        Ok(())
    }

    /// Waits until there is something to do.
    fn sleep(&self, mut until: Deadline) {
        let mut entries = vec![
            poll::entry(self.wake.as_fd(), libc::POLLIN),
            poll::entry(self.wake_later.as_fd(), libc::POLLIN),
        ];
        let state = self.lock();
        if !state.spares.is_empty() {
            until = until.min(state.idle_until);
        }
        // A descriptor may be closed, and its number given to another one, before the wait: then the thread
        // looks in vain.
        entries.extend(
            state
                .spares
                .iter()
                .filter_map(|stocked| stocked.spare.end_entry()),
        );
        for leaving in &state.leaving {
            until = until.min(leaving.until);
            entries.extend(leaving.child.end_entry());
        }
        drop(state);
        match poll::poll(&mut entries, until) {
            Ok(()) => {
                event::clear(self.wake.as_fd());
                if timer::has_ended(self.wake_later.as_fd()) {
                    self.lock().wake_at = Deadline::NEVER;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
            // There are more children than can be watched.
            Err(_) => std::thread::sleep(LEAST_PAUSE),
        }
    }
}
