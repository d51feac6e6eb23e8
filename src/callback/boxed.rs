//! Boxed trait objects. A code reference leads to the type that they were made of.
//!
//! For each trait there is a hidden supertrait with one method, which a blanket implementation
//! provides for every sized type. So the vtable of a trait object leads to the record of the type
//! behind it. The reference to that record is sent, and on the other side the record's function
//! decodes the type and boxes it.

use super::{FnMutObject, FnObject, FnOnceObject};
use crate::object::{Auto, DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::image::Target;

/// How to decode one type as a `Box<D>`.
pub struct Rebuild<D: ?Sized>(fn(&mut Decoder<'_>) -> Result<Box<D>, DecodeError>);

impl<D: ?Sized> Rebuild<D> {
    /// Wraps the function.
    pub const fn new(rebuild: fn(&mut Decoder<'_>) -> Result<Box<D>, DecodeError>) -> Self {
        Self(rebuild)
    }
}

// Not derived: a derive would require `D` to be `Clone`.
impl<D: ?Sized> Clone for Rebuild<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: ?Sized> Copy for Rebuild<D> {}

impl<D: ?Sized> std::fmt::Debug for Rebuild<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rebuild")
    }
}

/// Writes a trait object, given the reference to the record of its type.
pub fn encode_dyn<'a, D: Object + ?Sized>(
    value: &'a D,
    reference: Option<u64>,
    encoder: &mut Encoder<'a>,
) {
    encoder.code(reference, Auto::NONE, "a trait object");
    encoder.nested(|encoder| value.encode(encoder));
}

/// Writes a trait object that has auto traits.
///
/// # Safety
///
/// The type behind `value`, to whose record `reference` leads, must have the auto traits of `auto`.
/// That holds if `D` has them.
#[expect(
    unsafe_code,
    reason = "declares the contract; does nothing unsafe itself"
)]
pub unsafe fn encode_dyn_auto<'a, D: Object + ?Sized>(
    value: &'a D,
    reference: Option<u64>,
    auto: Auto,
    encoder: &mut Encoder<'a>,
) {
    encoder.code(reference, auto, "a trait object");
    encoder.nested(|encoder| value.encode(encoder));
}

/// Reads a trait object.
///
/// # Errors
///
/// A [`DecodeError`] if there is no reference to a record for `D`, and those of the type.
pub fn decode_dyn<D: ?Sized + 'static>(decoder: &mut Decoder<'_>) -> Result<Box<D>, DecodeError> {
    decode_with(decoder, Auto::NONE)
}

/// Reads a trait object, of a type that has the auto traits `auto`.
///
/// # Errors
///
/// A [`DecodeError`] if there is no reference to a record for `D`, and those of the type.
fn decode_with<D: ?Sized + 'static>(
    decoder: &mut Decoder<'_>,
    auto: Auto,
) -> Result<Box<D>, DecodeError> {
    let (reference, had) = decoder.code()?;
    if !had.includes(auto) {
        return Err(decoder.error("a trait object that may cross threads", "one that may not"));
    }
    match Target::<Rebuild<D>>::resolve(reference) {
        Some(Rebuild(rebuild)) => decoder.nested(rebuild),
        None => Err(DecodeError::new(
            decoder.position(),
            format!(
                "a reference to a type behind `{}`",
                std::any::type_name::<D>()
            ),
            format_args!("{reference:#x}"),
        )),
    }
}

/// Reads a trait object as one that has the auto traits `auto` beside its trait.
///
/// # Errors
///
/// Those of [`decode_dyn`].
///
/// # Safety
///
/// `E` is `D` with exactly the auto traits of `auto` added.
#[expect(
    unsafe_code,
    reason = "auto traits of a trait object can't be added in safe code"
)]
pub unsafe fn decode_dyn_auto<D: ?Sized + 'static, E: ?Sized + 'static>(
    decoder: &mut Decoder<'_>,
    auto: Auto,
) -> Result<Box<E>, DecodeError> {
    let object = decode_with::<D>(decoder, auto)?;
    // SAFETY: the pointers have the same form, since auto traits are no part of a vtable. That
    // the type behind it has them was known where it was encoded: `decode_with` has compared
    // `auto` with what the sender's own type said. That travels within the code reference, which
    // safe code can neither write nor alter, and only a trusted peer's is read.
    Ok(unsafe { crate::sys::image::reinterpret_box(object) })
}

