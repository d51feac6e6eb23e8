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

    /// Has receives look for a message for this long before they put the thread to sleep ("busy polling"). Zero,
    /// the default, turns it off. 30 µs is a good value.
    ///
    /// If both sides do so, and run on two processors, neither has to be woken up, and a round trip takes a third of
    /// the time or less. The price is processor time: at most `time` for each receive, also if the peer is late on
    /// purpose, and a confined child's counts towards its `cpu_time`. If it was in vain a few times in a row, such as
    /// because both sides share a processor, only one receive in 65 looks, until one finds something.
    ///
    /// It concerns the receives of this end that block. An end that is sent to another process does not keep it.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), crossmist::ChannelError> {
    /// use std::time::Duration;
    ///
    /// let (mut ours, mut theirs) = crossmist::duplex::<u64, u64>()?;
    /// let echo = std::thread::spawn(move || {
    ///     theirs.set_busy_poll(Duration::from_micros(30));
    ///     while let Ok(Some(number)) = theirs.recv() {
    ///         theirs.send(&(number + 1)).unwrap();
    ///     }
    /// });
    /// ours.set_busy_poll(Duration::from_micros(30));
    /// for number in 0..1000 {
    ///     assert_eq!(ours.request(&number)?, number + 1);
    /// }
    /// # drop(ours);
    /// # echo.join().unwrap();
    /// # Ok(()) }
    /// ```
    pub fn set_busy_poll(&mut self, time: Duration) {
        self.endpoint.busy_poll(time);
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
