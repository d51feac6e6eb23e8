//! Ends the children of a pool that get no other call.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::leaving::Leaving;
use super::refill::RETIRE_PAUSE;
use super::stats::count;
use super::stock::{State, Stock, Stocked};
use crate::call::Child;
use crate::object::Object;
use crate::sys::event;

impl<R: Object> State<R> {
    /// Has the thread end a spare.
    pub(super) fn give_up(&mut self, stocked: Stocked<R>) {
        match stocked.answered {
            0 => self.useless.push(stocked.spare),
            // It may have printed something.
            _ => self.leaving.push(Leaving::new(stocked.spare.into_child())),
        }
    }
}

impl<R: Object + Send> Stock<R> {
    /// Takes over a child that has answered.
    pub(super) fn retire(&self, mut child: Child<R>) {
        child.never_wait();
        if !self.is_in_this_process() {
            return;
        }
        let mut state = self.lock();
        state.leaving.push(Leaving::new(child));
        state.refill.call_has_ended();
        self.wake_in(&mut state, RETIRE_PAUSE);
        let too_many = state.leaving.len().saturating_add(state.in_hand) > self.most_leaving;
        drop(state);
        if too_many {
            // The thread doesn't keep up.
            self.clear_away();
            // It may have gone to sleep meanwhile, and not have seen these children.
            event::set(self.wake.as_fd());
        }
    }

    /// Drops what is of no use any more. Returns whether that was the last thing to do.
    pub(super) fn clear_away(&self) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            for stocked in std::mem::take(&mut state.spares) {
                state.give_up(stocked);
            }
        } else if state.idle_until.has_passed() {
            self.counters
                .released
                .fetch_add(state.spares.len() as u64, Ordering::Relaxed);
            for stocked in std::mem::take(&mut state.spares) {
                state.give_up(stocked);
            }
        } else {
            // Those that have died.
            let mut waiting = VecDeque::with_capacity(state.spares.len());
            for mut stocked in std::mem::take(&mut state.spares) {
                match stocked.spare.is_waiting() {
                    true => waiting.push_back(stocked),
                    false => {
                        count(&self.counters.died_idle);
                        state.give_up(stocked);
                    }
                }
            }
            state.spares = waiting;
        }
        let mut leaving = std::mem::take(&mut state.leaving);
        let taken = leaving.len();
        let in_other_hands = state.in_hand;
        state.in_hand = in_other_hands.saturating_add(taken);
        let useless = std::mem::take(&mut state.useless);
        drop(state);
        drop(useless);
        leaving.retain_mut(|leaving| !leaving.child.is_over(leaving.until));
        // Those that linger on purpose must not pile up: the oldest of them are killed.
        let most = self.most_leaving.saturating_sub(in_other_hands);
        let mut surplus = leaving.len().saturating_sub(most);
        leaving.retain_mut(|leaving| {
            let is_surplus = surplus > 0 && leaving.may_exit;
            surplus -= usize::from(is_surplus);
            !is_surplus
        });
        for leaving in leaving.iter_mut().filter(|leaving| !leaving.may_exit) {
            leaving.child.hang_up();
            leaving.may_exit = true;
        }
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(taken);
        state.leaving.append(&mut leaving);
        state.has_no_callers
            && state.leaving.is_empty()
            && state.spares.is_empty()
            && state.in_hand == 0
    }
}
