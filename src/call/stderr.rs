//! Prints to standard error without waiting for its reader, and without the lock that other threads
//! print under, because one of them may be waiting.
//!
//! No write is certain to return. A terminal that is not read takes less than `poll(2)` promises,
//! and of two writers to a pipe, one may find it full. So a thread does the writing. While it is
//! blocked, further text is dropped.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use crate::sys::background;
use crate::sys::poll::{self, Deadline};
use crate::sys::process;

/// How long a caller waits until its text is written, so that it comes before what the caller
/// prints next. That counts from when the thread writes, as the reader has no part in what comes before.
const PRINT_WAIT: Duration = Duration::from_millis(200);

/// How long a caller waits until the thread writes. Other threads may have the processor meanwhile.
const START_WAIT: Duration = Duration::from_secs(2);

/// How much may wait to be written.
const WAITING_BYTES: usize = 256 << 10;

/// How much is written at a time.
const PIECE_BYTES: usize = 4096;

#[derive(Debug)]
struct Printer {
    /// The process that it belongs to: a copy made by `fork` has the memory, but no thread.
    process: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Text that the thread has not taken yet.
    waiting: Vec<u8>,
    /// How many bytes have been accepted, and how many of them were written or given up.
    accepted: u64,
    done: u64,
    /// The thread has taken text, and not written all of it.
    is_writing: bool,
    /// A caller has waited in vain, and nothing was written since. Nobody waits any more.
    is_stuck: bool,
}

static CURRENT: Mutex<Option<Arc<Printer>>> = Mutex::new(None);

/// Prints as much as there is room for, and waits a moment until it is printed.
pub(crate) fn print(text: &[u8]) {
    // Without a thread there is nobody to print it, and nobody needs it.
    if let Some(printer) = Printer::get_or_start() {
        printer.accept(text);
        printer.wait();
    }
}

/// Prints as much as there is room for, without waiting. It is printed soon, or when the program ends.
pub(crate) fn print_later(text: &[u8]) {
    if text.is_empty() {
        return;
    }
    if let Some(printer) = Printer::get_or_start() {
        printer.accept(text);
    }
}

/// Waits a moment until everything is printed.
extern "C" fn flush_at_exit() {
    // A copy that `fork` has made may have got this locked, and nobody unlocks it there.
    let current = match CURRENT.try_lock() {
        Ok(current) => current.clone(),
        Err(_) => return,
    };
    if let Some(printer) = current.filter(|printer| printer.is_own()) {
        printer.wait();
    }
}

fn current() -> MutexGuard<'static, Option<Arc<Printer>>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Printer {
    /// Returns this process's printer, if there is one.
    fn get() -> Option<Arc<Self>> {
        current().clone().filter(|printer| printer.is_own())
    }

    fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    fn get_or_start() -> Option<Arc<Self>> {
        if let Some(printer) = Self::get() {
            return Some(printer);
        }
        let mut current = current();
        match &*current {
            Some(printer) if printer.is_own() => Some(Arc::clone(printer)),
            _ => Some(Arc::clone(current.insert(Self::start()?))),
        }
    }

    fn start() -> Option<Arc<Self>> {
        let printer = Arc::new(Self {
            process: std::process::id(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_thread = Arc::clone(&printer);
        // It gets no SIGPIPE if nobody reads, because its signals are blocked.
        background::spawn("crossmist-stderr", move || for_thread.run()).ok()?;
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| process::at_exit(flush_at_exit));
        Some(printer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, text: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len().saturating_add(text.len()) > WAITING_BYTES {
            return;
        }
        state.waiting.extend_from_slice(text);
        state.accepted = state.accepted.saturating_add(text.len() as u64);
        self.changed.notify_all();
    }

    fn wait(&self) {
        let state = self.lock();
        let end = state.accepted;
        let is_unfinished = |state: &mut State| state.done < end && !state.is_stuck;
        let has_not_begun = |state: &mut State| is_unfinished(state) && !state.is_writing;
        let begun = self
            .changed
            .wait_timeout_while(state, START_WAIT, has_not_begun);
        let (state, _) = begun.unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(state, PRINT_WAIT, is_unfinished);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stuck |= waited.timed_out();
    }

    fn run(&self) {
        loop {
            let state = self.lock();
            let is_idle = |state: &mut State| state.waiting.is_empty();
            let state = self.changed.wait_while(state, is_idle);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            let text = std::mem::take(&mut state.waiting);
            state.is_writing = true;
            self.changed.notify_all();
            drop(state);
            let mut left = text.as_slice();
            while !left.is_empty() {
                let piece = left.get(..PIECE_BYTES).unwrap_or(left);
                // If it is closed, only its reader is affected.
                let count = write(piece).unwrap_or(left.len()).max(1);
                left = left.get(count..).unwrap_or_default();
                let mut state = self.lock();
                state.done = state.done.saturating_add(count as u64);
                state.is_stuck = false;
                self.changed.notify_all();
            }
            self.lock().is_writing = false;
        }
    }
}

/// Writes some of it, as soon as that is possible.
fn write(text: &[u8]) -> io::Result<usize> {
    // Without the lock of `io::stderr`.
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    loop {
        match stderr.write(text) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::writable(stderr.as_fd(), Deadline::NEVER)?;
            }
            result => return result,
        }
    }
}
