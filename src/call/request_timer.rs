//! `RequestTimer`: a deadline for each request of a child that serves many.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, UnsupportedKind};
use crate::sys::poll::Deadline;
use crate::sys::timer::Timer;

/// Bounds the time of each request that a long-lived child serves.
///
/// A child that gets its requests over a channel lives for as long as there are any, so neither the `wall_time`
/// of its policy nor [`Builder::deadline`](crate::Builder::deadline) bounds a single request. Give the call a
/// timer by [`Builder::request_timer`](crate::Builder::request_timer). [`start`](Self::start) it before each
/// request, and [`stop`](Self::stop) it after the answer. If the timer expires first, the child is killed, and
/// the call fails with [`Error::Deadline`].
///
/// The keeper waits for the timer, so it holds even if all threads of this program are busy or stopped. Starting
/// and stopping it is one system call, and wakes no process. It works the same with blocking channels and in
/// every runtime.
///
/// The timer never extends the `wall_time` or the deadline of the call: whichever comes first applies. A policy
/// for a long-lived child says `wall_time = "none"`, as the built-in policy `worker` does.
///
/// Clones are handles of the same timer. A timer works for one child.
///
/// # Examples
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// use crossmist::{Duplex, Error, RequestTimer, duplex, func};
///
/// #[func(sandbox = "worker")]
/// fn shout(mut requests: Duplex<String, String>) {
///     while let Ok(Some(text)) = requests.recv() {
///         if requests.send(&text.to_uppercase()).is_err() {
///             break;
///         }
///     }
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), Error> {
///     let timer = RequestTimer::new()?;
///     let (mut worker, theirs) = duplex()?;
///     let child = shout.builder().request_timer(&timer).spawn(theirs)?;
///     for text in ["lorem", "ipsum"] {
///         timer.start(Duration::from_secs(5))?;
///         assert_eq!(worker.request(&text.to_owned())?, text.to_uppercase());
///         timer.stop()?;
///     }
///     drop(worker);
///     child.join()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct RequestTimer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    timer: Timer,
    /// The last request, for the error.
    last: Mutex<Option<Request>>,
    /// A child has it. The keeper kills one child for an expiration.
    is_given: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    deadline: Deadline,
    time: Duration,
    /// The timer has been stopped since.
    is_over: bool,
}

impl RequestTimer {
    /// Creates a timer that is stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if this process can have no more descriptors.
    pub fn new() -> Result<Self, Error> {
        let timer = Timer::new().map_err(|source| Error::Io {
            operation: "create a timer (timerfd_create)",
            source,
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                timer,
                last: Mutex::default(),
                is_given: AtomicBool::new(false),
            }),
        })
    }

    /// Starts the timer: the child is killed `time` from now, unless the timer is stopped or started again
    /// before that.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kernel cannot set the timer. It then keeps its setting.
    pub fn start(&self, time: Duration) -> Result<(), Error> {
        let deadline = Deadline::after(time);
        self.set(deadline, |_| {
            Some(Request {
                deadline,
                time,
                is_over: false,
            })
        })
    }

    /// Stops the timer. The child then waits for its next request for as long as it likes.
    ///
    /// This can be too late for a timer that has just expired. The child is then killed, even if its answer has
    /// arrived.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kernel cannot set the timer. It then keeps its setting.
    pub fn stop(&self) -> Result<(), Error> {
        // Kept: it may have expired just before.
        self.set(Deadline::NEVER, |last| {
            last.map(|request| Request {
                is_over: true,
                ..request
            })
        })
    }

    fn set(
        &self,
        deadline: Deadline,
        record: impl FnOnce(Option<Request>) -> Option<Request>,
    ) -> Result<(), Error> {
        // Held meanwhile, so that the record is that of the setting if several threads set it.
        let mut last = self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared
            .timer
            .set(deadline)
            .map_err(|source| Error::Io {
                operation: "set a timer (timerfd_settime)",
                source,
            })?;
        *last = record(*last);
        Ok(())
    }

    /// Takes it for the child of a call.
    pub(super) fn give(&self, function: &str, is_confined: bool) -> Result<(), Error> {
        let refused = |kind, reason| Err(Error::Unsupported { kind, reason });
        if !is_confined {
            return refused(
                UnsupportedKind::NoSandbox,
                format!(
                    "`{function}` has no sandbox, and only sandboxed functions have request timers: give it \
                     a policy, by `#[func(sandbox = \"…\")]`"
                ),
            );
        }
        match self.shared.is_given.swap(true, Ordering::Relaxed) {
            false => Ok(()),
            true => refused(
                UnsupportedKind::TimerTaken,
                format!(
                    "the request timer for `{function}` belongs to another child: create one for each child"
                ),
            ),
        }
    }

    /// Returns the time that the last request was given, if a child that missed a deadline has missed that of
    /// the request, and not that of the call.
    pub(super) fn time_of_request(&self, of_call: Deadline) -> Option<Duration> {
        let last = self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.filter(|request| match request.is_over {
            true => !of_call.has_passed(),
            false => request.deadline.min(of_call) == request.deadline,
        })
        .map(|request| request.time)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.timer.as_fd()
    }
}
