//! The ends of channels.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

use super::endpoint::AsyncEndpoint;
use crate::channel::ChannelError;
use crate::object::{Limits, Object};

/// Creates a channel in one direction; see [`crossmist::channel`](crate::channel).
///
/// # Errors
///
/// Those of [`crossmist::channel`](crate::channel).
pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
    crate::channel().map(|(sender, receiver)| (sender.into(), receiver.into()))
}

/// Creates a channel in both directions; see [`crossmist::duplex`](crate::duplex).
///
/// # Errors
///
/// Those of [`crossmist::channel`](crate::channel).
pub fn duplex<S: Object, R: Object>() -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
    crate::duplex().map(|(ours, theirs)| (ours.into(), theirs.into()))
}

/// The end of a channel that sends `T`s; see [`crossmist::Sender`](crate::Sender).
pub struct Sender<T> {
    pub(super) endpoint: AsyncEndpoint,
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

/// The end of a channel that receives `T`s; see [`crossmist::Receiver`](crate::Receiver).
///
/// # Security
///
/// Whatever the peer sends, a receive gives a value of `T` or an error. It is bounded in memory by
/// [`Limits`], and in time by what you put around it, such as [`tokio::time::timeout`].
pub struct Receiver<T> {
    pub(super) endpoint: AsyncEndpoint,
    objects: PhantomData<fn() -> T>,
}

// Not derived: a derive would ask that the objects be `Debug`.
impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// One end of a channel in both directions; see [`crossmist::Duplex`](crate::Duplex).
pub struct Duplex<S, R> {
    pub(super) endpoint: AsyncEndpoint,
    objects: PhantomData<fn(S) -> R>,
}

// Not derived: a derive would ask that the objects be `Debug`.
impl<S, R> std::fmt::Debug for Duplex<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duplex")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<T: Object> Sender<T> {
    /// Sends a value, waiting in the runtime while the socket's buffer is full.
    ///
    /// # Errors
    ///
    /// Those of [`crossmist::Sender::send`](crate::Sender::send), and
    /// [`ChannelError::Io`] outside of a runtime with I/O where it would have to wait.
    ///
    /// # Cancel safety
    ///
    /// A value of one packet (200 KiB) was either sent or not when the future is dropped. One of
    /// several may have been sent in part: every later send fails with
    /// [`ChannelError::HalfSent`] then, and the receiver sees an unfinished message.
    pub async fn send(&mut self, value: &T) -> Result<(), ChannelError> {
        self.endpoint.send(value).await
    }
}

impl<T: Object> Receiver<T> {
    /// Receives a value, waiting in the runtime; `None` at the end of the channel.
    ///
    /// # Errors
    ///
    /// Those of [`crossmist::Receiver::recv`](crate::Receiver::recv), and
    /// [`ChannelError::Io`] outside of a runtime with I/O.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: what has arrived of a message is kept, and the
    /// next receive goes on with it.
    pub async fn recv(&mut self) -> Result<Option<T>, ChannelError> {
        self.endpoint.recv().await
    }
}

impl<S: Object, R: Object> Duplex<S, R> {
    /// Sends a value; see [`Sender::send`].
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

    /// Receives a value; see [`Receiver::recv`].
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
    /// Those of [`send`](Self::send) and [`recv`](Self::recv), and [`ChannelError::NoAnswer`]
    /// where the other end is closed instead.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: where the value was sent and the future is dropped, the answer is what the
    /// next `recv` or `request` receives.
    pub async fn request(&mut self, value: &S) -> Result<R, ChannelError> {
        self.endpoint.send(value).await?;
        self.endpoint.recv().await?.ok_or(ChannelError::NoAnswer)
    }

    /// Makes a [`Sender`] of it, which receives no more.
    #[must_use]
    pub fn into_sender(self) -> Sender<S> {
        Sender {
            endpoint: self.endpoint,
            objects: PhantomData,
        }
    }

    /// Makes a [`Receiver`] of it, which sends no more.
    #[must_use]
    pub fn into_receiver(self) -> Receiver<R> {
        Receiver {
            endpoint: self.endpoint,
            objects: PhantomData,
        }
    }
}

/// What an end that sends can do without a runtime.
macro_rules! sends {
    ($([$($parameter:ident),*] $end:ty, $object:ident;)*) => {$(
        impl<$($parameter: Object),*> $end {
            /// Sends a value if that needs no waiting; see
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

/// What an end that receives can do without a runtime.
macro_rules! receives {
    ($([$($parameter:ident),*] $end:ty, $object:ident;)*) => {$(
        impl<$($parameter: Object),*> $end {
            /// Receives a value that is there already; `None` where none is.
            ///
            /// # Errors
            ///
            /// Those of [`crossmist::Receiver::try_recv`](crate::Receiver::try_recv).
            pub fn try_recv(&mut self) -> Result<Option<$object>, ChannelError> {
                self.endpoint.get_mut().try_recv().into_result()
            }
        }
    )*};
}

sends! {
    [T] Sender<T>, T;
    [S, R] Duplex<S, R>, S;
}

receives! {
    [T] Receiver<T>, T;
    [S, R] Duplex<S, R>, R;
}

/// What the three kinds of ends have in common.
macro_rules! ends {
    ($([$($parameter:ident),*] $end:ident;)*) => {$(
        impl<$($parameter: Object),*> $end<$($parameter),*> {
            /// Sets the limits that later messages are held to.
            pub fn set_limits(&mut self, limits: Limits) {
                self.endpoint.get_mut().limits = limits;
            }
        }

        /// The end is registered with the runtime of the first task that waits for it.
        impl<$($parameter: Object),*> From<crate::$end<$($parameter),*>> for $end<$($parameter),*> {
            fn from(end: crate::$end<$($parameter),*>) -> Self {
                Self { endpoint: AsyncEndpoint::new(end.into_endpoint()), objects: PhantomData }
            }
        }

        /// What has arrived of a message goes along.
        impl<$($parameter: Object),*> From<$end<$($parameter),*>> for crate::$end<$($parameter),*> {
            fn from(end: $end<$($parameter),*>) -> Self {
                Self::new(end.endpoint.into_inner())
            }
        }

        impl<$($parameter: Object),*> AsFd for $end<$($parameter),*> {
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
