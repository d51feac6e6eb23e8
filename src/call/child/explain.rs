//! `Child::explain`: why a channel to a child has failed.

use std::io;
use std::time::Duration;

use super::Child;
use crate::channel::ChannelError;
use crate::error::Error;
use crate::object::Object;
use crate::sys::poll::Deadline;

/// How long a child may take to end after its end of a channel was closed. Usually that is part of its end.
const END_TIME: Duration = Duration::from_secs(5);

impl<T: Object> Child<T> {
    /// Ends the child, and returns why a channel to it has failed.
    ///
    /// If a child that serves requests over a channel is ended, the program first sees that the other end is
    /// closed. This waits for the child's end, and returns the reason for that: a violation, a panic, a limit, a
    /// missed deadline, or whatever else [`join`](Self::join) would return. If there is none, because the
    /// function has returned or the child has sent something wrong, this returns `error` as
    /// [`Error::Channel`].
    ///
    /// For the end of a channel in [`Receiver::recv`](crate::Receiver::recv), which is `None`, pass
    /// [`ChannelError::Closed`].
    ///
    /// A child that has closed the channel and is still running after five seconds is killed, and a child that
    /// has sent something wrong is killed at once.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// use crossmist::{Duplex, Error, duplex, func};
    ///
    /// #[func(sandbox = "worker")]
    /// fn unpack(mut archives: Duplex<bool, String>) {
    ///     while let Ok(Some(name)) = archives.recv() {
    ///         // `worker` denies this.
    ///         let is_done = std::fs::create_dir(name).is_ok();
    ///         if archives.send(&is_done).is_err() {
    ///             break;
    ///         }
    ///     }
    /// }
    ///
    /// #[crossmist::main]
    /// fn main() -> Result<(), Error> {
    ///     let (mut worker, theirs) = duplex()?;
    ///     let child = unpack.spawn(theirs)?;
    ///     match worker.request(&"/tmp/archive".to_owned()) {
    ///         Ok(is_done) => panic!("the policy has allowed it: {is_done}"),
    ///         Err(error) => assert!(matches!(child.explain(error), Error::Violation(_))),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn explain(mut self, error: ChannelError) -> Error {
        let joined = self.join_until(time_to_end(&error));
        self.settle(error, joined)
    }

    /// Returns the reason, after the child was waited for.
    pub(crate) fn settle(
        &mut self,
        error: ChannelError,
        joined: Result<Option<T>, Error>,
    ) -> Error {
        match joined {
            Err(reason) if !matches!(reason, Error::AlreadyJoined) => reason,
            _ => {
                let error = Error::Channel(error);
                self.end_for(&error);
                error
            }
        }
    }
}

/// Returns until when to wait for the end of a child.
pub(crate) fn time_to_end(error: &ChannelError) -> Deadline {
    let has_closed = match error {
        ChannelError::Closed | ChannelError::NoAnswer => true,
        // It was killed for that.
        ChannelError::TooCostly => true,
        // It has ended with something unread.
        ChannelError::Io { source, .. } => source.kind() == io::ErrorKind::ConnectionReset,
        _ => false,
    };
    Deadline::after(if has_closed { END_TIME } else { Duration::ZERO })
}
