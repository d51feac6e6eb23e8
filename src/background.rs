//! The library's own threads in the program.

use std::io;
use std::thread::Builder;

use crate::sys::signals::Blocked;

/// Starts a thread that handles no signal of the program.
///
/// It has the stack that std gives to every thread. The program's allocator runs on it, and so do the
/// destructors of thread-locals; a smaller stack overflows in allocators that were built for debugging.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread inherits the signals that are blocked.
    let _blocked = Blocked::all();
    Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
