//! The children of a pool that have answered, and are about to exit.

use std::time::Duration;

use crate::call::Child;
use crate::object::Object;
use crate::sys::poll::Deadline;

/// A child that has answered. It exits when it hears that it may. What it printed is shown after that.
#[derive(Debug)]
pub(super) struct Leaving<R: Object> {
    pub(super) child: Child<R>,
    /// When it is killed.
    pub(super) until: Deadline,
    /// Whether it was told.
    pub(super) may_exit: bool,
}

/// How long a child may take to exit after it has answered.
const LINGER: Duration = Duration::from_secs(2);

/// So many may linger even if there are few workers.
const LEAST_LEAVING: usize = 4;

/// No more than these, however many workers there are.
const MOST_LEAVING: usize = 64;

/// Returns how many may linger. All workers can end at once, and so can all spares that have answered calls.
pub(super) fn most(workers: usize, spares: usize) -> usize {
    workers.max(spares).clamp(LEAST_LEAVING, MOST_LEAVING)
}

impl<R: Object> Leaving<R> {
    pub(super) fn new(child: Child<R>) -> Self {
        Self {
            child,
            until: Deadline::after(LINGER),
            may_exit: false,
        }
    }
}
