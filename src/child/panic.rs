//! Panics of a function, and the report on them.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;

use crate::error::{ChildText, Panic, Stack};

/// Whether a panic is reported with its stack.
static TELLS_STACK: AtomicBool = AtomicBool::new(true);

/// The panic that is unwinding the function's thread.
static PANIC: Mutex<Option<Panic>> = Mutex::new(None);

/// Records the panics of the calling thread. If they abort, `last_word` runs first: nothing will
/// catch the panic.
///
/// A child that answers several calls does this for all of them: hooks would nest.
pub(super) fn watch(last_word: impl Fn(Panic) + Send + Sync + 'static) {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    // One that the function caught in the call before.
    *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = None;
    if IS_WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    let thread = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        note_panic(info, thread);
        before(info);
        if cfg!(panic = "abort") && std::thread::current().id() == thread {
            last_word(panic_seen(None));
        }
    }));
}

/// Sets whether a panic is reported with its stack.
pub(super) fn tell_stack(tells: bool) {
    TELLS_STACK.store(tells, Ordering::Relaxed);
}

fn note_panic(info: &PanicHookInfo<'_>, function: ThreadId) {
    if std::thread::current().id() != function {
        return;
    }
    let message = info.payload_as_str().unwrap_or(NO_TEXT).to_owned();
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let panic = Panic {
        message: ChildText::new(message),
        location: ChildText::new(location),
        stack: match TELLS_STACK.load(Ordering::Relaxed) {
            true => Stack::here(),
            false => Stack::default(),
        },
        limit: None,
    };
    *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
}

/// Returns the report on a panic. Without a payload, the panic is being raised.
pub(super) fn panic_seen(payload: Option<Box<dyn Any + Send>>) -> Panic {
    let seen = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(payload) = payload else {
        return seen.unwrap_or_else(|| panic_without_place(NO_TEXT));
    };
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let caught = panic_without_place(text.unwrap_or(NO_TEXT));
    // Dropping it would run the function's code again, which may panic.
    std::mem::forget(payload);
    match seen {
        // It passed through this library's hook.
        Some(seen) if seen.message == caught.message => seen,
        // The function caught the panic that the hook saw last, and then replaced the hook or
        // resumed another panic.
        _ => caught,
    }
}

const NO_TEXT: &str = "a panic without a text";

fn panic_without_place(text: &str) -> Panic {
    Panic {
        message: ChildText::new(text.to_owned()),
        location: ChildText::new("an unknown place".to_owned()),
        stack: Stack::default(),
        limit: None,
    }
}
