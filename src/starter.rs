//! The threads that start children which are to die with the program.
//!
//! The kernel can kill a child when its parent ends (PR_SET_PDEATHSIG), but means the thread that made
//! it. So each such child gets a thread that stays as long as it does. The thread that calls starts it,
//! and passes on what it has by that: its restrictions (Landlock, filters of system calls,
//! no_new_privs), its credentials, its processors and priority. A thread that is shared by callers would
//! give a child what its own first caller had, which may be more.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::channel;

use crate::background;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::{Process, StartError};

/// Starts a child on a thread that ends after the child does, or with the program.
pub(crate) fn start(
    start: impl FnOnce() -> Result<Process, StartError> + Send + 'static,
) -> Result<Process, StartError> {
    let (tell, told) = channel();
    let spawned = background::spawn("crossmist-starter", move || {
        let started = start();
        let pidfd = started.as_ref().ok().map(|process| process.pidfd.clone());
        // Whoever asked waits for it.
        let _ = tell.send(started);
        if let Some(pidfd) = pidfd {
            // Readable once the child has ended, whoever takes its status.
            let _ = poll::readable(pidfd.as_fd(), Deadline::NEVER);
        }
    });
    spawned.map_err(failed)?;
    told.recv()
        .unwrap_or_else(|error| Err(failed(io::Error::other(error))))
}

fn failed(source: io::Error) -> StartError {
    StartError {
        step: "start the thread to which the child's life is bound",
        source,
    }
}
