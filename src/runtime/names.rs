//! Looks up the names in an error, on a thread that may block for it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::error::Error;
use crate::sys::background;

/// How long an error is held back for its names.
const LONGEST: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Lookup {
    is_done: bool,
    waker: Option<Waker>,
}

/// Wakes whoever waits, however the thread ends.
struct Finish(Arc<Mutex<Lookup>>);

impl Drop for Finish {
    fn drop(&mut self) {
        let mut lookup = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lookup.is_done = true;
        let waker = lookup.waker.take();
        drop(lookup);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Looks up the names in an error, so that whoever shows it doesn't hold up the runtime: the first
/// lookup in a program reads its debug information, which can take as long as a second. If it takes longer than
/// [`LONGEST`], it goes on in the background.
pub(super) async fn look_up(error: &Error) {
    let claim = match error {
        Error::Violation(violation) if cfg!(feature = "backtrace") => violation.claim.as_ref(),
        _ => None,
    };
    let Some(claim) = claim.cloned() else { return };
    let lookup = Arc::new(Mutex::new(Lookup::default()));
    let finish = Finish(Arc::clone(&lookup));
    let (done, wait) = mpsc::channel::<()>();
    let started = background::spawn("crossmist-names", move || {
        let _ = claim.at();
        drop(done);
    });
    // The file of a library may be on a file system that doesn't answer.
    let started = started.and_then(|()| {
        background::spawn("crossmist-waits", move || {
            let _ = wait.recv_timeout(LONGEST);
            drop(finish);
        })
    });
    // Without a thread, they are looked up when the error is shown.
    if started.is_err() {
        return;
    }
    poll_fn(|context| {
        let mut lookup = lookup.lock().unwrap_or_else(PoisonError::into_inner);
        match lookup.is_done {
            true => Poll::Ready(()),
            false => {
                lookup.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await;
}
