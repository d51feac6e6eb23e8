//! Waiting on several channels at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::ChannelError;
use crate::sys::poll::{self, Deadline};

/// Waits until at least one of `ends` has something to receive, or has reached its end. Returns
/// their indexes, in order. If `timeout` passes first, the result is empty.
///
/// You can wait for [`Receiver`](crate::Receiver)s and [`Duplex`](crate::Duplex)es of different
/// types together, and for sockets and pipes as well. A receive may then still have to wait for the
/// rest of a message. [`try_recv`](crate::Receiver::try_recv) does not wait.
///
/// # Errors
///
/// [`ChannelError::Io`] if `ppoll(2)` fails: there is no memory, or there are more ends than
/// RLIMIT_NOFILE allows.
///
/// ```
/// # fn main() -> Result<(), crossmist::ChannelError> {
/// let (mut tx, mut numbers) = crossmist::channel::<u32>()?;
/// let (_tx, words) = crossmist::channel::<String>()?;
/// tx.send(&5)?;
/// assert_eq!(crossmist::wait_any(&[&words, &numbers], None)?, [1]);
/// assert_eq!(numbers.try_recv()?, Some(5));
/// # Ok(()) }
/// ```
pub fn wait_any(ends: &[&dyn AsFd], timeout: Option<Duration>) -> Result<Vec<usize>, ChannelError> {
    let fds: Vec<BorrowedFd<'_>> = ends.iter().map(|end| end.as_fd()).collect();
    let mut entries: Vec<_> = fds
        .iter()
        .map(|fd| poll::entry(*fd, libc::POLLIN))
        .collect();
    let deadline = timeout.map_or(Deadline::NEVER, Deadline::after);
    match poll::poll(&mut entries, deadline) {
        Ok(()) => {
            let ready = entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.revents != 0);
            Ok(ready.map(|(index, _)| index).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(Vec::new()),
        Err(source) => Err(ChannelError::Io {
            operation: "wait for channels",
            source,
        }),
    }
}
