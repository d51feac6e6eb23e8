//! Blocks, ignores and resets the signals of this process.

use std::os::raw::c_int;
use std::ptr;

/// All signals blocked on this thread, until dropped.
pub(crate) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(crate) fn all() -> Self {
        // SAFETY: all-zero is a valid set, and `sigfillset` makes it a full one.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        let mut before = all;
        // SAFETY: writes into the set.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: reads one set and writes the other.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        Self(before)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: reads the set that `pthread_sigmask` wrote.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Resets the signals of a new child to what a program expects: none is blocked, and none is
/// ignored except SIGPIPE, which Rust's runtime ignores in every program.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: all-zero is a valid action: the default one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: writes into the structure; signals that can't be asked about are left alone.
        let known = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) } == 0;
        let wanted = if signal == libc::SIGPIPE {
            libc::SIG_IGN
        } else {
            libc::SIG_DFL
        };
        let other = if signal == libc::SIGPIPE {
            libc::SIG_DFL
        } else {
            libc::SIG_IGN
        };
        if known && action.sa_sigaction == other {
            action.sa_sigaction = wanted;
            // SAFETY: both are dispositions without a function.
            unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        }
    }
    // SAFETY: all-zero is a valid set, and the empty one.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: reads the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Ignores signals.
pub(crate) fn ignore(signals: &[c_int]) {
    set(signals, libc::SIG_IGN);
}

/// Restores the default action of signals.
pub(crate) fn restore(signals: &[c_int]) {
    set(signals, libc::SIG_DFL);
}

fn set(signals: &[c_int], disposition: libc::sighandler_t) {
    for signal in signals {
        // SAFETY: a disposition without a function.
        unsafe { libc::signal(*signal, disposition) };
    }
}

/// Has the kernel end this process by SIGALRM after some seconds, unless [`call_off_end`] is called
/// before.
pub(crate) fn end_after(seconds: u32) {
    restore(&[libc::SIGALRM]);
    // SAFETY: all-zero is a valid set, and the empty one.
    let mut alarm: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: writes into the set.
    unsafe { libc::sigaddset(&raw mut alarm, libc::SIGALRM) };
    // SAFETY: reads the set.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const alarm, ptr::null_mut()) };
    nix::unistd::alarm::set(seconds);
}

pub(crate) fn call_off_end() {
    nix::unistd::alarm::cancel();
}

/// The signals that a terminal sends to all its processes, and those that end daemons. The keeper
/// ignores them.
pub(crate) const FROM_TERMINAL: [c_int; 7] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];
