//! Reads a child's standard output and error, so that the child does not wait, and keeps the end of
//! it.
//!
//! The text of a child is kept in memory that the keeper's forks do not get, because the next child is a copy
//! of the keeper.
//!
//! The keeper must not wait for a child, whatever it writes: see [`stream`] for locks. It must not
//! receive descriptors either: closing a stranger's file or socket can take years, even if the
//! kernel closes what nobody has received.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::protocol::STDERR_BYTES;
use crate::sys::memory::Unshared;
use crate::sys::passing;
use crate::sys::poll::Deadline;
use crate::sys::stream;
use crate::transport::Cost;

/// The reading side of a stream.
pub(super) struct Output {
    reading: OwnedFd,
    /// Supervised open, so that the end of the child's copy wakes nobody: the end of the child does.
    writing: OwnedFd,
    /// Whether the kernel refuses descriptors.
    refuses_descriptors: bool,
    /// Created when something comes, since most children print nothing.
    memory: Option<Unshared>,
    /// How much of it is filled.
    filled: usize,
    cost: Cost,
    misuse: Option<Misuse>,
}

/// Why a child that prints is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misuse {
    /// Reading its output costs too much.
    Cost,
    /// It has sent descriptors beside the text.
    Descriptors,
}

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// There may be more.
    Open,
    /// There is nothing more to read.
    Closed,
    /// Nothing more is read.
    Misused(Misuse),
}

/// How much is read without a pause, and for how long, because others need the keeper as well.
const STRETCH_BYTES: usize = 64 << 10;
const STRETCH_TIME: Duration = Duration::from_millis(5);

/// The text that is kept, and room to read after it.
const ROOM: usize = STDERR_BYTES + STRETCH_BYTES;

impl Output {
    pub(super) fn new() -> io::Result<Self> {
        let (reading, writing) = stream::pair()?;
        let refuses_descriptors = passing::refuse(reading.as_fd()).is_ok();
        Ok(Self {
            reading,
            writing,
            refuses_descriptors,
            memory: None,
            filled: 0,
            cost: Cost::default(),
            misuse: None,
        })
    }

