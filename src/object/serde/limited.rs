//! A wrapper around a serializer, which applies the receiver's bounds: nesting, stack, and elements
//! without bytes. It records everything that it is told, and refuses what the bytes cannot hold.

use std::cell::Cell;
use std::fmt;

use ::serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::super::decode::Stack;
use super::super::{EncodeErrorKind, Encoder};
use super::told::{Step, Tell, Told};

/// How much of each bound is left. Shared by all wrappers of one value.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: usize,
    nesting: Cell<usize>,
    stack: Stack,
    /// How many elements there were.
    elements: Cell<usize>,
    overstepped: Cell<Option<Bound>>,
    told: Told,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Nesting,
    Stack,
    /// A field that this value leaves out, and its struct.
    LeftOut(Step),
    /// A sequence or a map whose length is not known when it begins.
    Lengthless,
}

impl Allowance {
    pub(super) fn new(encoder: &Encoder<'_>, told: Told) -> Self {
        Self {
            told,
            limit: encoder.limits().nesting,
            nesting: Cell::new(encoder.nesting_left()),
            stack: encoder.stack(),
            elements: Cell::new(0),
            overstepped: Cell::new(None),
        }
    }

    /// Returns how many elements there were.
    pub(super) fn elements(&self) -> usize {
        self.elements.get()
    }

    /// Returns what was told.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    pub(super) fn into_told(self) -> Told {
        self.told
    }

    /// Returns why serializing a `T` failed, if a bound was the reason.
    pub(super) fn overstepped<T>(&self) -> Option<EncodeErrorKind> {
        let refused = |what| EncodeErrorKind::Refused {
            reason: format!(
                "`{}` can't be sent by `Serde`, which sends neither names nor type tags: {what}; {CURE}",
                std::any::type_name::<T>()
            ),
        };
        Some(match self.overstepped.get()? {
            Bound::Nesting => EncodeErrorKind::TooDeep { limit: self.limit },
            Bound::Stack => EncodeErrorKind::NoStack,
            Bound::LeftOut((of, field)) => refused(format!(
                "the value leaves out `{of}::{field}` (`skip_serializing_if`)"
            )),
            Bound::Lengthless => refused(
                "it has a map or a sequence whose length isn't known when it begins (`flatten`, or \
                 an iterator)"
                    .to_owned(),
            ),
        })
    }

    fn refuse<T, E: Error>(&self, bound: Bound) -> Result<T, E> {
        self.overstepped.set(Some(bound));
        Err(E::custom("a bound of the message"))
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
        self.refuse(bound)
    }

    fn leave(&self) {
        self.nesting.set(self.nesting.get().saturating_add(1));
    }

    fn element(&self) {
        self.elements.set(self.elements.get().saturating_add(1));
    }
}

/// The cure for a type that can't be sent.
pub(super) const CURE: &str = "remove the attribute for both directions, derive `Object` instead, or \
                               send the value as text, JSON for instance";

/// A limited serializer, or one for the parts of something.
#[derive(Debug)]
pub(super) struct Limited<'l, I> {
    inner: I,
    allowance: &'l Allowance,
    /// The type whose fields are serialized.
    of: &'static str,
    /// The sum before the elements of a sequence or a map, and that of the elements.
    before: u64,
    sum: u64,
}

impl<'l, I> Limited<'l, I> {
    pub(super) fn new(inner: I, allowance: &'l Allowance) -> Self {
        Self {
            inner,
            allowance,
            of: "",
            before: 0,
            sum: 0,
        }
    }

    /// Creates a serializer for the fields of a type.
    fn of(inner: I, allowance: &'l Allowance, of: &'static str) -> Self {
        Self {
            of,
            ..Self::new(inner, allowance)
        }
    }

    /// Creates a serializer for elements, whose order does not matter.
    fn elements(inner: I, allowance: &'l Allowance) -> Self {
        Self {
            before: allowance.told.digest(),
            ..Self::new(inner, allowance)
        }
    }

    fn told(&self) -> &'l Told {
        &self.allowance.told
    }

    fn part<'v, T: ?Sized>(&self, value: &'v T) -> Part<'v, 'l, T> {
        Part {
            value,
            allowance: self.allowance,
        }
    }
}

/// A part of a value, whose serializer will be limited as well.
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

/// Methods that pass on a value without parts.
macro_rules! plain {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            value.tell(self.told());
            self.inner.$method(value)
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
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let inner = self.inner.serialize_tuple(length)?;
        Ok(Limited::new(inner, self.allowance))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let inner = self.inner.serialize_tuple_struct(name, length)?;
        Ok(Limited::new(inner, self.allowance))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let inner = self.inner.serialize_struct(name, length)?;
        Ok(Limited::of(inner, self.allowance, name))
    }

    // From here on, the methods that a recursive type has to go through, as where it is
    // deserialized.

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.allowance.enter()?;
        let Some(known) = length else {
            return self.allowance.refuse(Bound::Lengthless);
        };
        self.told().word(known as u64);
        let inner = self.inner.serialize_seq(length)?;
        Ok(Limited::elements(inner, self.allowance))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.allowance.enter()?;
        let Some(known) = length else {
            return self.allowance.refuse(Bound::Lengthless);
        };
        self.told().word(known as u64);
        let inner = self.inner.serialize_map(length)?;
        Ok(Limited::elements(inner, self.allowance))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.allowance.enter()?;
        self.told().step(name, variant);
        let inner = self
            .inner
            .serialize_tuple_variant(name, index, variant, length)?;
        Ok(Limited::new(inner, self.allowance))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.allowance.enter()?;
        self.told().step(name, variant);
        let inner = self
            .inner
            .serialize_struct_variant(name, index, variant, length)?;
        Ok(Limited::of(inner, self.allowance, variant))
    }

    // The receiver cannot know yet that nothing is nested in these two.
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        self.allowance.leave();
        self.told().word(0);
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
        self.told().step(name, variant);
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.allowance.enter()?;
        self.told().word(1);
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
        self.told().step(name, variant);
        let part = self.part(value);
        let result = self
            .inner
            .serialize_newtype_variant(name, index, variant, &part);
        self.allowance.leave();
        result
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        // If this fails, it fails there as well.
        let _ = fmt::write(&mut self.told(), format_args!("{value}"));
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of something. Nested ones are left at their end.
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
                $(self.told().step(self.of, $name);)?
                let part = self.part(value);
                self.inner.$method($($name,)? &part)
            }

            $(fn skip_field(&mut self, $name: $type) -> Result<(), S::Error> {
                self.allowance.refuse(Bound::LeftOut((self.of, $name)))
            })?

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
        self.told().part();
        let part = self.part(value);
        self.inner.serialize_element(&part)?;
        self.sum = self.sum.wrapping_add(self.told().digest());
        Ok(())
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.allowance.leave();
        self.told().parts(self.before, self.sum);
        self.inner.end()
    }
}

impl<S: SerializeMap> SerializeMap for Limited<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.allowance.element();
        self.told().part();
        let part = self.part(key);
        self.inner.serialize_key(&part)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let part = self.part(value);
        self.inner.serialize_value(&part)?;
        self.sum = self.sum.wrapping_add(self.told().digest());
        Ok(())
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.allowance.leave();
        self.told().parts(self.before, self.sum);
        self.inner.end()
    }
}
