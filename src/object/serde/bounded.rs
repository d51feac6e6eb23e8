//! A wrapper around a deserializer, which bounds what hostile bytes can make it do.
//!
//! The wrapped one is postcard's. By itself, it recurses as deep as the bytes say, visits as many
//! elements without bytes as they say, and lets every sequence announce its length to its visitor.

use std::cell::Cell;
use std::fmt;

use ::serde::Deserializer;
use ::serde::de::{
    DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::super::{Decoder, Encoder};

/// How much of each bound is left. Shared by all wrappers of one value.
#[derive(Debug)]
pub(super) struct Bounds {
    /// How many elements without bytes are allowed.
    empty_elements: usize,
    /// How many bytes all elements and structs together may still take. One that is in another
    /// counts for itself and as a part of the other.
    memory: Cell<usize>,
    /// How deeply sequences, maps, options and enums may still nest.
    nesting: Cell<usize>,
    /// How many elements all sequences and maps may still have. Those with bytes are at most as
    /// many as there are bytes. The others are as many as in any object.
    elements: Cell<usize>,
    /// How many elements may still be announced in all.
    announced: Cell<usize>,
    stack: super::super::decode::Stack,
    overstepped: Cell<Option<&'static str>>,
    /// The type of the innermost part that could not be read.
    place: Cell<Option<&'static str>>,
}

impl Bounds {
    /// Creates the bounds for a value of `bytes` bytes.
    pub(super) fn new(decoder: &Decoder<'_>, bytes: usize) -> Self {
        let empty_elements = decoder.empty_elements_left();
        Self {
            empty_elements,
            memory: Cell::new(decoder.memory_left()),
            nesting: Cell::new(decoder.nesting_left()),
            elements: Cell::new(bytes.saturating_add(empty_elements)),
            announced: Cell::new(bytes),
            stack: decoder.stack(),
            overstepped: Cell::new(None),
            place: Cell::new(None),
        }
    }

    /// Creates the bounds for a value that this process has serialized, within the nesting that was
    /// left.
    pub(super) fn of_own(encoder: &Encoder<'_>, bytes: usize) -> Self {
        Self {
            empty_elements: usize::MAX,
            memory: Cell::new(usize::MAX),
            nesting: Cell::new(encoder.nesting_left()),
            elements: Cell::new(usize::MAX),
            announced: Cell::new(bytes),
            stack: encoder.stack(),
            overstepped: Cell::new(None),
            place: Cell::new(None),
        }
    }

    /// Subtracts what the value took from the bounds of the whole message.
    pub(super) fn settle(&self, decoder: &mut Decoder<'_>) {
        let empty_elements = self.elements.get().min(self.empty_elements);
        decoder.set_left(empty_elements, self.memory.get());
    }

    /// Returns which bound caused the failure, if one did.
    pub(super) fn overstepped(&self) -> Option<&'static str> {
        self.overstepped.get()
    }

    /// Returns the type of the innermost part that could not be read, if it was a part.
    pub(super) fn place(&self) -> Option<&'static str> {
        self.place.get()
    }

    fn fail<T, E: Error>(&self, found: &'static str) -> Result<T, E> {
        self.overstepped.set(Some(found));
        Err(E::custom(found))
    }

    /// Reads something that may hold something else in place. A recursion goes through
    /// [`nested`](Self::nested) sooner or later; one that does not has no end, and is stopped here.
    fn in_place<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if self.stack.is_used_up() {
            return self.fail("a nesting that leaves no stack");
        }
        self.charge::<T, E>()?;
        read()
    }

    /// Reads something without parts.
    fn plain<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        read()
    }

    /// Reads something in which a recursive type may hold itself.
    fn nested<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let Some(left) = self.nesting.get().checked_sub(1) else {
            return self.fail("a nesting beyond `Limits::nesting`");
        };
        self.nesting.set(left);
        let result = self.in_place(read);
        self.nesting.set(left.saturating_add(1));
        result
    }

    /// Accounts for a value in memory: for its size in place, and for an allocation if it may own
    /// one. serde announces no allocation, and the smallest one in glibc takes 32 bytes.
    fn charge<T, E: Error>(&self) -> Result<(), E> {
        const LEAST_ALLOCATION: usize = 32;
        let owned = match std::mem::needs_drop::<T>() {
            true => LEAST_ALLOCATION,
            false => 0,
        };
        let bytes = size_of::<T>().saturating_add(owned);
        match self.memory.get().checked_sub(bytes) {
            Some(left) => {
                self.memory.set(left);
                Ok(())
            }
            None => self.fail("more memory than `Limits::memory_bytes`"),
        }
    }

    /// Accounts for an element of a sequence or a map.
    fn element<T, E: Error>(&self) -> Result<(), E> {
        self.charge::<T, E>()?;
        match self.elements.get().checked_sub(1) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => self.fail("elements without bytes beyond `Limits::empty_elements`"),
        }
    }

    /// Returns how many elements may be announced to a visitor, which may reserve memory for them.
    fn announce(&self, hint: Option<usize>) -> Option<usize> {
        let left = self.announced.get();
        let hint = hint?.min(left);
        self.announced.set(left.saturating_sub(hint));
        Some(hint)
    }
}

