//! `Cell`, `RefCell`, and the locks. Their current value is sent.

use std::cell::{Cell, RefCell};
use std::sync::{Mutex, RwLock};

use super::{DecodeError, Decoder, Encoder, Object, Shape};

/// A cell: how its value is written, as a copy, and how the cell is created from a value.
macro_rules! cells {
    ($($(#[$doc:meta])* $cell:ident<T $(: $bound:ident)?>, $encode:expr;)*) => {$(
        $(#[$doc])*
        impl<T: Object $(+ $bound)?> Object for $cell<T> {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                let encode: fn(&Self, &mut Encoder<'a>) = $encode;
                encode(self, encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                T::decode(decoder).map($cell::new)
            }

            fn describe(shape: &mut Shape) {
                shape.element::<T>();
            }

            fn least_bytes() -> usize {
                T::least_bytes()
            }
        }
    )*};
}

cells! {
    Cell<T: Copy>, |cell, encoder| encoder.temporary(&cell.get());

    /// A `RefCell` that is mutably borrowed cannot be sent.
    RefCell<T>, |cell, encoder| match cell.try_borrow() {
        Ok(value) => encoder.temporary(&*value),
        Err(_) => encoder.fail("a `RefCell` can't be sent while it is mutably borrowed"),
    };

    /// The `Mutex` is locked while it is encoded, not while it is sent. A poisoned one cannot be
    /// sent.
    Mutex<T>, |mutex, encoder| match mutex.lock() {
        Ok(value) => encoder.temporary(&*value),
        Err(_) => encoder.fail("a `Mutex` that is poisoned can't be sent"),
    };

    /// The `RwLock` is locked while it is encoded, not while it is sent. A poisoned one cannot be
    /// sent.
    RwLock<T>, |lock, encoder| match lock.read() {
        Ok(value) => encoder.temporary(&*value),
        Err(_) => encoder.fail("an `RwLock` that is poisoned can't be sent"),
    };
}
