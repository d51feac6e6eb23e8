//! Functions whose first argument is bound.

use super::{FnMutObject, FnObject, FnOnceObject};
use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};

/// Binds the first argument of a callable to a value.
pub trait BindValue<Head, Tail>: Sized {
    /// Returns a callable that takes the remaining arguments.
    ///
    /// It can be called more than once if the value can be cloned.
    fn bind_value(self, head: Head) -> BoundValue<Self, Head>;
}

/// Binds the first argument of a callable that takes it by shared reference.
pub trait BindRef<Head, Tail>: Sized {
    /// Returns a callable that takes the remaining arguments, and passes a reference to the same
    /// value each time.
    fn bind_ref(self, head: Head) -> BoundRef<Self, Head>;
}

/// Binds the first argument of a callable that takes it by mutable reference.
pub trait BindMut<Head, Tail>: Sized {
    /// Returns a callable that takes the remaining arguments, and passes a mutable reference to the
    /// same value each time.
    fn bind_mut(self, head: Head) -> BoundMut<Self, Head>;
}

macro_rules! bound {
    ($($(#[$doc:meta])* $bound:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $bound<F, Head> {
            func: F,
            head: Head,
        }

        impl<F: Object, Head: Object> Object for $bound<F, Head> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                self.func.encode(encoder);
                self.head.encode(encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Ok(Self { func: F::decode(decoder)?, head: Head::decode(decoder)? })
            }

            fn describe(shape: &mut Shape) {
                shape.element::<F>();
                shape.part::<Head>("bound");
            }

            fn least_bytes() -> usize {
                F::least_bytes() + Head::least_bytes()
            }
        }
    )*};
}

bound! {
    /// A callable whose first argument is bound to a value. Created by [`BindValue::bind_value`].
    BoundValue
    /// A callable whose first argument is bound to a shared reference. Created by
    /// [`BindRef::bind_ref`].
    BoundRef
    /// A callable whose first argument is bound to a mutable reference. Created by
    /// [`BindMut::bind_mut`].
    BoundMut
}

/// The traits for callables with one number of arguments besides the bound one.
macro_rules! arity {
    ($($name:ident $type:ident $index:tt),*) => {
        impl<F, Head: Object, $($type),*> BindValue<Head, ($($type,)*)> for F
        where
            F: FnOnceObject<(Head, $($type,)*)>,
        {
            fn bind_value(self, head: Head) -> BoundValue<Self, Head> {
                BoundValue { func: self, head }
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnOnceObject<($($type,)*)> for BoundValue<F, Head>
        where
            F: FnOnceObject<(Head, $($type,)*), Output = R>,
        {
            type Output = R;

            fn call_object_once(self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_once((self.head, $($name,)*))
            }

            fn call_boxed(self: Box<Self>, args: ($($type,)*)) -> R {
                (*self).call_object_once(args)
            }
        }

        impl<F, Head: Object + Clone, R: 'static, $($type: 'static),*> FnMutObject<($($type,)*)> for BoundValue<F, Head>
        where
            F: FnMutObject<(Head, $($type,)*), Output = R>,
        {
            fn call_object_mut(&mut self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_mut((self.head.clone(), $($name,)*))
            }
        }

        impl<F, Head: Object + Clone, R: 'static, $($type: 'static),*> FnObject<($($type,)*)> for BoundValue<F, Head>
        where
            F: FnObject<(Head, $($type,)*), Output = R>,
        {
            fn call_object(&self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object((self.head.clone(), $($name,)*))
            }
        }

        impl<F, Head: Object, R, $($type),*> BindRef<Head, ($($type,)*)> for F
        where
            F: for<'a> FnOnceObject<(&'a Head, $($type,)*), Output = R>,
        {
            fn bind_ref(self, head: Head) -> BoundRef<Self, Head> {
                BoundRef { func: self, head }
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnOnceObject<($($type,)*)> for BoundRef<F, Head>
        where
            F: for<'a> FnOnceObject<(&'a Head, $($type,)*), Output = R>,
        {
            type Output = R;

            fn call_object_once(self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_once((&self.head, $($name,)*))
            }

            fn call_boxed(self: Box<Self>, args: ($($type,)*)) -> R {
                (*self).call_object_once(args)
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnMutObject<($($type,)*)> for BoundRef<F, Head>
        where
            F: for<'a> FnMutObject<(&'a Head, $($type,)*), Output = R>,
        {
            fn call_object_mut(&mut self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_mut((&self.head, $($name,)*))
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnObject<($($type,)*)> for BoundRef<F, Head>
        where
            F: for<'a> FnObject<(&'a Head, $($type,)*), Output = R>,
        {
            fn call_object(&self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object((&self.head, $($name,)*))
            }
        }

        impl<F, Head: Object, R, $($type),*> BindMut<Head, ($($type,)*)> for F
        where
            F: for<'a> FnOnceObject<(&'a mut Head, $($type,)*), Output = R>,
        {
            fn bind_mut(self, head: Head) -> BoundMut<Self, Head> {
                BoundMut { func: self, head }
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnOnceObject<($($type,)*)> for BoundMut<F, Head>
        where
            F: for<'a> FnOnceObject<(&'a mut Head, $($type,)*), Output = R>,
        {
            type Output = R;

            fn call_object_once(mut self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_once((&mut self.head, $($name,)*))
            }

            fn call_boxed(self: Box<Self>, args: ($($type,)*)) -> R {
                (*self).call_object_once(args)
            }
        }

        impl<F, Head: Object, R: 'static, $($type: 'static),*> FnMutObject<($($type,)*)> for BoundMut<F, Head>
        where
            F: for<'a> FnMutObject<(&'a mut Head, $($type,)*), Output = R>,
        {
            fn call_object_mut(&mut self, ($($name,)*): ($($type,)*)) -> R {
                self.func.call_object_mut((&mut self.head, $($name,)*))
            }
        }
    };
}

for_each_arity! { arity }
