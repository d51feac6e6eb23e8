//! `Pool::map`: many calls at once, from one thread.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::time::Instant;

use super::Pool;
use super::loan::Loan;
use super::queue::{NoPlace, Place};
use super::tries::Tries;
use crate::call::Child;
use crate::error::Error;
#[cfg(feature = "metrics")]
use crate::meters::CallMeter;
use crate::object::Object;
use crate::sys::poll::{self, Deadline};
use crate::transport::Step;

impl<A: Object, R: Object + Send> Pool<(A,), R> {
    /// Calls the function for each item, and returns the results in the order of the items.
    ///
    /// As many calls run at once as the pool has workers. An item is taken from the iterator when a worker is
    /// free for it, so the iterator may be infinite. No call starts before you ask for the first result.
    ///
    /// Dropping the iterator ends the calls that are running.
    pub fn map<I: IntoIterator<Item = A>>(&self, items: I) -> Map<A, R, I::IntoIter> {
        Map(Running::new(self, items.into_iter()))
    }

    /// Calls the function for each item, as [`map`](Self::map) does, and returns the results as they arrive,
    /// each with the position of its item.
    pub fn map_unordered<I: IntoIterator<Item = A>>(
        &self,
        items: I,
    ) -> MapUnordered<A, R, I::IntoIter> {
        MapUnordered(Running::new(self, items.into_iter()))
    }
}

/// The results of [`Pool::map`].
#[must_use = "iterators are lazy"]
pub struct Map<A: Object, R: Object + Send, I>(Running<A, R, I>);

/// The results of [`Pool::map_unordered`].
#[must_use = "iterators are lazy"]
pub struct MapUnordered<A: Object, R: Object + Send, I>(Running<A, R, I>);

struct Running<A: Object, R: Object + Send, I> {
    pool: Pool<(A,), R>,
    items: I,
    /// How many items were taken.
    taken: usize,
    /// There are no more.
    is_exhausted: bool,
    /// In the order of their items.
    calls: VecDeque<Item<R>>,
}

struct Item<R: Object> {
    position: usize,
    begun: Instant,
    /// Until the call has ended.
    #[cfg(feature = "metrics")]
    meter: Option<CallMeter>,
    state: State<R>,
}

enum State<R: Object> {
    Running(Box<Child<R>>, Box<Loan>, Place),
    Done(Result<R, Error>),
}

impl<A: Object, R: Object + Send, I: Iterator<Item = A>> Running<A, R, I> {
    fn new(pool: &Pool<(A,), R>, items: I) -> Self {
        Self {
            pool: pool.clone(),
            items,
            taken: 0,
            is_exhausted: false,
            calls: VecDeque::new(),
        }
    }

