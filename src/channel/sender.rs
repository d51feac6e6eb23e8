//! The sending end.

use std::marker::PhantomData;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::{ChannelError, Duplex};
use crate::object::{Limits, Object};
use crate::sys::poll::Deadline;

/// The end of a channel that sends `T`s; see [`channel`](crate::channel).
pub struct Sender<T> {
    pub(super) endpoint: Endpoint,
    objects: PhantomData<fn(T)>,
}

// Not derived: a derive would ask that the objects be `Debug`.
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
    /// Waits while the socket's buffer is full, which is when the receiver is behind by some 200
    /// KiB or some 270 messages; a value longer than a packet is received while it is sent.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Encode`] where the value can't be sent (nothing of it was),
    /// [`ChannelError::Closed`] where nobody holds the other end any more, which is never a
    /// signal, and [`ChannelError::Io`].
    pub fn send(&mut self, value: &T) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::NEVER)
    }

    /// Sends a value, waiting no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`ChannelError::TimedOut`]. If a value of several
    /// packets was then sent in part, every later send fails with [`ChannelError::HalfSent`].
    pub fn send_timeout(&mut self, value: &T, timeout: Duration) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::after(timeout))
    }

    /// Sends a value if that needs no waiting, and says whether it did.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send), and [`ChannelError::TooLongToTry`] for a value of more than
    /// one packet (200 KiB).
    pub fn try_send(&mut self, value: &T) -> Result<bool, ChannelError> {
        self.endpoint.try_send(value)
    }

    /// Sets the limits that later messages are held to.
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

    /// Sends a value; see [`Sender::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`].
    pub fn send(&mut self, value: &S) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::NEVER)
    }

    /// Sends a value, waiting no longer than `timeout`; see [`Sender::send_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send_timeout`].
    pub fn send_timeout(&mut self, value: &S, timeout: Duration) -> Result<(), ChannelError> {
        self.endpoint.send(value, Deadline::after(timeout))
    }

    /// Sends a value if that needs no waiting; see [`Sender::try_send`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::try_send`].
    pub fn try_send(&mut self, value: &S) -> Result<bool, ChannelError> {
        self.endpoint.try_send(value)
    }

    /// Receives a value; see [`Receiver::recv`](crate::Receiver::recv).
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::recv`](crate::Receiver::recv).
    pub fn recv(&mut self) -> Result<Option<R>, ChannelError> {
        self.endpoint.recv(Deadline::NEVER)
    }

    /// Receives a value, waiting no longer than `timeout`; see
    /// [`Receiver::recv_timeout`](crate::Receiver::recv_timeout).
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::recv_timeout`](crate::Receiver::recv_timeout).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<R>, ChannelError> {
        self.endpoint.recv(Deadline::after(timeout))
    }

    /// Receives a value that is there already; see
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
    /// Those of [`send`](Self::send) and [`recv`](Self::recv), and [`ChannelError::NoAnswer`]
    /// where the other end is closed instead.
    pub fn request(&mut self, value: &S) -> Result<R, ChannelError> {
        self.request_by(value, Deadline::NEVER)
    }

    /// Sends a value and waits for the answer, no longer than `timeout` for both.
    ///
    /// # Errors
    ///
    /// Those of [`request`](Self::request), and [`ChannelError::TimedOut`]. An answer that comes
    /// later is what the next `recv` or `request` receives.
    pub fn request_timeout(&mut self, value: &S, timeout: Duration) -> Result<R, ChannelError> {
        self.request_by(value, Deadline::after(timeout))
    }

    fn request_by(&mut self, value: &S, deadline: Deadline) -> Result<R, ChannelError> {
        self.endpoint.send(value, deadline)?;
        self.endpoint.recv(deadline)?.ok_or(ChannelError::NoAnswer)
    }

    /// Makes a [`Sender`] of it, which receives no more.
    #[must_use]
    pub fn into_sender(self) -> Sender<S> {
        Sender::new(self.endpoint)
    }

    /// Makes a [`Receiver`](crate::Receiver) of it, which sends no more.
    #[must_use]
    pub fn into_receiver(self) -> super::Receiver<R> {
        super::Receiver::new(self.endpoint)
    }

    /// Sets the limits that later messages are held to, in both directions.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.limits = limits;
    }
}
