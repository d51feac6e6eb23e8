//! Channels that carry code: callbacks, trait objects, other trusted channels.
//!
//! They are for processes of this executable that run unconfined, such as the workers of a pool
//! that execute whatever function they are sent. An end can't be put into a message to anybody
//! else: the send fails.
//!
//! # Security
//!
//! Bytes are checked here as everywhere. But whoever holds one end decides which of the program's
//! functions the other side calls, with which arguments: give it to nobody whom you would not let
//! into the process itself.

use std::os::fd::OwnedFd;

use crate::channel::{self, ChannelError, Duplex, Receiver, Sender};
use crate::object::{Object, Trust};

/// Creates a channel in one direction, for values that may hold code.
///
/// # Errors
///
/// [`ChannelError::Io`] where no socket can be made.
pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
    channel::channel_with(Trust::Code)
}

/// Creates a channel in both directions, for values that may hold code.
///
/// # Errors
///
/// [`ChannelError::Io`] where no socket can be made.
pub fn duplex<S: Object, R: Object>() -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
    channel::duplex_with(Trust::Code)
}

/// Makes the end of a trusted channel of a descriptor.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`].
///
/// # Safety
///
/// Everybody who holds the other end, now or later, is a process of this very executable and under
/// nobody else's control, and takes it for the end that matches `T`.
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn sender<T: Object>(fd: OwnedFd) -> Result<Sender<T>, ChannelError> {
    channel::end_of(fd, Trust::Code).map(Sender::new)
}

/// Makes the end of a trusted channel of a descriptor.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`].
///
/// # Safety
///
/// That of [`sender`].
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn receiver<T: Object>(fd: OwnedFd) -> Result<Receiver<T>, ChannelError> {
    channel::end_of(fd, Trust::Code).map(Receiver::new)
}

/// Makes the end of a trusted channel of a descriptor.
///
/// # Errors
///
/// [`ChannelError::NotAChannel`].
///
/// # Safety
///
/// That of [`sender`].
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn end<S: Object, R: Object>(fd: OwnedFd) -> Result<Duplex<S, R>, ChannelError> {
    channel::end_of(fd, Trust::Code).map(Duplex::new)
}
