//! Threads that start children which must die with the program.
//!
//! The kernel can kill a child when its parent ends (PR_SET_PDEATHSIG), but that means the thread
//! that created it. So each such child gets a thread that lives as long as the child. The calling
//! thread starts this thread, which thereby inherits the caller's restrictions (Landlock, filters
//! of system calls, no_new_privs), credentials, processors and priority. A thread that callers
//! shared would give a child what its first caller had, which may be more.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::channel;

use crate::sys::background;
use crate::sys::poll::{self, Deadline};
use crate::sys::process::Process;
use crate::sys::vfork::StartError;

/// Starts a child on a thread that ends after the child does, or with the program.
pub(crate) fn start(
    start: impl FnOnce() -> Result<Process, StartError> + Send + 'static,
) -> Result<Process, StartError> {
    let (tell, told) = channel();
    let spawned = background::spawn("crossmist-starter", move || {
        let started = start();
        let pidfd = started.as_ref().ok().map(|process| process.pidfd.clone());
        // The caller waits for this.
        let _ = tell.send(started);
        if let Some(pidfd) = pidfd {
            // It becomes readable when the child has ended, whoever takes its status.
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
