//! The count of the children of a pool that are to come back from a call.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::event;

/// How many children are to come back from a call, and so are not missing among the spares.
#[derive(Debug)]
pub(super) struct Lending {
    count: AtomicUsize,
    /// Wakes the thread of the pool.
    wake: Arc<OwnedFd>,
}

/// One of these children. If the call is given up, and drops this, the thread replaces the child.
#[derive(Debug)]
pub(super) struct Lent {
    lending: Arc<Lending>,
    has_come_back: bool,
}

impl Lending {
    pub(super) fn new(wake: Arc<OwnedFd>) -> Self {
        let count = AtomicUsize::new(0);
        Self { count, wake }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn lend(self: &Arc<Self>) -> Lent {
        self.count.fetch_add(1, Ordering::SeqCst);
        Lent {
            lending: Arc::clone(self),
            has_come_back: false,
        }
    }
}

/// Counts the child no more. The caller wakes the thread if there is anything to do.
pub(super) fn come_back(lent: Option<Lent>) {
    if let Some(mut lent) = lent {
        lent.has_come_back = true;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.lending.count.fetch_sub(1, Ordering::SeqCst);
        if !self.has_come_back {
            event::set(self.lending.wake.as_fd());
        }
    }
}
