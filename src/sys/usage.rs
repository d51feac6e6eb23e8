//! The memory of this process.

use std::io;
use std::sync::OnceLock;

use super::system_files;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Everything that is mapped: what RLIMIT_AS counts.
    pub(crate) mapped: u64,
    /// Private memory that can be written: what RLIMIT_DATA counts, whether or not it was ever written.
    pub(crate) writable: u64,
    /// Private memory that was written, and so occupies pages.
    pub(crate) written: u64,
}

/// Returns what this process has now. If `/proc` is out of reach, returns what it had, or the
/// process of which it is a copy, when that was first read. That is less, so limits that are
/// computed from it are tighter.
pub(crate) fn usage() -> io::Result<Usage> {
    let now = system_files::read_proc("/proc/self/status");
    let now = now.and_then(|status| parse(&status).ok_or_else(incomplete));
    match now {
        Ok(now) => {
            FIRST.get_or_init(|| now);
            Ok(now)
        }
        Err(error) => FIRST.get().copied().ok_or(error),
    }
}

/// Returns the usage of this process, or of the process that it is a copy of, when it was first asked for;
/// that is now, if it never was.
///
/// A copy that hasn't done much has little more, and needs not read `/proc` for that.
pub(crate) fn first_usage() -> io::Result<Usage> {
    FIRST.get().copied().map_or_else(usage, Ok)
}

static FIRST: OnceLock<Usage> = OnceLock::new();

fn incomplete() -> io::Error {
    io::Error::other("/proc/self/status doesn't tell how much memory this process has")
}

fn parse(status: &str) -> Option<Usage> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes = line.strip_prefix(':')?.trim().strip_suffix(" kB")?;
        kibibytes.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Usage {
        mapped: field("VmSize")?,
        writable: field("VmData")?,
        // Pages that were swapped out have been written, and are in no other count. A kernel without swap has
        // no line.
        written: field("RssAnon")?.saturating_add(field("VmSwap").unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nVmPeak:\t  9 kB\nVmSize:\t    4000 kB\nVmRSS:\t 1 kB\nRssAnon:\t     300 kB\n\
                          VmData:\t    1024 kB\nVmStk:\t 132 kB\nVmSwap:\t      12 kB\n";

    #[test]
    fn the_kernels_words_are_read() {
        let usage = parse(STATUS).unwrap();
        assert_eq!(usage.mapped, 4000 << 10);
        assert_eq!(usage.writable, 1 << 20);
        assert_eq!(usage.written, 312 << 10);
        let without_swap = STATUS.replace("VmSwap", "Other");
        assert_eq!(parse(&without_swap).unwrap().written, 300 << 10);
        for missing in ["VmSize", "VmData", "RssAnon"] {
            assert_eq!(parse(&STATUS.replace(missing, "Other")), None, "{missing}");
        }
        assert_eq!(parse(""), None);
    }

    #[test]
    fn memory_counts_as_writable_when_it_is_mapped_and_as_written_when_it_is() {
        const LENGTH: usize = 64 << 20;
        let before = usage().unwrap();
        let mut memory: Vec<u8> = Vec::with_capacity(LENGTH);
        let mapped = usage().unwrap();
        memory.resize(LENGTH, 1);
        let written = usage().unwrap();
        // Other tests run in this process as well.
        let most = LENGTH as u64 / 2;
        assert!(
            mapped.writable > before.writable + most,
            "{before:?} {mapped:?}"
        );
        assert!(
            mapped.written < before.written + most,
            "{before:?} {mapped:?}"
        );
        assert!(
            written.written > before.written + most,
            "{before:?} {written:?}"
        );
        assert!(std::hint::black_box(&memory)[LENGTH - 1] == 1);
    }
}
