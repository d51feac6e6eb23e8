//! The places in a pool, and those who wait for one, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

#[cfg(feature = "metrics")]
use crate::meters::{Level, WaitMeter};
use crate::sys::poll::Deadline;

/// The number of calls that run at once. A call that comes when all places are taken waits in line.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    #[cfg(feature = "metrics")]
    function: &'static str,
}

#[derive(Debug)]
struct State {
    places: usize,
    taken: usize,
    line: VecDeque<Arc<Ticket>>,
    is_closed: bool,
    /// The tasks that wait until all places are free.
    watchers: Vec<Waker>,
}

/// A place in the line.
#[derive(Debug)]
struct Ticket {
    state: Mutex<TicketState>,
}

#[derive(Debug)]
enum TicketState {
    Waiting(Waker),
    Granted,
    Closed,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    Busy,
    Closed,
}

/// A place, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    queue: Arc<Queue>,
    #[cfg(feature = "metrics")]
    _running: Level,
}

impl Queue {
    pub(super) fn new(places: usize) -> Self {
        Self {
            state: Mutex::new(State {
                places,
                taken: 0,
                line: VecDeque::new(),
                is_closed: false,
                watchers: Vec::new(),
            }),
            #[cfg(feature = "metrics")]
            function: "",
        }
    }

