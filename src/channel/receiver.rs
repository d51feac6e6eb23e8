//! The receiving end.

use std::marker::PhantomData;
use std::time::Duration;

use super::ChannelError;
use super::endpoint::Endpoint;
use crate::object::{Limits, Object};
use crate::sys::poll::Deadline;

/// The end of a channel that receives `T`s. Created by [`channel`](crate::channel).
///
/// # Security
///
/// Whatever the peer sends, receiving returns a value of `T` or an error. Memory is bounded by
/// [`Limits`]. Time is bounded if you set a timeout.
pub struct Receiver<T> {
    pub(super) endpoint: Endpoint,
    objects: PhantomData<fn() -> T>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<T: Object> Receiver<T> {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            objects: PhantomData,
        }
    }

    /// Receives a value, and waits for one if necessary. Returns `None` at the end of the channel:
    /// everybody who held the other end has closed it.
    ///
    /// # Errors
    ///
    /// * [`ChannelError::Decode`] if the bytes are not a valid `T`. The next receive continues with
    ///   the next message.
    /// * [`ChannelError::Malformed`] if the bytes are not a message. Every later receive then fails
    ///   in the same way.
    /// * [`ChannelError::Io`] if a system call fails.
    pub fn recv(&mut self) -> Result<Option<T>, ChannelError> {
        self.endpoint.recv(Deadline::NEVER)
    }

    /// Receives a value, waiting for at most `timeout`, whatever the peer does.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`ChannelError::TimedOut`]. The arrived part of a message is then
    /// kept, and the next receive continues with it.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>, ChannelError> {
        self.endpoint.recv(Deadline::after(timeout))
    }

    /// Receives a value if one has already arrived, and returns `None` if not. Does not wait.
    ///
    /// # Errors
    ///
    /// Those of [`recv`](Self::recv), and [`ChannelError::Closed`] at the end of the channel.
    pub fn try_recv(&mut self) -> Result<Option<T>, ChannelError> {
        self.endpoint.try_recv()
    }

    /// Returns an iterator over the received values. It waits for each value, and ends at the end
    /// of the channel, or after an error, which is its last item.
    ///
    /// ```
    /// # fn main() -> Result<(), crossmist::ChannelError> {
    /// let (mut tx, mut rx) = crossmist::channel::<u32>()?;
    /// for number in [1, 2, 3] {
    ///     tx.send(&number)?;
    /// }
    /// drop(tx);
    /// let sum: u32 = rx.iter().sum::<Result<u32, _>>()?;
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    pub fn iter(&mut self) -> Incoming<'_, T> {
        Incoming {
            receiver: self,
            ended: false,
        }
    }

    /// Sets the limits on later messages.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.limits = limits;
    }
}

/// An iterator over the values that a [`Receiver`] receives. Created by [`Receiver::iter`].
pub struct Incoming<'r, T> {
    receiver: &'r mut Receiver<T>,
    ended: bool,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Incoming<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("receiver", &self.receiver)
            .finish_non_exhaustive()
    }
}

impl<T: Object> Iterator for Incoming<'_, T> {
    type Item = Result<T, ChannelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.receiver.recv().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// A channel that has ended stays so.
impl<T: Object> std::iter::FusedIterator for Incoming<'_, T> {}

impl<'r, T: Object> IntoIterator for &'r mut Receiver<T> {
    type Item = Result<T, ChannelError>;
    type IntoIter = Incoming<'r, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
