//! The ends of channels.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use super::endpoint::AsyncEndpoint;
use super::reactor::Reactor;
use crate::channel::ChannelError;
use crate::object::{Limits, Object};

/// The end of a channel that sends `T`s. See [`crossmist::Sender`](crate::Sender).
pub struct Sender<T, W: Reactor> {
    pub(super) endpoint: AsyncEndpoint<W>,
    objects: PhantomData<fn(T)>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T, W: Reactor> std::fmt::Debug for Sender<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The end of a channel that receives `T`s. See [`crossmist::Receiver`](crate::Receiver).
///
/// # Security
///
/// Whatever the peer sends, receiving returns a value of `T` or an error. Memory is bounded by
/// [`Limits`]. To bound time, wrap the future, with the timer of your runtime, such as `tokio::time::timeout`.
pub struct Receiver<T, W: Reactor> {
    pub(super) endpoint: AsyncEndpoint<W>,
    objects: PhantomData<fn() -> T>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<T, W: Reactor> std::fmt::Debug for Receiver<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// One end of a channel in both directions. See [`crossmist::Duplex`](crate::Duplex).
pub struct Duplex<S, R, W: Reactor> {
    pub(super) endpoint: AsyncEndpoint<W>,
    objects: PhantomData<fn(S) -> R>,
}

// Not derived: a derive would require the objects to be `Debug`.
impl<S, R, W: Reactor> std::fmt::Debug for Duplex<S, R, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<T: Object, W: Reactor> Sender<T, W> {
    /// Sends a value. Waits in the runtime while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// Those of [`crossmist::Sender::send`](crate::Sender::send), and [`ChannelError::Io`] if it
    /// has to wait outside a runtime with I/O.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a value of one packet (200 KiB) was either sent or not. A value
    /// of several packets may have been sent in part. Every later send then fails with
    /// [`ChannelError::HalfSent`], and the receiver sees an unfinished message.
    pub async fn send(&mut self, value: &T) -> Result<(), ChannelError> {
        self.endpoint.send(value).await
    }
}

impl<T: Object, W: Reactor> Receiver<T, W> {
    /// Receives a value. Waits in the runtime if necessary. Returns `None` at the end of the
    /// channel.
    ///
    /// # Errors
    ///
    /// Those of [`crossmist::Receiver::recv`](crate::Receiver::recv), and [`ChannelError::Io`] if it
    /// has to wait outside a runtime with I/O.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped. The arrived part of a message is kept, and the next
    /// receive continues with it.
    pub async fn recv(&mut self) -> Result<Option<T>, ChannelError> {
        self.endpoint.recv().await
    }
}

impl<S: Object, R: Object, W: Reactor> Duplex<S, R, W> {
    /// Sends a value. See [`Sender::send`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`].
    ///
    /// # Cancel safety
    ///
    /// That of [`Sender::send`].
    pub async fn send(&mut self, value: &S) -> Result<(), ChannelError> {
        self.endpoint.send(value).await
    }

    /// Receives a value. See [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::recv`].
    ///
    /// # Cancel safety
    ///
    /// That of [`Receiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<R>, ChannelError> {
        self.endpoint.recv().await
    }

    /// Sends a value and waits for the answer.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`recv`](Self::recv), and [`ChannelError::NoAnswer`] if
    /// the other end is closed before it answers.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe. If the future is dropped after the value was sent, the next `recv` or
    /// `request` receives the answer.
    pub async fn request(&mut self, value: &S) -> Result<R, ChannelError> {
        self.endpoint.send(value).await?;
        self.endpoint.recv().await?.ok_or(ChannelError::NoAnswer)
    }

    /// Converts the end into a [`Sender`], which no longer receives.
    #[must_use]
    pub fn into_sender(self) -> Sender<S, W> {
        Sender {
            endpoint: self.endpoint,
            objects: PhantomData,
        }
    }

