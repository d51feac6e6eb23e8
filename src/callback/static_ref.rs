//! `StaticRef`: references to statics.

use std::fmt;
use std::ops::Deref;

use crate::object::{Auto, DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::image::Target;

/// A reference to a `static` of the program. It refers to the same static in every process of the
/// program.
///
/// Created by [`static_ref!`](crate::static_ref).
pub struct StaticRef<T: ?Sized + 'static> {
    referent: Referent<T>,
    reference: Option<u64>,
}

/// The target of a code reference to a static.
pub struct Referent<T: ?Sized + 'static>(fn() -> &'static T);

impl<T: ?Sized> Referent<T> {
    /// Wraps a function that returns the static.
    pub const fn new(referent: fn() -> &'static T) -> Self {
        Self(referent)
    }
}

// Not derived: a derive would require `T` to be `Clone`.
impl<T: ?Sized> Clone for Referent<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Referent<T> {}

impl<T: ?Sized> Clone for StaticRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for StaticRef<T> {}

impl<T: ?Sized> StaticRef<T> {
    #[doc(hidden)]
    pub fn __new(referent: Referent<T>, target: &'static Target<Referent<T>>) -> Self {
        Self {
            referent,
            reference: target.reference(),
        }
    }

    /// Returns the static.
    #[must_use]
    pub fn as_static(self) -> &'static T {
        (self.referent.0)()
    }
}

impl<T: ?Sized> Deref for StaticRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.as_static()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for StaticRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_static().fmt(f)
    }
}

impl<T: ?Sized> fmt::Debug for Referent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Referent")
    }
}

impl<T: ?Sized> Object for StaticRef<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.code(self.reference, Auto::NONE, "a reference to a static");
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (reference, _) = decoder.code()?;
        match Target::<Referent<T>>::resolve(reference) {
            Some(referent) => Ok(Self {
                referent,
                reference: Some(reference),
            }),
            None => Err(DecodeError::new(
                decoder.position(),
                format!("a reference to a static `{}`", std::any::type_name::<T>()),
                format_args!("{reference:#x}"),
            )),
        }
    }

    fn describe(shape: &mut Shape) {
        shape.code();
    }

    fn least_bytes() -> usize {
        4
    }
}

/// Creates a [`StaticRef`] from a `static` and its type.
///
/// ```
/// use crossmist::{StaticRef, func, static_ref};
///
/// type Greetings = [&'static str; 2];
/// static GREETINGS: Greetings = ["hello", "good day"];
///
/// #[func]
/// fn greet(greetings: StaticRef<Greetings>, formal: bool) -> String {
///     greetings[usize::from(formal)].to_string()
/// }
///
/// #[crossmist::main]
/// fn main() {
///     let greetings = static_ref!(GREETINGS: Greetings);
///     assert_eq!(greet.run(greetings, true).unwrap(), "good day");
/// }
/// ```
#[macro_export]
macro_rules! static_ref {
    ($path:path: $type:ty) => {{
        const REFERENT: $crate::__private::Referent<$type> =
            $crate::__private::Referent::new(|| &$path);
        $crate::StaticRef::__new(
            REFERENT,
            const { &$crate::__private::Target::new(REFERENT) },
        )
    }};
}
