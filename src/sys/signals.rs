//! Blocks, ignores and resets the signals of this process.

use std::os::raw::c_int;
use std::ptr;

/// Signals blocked on this thread, until dropped. Each bit stands for a signal, the lowest for 1.
pub(crate) struct Blocked(u64);

/// The signals that C libraries use among their threads: glibc 32 and 33, musl 34 as well. Their
/// functions leave these out of every set.
const OF_C_LIBRARIES: u64 = 0b111 << 31;

impl Blocked {
    /// Blocks every signal. Nobody may start a thread meanwhile: it would have those of the C library
    /// blocked for good, and `setuid(3)` on another thread would wait for it.
    pub(super) fn all() -> Self {
        Self(set_mask(u64::MAX))
    }

    /// Blocks every signal but those of the C library, for threads that are started meanwhile.
    pub(super) fn for_new_thread() -> Self {
        Self(set_mask(!OF_C_LIBRARIES))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(self.0);
    }
}

/// Unblocks the signals of the C library for a program that is about to be executed, whose threads inherit
/// what is blocked. No handler runs: this process has none for them any more, as that program will not.
///
/// For a process that was started with [`Blocked::all`]. Async-signal-safe.
pub(super) fn leave_to_program() {
    for signal in 32..=34 {
        // The C library's function refuses its own signals.
        // SAFETY: reads an action as the kernel has it: four words on x86_64 (handler, flags, restorer,
        // mask), three on others. All-zero is the default one.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const DEFAULT_ACTION,
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    set_mask(!OF_C_LIBRARIES);
}

static DEFAULT_ACTION: [u64; 4] = [0; 4];

/// Sets which signals are blocked on this thread, and returns which were.
///
/// It is the raw call, since the C library's functions leave out its own signals.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    // SAFETY: reads one set and writes the other, which are of the size that it is told. The call can't
    // fail: the addresses are valid, and the kernel's sets have 64 bits on all supported architectures.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    before
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
    set_mask(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> u64 {
        let before = set_mask(0);
        set_mask(before);
        before
    }

    #[test]
    fn every_signal_is_blocked_and_restored() {
        let before = blocked();
        let all = Blocked::all();
        // SIGKILL and SIGSTOP can't be.
        let unblockable = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
        assert_eq!(blocked(), !unblockable);
        drop(all);
        assert_eq!(blocked(), before);
    }

    /// glibc would otherwise wait for ever in `setuid(3)`, for one.
    #[test]
    fn a_thread_in_the_background_has_the_c_librarys_signals_and_no_others() {
        let (sender, receiver) = std::sync::mpsc::channel();
        crate::sys::background::spawn("mask", move || sender.send(blocked()).unwrap()).unwrap();
        let mask = receiver.recv().unwrap();
        assert_eq!(mask & OF_C_LIBRARIES, 0);
        assert_ne!(mask & 1 << (libc::SIGTERM - 1), 0);
    }
}
