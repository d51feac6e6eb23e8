//! The last step of a child: it runs the function and sends the answer.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::panic;
use super::reply::{Numbered, Reply};
use crate::error::ChildText;
use crate::func::{Arguments, Func};
use crate::object::{EncodeError, Limits, Object, Trust};
use crate::sys::poll::Deadline;
use crate::sys::signals;
use crate::transport::{self, Outbox};

/// How the child's part of a call went, as its exit status. The answer has already told the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Returned = 0,
    Panicked = 101,
    Failed = 102,
}

/// The launch socket, to which the answer is sent.
pub(super) static SOCKET: OnceLock<OwnedFd> = OnceLock::new();

/// The number of the call that is running, or 0 if calls have none.
pub(super) static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Goes through what [`enter`] does, as far as that is possible without arguments, so that a child that waits for
/// its call has the pages that it needs. Each one that it first touches while the caller waits costs a microsecond or
/// more.
pub(crate) fn rehearse<F: Func>(limits: Limits) {
    watch_panics(limits);
    let reply = Reply::<F::Output>::BadArguments(ChildText::new(String::new()));
    let _ = encode(&numbered(reply), limits).map(drop);
    flush();
}

fn watch_panics(limits: Limits) {
    panic::watch(move |panic| {
        answer(&numbered(Reply::<()>::Panicked(panic)), limits);
        flush();
    });
}

/// Runs a function on its arguments and sends the answer.
pub(crate) fn enter<F: Func>(arguments: Arguments<'_>, limits: Limits) -> Ending {
    watch_panics(limits);
    let reply = numbered(
        match catch_unwind(AssertUnwindSafe(|| F::enter(arguments))) {
            Ok(Ok(value)) => Reply::Returned(value),
            Ok(Err(error)) => Reply::BadArguments(ChildText::new(error.to_string())),
            Err(payload) => Reply::Panicked(panic::panic_seen(Some(payload))),
        },
    );
    // The result's own `encode` may panic, before anything is sent.
    let ending = match catch_unwind(AssertUnwindSafe(|| answer(&reply, limits))) {
        Ok(ending) => ending,
        Err(payload) => {
            let panic = panic::panic_seen(Some(payload));
            answer(&numbered(Reply::<()>::Panicked(panic)), Limits::default())
        }
    };
    // After the answer, since another thread may hold the lock of stdout for ever. In that case the
    // caller has the answer and ends this process. The caller waits for the process to exit, so
    // what the function printed is written when the call returns. Before the result is dropped,
    // since the drop may never end either.
    flush();
    ending
}

fn answer<T: Object>(answer: &Numbered<T>, limits: Limits) -> Ending {
    let sent = send_numbered(answer, limits).unwrap_or_else(|error| {
        send_numbered(&numbered(Reply::<()>::from(error)), Limits::default()).unwrap_or(false)
    });
    match answer.reply {
        _ if !sent => Ending::Failed,
        Reply::Returned(_) => Ending::Returned,
        Reply::Panicked(_) => Ending::Panicked,
        _ => Ending::Failed,
    }
}

/// Adds the number of the call that is running.
fn numbered<T>(reply: Reply<T>) -> Numbered<T> {
    let number = NUMBER.load(Ordering::Relaxed);
    Numbered { number, reply }
}

/// Sends an answer, with its number if calls have one.
fn send_numbered<T: Object>(answer: &Numbered<T>, limits: Limits) -> Result<bool, EncodeError> {
    encode(answer, limits).map(|mut outbox| send(&mut outbox))
}

fn encode<T: Object>(answer: &Numbered<T>, limits: Limits) -> Result<Outbox<'_>, EncodeError> {
    match answer.number {
        0 => Outbox::encode(&answer.reply, limits, Trust::Data),
        _ => Outbox::encode(answer, limits, Trust::Data),
    }
}

/// Sends an answer, and returns whether somebody was there to receive it.
pub(super) fn send(outbox: &mut Outbox<'_>) -> bool {
    outbox.use_slots(transport::given_slots());
    outbox.let_it_cost();
    SOCKET
        .get()
        .is_some_and(|socket| outbox.send(socket.as_fd(), Deadline::NEVER).is_ok())
}

/// Whether this process confines itself. Its policy may deny it an alarm, and its keeper ends it.
pub(super) static IS_CONFINED: AtomicBool = AtomicBool::new(false);

/// How long a process that has answered waits for the lock of stdout, in seconds. A caller that waits
/// for its end doesn't wait longer. If the caller has dropped its handle, nobody else ends the process.
const LOCK_SECONDS: u32 = 2;

/// Writes what Rust code has printed. Waits for the holder of the lock, so everything else must
/// already have been sent. If the lock isn't released, the process ends.
pub(super) fn flush() {
    let ends_itself = !IS_CONFINED.load(Ordering::Relaxed);
    if ends_itself {
        signals::end_after(LOCK_SECONDS);
    }
    let mut stdout = std::io::stdout().lock();
    if ends_itself {
        signals::call_off_end();
    }
    // If it cannot be written, only the reader is affected, and the call continues.
    let _ = stdout.flush();
}
