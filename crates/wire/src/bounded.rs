//! [`read`]: foreign bytes as a value of any type, within bounds of depth and count.
//!
//! A type that contains itself is read by as many nested calls as the bytes ask for, so a mebibyte could ask
//! for more stack than a thread has; and elements that take no bytes could be asked for without end. What the
//! bytes may ask for is bounded here, whatever the type: the depth by [`DEPTH_MAX`], the elements of
//! collections by the number of bytes and as many more as the caller allows. Not for how long the bytes may
//! be.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// The most values inside of each other: each takes several frames of stack, and threads have 2 MiB.
pub const DEPTH_MAX: u32 = 128;

/// Why bytes are no value of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They end early, or their type refused them.
    #[error("{0}")]
    Codec(postcard::Error),
    /// A value lies too deep inside of others.
    #[error("its values are nested deeper than {DEPTH_MAX}")]
    Depth,
    /// Elements that take no bytes are too many.
    #[error("its collections have more elements than bytes and {empty_elements_max}")]
    Elements {
        /// How many may take no bytes.
        empty_elements_max: u32,
    },
}

/// Reads a value from the beginning of bytes; gives the rest too. Its collections may have one element for
/// each byte, and `empty_elements_max` more.
///
/// # Errors
/// When the bytes are no value of the type, or ask for more than they may.
pub fn read<T: DeserializeOwned>(bytes: &[u8], empty_elements_max: u32) -> Result<(T, &[u8]), ReadError> {
    let bounds = Bounds {
        depth: Cell::new(DEPTH_MAX),
        elements: Cell::new(bytes.len() as u64 + u64::from(empty_elements_max)),
        empty_elements_max,
        exceeded: Cell::new(None),
    };
    let mut reader = postcard::Deserializer::from_bytes(bytes);
    let result = T::deserialize(Bounded { inner: &mut reader, bounds: &bounds })
        .and_then(|value| Ok((value, reader.finalize()?)));
    // The codec's own errors carry no words.
    result.map_err(|error| bounds.exceeded.take().unwrap_or(ReadError::Codec(error)))
}

/// What may still be read.
struct Bounds {
    depth: Cell<u32>,
    elements: Cell<u64>,
    empty_elements_max: u32,
    exceeded: Cell<Option<ReadError>>,
}

impl Bounds {
    fn exceed<E: Error>(&self, by: ReadError) -> E {
        let error = E::custom(&by);
        self.exceeded.set(Some(by));
        error
    }

    /// Reads what is one deeper.
    fn deeper<T, E: Error>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let depth = self.depth.get();
        self.depth.set(depth.checked_sub(1).ok_or_else(|| self.exceed(ReadError::Depth))?);
        let result = read();
        self.depth.set(depth);
        result
    }

    fn element<E: Error>(&self) -> Result<(), E> {
        let elements = self.elements.get().checked_sub(1);
        let exceeded = ReadError::Elements { empty_elements_max: self.empty_elements_max };
        self.elements.set(elements.ok_or_else(|| self.exceed(exceeded))?);
        Ok(())
    }
}

/// Whether the bytes say how many elements there are, or the type does.
#[derive(Clone, Copy)]
enum Count {
    OfBytes,
    OfType,
}

/// What reads one level: a deserializer, visitor, access or seed, within bounds.
struct Bounded<'b, I> {
    inner: I,
    bounds: &'b Bounds,
}

/// A visitor, or access to elements, within bounds.
struct Elements<'b, I> {
    inner: I,
    count: Count,
    bounds: &'b Bounds,
}

macro_rules! read_plain {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method(Elements { inner: visitor, count: Count::OfType, bounds: self.bounds })
        }
    )*};
}

macro_rules! read_counted {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method(Elements { inner: visitor, count: Count::OfBytes, bounds: self.bounds })
        }
    )*};
}

