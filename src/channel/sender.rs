//! The sending end.

use std::marker::PhantomData;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::{ChannelError, Duplex};
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

    /// Sends a value, and waits for at most `timeout`.
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

impl<S: Object, R: Object> Duplex<S, R> {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            objects: PhantomData,
        }
    }

    /// Sends a value. See [`Sender::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`].
    pub fn send(&mut self, value: &S) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::NEVER)
    }

    /// Sends a value, and waits for at most `timeout`. See [`Sender::send_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send_timeout`].
    pub fn send_timeout(&mut self, value: &S, timeout: Duration) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::after(timeout))
    }

    /// Sends a value if that is possible without waiting. See [`Sender::try_send`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::try_send`].
    pub fn try_send(&mut self, value: &S) -> Result<bool, ChannelError> {
        self.endpoint.try_send(value)
    }

    /// Receives a value. See [`Receiver::recv`](crate::Receiver::recv).
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::recv`](crate::Receiver::recv).
    pub fn recv(&mut self) -> Result<Option<R>, ChannelError> {
        self.endpoint.recv(Deadline::NEVER)
    }

    /// Receives a value, and waits for it for at most `timeout`. See
    /// [`Receiver::recv_timeout`](crate::Receiver::recv_timeout).
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::recv_timeout`](crate::Receiver::recv_timeout).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<R>, ChannelError> {
        self.endpoint.recv(Deadline::after(timeout))
    }

    /// Receives a value if one has already arrived. See
    /// [`Receiver::try_recv`](crate::Receiver::try_recv).
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::try_recv`](crate::Receiver::try_recv).
    pub fn try_recv(&mut self) -> Result<Option<R>, ChannelError> {
        self.endpoint.try_recv().into_result()
    }

    /// Sends a value and waits for the answer.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`recv`](Self::recv), and [`ChannelError::NoAnswer`] if
    /// the other end is closed before it answers.
    pub fn request(&mut self, value: &S) -> Result<R, ChannelError> {
        self.request_by(value, Deadline::NEVER)
    }

    /// Sends a value and waits for the answer, for at most `timeout` in all.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Self::request), and [`ChannelError::TimedOut`]. If the answer arrives
    /// later, the next `recv` or `request` receives it.
    pub fn request_timeout(&mut self, value: &S, timeout: Duration) -> Result<R, ChannelError> {
        self.request_by(value, Deadline::after(timeout))
    }

    fn request_by(&mut self, value: &S, deadline: Deadline) -> Result<R, ChannelError> {
        self.endpoint.send(value, deadline)?;
        self.endpoint.recv(deadline)?.ok_or(ChannelError::NoAnswer)
    }

    /// Converts the end into a [`Sender`], which no longer receives.
    #[must_use]
    pub fn into_sender(self) -> Sender<S> {
        Sender::new(self.endpoint)
    }

    /// Converts the end into a [`Receiver`](crate::Receiver), which no longer sends.
    #[must_use]
    pub fn into_receiver(self) -> super::Receiver<R> {
        super::Receiver::new(self.endpoint)
    }

    /// Sets the limits on later messages, in both directions.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.limits = limits;
    }
}