    /// The end for the child.
    pub(super) fn writing(&self) -> BorrowedFd<'_> {
        self.writing.as_fd()
    }

    /// Reads what is there.
    pub(super) fn advance(&mut self) -> Drained {
        if let Some(misuse) = self.misuse {
            return Drained::Misused(misuse);
        }
        let end = Deadline::after(STRETCH_TIME);
        let mut left = STRETCH_BYTES;
        while left > 0 && !end.has_passed() {
            let mut cost = std::mem::take(&mut self.cost);
            let read = cost.of(|| self.read());
            self.cost = cost;
            if self.cost.is_too_high() {
                self.misuse = Some(Misuse::Cost);
            }
            match (self.misuse, read) {
                (Some(misuse), _) => return Drained::Misused(misuse),
                (None, Ok(0)) => return Drained::Closed,
                (None, Ok(count)) => left = left.saturating_sub(count),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Drained::Open;
                }
                (None, Err(_)) => return Drained::Closed,
            }
        }
        Drained::Open
    }

    /// Reads once. Reads nothing at the end.
    fn read(&mut self) -> io::Result<usize> {
        // Only what is there already: while the kernel reads, a child that is fast enough writes
        // more, and one read would continue as long.
        let waiting = stream::waiting(self.reading.as_fd())?;
        if waiting == 0 {
            // Nothing, or the end, or what has come since: that stays for the next read.
            return stream::look(self.reading.as_fd(), &mut [0]).map(|bytes| bytes.count);
        }
        let memory = match &mut self.memory {
            Some(memory) => memory,
            // If there is no memory, nobody reads what the child prints.
            None => self.memory.insert(Unshared::new(ROOM)?),
        };
        let bytes = memory.as_mut_slice();
        if self.filled >= ROOM {
            // The end of it moves to the front.
            bytes.copy_within(ROOM.saturating_sub(STDERR_BYTES).., 0);
            self.filled = STDERR_BYTES;
        }
        let room = bytes.get_mut(self.filled..).unwrap_or_default();
        let mut length = waiting.min(room.len());
        if !self.refuses_descriptors {
            let room = room.get_mut(..length).unwrap_or_default();
            let seen = stream::look(self.reading.as_fd(), room)?;
            if seen.had_descriptors {
                self.misuse = Some(Misuse::Descriptors);
                return Ok(0);
            }
            // There may be some after that.
            length = seen.count;
        }
        let room = room.get_mut(..length).unwrap_or_default();
        let count = stream::receive(self.reading.as_fd(), room)?.count;
        self.filled = self.filled.saturating_add(count);
        Ok(count)
    }

    /// Reads what a child has left after its end, and returns the end of everything that it
    /// printed. Processes that it left behind may continue to write, but nobody waits for that.
    pub(super) fn finish(&mut self) -> &[u8] {
        // Memory is reserved only for what is there.
        self.advance();
        let first = self.filled.saturating_sub(STDERR_BYTES);
        let bytes = self.memory.as_mut().map(Unshared::as_mut_slice);
        let bytes = bytes.and_then(|bytes| bytes.get(first..self.filled));
        bytes.unwrap_or_default()
    }

    pub(super) fn into_ends(self) -> [OwnedFd; 2] {
        [self.reading, self.writing]
    }

    /// Returns whether its queue holds descriptors, so that it must not be closed here: see
    /// `undertaker.rs`.
    pub(super) fn has_descriptors(&self) -> bool {
        self.misuse == Some(Misuse::Descriptors)
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reading.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IoSlice, Write};

    use super::*;
    use crate::sys::socket::{self, Wait};

    fn writer(drain: &Output) -> File {
        File::from(drain.writing().try_clone_to_owned().unwrap())
    }

    #[test]
    fn no_byte_is_lost_that_comes_while_nothing_is_there() {
        let mut drain = Output::new().unwrap();
        let mut writing = writer(&drain);
        let expected: Vec<u8> = (0..STDERR_BYTES / 4).map(|at| (at % 251) as u8).collect();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for byte in &expected {
                    writing.write_all(std::slice::from_ref(byte)).unwrap();
                    std::thread::yield_now();
                }
            });
            while !writer.is_finished() {
                assert_eq!(drain.advance(), Drained::Open);
            }
        });
        assert!(drain.finish() == expected, "some of it is missing");
    }

    #[test]
    fn the_end_of_a_flood_is_kept() {
        let mut drain = Output::new().unwrap();
        let mut writing = writer(&drain);
        for round in 0..50u8 {
            for _ in 0..4 {
                writing.write_all(&[round; 1024]).unwrap();
                assert_eq!(drain.advance(), Drained::Open);
            }
        }
        writing.write_all(b"the end").unwrap();
        let kept = drain.finish().to_vec();
        assert_eq!(kept.len(), STDERR_BYTES);
        assert!(kept.ends_with(b"\x31the end"));
    }

    #[test]
    fn an_empty_stream_holds_nobody_up() {
        let mut drain = Output::new().unwrap();
        assert_eq!(drain.finish(), b"");
        assert!(drain.memory.is_none());
        assert_eq!(drain.advance(), Drained::Open);
        assert_eq!(drain.finish(), b"");
    }

    #[test]
    fn descriptors_are_left_where_they_are() {
        for refuses_descriptors in [true, false] {
            let mut drain = Output::new().unwrap();
            if refuses_descriptors && !drain.refuses_descriptors {
                // This kernel doesn't know how: the other way is the one that it takes.
                continue;
            }
            if drain.refuses_descriptors && !refuses_descriptors {
                // As on a kernel that doesn't know how.
                passing::accept(drain.as_fd());
                drain.refuses_descriptors = false;
            }
            let mut writing = writer(&drain);
            let (passed, watched) = socket::pair().unwrap();
            writing.write_all(b"before").unwrap();
            let part = [IoSlice::new(b"beside")];
            let sent = socket::send(writing.as_fd(), &part, &[passed.as_fd()], Wait::Never);
            drop(passed);
            writing.write_all(b"after").unwrap();
            if refuses_descriptors {
                assert_eq!(sent.unwrap_err().raw_os_error(), Some(libc::EPERM));
                assert_eq!(drain.advance(), Drained::Open);
                assert_eq!(drain.finish(), b"beforeafter");
                continue;
            }
            sent.unwrap();
            let misused = Drained::Misused(Misuse::Descriptors);
            assert_eq!((drain.advance(), drain.advance()), (misused, misused));
            // The kernel doesn't say where the text ends and what is beside it begins.
            assert_eq!(drain.finish(), b"");
            assert!(drain.has_descriptors());
            // The control: what was sent is there still.
            let is_gone = || crate::sys::poll::has_hung_up(watched.as_fd()).unwrap();
            assert!(!is_gone());
            drop((drain, writing));
            // A process that another test starts has a copy for a moment.
            let until = Deadline::after(Duration::from_secs(30));
            while !is_gone() {
                assert!(!until.has_passed(), "it is still there");
                std::thread::yield_now();
            }
        }
    }
}