    /// Measures its waits as those of a function.
    #[cfg(feature = "metrics")]
    pub(super) fn measured_for(self, function: &'static str) -> Self {
        Self { function, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place if one is free and nobody waits for it.
    pub(super) fn try_take(self: &Arc<Self>) -> Result<Place, NoPlace> {
        let mut state = self.lock();
        match () {
            () if state.is_closed => Err(NoPlace::Closed),
            () if state.taken < state.places && state.line.is_empty() => {
                state.taken = state.taken.saturating_add(1);
                drop(state);
                Ok(Place::new(self))
            }
            () => Err(NoPlace::Busy),
        }
    }

    /// Takes a place, and blocks the thread until there is one.
    pub(super) fn take(self: &Arc<Self>, until: Deadline) -> Result<Place, NoPlace> {
        match self.try_take() {
            Err(NoPlace::Busy) => {}
            result => return result,
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut wait = self.wait();
        loop {
            match wait.poll_place(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending if until.has_passed() => return Err(NoPlace::Busy),
                Poll::Pending => match until.remaining() {
                    Some(left) => std::thread::park_timeout(left),
                    None => std::thread::park(),
                },
            }
        }
    }

    /// Waits in line. Dropping the future leaves the line.
    pub(super) fn wait(self: &Arc<Self>) -> Wait {
        Wait {
            queue: Arc::clone(self),
            ticket: None,
            #[cfg(feature = "metrics")]
            meter: None,
        }
    }

    /// Lets no call in any more. Calls that wait in line get an error.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let line = std::mem::take(&mut state.line);
        let wakers: Vec<_> = line
            .iter()
            .filter_map(|ticket| ticket.settle(TicketState::Closed))
            .collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns once all places are free.
    pub(super) async fn idle(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.lock();
            if state.taken == 0 {
                return Poll::Ready(());
            }
            if !state
                .watchers
                .iter()
                .any(|waker| waker.will_wake(context.waker()))
            {
                state.watchers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns how many places are taken, and how many wait for one.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.taken, state.line.len())
    }

    fn give_back(&self) {
        let mut state = self.lock();
        match state.line.pop_front() {
            // The place passes on to the next in line.
            Some(ticket) => {
                let waker = ticket.settle(TicketState::Granted);
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
            None => {
                state.taken = state.taken.saturating_sub(1);
                if state.taken == 0 {
                    let watchers = std::mem::take(&mut state.watchers);
                    drop(state);
                    watchers.into_iter().for_each(Waker::wake);
                }
            }
        }
    }
}

impl Place {
    /// A place that was taken.
    fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            #[cfg(feature = "metrics")]
            _running: Level::pool_running(queue.function),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.give_back();
    }
}

impl Ticket {
    /// Settles it, and returns whom to wake. The caller holds the lock of the queue: a ticket that is out of the
    /// line is settled, so that who leaves the line knows whether it was given a place.
    #[must_use]
    fn settle(&self, settled: TicketState) -> Option<Waker> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, settled) {
            TicketState::Waiting(waker) => Some(waker),
            TicketState::Granted | TicketState::Closed => None,
        }
    }
}

/// A wait for a place.
#[derive(Debug)]
pub(super) struct Wait {
    queue: Arc<Queue>,
    ticket: Option<Arc<Ticket>>,
    #[cfg(feature = "metrics")]
    meter: Option<WaitMeter>,
}

impl Wait {
    fn poll_place(&mut self, context: &mut Context<'_>) -> Poll<Result<Place, NoPlace>> {
        let Some(ticket) = &self.ticket else {
            let mut state = self.queue.lock();
            if state.is_closed {
                return Poll::Ready(Err(NoPlace::Closed));
            }
            if state.taken < state.places && state.line.is_empty() {
                state.taken = state.taken.saturating_add(1);
                drop(state);
                return Poll::Ready(Ok(Place::new(&self.queue)));
            }
            let ticket = Arc::new(Ticket {
                state: Mutex::new(TicketState::Waiting(context.waker().clone())),
            });
            state.line.push_back(Arc::clone(&ticket));
            drop(state);
            self.ticket = Some(ticket);
            #[cfg(feature = "metrics")]
            {
                self.meter = Some(WaitMeter::begin(self.queue.function));
            }
            return Poll::Pending;
        };
        let mut state = ticket.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_granted = match &mut *state {
            TicketState::Waiting(waker) => {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            TicketState::Granted => true,
            TicketState::Closed => false,
        };
        drop(state);
        self.ticket = None;
        let result = match is_granted {
            true => Ok(Place::new(&self.queue)),
            false => Err(NoPlace::Closed),
        };
        #[cfg(feature = "metrics")]
        drop(self.meter.take());
        Poll::Ready(result)
    }
}

impl Future for Wait {
    type Output = Result<Place, NoPlace>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_place(context)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut state = self.queue.lock();
        state.line.retain(|other| !Arc::ptr_eq(other, &ticket));
        drop(state);
        // Nobody can settle it any more. If it was out of the line, it was settled under the same lock.
        let state = ticket.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_granted = matches!(*state, TicketState::Granted);
        drop(state);
        if was_granted {
            self.queue.give_back();
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn poll(wait: std::pin::Pin<&mut Wait>) -> Poll<Result<Place, NoPlace>> {
        wait.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn places_are_given_in_order() {
        let queue = Arc::new(Queue::new(1));
        let place = queue.try_take().unwrap();
        let (mut first, mut second) = (pin!(queue.wait()), pin!(queue.wait()));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert_eq!(queue.counts(), (1, 2));
        drop(place);
        assert!(poll(second.as_mut()).is_pending());
        // Nobody overtakes those in line.
        assert_eq!(queue.try_take().unwrap_err(), NoPlace::Busy);
        let Poll::Ready(Ok(place)) = poll(first.as_mut()) else {
            panic!("the first in line has no place");
        };
        drop(place);
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
        assert_eq!(queue.counts(), (0, 0));
    }

    #[test]
    fn a_wait_that_is_polled_often_is_kept_once() {
        let queue = Arc::new(Queue::new(1));
        let place = queue.try_take().unwrap();
        let mut idle = pin!(queue.idle());
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        for _ in 0..100 {
            assert!(idle.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(queue.lock().watchers.len(), 1);
        drop(place);
        assert!(idle.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn who_leaves_the_line_takes_no_place_along() {
        let queue = Arc::new(Queue::new(1));
        let place = queue.try_take().unwrap();
        {
            let mut granted = pin!(queue.wait());
            assert!(poll(granted.as_mut()).is_pending());
            drop(place);
            // It was given the place, and does not look.
        }
        assert_eq!(queue.counts(), (0, 0));
        let place = queue.try_take().unwrap();
        {
            let mut waiting = pin!(queue.wait());
            assert!(poll(waiting.as_mut()).is_pending());
        }
        assert_eq!(queue.counts(), (1, 0));
        drop(place);
        assert_eq!(queue.counts(), (0, 0));
    }

    #[test]
    fn a_place_given_to_one_who_leaves_at_that_moment_is_not_lost() {
        let queue = Arc::new(Queue::new(1));
        let patience = Duration::from_secs(30);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut wait = pin!(queue.wait());
                        // If it has a place at once, it gives it back.
                        drop(poll(wait.as_mut()));
                    }
                });
            }
            for _ in 0..20_000 {
                drop(queue.take(Deadline::after(patience)).unwrap());
            }
        });
        assert_eq!(queue.counts(), (0, 0));
    }

    #[test]
    fn a_closed_pool_lets_nobody_in() {
        let queue = Arc::new(Queue::new(1));
        let place = queue.try_take().unwrap();
        let mut wait = pin!(queue.wait());
        assert!(poll(wait.as_mut()).is_pending());
        queue.close();
        assert!(matches!(
            poll(wait.as_mut()),
            Poll::Ready(Err(NoPlace::Closed))
        ));
        assert_eq!(queue.try_take().unwrap_err(), NoPlace::Closed);
        let mut idle = pin!(queue.idle());
        let mut context = Context::from_waker(Waker::noop());
        assert!(idle.as_mut().poll(&mut context).is_pending());
        drop(place);
        assert!(idle.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_blocking_wait_ends_in_time() {
        let queue = Arc::new(Queue::new(0));
        let until = Deadline::after(Duration::from_millis(10));
        assert_eq!(queue.take(until).unwrap_err(), NoPlace::Busy);
        assert_eq!(queue.counts(), (0, 0));
    }

    #[test]
    fn no_more_than_there_are_places_run_at_once() {
        let queue = Arc::new(Queue::new(3));
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let place = queue.take(Deadline::NEVER).unwrap();
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(queue.counts(), (0, 0));
    }
}
