//! The library's own threads in the program.

use std::io;
use std::thread::Builder;

use super::signals::Blocked;

/// Starts a thread that handles none of the program's signals.
///
/// It has the stack size of std's threads. The program's allocator runs on it, and so do the
/// destructors of thread-locals. A smaller stack overflows in allocators that were built for
/// debugging.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread inherits the set of blocked signals.
    let _blocked = Blocked::for_new_thread();
    Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