/// A bounded deserializer, visitor, seed or access of serde.
#[derive(Debug)]
pub(super) struct Bounded<'b, I> {
    inner: I,
    bounds: &'b Bounds,
    length: Length,
}

/// The source of the number of elements of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// The bytes say it.
    Received,
    /// The type says it: it is a tuple or a struct.
    Fixed,
}

impl<'b, I> Bounded<'b, I> {
    pub(super) fn new(inner: I, bounds: &'b Bounds) -> Self {
        Self {
            inner,
            bounds,
            length: Length::Received,
        }
    }

    fn wrap<J>(&self, inner: J) -> Bounded<'b, J> {
        Bounded::new(inner, self.bounds)
    }

    /// Like [`wrap`](Self::wrap), for a sequence of this length.
    fn wrap_sequence<J>(&self, inner: J, length: Length) -> Bounded<'b, J> {
        Bounded {
            inner,
            bounds: self.bounds,
            length,
        }
    }
}

/// Methods of a deserializer that wrap the visitor and pass it on.
macro_rules! deserialize {
    ($step:ident $length:ident: $($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.wrap_sequence(visitor, Length::$length);
            self.bounds.$step(|| self.inner.$method($($argument,)* visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    deserialize! { plain Received:
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_identifier();
    }

    deserialize! { in_place Fixed:
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
    }

    deserialize! { nested Received:
        deserialize_any();
        deserialize_ignored_any();
        deserialize_option();
        deserialize_seq();
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Methods of a visitor that take a value without parts.
macro_rules! visit {
    ($($method:ident: $type:ty;)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool;
        visit_i8: i8;
        visit_i16: i16;
        visit_i32: i32;
        visit_i64: i64;
        visit_i128: i128;
        visit_u8: u8;
        visit_u16: u16;
        visit_u32: u32;
        visit_u64: u64;
        visit_u128: u128;
        visit_f32: f32;
        visit_f64: f64;
        visit_char: char;
        visit_str: &str;
        visit_borrowed_str: &'de str;
        visit_string: String;
        visit_bytes: &[u8];
        visit_borrowed_bytes: &'de [u8];
        visit_byte_buf: Vec<u8>;
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap_sequence(access, self.length);
        self.inner.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_enum(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let (deserializer, bounds) = (self.wrap(deserializer), self.bounds);
        self.inner.deserialize(deserializer).inspect_err(|_| {
            let place = std::any::type_name::<S::Value>();
            // The helpers of serde's derives do not count.
            if bounds.place.get().is_none() && !place.contains("::__") {
                bounds.place.set(Some(place));
            }
        })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed);
        let element = self.inner.next_element_seed(seed)?;
        if element.is_some() && self.length == Length::Received {
            self.bounds.element::<S::Value, _>()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        match self.length {
            Length::Received => self.bounds.announce(self.inner.size_hint()),
            Length::Fixed => self.inner.size_hint(),
        }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.wrap(seed);
        let key = self.inner.next_key_seed(seed)?;
        if key.is_some() {
            self.bounds.element::<S::Value, _>()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.bounds.charge::<S::Value, A::Error>()?;
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.bounds.announce(self.inner.size_hint())
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let seed = self.wrap(seed);
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Bounded::new(variant, self.bounds)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap_sequence(visitor, Length::Fixed);
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap_sequence(visitor, Length::Fixed);
        self.inner.struct_variant(fields, visitor)
    }
}
