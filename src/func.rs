//! `Func`: the trait that `#[func]` implements for a function.

use std::os::fd::RawFd;

use crate::confine::Sandbox;
use crate::object::{DecodeError, Decoder, Object};

/// A function that can run in a child process. Implemented by `#[func]`.
pub trait Func: Object + Copy {
    /// The arguments, as a tuple.
    type Args: Object;
    /// The result.
    type Output: Object;
    /// The function's path, for messages.
    const NAME: &'static str;

    /// Whether each call is given a policy of its own.
    const DYNAMIC: bool = false;

    /// Whether memory is shared with its children, for long values.
    const BULK: bool = false;

    /// Returns the sandbox of the child, if the attribute names a policy.
    #[must_use]
    fn sandbox() -> Option<&'static Sandbox> {
        None
    }

    /// Returns the function that prepares the state that its children share, if the attribute names one.
    #[must_use]
    fn preload() -> Option<PreloadReference> {
        None
    }

    /// Decodes the arguments and runs the body. Called in the child, as its last step.
    ///
    /// # Errors
    ///
    /// The error of decoding the arguments.
    fn enter(arguments: Arguments<'_>) -> Result<Self::Output, DecodeError>;
}

/// The place of the function that prepares state.
#[derive(Clone, Copy, Debug)]
pub struct PreloadReference {
    /// Its address, which is the same for all functions that name it.
    pub function: usize,
    /// The reference of its record, or `None` if that is in a shared object.
    pub record: Option<u64>,
}

/// The arguments of a call, still encoded.
#[derive(Debug)]
pub struct Arguments<'m>(Decoder<'m>);

impl<'m> Arguments<'m> {
    pub(crate) fn new(decoder: Decoder<'m>) -> Self {
        Self(decoder)
    }

    /// Returns the descriptors that came with the arguments.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.0.descriptors()
    }

    /// Returns the length of the message that they came in, runs included.
    pub(crate) fn bytes(&self) -> usize {
        self.0.message_bytes()
    }

    /// Decodes the arguments.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] if they are not a valid `T`.
    pub fn decode<T: Object>(self) -> Result<T, DecodeError> {
        self.0.message()
    }
}
