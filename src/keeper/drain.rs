//! A child's standard error, read so that the child doesn't wait, and the end of it kept.
//!
//! What is kept lies in memory that the keeper's forks don't get: it is one child's words, and the next
//! child is a copy of the keeper.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::protocol::STDERR_BYTES;
use crate::sys::memory::Unshared;
use crate::sys::poll::{self, Deadline};

/// A pipe.
pub(super) struct Drain {
    pipe: File,
    /// Kept, so that the end of the child's doesn't wake anybody: the end of the child does.
    writing: OwnedFd,
    /// Made when something comes: most children print nothing.
    memory: Option<Unshared>,
    /// How much of it is filled.
    filled: usize,
}

/// How much is read at a stretch: others want the keeper's attention, too.
const STRETCH: usize = 64 << 10;

/// What is kept, and room to read behind it.
const ROOM: usize = STDERR_BYTES + STRETCH;

impl Drain {
    pub(super) fn new() -> io::Result<Self> {
        let (pipe, writing) = io::pipe()?;
        // The description of this end is the keeper's own: the child has the other end.
        fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            pipe: OwnedFd::from(pipe).into(),
            writing: writing.into(),
            memory: None,
            filled: 0,
        })
    }

    /// The end for the child.
    pub(super) fn writing(&self) -> BorrowedFd<'_> {
        self.writing.as_fd()
    }

    /// Reads what is there, and says whether that can be done again.
    pub(super) fn advance(&mut self) -> bool {
        let mut left = STRETCH;
        while left > 0 {
            let memory = match &mut self.memory {
                Some(memory) => memory,
                None => match Unshared::new(ROOM) {
                    Ok(memory) => self.memory.insert(memory),
                    // A child that prints where there is no memory finds its pipe closed.
                    Err(_) => return false,
                },
            };
            let bytes = memory.as_mut_slice();
            if self.filled >= ROOM {
                // The end of it moves to the front.
                bytes.copy_within(ROOM.saturating_sub(STDERR_BYTES).., 0);
                self.filled = STDERR_BYTES;
            }
            let room = bytes.get_mut(self.filled..).unwrap_or_default();
            match self.pipe.read(room) {
                Ok(0) => return false,
                Ok(count) => {
                    self.filled = self.filled.saturating_add(count);
                    left = left.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Reads what a child left that has ended, and gives the last of it all. Whoever it left behind
    /// may write on; nobody waits for that.
    pub(super) fn finish(&mut self) -> &[u8] {
        let now = Deadline::after(Duration::ZERO);
        // Memory is made only for what there is.
        if poll::readable(self.pipe.as_fd(), now).is_ok() {
            self.advance();
        }
        let first = self.filled.saturating_sub(STDERR_BYTES);
        let bytes = self.memory.as_mut().map(Unshared::as_mut_slice);
        let bytes = bytes.and_then(|bytes| bytes.get(first..self.filled));
        bytes.unwrap_or_default()
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
        let mut drain = Drain::new().unwrap();
        let mut writing = File::from(drain.writing().try_clone_to_owned().unwrap());
        for round in 0..50u8 {
            writing.write_all(&[round; 4096]).unwrap();
            assert!(drain.advance());
        }
        writing.write_all(b"the end").unwrap();
        let kept = drain.finish().to_vec();
        assert_eq!(kept.len(), STDERR_BYTES);
        assert!(kept.ends_with(b"\x31the end"));
    }

    #[test]
    fn an_empty_pipe_holds_nobody_up() {
        let mut drain = Drain::new().unwrap();
        assert_eq!(drain.finish(), b"");
        assert!(drain.memory.is_none());
        assert!(drain.advance());
        assert_eq!(drain.finish(), b"");
    }
}
