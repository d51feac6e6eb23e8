//! A child's standard error, read so that the child doesn't wait, and the end of it kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::protocol::STDERR_BYTES;

/// The reading end of a pipe.
pub(super) struct Drain {
    pipe: File,
    /// The last that came.
    kept: VecDeque<u8>,
}

/// How much is read at a stretch: others want the keeper's attention, too.
const STRETCH: usize = 64 << 10;

impl Drain {
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        // The description of this end is the keeper's own: the child has the other end.
        fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            pipe: pipe.into(),
            kept: VecDeque::new(),
        })
    }

    /// Reads what is there, and says whether more may come.
    pub(super) fn advance(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut left = STRETCH;
        while left > 0 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.keep(buffer.get(..count).unwrap_or_default());
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(STDERR_BYTES);
        self.kept.drain(..surplus);
    }

    /// Reads what a child left that has ended, and gives the last of it all. Whoever it left behind
    /// may write on; nobody waits for that.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.advance();
        self.kept.into()
    }
}

impl AsFd for Drain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_end_of_a_flood_is_kept() {
        let (reading, mut writing) = io::pipe().unwrap();
        let mut drain = Drain::new(reading.into()).unwrap();
        for round in 0..50u8 {
            writing.write_all(&[round; 4096]).unwrap();
            assert!(drain.advance());
        }
        writing.write_all(b"the end").unwrap();
        let kept = drain.finish();
        assert_eq!(kept.len(), STDERR_BYTES);
        assert!(kept.ends_with(b"\x31the end"));
    }

    #[test]
    fn an_empty_pipe_holds_nobody_up() {
        let (reading, writing) = io::pipe().unwrap();
        let mut drain = Drain::new(reading.into()).unwrap();
        assert!(drain.advance());
        drop(writing);
        assert!(!drain.advance());
        assert_eq!(drain.finish(), b"");
    }
}
