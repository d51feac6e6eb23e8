//! How ready the kernel is to end the keeper, and so its children, when memory runs out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::sys::system_files::{self, OwnFile};

const FILE: &str = "self/oom_score_adj";

/// Returns the program's `oom_score_adj`, if it can be read.
pub(crate) fn of_program() -> Option<i16> {
    static OF_PROGRAM: OwnFile = OwnFile::new(FILE);
    OF_PROGRAM.read().ok()?.trim().parse().ok()
}

/// The keeper's own, which its children get. It is the program's, but never one that protects them.
#[derive(Debug)]
pub(super) struct OomScore {
    file: io::Result<File>,
    now: i16,
}

impl OomScore {
    /// Must be called while this process is dumpable, because later the file belongs to root.
    /// Returns `None` if there is no such file.
    pub(super) fn open() -> Option<Self> {
        let now = system_files::read(FILE).ok()?;
        Some(Self {
            file: system_files::open_to_write(FILE),
            now: now.trim().parse().ok()?,
        })
    }

    pub(super) fn now(&self) -> i16 {
        self.now
    }

    /// Sets it to the program's.
    pub(super) fn follow(&mut self, program: i16) -> io::Result<()> {
        let wanted = of_children(program);
        if wanted == self.now {
            return Ok(());
        }
        match &self.file {
            Ok(file) => file.write_all_at(wanted.to_string().as_bytes(), 0)?,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EACCES);
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        self.now = wanted;
        Ok(())
    }
}

/// A child may be the cause if memory runs out, so nothing protects it.
fn of_children(program: i16) -> i16 {
    program.max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_child_is_protected() {
        assert_eq!([-1000, -1, 0, 1, 1000].map(of_children), [0, 0, 0, 1, 1000]);
    }
}
