//! The clock that all processes of a machine share.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Returns the time of CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_nanos() -> i128 {
    // The call cannot fail: every kernel has the clock, and the memory is valid.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
    })
}

/// How long this process has run on processors.
pub(crate) fn process_time() -> Duration {
    // As above.
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// How long this thread has run on a processor.
pub(crate) fn thread_time() -> Duration {
    // As above.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
