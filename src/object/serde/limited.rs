//! A serializer around another one, which holds a value to the bounds that its receiver will hold
//! it to: nesting, stack, and elements without bytes.

use std::cell::Cell;
use std::fmt;

use ::serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::super::decode::Stack;
use super::super::{EncodeErrorKind, Encoder};

/// What is left of each bound. Shared by all wrappers of one value.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: usize,
    nesting: Cell<usize>,
    stack: Stack,
    /// How many elements there were.
    elements: Cell<usize>,
    overstepped: Cell<Option<Bound>>,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Nesting,
    Stack,
}

impl Allowance {
    pub(super) fn new(encoder: &Encoder<'_>) -> Self {
        Self {
            limit: encoder.limits().nesting,
            nesting: Cell::new(encoder.nesting_left()),
            stack: encoder.stack(),
            elements: Cell::new(0),
            overstepped: Cell::new(None),
        }
    }

    /// How many elements there were.
    pub(super) fn elements(&self) -> usize {
        self.elements.get()
    }

    /// Which bound was the reason of the failure, if one was.
    pub(super) fn overstepped(&self) -> Option<EncodeErrorKind> {
        self.overstepped.get().map(|bound| match bound {
            Bound::Nesting => EncodeErrorKind::TooDeep { limit: self.limit },
            Bound::Stack => EncodeErrorKind::NoStack,
        })
    }

    fn enter<E: Error>(&self) -> Result<(), E> {
        let bound = match self.nesting.get().checked_sub(1) {
            None => Bound::Nesting,
            Some(_) if self.stack.is_used_up() => Bound::Stack,
            Some(left) => {
                self.nesting.set(left);
                return Ok(());
            }
        };
        self.overstepped.set(Some(bound));
        Err(E::custom("a bound of the message"))
    }

    fn leave(&self) {
        self.nesting.set(self.nesting.get().saturating_add(1));
    }

    fn element(&self) {
        self.elements.set(self.elements.get().saturating_add(1));
    }
}

/// A serializer or one for the parts of something, limited.
#[derive(Debug)]
pub(super) struct Limited<'l, I> {
    inner: I,
    allowance: &'l Allowance,
}

impl<'l, I> Limited<'l, I> {
    pub(super) fn new(inner: I, allowance: &'l Allowance) -> Self {
        Self { inner, allowance }
    }

    fn part<'v, T: ?Sized>(&self, value: &'v T) -> Part<'v, 'l, T> {
        Part {
            value,
            allowance: self.allowance,
        }
    }
}

/// A part of a value, whose serializer will be limited too.
struct Part<'v, 'l, T: ?Sized> {
    value: &'v T,
    allowance: &'l Allowance,
}

impl<T: Serialize + ?Sized> Serialize for Part<'_, '_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value
            .serialize(Limited::new(serializer, self.allowance))
    }
}

/// Methods that pass a value without parts on.
macro_rules! plain {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($argument),*)
        }
    )*};
}

/// Methods that begin something with parts; the nested ones are those that a recursive type has
/// to go through, and the same as where it is deserialized.
macro_rules! begin {
    ($($method:ident($($argument:ident: $type:ty),*) -> $parts:ident;)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<Self::$parts, S::Error> {
            let inner = self.inner.$method($($argument),*)?;
            Ok(Limited::new(inner, self.allowance))
        }
    )*};
    (nested: $($method:ident($($argument:ident: $type:ty),*) -> $parts:ident;)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<Self::$parts, S::Error> {
            self.allowance.enter()?;
            let inner = self.inner.$method($($argument),*)?;
            Ok(Limited::new(inner, self.allowance))
        }
    )*};
}

impl<'l, S: Serializer> Serializer for Limited<'l, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Limited<'l, S::SerializeSeq>;
    type SerializeTuple = Limited<'l, S::SerializeTuple>;
    type SerializeTupleStruct = Limited<'l, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Limited<'l, S::SerializeTupleVariant>;
    type SerializeMap = Limited<'l, S::SerializeMap>;
    type SerializeStruct = Limited<'l, S::SerializeStruct>;
    type SerializeStructVariant = Limited<'l, S::SerializeStructVariant>;

    plain! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_unit();
        serialize_unit_struct(name: &'static str);
    }

    begin! {
        serialize_tuple(length: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct;
        serialize_struct(name: &'static str, length: usize) -> SerializeStruct;
    }

    begin! { nested:
        serialize_seq(length: Option<usize>) -> SerializeSeq;
        serialize_map(length: Option<usize>) -> SerializeMap;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, length: usize
        ) -> SerializeTupleVariant;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, length: usize
        ) -> SerializeStructVariant;
    }

    // The receiver can't know yet that nothing is nested in these two.
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        self.allowance.leave();
        self.inner.serialize_none()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        self.allowance.leave();
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        let part = self.part(value);
        let result = self.inner.serialize_some(&part);
        self.allowance.leave();
        result
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let part = self.part(value);
        self.inner.serialize_newtype_struct(name, &part)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        let part = self.part(value);
        let result = self
            .inner
            .serialize_newtype_variant(name, index, variant, &part);
        self.allowance.leave();
        result
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of something, of which the nested are left at their end.
macro_rules! parts {
    ($($(#[$nested:ident])? $parts:ident: $method:ident($($name:ident: $type:ty)?);)*) => {$(
        impl<S: $parts> $parts for Limited<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: $type,)?
                value: &T,
            ) -> Result<(), S::Error> {
                let part = self.part(value);
                self.inner.$method($($name,)? &part)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                $(self.allowance.$nested();)?
                self.inner.end()
            }
        }
    )*};
}

parts! {
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    #[leave] SerializeTupleVariant: serialize_field();
    SerializeStruct: serialize_field(key: &'static str);
    #[leave] SerializeStructVariant: serialize_field(key: &'static str);
}

impl<S: SerializeSeq> SerializeSeq for Limited<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.allowance.element();
        let part = self.part(value);
        self.inner.serialize_element(&part)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.allowance.leave();
        self.inner.end()
    }
}

impl<S: SerializeMap> SerializeMap for Limited<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.allowance.element();
        let part = self.part(key);
        self.inner.serialize_key(&part)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let part = self.part(value);
        self.inner.serialize_value(&part)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.allowance.leave();
        self.inner.end()
    }
}