/// The hidden supertrait of one of the traits of callables, and its boxes as objects.
macro_rules! callable {
    ($reference:ident, $object:ident) => {
        /// Leads from a callable to the record of its type. Implemented for every callable.
        #[doc(hidden)]
        pub trait $reference<Args> {
            #[doc(hidden)]
            fn __reference(&self) -> Option<u64>
            where
                Args: 'static;
        }

        impl<Args, F: $object<Args>> $reference<Args> for F {
            fn __reference(&self) -> Option<u64>
            where
                Args: 'static,
            {
                struct Record<Args, F>(std::marker::PhantomData<(Args, F)>);

                impl<Args: 'static, F: $object<Args>> Record<Args, F> {
                    const TARGET: &'static Target<Rebuild<dyn $object<Args, Output = F::Output>>> =
                        &Target::new(Rebuild::new(|decoder| Ok(Box::new(F::decode(decoder)?))));
                }

                Record::<Args, F>::TARGET.reference()
            }
        }

        impl<Args: 'static, R: 'static> Object for Box<dyn $object<Args, Output = R>> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let reference = $reference::<Args>::__reference(&**self);
                encode_dyn(&**self, reference, encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                decode_dyn(decoder)
            }

            fn describe(shape: &mut Shape) {
                shape.code();
            }
        }

        callable_box! { $reference, $object, Auto::SEND, dyn $object<Args, Output = R> + Send }
        callable_box! { $reference, $object, Auto::SYNC, dyn $object<Args, Output = R> + Sync }
        callable_box! { $reference, $object, Auto::BOTH, dyn $object<Args, Output = R> + Send + Sync }
    };
}

/// A box with auto traits as an object. It is called like the box without them.
macro_rules! callable_box {
    ($reference:ident, $object:ident, $auto:expr, $boxed:ty) => {
        impl<Args: 'static, R: 'static> Object for Box<$boxed> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let reference = $reference::<Args>::__reference(&**self);
                #[expect(unsafe_code, reason = "the type of the box is the proof")]
                // SAFETY: the box says that what is in it has the auto traits of `$auto`.
                unsafe {
                    encode_dyn_auto(&**self, reference, $auto, encoder)
                }
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                #[expect(unsafe_code, reason = "the decoder's check is the proof")]
                // SAFETY: both are the same trait, with and without the auto traits of `$auto`.
                unsafe {
                    decode_dyn_auto::<dyn $object<Args, Output = R>, $boxed>(decoder, $auto)
                }
            }

            fn describe(shape: &mut Shape) {
                shape.code();
            }
        }
    };
}

callable! { FnOnceReference, FnOnceObject }
callable! { FnMutReference, FnMutObject }
callable! { FnReference, FnObject }

/// Makes the boxes callable like what is in them.
macro_rules! call_boxes {
    ($($boxed:ty: $($kind:ident)*;)*) => {$($(
        call_boxes! { @$kind $boxed }
    )*)*};
    (@once $boxed:ty) => {
        impl<Args: 'static, R: 'static> FnOnceObject<Args> for Box<$boxed> {
            type Output = R;

            fn call_object_once(self, args: Args) -> R {
                self.call_boxed(args)
            }

            fn call_boxed(self: Box<Self>, args: Args) -> R {
                (*self).call_boxed(args)
            }
        }
    };
    (@many $boxed:ty) => {
        impl<Args: 'static, R: 'static> FnMutObject<Args> for Box<$boxed> {
            fn call_object_mut(&mut self, args: Args) -> R {
                (**self).call_object_mut(args)
            }
        }
    };
    (@shared $boxed:ty) => {
        impl<Args: 'static, R: 'static> FnObject<Args> for Box<$boxed> {
            fn call_object(&self, args: Args) -> R {
                (**self).call_object(args)
            }
        }
    };
}

call_boxes! {
    dyn FnOnceObject<Args, Output = R>: once;
    dyn FnOnceObject<Args, Output = R> + Send: once;
    dyn FnOnceObject<Args, Output = R> + Sync: once;
    dyn FnOnceObject<Args, Output = R> + Send + Sync: once;
    dyn FnMutObject<Args, Output = R>: once many;
    dyn FnMutObject<Args, Output = R> + Send: once many;
    dyn FnMutObject<Args, Output = R> + Sync: once many;
    dyn FnMutObject<Args, Output = R> + Send + Sync: once many;
    dyn FnObject<Args, Output = R>: once many shared;
    dyn FnObject<Args, Output = R> + Send: once many shared;
    dyn FnObject<Args, Output = R> + Sync: once many shared;
    dyn FnObject<Args, Output = R> + Send + Sync: once many shared;
}