macro_rules! read_named {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Self::Error> {
            let visitor = Elements { inner: visitor, count: Count::OfType, bounds: self.bounds };
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    read_plain! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_option deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }
    read_counted! { deserialize_seq deserialize_map }
    read_named! {
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

macro_rules! visit_plain {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Elements<'_, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.inner.expecting(formatter)
    }

    visit_plain! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32)
        visit_f64(f64) visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds;
        bounds.deeper(|| self.inner.visit_some(Bounded { inner, bounds }))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds;
        bounds.deeper(|| self.inner.visit_newtype_struct(Bounded { inner, bounds }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { inner: visitor, count, bounds } = self;
        bounds.deeper(|| visitor.visit_seq(Elements { inner, count, bounds }))
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let Self { inner: visitor, count, bounds } = self;
        bounds.deeper(|| visitor.visit_map(Elements { inner, count, bounds }))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        bounds.deeper(|| self.inner.visit_enum(Bounded { inner, bounds }))
    }
}

impl<I> Elements<'_, I> {
    /// Counts an element that was read; the end of a collection is none.
    fn counted<T, E: Error>(&self, element: Option<T>) -> Result<Option<T>, E> {
        if let (Count::OfBytes, Some(_)) = (self.count, &element) {
            self.bounds.element()?;
        }
        Ok(element)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let element = self.inner.next_element_seed(Bounded { inner: seed, bounds: self.bounds })?;
        self.counted(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let key = self.inner.next_key_seed(Bounded { inner: seed, bounds: self.bounds })?;
        self.counted(key)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Bounded { inner: seed, bounds: self.bounds })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Bounded { inner, bounds: self.bounds })
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let bounds = self.bounds;
        let (value, inner) = self.inner.variant_seed(Bounded { inner: seed, bounds })?;
        Ok((value, Bounded { inner, bounds }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Bounded { inner: seed, bounds: self.bounds })
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = Elements { inner: visitor, count: Count::OfType, bounds: self.bounds };
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = Elements { inner: visitor, count: Count::OfType, bounds: self.bounds };
        self.inner.struct_variant(fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use alloc::vec::Vec;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::{DEPTH_MAX, ReadError};

    /// Elements without bytes that these tests allow.
    const EMPTY_ELEMENTS_MAX: u32 = 65_536;
    const TOO_MANY: ReadError = ReadError::Elements { empty_elements_max: EMPTY_ELEMENTS_MAX };

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), ReadError> {
        super::read(bytes, EMPTY_ELEMENTS_MAX)
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
        Pair { left: Box<Tree>, right: Option<Box<Tree>> },
        Many(Vec<Tree>),
        Named(BTreeMap<u8, Tree>),
    }

    /// The deepest that can be read, in each way that a type can contain itself, and one more.
    #[test]
    fn values_are_read_to_a_depth_and_no_deeper() {
        // Bytes of one level, and how deep it is.
        for (level, deep) in [(&[1_u8][..], 1), (&[3, 1], 2), (&[4, 1, 7], 2), (&[2, 0, 1], 3)] {
            let most = (DEPTH_MAX as usize - 1) / deep;
            let bytes = |levels| [level.repeat(levels).as_slice(), &[0]].concat();
            let deepest = bytes(most);
            let read_back =
                read::<Tree>(&deepest).map(|(value, rest)| (postcard::to_allocvec(&value), rest.len()));
            assert_eq!(read_back, Ok((Ok(deepest.clone()), 0)), "{level:?}");
            assert_eq!(read::<Tree>(&bytes(most + 1)).err(), Some(ReadError::Depth), "{level:?}");
            assert_eq!(read::<Tree>(&level.repeat(1 << 20)).err(), Some(ReadError::Depth), "{level:?}");
        }
    }

    /// What was read side by side counts no deeper than one of it.
    #[test]
    fn depth_is_given_back() {
        let wide = [[3_u8].as_slice(), &[0xe8, 0x07], &[1, 0].repeat(1000)].concat();
        assert!(read::<Tree>(&wide).is_ok());
    }

    #[test]
    fn elements_without_bytes_end() {
        let count = |count: u64| postcard::to_allocvec(&count).unwrap();
        let most = u64::from(EMPTY_ELEMENTS_MAX);
        assert_eq!(read::<Vec<()>>(&count(most)).unwrap().0.len() as u64, most);
        assert_eq!(read::<Vec<()>>(&count(u64::MAX)).err(), Some(TOO_MANY));
        let nested = count(1_000).into_iter().chain(count(60_000).repeat(1_000)).collect::<Vec<u8>>();
        assert_eq!(read::<Vec<Vec<()>>>(&nested).err(), Some(TOO_MANY));
    }

    /// As many elements as there are bytes are always read.
    #[test]
    fn large_messages_are_read() {
        let large: Vec<(u8, ())> = vec![(1, ()); 1 << 20];
        let bytes = postcard::to_allocvec(&large).unwrap();
        assert_eq!(read::<Vec<(u8, ())>>(&bytes), Ok((large, &[][..])));
    }

    /// Collections in collections, the smallest that take bytes: none counts for more than its bytes.
    #[test]
    fn many_small_collections_are_read() {
        for inner in [vec![], vec![7_u8]] {
            let large = vec![inner; 1 << 18];
            let bytes = postcard::to_allocvec(&large).unwrap();
            assert_eq!(read::<Vec<Vec<u8>>>(&bytes), Ok((large, &[][..])));
        }
    }
}
