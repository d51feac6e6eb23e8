//! Callbacks: functions with bound arguments, trait objects, and references to statics, as objects.
//!
//! All of them are code, or lead to code. They are sent as code references: to a child with its
//! arguments, and over channels created by [`trusted`](crate::channel::trusted), but never otherwise.

mod bind;
mod boxed;
mod delayed;
mod lambda;
mod static_ref;

pub use self::bind::{BindMut, BindRef, BindValue, BoundMut, BoundRef, BoundValue};
pub use self::boxed::{
    FnMutReference, FnOnceReference, FnReference, Rebuild, decode_dyn, decode_dyn_auto, encode_dyn,
    encode_dyn_auto,
};
pub use self::delayed::Delayed;
pub use self::static_ref::{Referent, StaticRef};

use crate::object::Object;

/// A callable object that is called once, with the tuple `Args`.
///
/// It is implemented by functions that are marked with `#[func]`, by what
/// [`bind_value`](BindValue::bind_value) and the like return for them, and by
/// `Box<dyn FnOnceObject<Args, Output = R>>`, which is itself an [`Object`].
///
/// ```
/// use crossmist::{BindValue, FnOnceObject, func};
///
/// #[func]
/// fn add(x: i32, y: i32) -> i32 {
///     x + y
/// }
///
/// #[func]
/// fn apply(f: Box<dyn FnOnceObject<(i32,), Output = i32>>) -> i32 {
///     f.call_object_once((7,))
/// }
///
/// #[crossmist::main]
/// fn main() {
///     assert_eq!(apply.run(Box::new(add.bind_value(5))).unwrap(), 12);
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be called with the arguments `{Args}` in another process",
    label = "this is not a callable object",
    note = "use a `#[crossmist::func]`, with `bind_value` and the like for what it captures, or `crossmist::lambda! {{ move(x: i32) |y: i32| -> i32 {{ … }} }}`; a closure does not tell what it captures"
)]
pub trait FnOnceObject<Args>: Object + FnOnceReference<Args> {
    /// The result of a call.
    type Output;

    /// Calls the object.
    fn call_object_once(self, args: Args) -> Self::Output
    where
        Self: Sized;

    /// Calls the object in a box. Always equivalent to `(*self).call_object_once(args)`.
    fn call_boxed(self: Box<Self>, args: Args) -> Self::Output;
}

/// A callable object that can be called many times, and may change with each call.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be called with the arguments `{Args}` in another process",
    label = "this is not a callable object",
    note = "use a `#[crossmist::func]`, with `bind_value` and the like for what it captures, or `crossmist::lambda! {{ move(x: i32) |y: i32| -> i32 {{ … }} }}`; a closure does not tell what it captures"
)]
pub trait FnMutObject<Args>: FnOnceObject<Args> + FnMutReference<Args> {
    /// Calls the object.
    fn call_object_mut(&mut self, args: Args) -> Self::Output;
}

/// A callable object that can be called many times, and does not change.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be called with the arguments `{Args}` in another process",
    label = "this is not a callable object",
    note = "use a `#[crossmist::func]`, with `bind_value` and the like for what it captures, or `crossmist::lambda! {{ move(x: i32) |y: i32| -> i32 {{ … }} }}`; a closure does not tell what it captures"
)]
pub trait FnObject<Args>: FnMutObject<Args> + FnReference<Args> {
    /// Calls the object.
    fn call_object(&self, args: Args) -> Self::Output;
}
