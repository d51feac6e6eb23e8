//! Channels that carry code: callbacks, trait objects, other trusted channels.
//!
//! These channels are for processes of this executable that run unconfined, such as the workers of
//! a pool that execute whatever function they are sent. An end cannot be sent to anybody else: the
//! send fails.
//!
//! # Security
//!
//! Bytes are checked as on every channel. But the holder of one end decides which of the program's functions
//! the other side calls, and with which arguments. Give an end only to code that you would let into the
//! process itself.

use std::os::fd::OwnedFd;

use crate::channel::{self, ChannelError, Duplex, Receiver, Sender};
use crate::object::{Object, Trust};

/// Creates a channel in one direction, for values that may hold code.
///
/// # Errors
///
/// [`ChannelError::Io`] if no socket can be created.
pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
    channel::channel_with(Trust::Code)
}

/// Creates a channel in both directions, for values that may hold code.
///
/// # Errors
///
/// [`ChannelError::Io`] if no socket can be created.
pub fn duplex<S: Object, R: Object>() -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
    channel::duplex_with(Trust::Code)
}

/// Turns a descriptor into the end of a trusted channel.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`] if the descriptor is not the end of a channel.
///
/// # Safety
///
/// Everybody who holds the other end, now or later, must be a process of this very executable,
/// under nobody else's control, and must use that end with the types that match `T`.
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn sender_from_fd<T: Object>(fd: OwnedFd) -> Result<Sender<T>, ChannelError> {
    channel::end_of::<()>(fd, Trust::Code).map(Sender::new)
}

/// Turns a descriptor into the end of a trusted channel.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`] if the descriptor is not the end of a channel.
///
/// # Safety
///
/// That of [`sender_from_fd`].
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn receiver_from_fd<T: Object>(fd: OwnedFd) -> Result<Receiver<T>, ChannelError> {
    channel::end_of::<T>(fd, Trust::Code).map(Receiver::new)
}

/// Turns a descriptor into the end of a trusted channel.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`] if the descriptor is not the end of a channel.
///
/// # Safety
///
/// That of [`sender_from_fd`].
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn duplex_from_fd<S: Object, R: Object>(
    fd: OwnedFd,
) -> Result<Duplex<S, R>, ChannelError> {
    channel::end_of::<R>(fd, Trust::Code).map(Duplex::new)
}
