//! Call a function in a child process, over typed channels that trust nobody.

// What a library does not do; its tests may.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

extern crate self as crossmist;

#[macro_use]
mod arity;
mod blob;
mod builder;
mod bytes;
mod call;
mod callback;
mod channel;
mod child;
#[cfg(feature = "early-entry")]
mod early;
mod error;
mod func;
mod handle;
mod object;
mod program;
mod reaper;
mod reply;
mod running;
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;
pub mod trusted;
mod wire;

pub use crate::blob::{Blob, BlobBuf};
pub use crate::builder::{Builder, Stdio};
pub use crate::bytes::{BytesError, encode_into, from_bytes, to_bytes};
pub use crate::callback::{
    BindMut, BindRef, BindValue, BoundMut, BoundRef, BoundValue, Delayed, FnMutObject, FnObject,
    FnOnceObject, StaticRef,
};
pub use crate::channel::{
    ChannelError, Duplex, Incoming, Receiver, Sender, channel, duplex, wait_any,
};
pub use crate::child::init;
pub use crate::error::{ChildText, Error, Panic};
pub use crate::handle::{Child, KillHandle};
pub use crate::object::{
    DecodeError, Decoder, EncodeError, EncodeErrorKind, Encoder, Limits, Object, Serde, Shape,
    TrustedHasher,
};
pub use crate::wire::FrameError;
pub use crossmist_macros::{Object, func, main, object};

/// What the macros' output names. Not for anybody else, and free to change.
#[doc(hidden)]
pub mod __private {
    pub use crate::callback::{FnMutReference, FnOnceReference, FnReference};
    pub use crate::callback::{
        Rebuild, Referent, decode_dyn, decode_dyn_auto, encode_dyn, encode_dyn_auto,
    };
    pub use crate::func::{Arguments, Func};
    pub use crate::if_tokio;
    pub use crate::object::Auto;
    pub use crate::sys::image::Target;
    use crate::{Builder, Child, DecodeError, Error, Shape};
    #[cfg(feature = "tokio")]
    pub use ::tokio;
    pub use std::boxed::Box;

    /// The arguments of `F`. (Asked for like this, their type needs no second check, and an
    /// argument that can't be sent is one error.)
    pub fn decode<F: Func>(arguments: Arguments<'_>) -> Result<F::Args, DecodeError> {
        arguments.decode()
    }

    /// Says that a value is behind a trait object.
    pub fn describe_code(shape: &mut Shape) {
        shape.code();
    }

    pub fn run<F: Func>(_: F, arguments: F::Args) -> Result<F::Output, Error> {
        crate::call::run::<F>(arguments, &Default::default())
    }

    pub fn spawn<F: Func>(_: F, arguments: F::Args) -> Result<Child<F::Output>, Error> {
        crate::call::spawn::<F>(arguments, &Default::default())
    }

    #[cfg(feature = "tokio")]
    pub async fn run_tokio<F: Func>(_: F, arguments: F::Args) -> Result<F::Output, Error> {
        crate::tokio::run::<F>(arguments, Default::default()).await
    }

    #[cfg(feature = "tokio")]
    pub async fn spawn_tokio<F: Func>(
        _: F,
        arguments: F::Args,
    ) -> Result<crate::tokio::Child<F::Output>, Error> {
        crate::tokio::spawn::<F>(arguments, Default::default()).await
    }

    pub fn builder<F: Func>(_: F) -> Builder<F, F::Args> {
        Builder::new()
    }
}

#[cfg(feature = "tokio")]
#[doc(hidden)]
#[macro_export]
macro_rules! if_tokio {
    ($($item:item)*) => { $($item)* };
}

#[cfg(not(feature = "tokio"))]
#[doc(hidden)]
#[macro_export]
macro_rules! if_tokio {
    ($($item:item)*) => {};
}
