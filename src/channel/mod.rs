//! Typed channels between processes.
//!
//! A channel is a pair of connected SOCK_SEQPACKET sockets. A message is one packet if it fits. The
//! ends can themselves be sent to other processes, including over channels.

mod duplex;
mod endpoint;
mod error;
mod object;
mod receiver;
mod sender;
pub mod trusted;
mod wait;

use std::os::fd::{AsFd, OwnedFd};

pub use self::duplex::Duplex;
pub use self::error::ChannelError;
pub use self::receiver::{Incoming, Receiver};
pub use self::sender::Sender;
pub use self::wait::wait_any;

pub(crate) use self::endpoint::Endpoint;

use crate::object::{Object, Trust, brings_descriptors, carries};
use crate::sys::{passing, socket};

/// Creates a channel in one direction. The [`Receiver`] receives what the [`Sender`] sends.
///
/// It carries data and descriptors, but no code. For callbacks and trait objects, see
/// [`trusted::channel`](crate::channel::trusted::channel).
///
/// # Errors
///
/// [`ChannelError::CarriesCode`] if values of `T` can hold code, and [`ChannelError::Io`] if no
/// socket can be created, usually because the descriptor table is full.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), crossmist::ChannelError> {
/// let (mut tx, mut rx) = crossmist::channel::<String>()?;
/// tx.send(&"hello".to_string())?;
/// drop(tx);
/// assert_eq!(rx.recv()?.as_deref(), Some("hello"));
/// assert_eq!(rx.recv()?, None);
/// # Ok(()) }
/// ```
pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
    refuse_code::<T>()?;
    channel_with(Trust::Data)
}

/// Creates a channel in both directions. Each end receives what the other sends.
///
/// # Errors
///
/// Those of [`channel`].
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), crossmist::ChannelError> {
/// let (mut ours, mut theirs) = crossmist::duplex::<u32, String>()?;
/// ours.send(&7)?;
/// let number = theirs.recv()?.unwrap();
/// theirs.send(&format!("got {number}"))?;
/// assert_eq!(ours.recv()?.unwrap(), "got 7");
/// # Ok(()) }
/// ```
pub fn duplex<S: Object, R: Object>() -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
    refuse_code::<S>()?;
    refuse_code::<R>()?;
    duplex_with(Trust::Data)
}

fn refuse_code<T: Object>() -> Result<(), ChannelError> {
    match carries::<T>().code {
        None => Ok(()),
        Some(part) => Err(ChannelError::CarriesCode {
            type_name: std::any::type_name::<T>(),
            part,
        }),
    }
}

pub(crate) fn channel_with<T: Object>(
    trust: Trust,
) -> Result<(Sender<T>, Receiver<T>), ChannelError> {
    let (sending, receiving) = pair::<(), T>(trust)?;
    Ok((Sender::new(sending), Receiver::new(receiving)))
}

pub(crate) fn duplex_with<S: Object, R: Object>(
    trust: Trust,
) -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
    let (ours, theirs) = pair::<R, S>(trust)?;
    Ok((Duplex::new(ours), Duplex::new(theirs)))
}

/// Creates two ends: one that receives `First`s, and one that receives `Second`s.
fn pair<First: Object, Second: Object>(trust: Trust) -> Result<(Endpoint, Endpoint), ChannelError> {
    let sockets = socket::pair().map_err(|source| ChannelError::Io {
        operation: "make a pair of sockets",
        source,
    })?;
    let brings_descriptors = [
        brings_descriptors::<First>(),
        brings_descriptors::<Second>(),
    ];
    for (socket, brings_descriptors) in [&sockets.0, &sockets.1].into_iter().zip(brings_descriptors)
    {
        if !brings_descriptors {
            passing::refuse_if_possible(socket.as_fd());
        }
    }
    Ok(Endpoint::pair(sockets, trust))
}

/// Turns a descriptor into the end of a channel, if it is one. It receives descriptors if an `R` can hold
/// one; otherwise it is left as it is, since others may have the same end, with another type.
pub(crate) fn end_of<R: Object>(fd: OwnedFd, trust: Trust) -> Result<Endpoint, ChannelError> {
    self::object::check(fd.as_fd()).map_err(|reason| ChannelError::NotAChannel { reason })?;
    if brings_descriptors::<R>() {
        passing::accept(fd.as_fd());
    }
    Ok(Endpoint::new(fd, trust))
}
