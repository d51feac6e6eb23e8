//! `Step`: what comes next in work that never blocks. The caller only waits.

use crate::sys::poll::Deadline;

/// The result of a step.
#[derive(Debug)]
pub(crate) enum Step<T> {
    Done(T),
    /// More can be done at once. A caller that has other tasks gives them a turn first.
    Continue,
    /// Nothing can be done before one of these.
    Wait(WaitFor),
}

/// The events to wait for; the first of them ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaitFor {
    pub(crate) socket: Option<Interest>,
    /// The end of the process.
    pub(crate) end: bool,
    pub(crate) until: Deadline,
}

/// The direction in which a socket is to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

impl<T> Step<T> {
    /// A wait for a socket alone.
    pub(crate) fn wait(interest: Interest) -> Self {
        Self::Wait(WaitFor {
            socket: Some(interest),
            end: false,
            until: Deadline::NEVER,
        })
    }

    /// A pause.
    #[cfg(feature = "__runtime")]
    pub(crate) fn pause(until: Deadline) -> Self {
        Self::Wait(WaitFor {
            socket: None,
            end: false,
            until,
        })
    }
}
