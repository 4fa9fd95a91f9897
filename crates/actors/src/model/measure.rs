//! [`measure`]: what memory a value holds, as its own serialisation tells, and whether a reader of its bytes
//! would take it back.
//!
//! Nothing is written. What a type does not serialise is not seen, and neither is room that a collection
//! keeps for later, or that a value leaves empty because others of its type are larger.

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use banyan_wire::bounded::DEPTH_MAX;

/// What a collection or a text takes where it lies, beside what it holds.
const COLLECTION: u64 = size_of::<Vec<u8>>() as u64;
/// What tells which variant a value is, and the place of a value that is not there.
const VARIANT: u64 = 8;

/// What a value comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Bytes of memory.
    pub(crate) bytes: u64,
    /// Elements of collections whose number its bytes say.
    pub(crate) elements: u64,
}

/// Why a value was not measured to its end: what was met until there is in [`Measured`].
#[derive(Debug)]
pub(crate) enum Unmeasured {
    /// It lies deeper inside of itself than a reader follows.
    Depth,
    /// Its own serialisation failed.
    Refused(String),
}

impl Display for Unmeasured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Depth => write!(formatter, "its values are nested deeper than {DEPTH_MAX}"),
            Self::Refused(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Unmeasured {}

impl Error for Unmeasured {
    fn custom<T: Display>(reason: T) -> Self {
        Self::Refused(reason.to_string())
    }
}

/// Measures a value.
pub(crate) fn measure<T: Serialize>(value: &T) -> (Measured, Result<(), Unmeasured>) {
    let mut measure = Measure { measured: Measured::default(), depth: DEPTH_MAX };
    let result = value.serialize(&mut measure);
    (measure.measured, result)
}

struct Measure {
    measured: Measured,
    /// How much deeper a reader follows, counted as it counts.
    depth: u32,
}

/// Inside of a value that has others.
struct Inside<'m> {
    measure: &'m mut Measure,
    levels: u32,
}

impl Measure {
    fn count(&mut self, bytes: u64) {
        self.measured.bytes = self.measured.bytes.saturating_add(bytes);
    }

    fn enter(&mut self, levels: u32) -> Result<Inside<'_>, Unmeasured> {
        self.depth = self.depth.checked_sub(levels).ok_or(Unmeasured::Depth)?;
        Ok(Inside { measure: self, levels })
    }

    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unmeasured> {
        let inside = self.enter(1)?;
        value.serialize(&mut *inside.measure)?;
        inside.leave();
        Ok(())
    }
}

impl Inside<'_> {
    fn leave(self) {
        self.measure.depth += self.levels;
    }

    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unmeasured> {
        value.serialize(&mut *self.measure)
    }
}

macro_rules! plain {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, _: $type) -> Result<(), Unmeasured> {
            self.count(size_of::<$type>() as u64);
            Ok(())
        }
    )*};
}

impl<'m> Serializer for &'m mut Measure {
    type Ok = ();
    type Error = Unmeasured;
    type SerializeSeq = Inside<'m>;
    type SerializeTuple = Inside<'m>;
    type SerializeTupleStruct = Inside<'m>;
    type SerializeTupleVariant = Inside<'m>;
    type SerializeMap = Inside<'m>;
    type SerializeStruct = Inside<'m>;
    type SerializeStructVariant = Inside<'m>;