    /// Converts the end into a [`Receiver`], which no longer sends.
    #[must_use]
    pub fn into_receiver(self) -> Receiver<R, W> {
        Receiver {
            endpoint: self.endpoint,
            objects: PhantomData,
        }
    }

    /// Splits the end into a [`Sender`] and a [`Receiver`], for two tasks. See
    /// [`crossmist::Duplex::into_split`](crate::Duplex::into_split).
    ///
    /// # Errors
    ///
    /// Those of [`crossmist::Duplex::into_split`](crate::Duplex::into_split).
    pub fn into_split(self) -> Result<(Sender<S, W>, Receiver<R, W>), ChannelError> {
        let (sender, receiver) = self.endpoint.into_inner().split()?;
        let sender = Sender {
            endpoint: AsyncEndpoint::new(sender),
            objects: PhantomData,
        };
        let receiver = Receiver {
            endpoint: AsyncEndpoint::new(receiver),
            objects: PhantomData,
        };
        Ok((sender, receiver))
    }
}

/// Implements the operations of a sending end that need no runtime.
macro_rules! sends {
    ($([$($parameter:ident),*] $end:ty, $object:ident;)*) => {$(
        impl<$($parameter: Object,)* W: Reactor> $end {
            /// Sends a value if that is possible without waiting. See
            /// [`crossmist::Sender::try_send`](crate::Sender::try_send).
            ///
            /// # Errors
            ///
            /// Those of [`crossmist::Sender::try_send`](crate::Sender::try_send).
            pub fn try_send(&mut self, value: &$object) -> Result<bool, ChannelError> {
                self.endpoint.get_mut().try_send(value)
            }
        }
    )*};
}

/// Implements the operations of a receiving end that need no runtime.
macro_rules! receives {
    ($([$($parameter:ident),*] $end:ty, $object:ident;)*) => {$(
        impl<$($parameter: Object,)* W: Reactor> $end {
            /// Receives a value if one has already arrived, and returns `None` if not. Does not
            /// wait.
            ///
            /// # Errors
            ///
            /// Those of [`crossmist::Receiver::try_recv`](crate::Receiver::try_recv).
            pub fn try_recv(&mut self) -> Result<Option<$object>, ChannelError> {
                self.endpoint.get_mut().try_recv()
            }
        }
    )*};
}

sends! {
    [T] Sender<T, W>, T;
    [S, R] Duplex<S, R, W>, S;
}

receives! {
    [T] Receiver<T, W>, T;
    [S, R] Duplex<S, R, W>, R;
}

/// Implements what the three kinds of ends have in common.
macro_rules! ends {
    ($([$($parameter:ident),*] $end:ident;)*) => {$(
        impl<$($parameter: Object,)* W: Reactor> $end<$($parameter,)* W> {
            /// Sets the limits on later messages.
            pub fn set_limits(&mut self, limits: Limits) {
                self.endpoint.get_mut().limits = limits;
            }
        }

        /// Registers the end with the runtime of the first task that waits for it.
        impl<$($parameter: Object,)* W: Reactor> From<crate::$end<$($parameter),*>>
            for $end<$($parameter,)* W>
        {
            fn from(end: crate::$end<$($parameter),*>) -> Self {
                Self { endpoint: AsyncEndpoint::new(end.into_endpoint()), objects: PhantomData }
            }
        }

        /// Keeps what has arrived of a message.
        impl<$($parameter: Object,)* W: Reactor> From<$end<$($parameter,)* W>>
            for crate::$end<$($parameter),*>
        {
            fn from(end: $end<$($parameter,)* W>) -> Self {
                Self::new(end.endpoint.into_inner())
            }
        }

        impl<$($parameter: Object,)* W: Reactor> AsFd for $end<$($parameter,)* W> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.endpoint.get().socket()
            }
        }
    )*};
}

ends! {
    [T] Sender;
    [T] Receiver;
    [S, R] Duplex;
}
