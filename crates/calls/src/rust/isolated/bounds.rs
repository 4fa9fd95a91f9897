//! Bounds on what bytes of another process can make a decoder do: how deep it nests, how long it counts.
//!
//! `postcard` checks lengths against the bytes that there are, but a type that contains itself nests as deep
//! as the bytes say, and elements of no bytes come as often as a count says. This stands between `postcard`
//! and the types, and counts both. Not for the length of a value; that is in [`super::value`].

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::cell::Cell;
use std::fmt;

/// Levels that a value may nest: each takes several frames of stack, and threads have 2 MiB.
pub(super) const DEPTH_MAX: u32 = 128;
/// Elements of no bytes that a value may have.
const EMPTY_MAX: usize = 1 << 20;

/// What is left of each bound while one value is decoded.
pub(super) struct Bounds {
    depth: Cell<u32>,
    elements: Cell<usize>,
}

impl Bounds {
    /// The bounds of a value of so many bytes.
    pub(super) const fn new(bytes: usize) -> Self {
        Self { depth: Cell::new(DEPTH_MAX), elements: Cell::new(bytes.saturating_add(EMPTY_MAX)) }
    }

    /// `inner` within these bounds.
    pub(super) const fn around<T>(&self, inner: T) -> Bounded<'_, T> {
        Bounded { inner, bounds: self, length: Length::OfType }
    }

    fn nested<T, E: Error>(&self, decode: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let depth = self.depth.get();
        self.depth.set(depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?);
        let result = decode();
        self.depth.set(depth);
        result
    }

    fn count<E: Error>(&self, length: Length) -> Result<(), E> {
        if let Length::OfBytes = length {
            let left = self.elements.get().checked_sub(1);
            self.elements.set(left.ok_or_else(|| E::custom("too many elements"))?);
        }
        Ok(())
    }
}

/// What says how many elements there are.
#[derive(Clone, Copy)]
enum Length {
    OfType,
    OfBytes,
}

/// A part of a decoder, of any of serde's kinds, within bounds.
pub(super) struct Bounded<'a, T> {
    inner: T,
    bounds: &'a Bounds,
    length: Length,
}

macro_rules! deserialize {
    ($length:ident: $($name:ident($($argument:ident: $kind:ty),*))*) => {$(
        fn $name<V: Visitor<'de>>(self $(, $argument: $kind)*, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$name($($argument,)* Bounded { inner: visitor, bounds: self.bounds, length: Length::$length })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    deserialize! { OfBytes: deserialize_seq() deserialize_map() }
    deserialize! { OfType:
        deserialize_any() deserialize_bool() deserialize_char() deserialize_f32() deserialize_f64()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    (values: $($name:ident $kind:ty)*) => {$(
        fn $name<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$name(value)
        }
    )*};
    (parts: $($name:ident $kind:ident)*) => {$(
        fn $name<P: $kind<'de>>(self, part: P) -> Result<V::Value, P::Error> {
            let Self { inner, bounds, length } = self;
            bounds.nested(|| inner.$name(Bounded { inner: part, bounds, length }))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    visit! { values:
        visit_bool bool visit_char char visit_f32 f32 visit_f64 f64
        visit_i8 i8 visit_i16 i16 visit_i32 i32 visit_i64 i64 visit_i128 i128
        visit_u8 u8 visit_u16 u16 visit_u32 u32 visit_u64 u64 visit_u128 u128
        visit_str &str visit_borrowed_str &'de str visit_string String
        visit_bytes &[u8] visit_borrowed_bytes &'de [u8] visit_byte_buf Vec<u8>
    }
    visit! { parts:
        visit_some Deserializer visit_newtype_struct Deserializer
        visit_seq SeqAccess visit_map MapAccess visit_enum EnumAccess
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.bounds.around(from))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.bounds.count(self.length)?;
        self.inner.next_element_seed(self.bounds.around(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.bounds.count(self.length)?;
        self.inner.next_key_seed(self.bounds.around(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.bounds.around(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.bounds.around(seed))?;
        Ok((value, self.bounds.around(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.around(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(length, self.bounds.around(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.bounds.around(visitor))
    }
}
