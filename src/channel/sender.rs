//! The sending end.

use std::marker::PhantomData;
use std::time::Duration;

use super::ChannelError;
use super::endpoint::Endpoint;
use crate::object::{Limits, Object};
use crate::sys::poll::Deadline;

/// The end of a channel that sends `T`s. Created by [`channel`](crate::channel).
pub struct Sender<T> {
    pub(super) endpoint: Endpoint,
    objects: PhantomData<fn(T)>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<T: Object> Sender<T> {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            objects: PhantomData,
        }
    }

    /// Sends a value.
    ///
    /// Waits while the socket's buffer is full, which happens when the receiver is behind by about
    /// 200 KiB or 270 messages. A value that is longer than one packet is received while it is
    /// being sent.
    ///
    /// # Errors
    ///
    /// * [`ChannelError::Encode`] if the value cannot be sent. Nothing of it was sent.
    /// * [`ChannelError::Closed`] if nobody holds the other end any more. There is no SIGPIPE.
    /// * [`ChannelError::Io`] if a system call fails.
    pub fn send(&mut self, value: &T) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::NEVER)
    }

    /// Sends a value, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`ChannelError::TimedOut`]. If a value of several packets
    /// was then sent in part, every later send fails with [`ChannelError::HalfSent`].
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::after(timeout))
    }

    /// Sends a value if that is possible without waiting. Returns whether it was sent.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`ChannelError::TooLongToTry`] for a value of more than
    /// one packet (200 KiB).
    pub fn try_send(&mut self, value: &T) -> Result<bool, ChannelError> {
        self.endpoint.try_send(value)
    }

    /// Sets the limits on later messages.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.limits = limits;
    }
}
