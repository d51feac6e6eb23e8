//! How long another process has run on processors.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The clock of a process: the time that all of its threads have spent on processors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock(ClockId);

impl CpuClock {
    /// Returns the clock of the process with this id. Once the process is gone, it is nobody's, or that of another
    /// process with the same id.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let id = i32::try_from(process).map_err(io::Error::other)?;
        Ok(Self(clock_getcpuclockid(Pid::from_raw(id))?))
    }

    pub(crate) fn time(self) -> io::Result<Duration> {
        Ok(clock_gettime(self.0)?.into())
    }
}

/// Returns how many processors a process can run on at most. Asked for once: the standard library looks through the
/// control groups each time, which takes as long as a call.
pub(crate) fn processors() -> u32 {
    use nix::unistd::{SysconfVar, sysconf};
    static PROCESSORS: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        let count = sysconf(SysconfVar::_NPROCESSORS_CONF).ok().flatten();
        let count = count.and_then(|count| u32::try_from(count).ok());
        count.unwrap_or(1).max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_process_counts_its_work() {
        let clock = CpuClock::of(std::process::id()).unwrap();
        let before = clock.time().unwrap();
        while clock.time().unwrap() - before < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        assert!(CpuClock::of(u32::MAX).is_err());
    }
}
