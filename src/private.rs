//! The items that code written by the macros uses. Not public: it can change at any time.

use crate::call::Options;
pub use crate::callback::{FnMutReference, FnOnceReference, FnReference};
pub use crate::callback::{
    Rebuild, Referent, decode_dyn, decode_dyn_auto, encode_dyn, encode_dyn_auto,
};
pub use crate::child::{Preload, PreloadPoint, Prepared};
pub use crate::confine::Sandbox;
pub use crate::func::{Arguments, Func, PreloadReference};
pub use crate::if_smol;
pub use crate::if_tokio;
pub use crate::object::Auto;
pub use crate::pool::Spares;
pub use crate::sys::image::Target;
use crate::{Builder, Child, DecodeError, Error, SandboxPolicy, Shape};
#[cfg(feature = "tokio")]
pub use ::tokio;
pub use std::boxed::Box;

/// Decodes the arguments of `F`. Through this function their type needs no second check, and an
/// argument that cannot be sent causes one error.
pub fn decode<F: Func>(arguments: Arguments<'_>) -> Result<F::Args, DecodeError> {
    arguments.decode()
}

/// Declares that a value is behind a trait object.
pub fn describe_code(shape: &mut Shape) {
    shape.code();
}

pub fn run<F: Func>(_: F, arguments: F::Args) -> Result<F::Output, Error> {
    crate::call::run::<F>(arguments, &Options::of::<F>())
}

pub fn spawn<F: Func>(_: F, arguments: F::Args) -> Result<Child<F::Output>, Error> {
    crate::call::spawn::<F>(arguments, &Options::of::<F>())
}

#[cfg(feature = "tokio")]
pub async fn run_tokio<F: Func>(_: F, arguments: F::Args) -> Result<F::Output, Error> {
    crate::runtime::run::<F, crate::tokio::Tokio>(arguments, Options::of::<F>()).await
}

#[cfg(feature = "tokio")]
pub async fn spawn_tokio<F: Func>(
    _: F,
    arguments: F::Args,
) -> Result<crate::tokio::Child<F::Output>, Error> {
    crate::runtime::spawn::<F, crate::tokio::Tokio>(arguments, Options::of::<F>()).await
}

/// Runs the future of an `async fn` with `#[func(smol)]`.
#[cfg(feature = "smol")]
pub fn block_on_smol<T>(future: impl Future<Output = T>) -> T {
    async_io::block_on(future)
}

#[cfg(feature = "smol")]
pub async fn run_smol<F: Func>(_: F, arguments: F::Args) -> Result<F::Output, Error> {
    crate::runtime::run::<F, crate::smol::Smol>(arguments, Options::of::<F>()).await
}

#[cfg(feature = "smol")]
pub async fn spawn_smol<F: Func>(
    _: F,
    arguments: F::Args,
) -> Result<crate::smol::Child<F::Output>, Error> {
    crate::runtime::spawn::<F, crate::smol::Smol>(arguments, Options::of::<F>()).await
}

pub fn builder<F: Func>(_: F) -> Builder<F, F::Args> {
    Builder::new(None)
}

pub fn sandbox<F: Func>(_: F, policy: &SandboxPolicy) -> Builder<F, F::Args> {
    Builder::new(Some(policy.clone()))
}
