//! A child that starts processes, which stay until somebody ends them.

use std::time::Duration;

use crossmist::{Child, SandboxPolicy, Sender, channel, func};

use crate::support::raw;

/// How long the processes stay if nobody ends them.
pub(crate) const STAY: Duration = Duration::from_secs(600);

/// Makes a copy of this process, and returns its id, or 0 in the copy.
pub(crate) fn fork() -> i64 {
    // SAFETY: a copy of this process, as by `fork(2)`; it has one thread.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) }
}

#[func(sandbox = dynamic)]
fn starts(count: usize, mut begun: Sender<()>) {
    for _ in 0..count {
        if fork() == 0 {
            std::thread::sleep(STAY);
            raw::exit(0);
        }
    }
    begun.send(&()).unwrap();
    std::thread::sleep(STAY);
}

/// Starts a child, and returns when it has started `count` processes.
pub(crate) fn start(policy: &SandboxPolicy, count: usize) -> Child<()> {
    let (tx, mut rx) = channel().unwrap();
    let child = starts.sandbox(policy).spawn(count, tx).unwrap();
    rx.recv().unwrap().unwrap();
    child
}
