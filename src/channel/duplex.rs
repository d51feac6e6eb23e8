//! `Duplex`: one end of a channel in both directions.

use std::marker::PhantomData;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::{ChannelError, Receiver, Sender};
use crate::object::{Limits, Object};
use crate::sys::poll::Deadline;

/// One end of a channel in both directions, which sends `S`s and receives `R`s.
///
/// # Security
///
/// Every received message is checked, whoever sent it. See [`Receiver`].
pub struct Duplex<S, R> {
    pub(super) endpoint: Endpoint,
    objects: PhantomData<fn(S) -> R>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<S, R> std::fmt::Debug for Duplex<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
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

    /// Sends a value, waiting for at most `timeout`. See [`Sender::send_timeout`].
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

    /// Receives a value, waiting for at most `timeout`. See
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
        self.endpoint.try_recv()
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

    /// Sends a value and waits for the answer. Both together take at most `timeout`.
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
    pub fn into_receiver(self) -> Receiver<R> {
        Receiver::new(self.endpoint)
    }

    /// Splits the end into a [`Sender`] and a [`Receiver`], for two threads.
    ///
    /// The two share the connection. When one of them is dropped, that direction ends for the other side: its
    /// `recv` returns `None`, or its `send` returns [`ChannelError::Closed`]. When both are dropped, the
    /// connection is closed. Limits, the part of a message that has arrived, and shared memory
    /// ([`Builder::bulk`](crate::Builder::bulk)) stay in effect. Neither of the two can be sent to another
    /// process; split an end after it has arrived.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Io`] if this process cannot have two more descriptors. The end is then closed.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ours, mut theirs) = crossmist::duplex::<u64, String>().unwrap();
    /// let (mut numbers, mut texts) = ours.into_split().unwrap();
    /// let sending = std::thread::spawn(move || {
    ///     for number in 0..3 {
    ///         numbers.send(&number).unwrap();
    ///     }
    /// });
    /// while let Some(number) = theirs.recv().unwrap() {
    ///     theirs.send(&format!("number {number}")).unwrap();
    /// }
    /// drop(theirs);
    /// sending.join().unwrap();
    /// assert_eq!(texts.recv().unwrap().as_deref(), Some("number 0"));
    /// ```
    pub fn into_split(self) -> Result<(Sender<S>, Receiver<R>), ChannelError> {
        let (sender, receiver) = self.endpoint.split()?;
        Ok((Sender::new(sender), Receiver::new(receiver)))
    }

    /// Has receives look for a message for this long before they put the thread to sleep. See
    /// [`Receiver::set_busy_poll`].
    pub fn set_busy_poll(&mut self, time: Duration) {
        self.endpoint.busy_poll(time);
    }

    /// Sets the limits on later messages, in both directions.
    pub fn set_limits(&mut self, limits: Limits) {
        self.endpoint.limits = limits;
    }
}