    /// Starts calls while there are items and workers. Waits for a worker only if no call is running.
    fn fill(&mut self) {
        let inner = &self.pool.inner;
        while !self.is_exhausted && self.calls.len() < inner.workers {
            let until = self.calls.is_empty().then_some(Deadline::NEVER);
            let place = match inner.queue_place(until) {
                Ok(Some(place)) => Ok(place),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            let Some(item) = self.items.next() else {
                self.is_exhausted = true;
                return;
            };
            let begun = Instant::now();
            let place = inner.noted(place);
            #[cfg(feature = "metrics")]
            let mut meter = place
                .is_ok()
                .then(|| CallMeter::begin(inner.stock.function));
            let state = match place.and_then(|place| Ok((inner.start(item)?, place))) {
                Ok(((child, loan), place)) => {
                    State::Running(Box::new(child), Box::new(loan), place)
                }
                Err(error) => {
                    #[cfg(feature = "metrics")]
                    if let Some(meter) = meter.take() {
                        meter.fail(&error);
                    }
                    State::Done(Err(error))
                }
            };
            self.calls.push_back(Item {
                position: self.taken,
                begun,
                #[cfg(feature = "metrics")]
                meter,
                state,
            });
            self.taken = self.taken.saturating_add(1);
        }
    }

    /// Takes a step of each call, and waits if none came further.
    fn advance(&mut self) {
        let inner = &self.pool.inner;
        let mut until = Deadline::NEVER;
        let mut entries = Vec::new();
        let mut has_changed = false;
        for call in &mut self.calls {
            let State::Running(child, ..) = &mut call.state else {
                continue;
            };
            match child.next_result() {
                Step::Done(result) => {
                    inner.note(call.begun, &result);
                    #[cfg(feature = "metrics")]
                    if let Some(meter) = call.meter.take() {
                        meter.end(&result);
                    }
                    let has_answered = result.is_ok();
                    let done = std::mem::replace(&mut call.state, State::Done(result));
                    if let State::Running(child, loan, place) = done {
                        inner.stock.take_back(*child, *loan, has_answered);
                        drop(place);
                    }
                    has_changed = true;
                }
                Step::Continue => has_changed = true,
                Step::Wait(wait) => {
                    until = until.min(wait.until);
                    entries.extend(child.entries(wait).into_iter().flatten());
                }
            }
        }
        if has_changed || entries.is_empty() {
            return;
        }
        // A failure shows at the next step.
        let _ = poll::poll(&mut entries, until);
        for call in &mut self.calls {
            if let State::Running(child, ..) = &mut call.state {
                child.note_end();
            }
        }
    }
}

fn take_done<R: Object>(
    calls: &mut VecDeque<Item<R>>,
    at: usize,
) -> Option<(usize, Result<R, Error>)> {
    if !matches!(calls.get(at)?.state, State::Done(_)) {
        return None;
    }
    let Item {
        position, state, ..
    } = calls.remove(at)?;
    match state {
        State::Done(result) => Some((position, result)),
        State::Running(..) => None,
    }
}

impl<A: Object, R: Object + Send, I: Iterator<Item = A>> Iterator for Map<A, R, I> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0.fill();
            if self.0.calls.is_empty() {
                return None;
            }
            if let Some((_, result)) = take_done(&mut self.0.calls, 0) {
                return Some(result);
            }
            self.0.advance();
        }
    }
}

impl<A: Object, R: Object + Send, I: Iterator<Item = A>> Iterator for MapUnordered<A, R, I> {
    type Item = (usize, Result<R, Error>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.0.fill();
            if self.0.calls.is_empty() {
                return None;
            }
            let is_done = |call: &Item<R>| matches!(call.state, State::Done(_));
            if let Some(at) = self.0.calls.iter().position(is_done) {
                return take_done(&mut self.0.calls, at);
            }
            self.0.advance();
        }
    }
}

// `Calls` remembers that there is no argument left.
impl<A: Object, R: Object + Send, I: Iterator<Item = A>> FusedIterator for Map<A, R, I> {}

impl<A: Object, R: Object + Send, I: Iterator<Item = A>> FusedIterator for MapUnordered<A, R, I> {}

// Not derived: a derive would require the objects to be `Debug`.
impl<A: Object, R: Object + Send, I> fmt::Debug for Map<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("taken", &self.0.taken)
            .finish_non_exhaustive()
    }
}

impl<A: Object, R: Object + Send, I> fmt::Debug for MapUnordered<A, R, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapUnordered")
            .field("taken", &self.0.taken)
            .finish_non_exhaustive()
    }
}

impl<A: Object, R: Object + Send> super::Inner<(A,), R> {
    /// Takes a place. Returns `None` if all are taken and it may not wait.
    fn queue_place(&self, until: Option<Deadline>) -> Result<Option<Place>, NoPlace> {
        match (self.queue.try_take(), until) {
            (Ok(place), _) => Ok(Some(place)),
            (Err(NoPlace::Busy), None) => Ok(None),
            (Err(NoPlace::Busy), Some(until)) => Ok(Some(self.queue.take(until)?)),
            (Err(reason), _) => Err(reason),
        }
    }

    /// Gives an item to a child that reads all of it.
    fn start(&self, item: A) -> Result<(Child<R>, Loan), Error> {
        let call = self.call((item,))?;
        let (mut child, loan, mut outbox) = self.begin(&call, &mut Tries::default())?;
        child.send(&mut outbox)?;
        Ok((child, loan))
    }
}