    plain! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_u128(u128) serialize_f32(f32) serialize_f64(f64) serialize_char(char)
    }

    fn serialize_str(self, text: &str) -> Result<(), Unmeasured> {
        self.count(COLLECTION + text.len() as u64);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Unmeasured> {
        self.count(COLLECTION + bytes.len() as u64);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unmeasured> {
        self.count(VARIANT);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unmeasured> {
        self.inner(value)
    }

    fn serialize_unit(self) -> Result<(), Unmeasured> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unmeasured> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Unmeasured> {
        self.count(VARIANT);
        self.enter(1)?.leave();
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unmeasured> {
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unmeasured> {
        self.count(VARIANT);
        self.inner(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'m>, Unmeasured> {
        self.count(COLLECTION);
        self.enter(1)
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'m>, Unmeasured> {
        self.enter(1)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'m>, Unmeasured> {
        self.enter(1)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'m>, Unmeasured> {
        self.count(VARIANT);
        // The variant, and what it has.
        self.enter(2)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'m>, Unmeasured> {
        self.count(COLLECTION);
        self.enter(1)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside<'m>, Unmeasured> {
        self.enter(1)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'m>, Unmeasured> {
        self.count(VARIANT);
        self.enter(2)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for Inside<'_> {
    type Ok = ();
    type Error = Unmeasured;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unmeasured> {
        self.measure.measured.elements += 1;
        self.field(value)
    }

    fn end(self) -> Result<(), Unmeasured> {
        self.leave();
        Ok(())
    }
}

impl SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Unmeasured;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unmeasured> {
        self.measure.measured.elements += 1;
        self.field(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unmeasured> {
        self.field(value)
    }

    fn end(self) -> Result<(), Unmeasured> {
        self.leave();
        Ok(())
    }
}

macro_rules! fields {
    ($($of:ident $method:ident($($name:ident: $type:ty)?);)*) => {$(
        impl $of for Inside<'_> {
            type Ok = ();
            type Error = Unmeasured;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($name: $type,)?
                value: &T,
            ) -> Result<(), Unmeasured> {
                self.field(value)
            }

            fn end(self) -> Result<(), Unmeasured> {
                self.leave();
                Ok(())
            }
        }
    )*};
}

fields! {
    SerializeTuple serialize_element();
    SerializeTupleStruct serialize_field();
    SerializeTupleVariant serialize_field();
    SerializeStruct serialize_field(_name: &'static str);
    SerializeStructVariant serialize_field(_name: &'static str);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use banyan_wire::bounded;
    use serde::{Deserialize, Serialize};

    use super::{Unmeasured, measure};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Nested {
        Leaf,
        Newtype(Box<Nested>),
        Tuple(Box<Nested>, u8),
        Struct { inner: Box<Nested> },
        List(Vec<Nested>),
        Maybe(Option<Box<Nested>>),
        Named(Name),
        Map(BTreeMap<u8, Nested>),
        Pair((Box<Nested>, ())),
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Name(Box<Nested>);

    fn wrapped(inner: Nested, way: usize) -> Nested {
        let inner = Box::new(inner);
        match way {
            0 => Nested::Newtype(inner),
            1 => Nested::Tuple(inner, 1),
            2 => Nested::Struct { inner },
            3 => Nested::List(vec![*inner]),
            4 => Nested::Maybe(Some(inner)),
            5 => Nested::Named(Name(inner)),
            6 => Nested::Map(BTreeMap::from([(1, *inner)])),
            _ => Nested::Pair((inner, ())),
        }
    }

    /// What is refused here is what a reader of the bytes refuses, to the level.
    #[test]
    fn it_follows_as_deep_as_a_reader() {
        for way in 0..8 {
            let (mut value, mut taken) = (Nested::Leaf, 0);
            for levels in 0..140 {
                let bytes = postcard::to_stdvec(&value).unwrap();
                let read = bounded::read::<Nested>(&bytes, 0).is_ok();
                let measured = measure(&value).1;
                assert_eq!(measured.is_ok(), read, "way {way}, {levels} levels: {measured:?}");
                assert!(read || matches!(measured, Err(Unmeasured::Depth)));
                taken += usize::from(read);
                value = wrapped(value, way);
            }
            assert!((30..140).contains(&taken), "way {way}: {taken}");
        }
    }

    #[test]
    fn what_a_value_holds_is_counted() {
        assert_eq!(measure(&7_u64).0.bytes, 8);
        assert_eq!(measure(&"x".repeat(1000)).0.bytes, 1024);
        assert_eq!(measure(&vec![0_u8; 1000]).0.bytes, 1024);
        assert_eq!(measure(&vec![None::<Box<u64>>; 1000]).0.bytes, 8024);
        assert_eq!(measure(&vec!["y".repeat(100); 10]).0.bytes, 24 + 10 * 124);
        assert_eq!(measure(&vec![(); 70_000]).0.elements, 70_000);
        assert_eq!(measure(&BTreeMap::from([(1_u64, 2_u64)])).0.bytes, 40);
    }
}
