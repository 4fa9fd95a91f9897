//! The state of an actor as bytes: behaviour, globals, handles, and the pages of memory that were ever
//! written.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasmtime::Val;

use super::handles::SavedHandles;

/// The value of a mutable global; floats as their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Global {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
}

impl Global {
    /// `None` for a reference, which the validator refuses in mutable globals.
    pub(super) fn of(value: &Val) -> Option<Self> {
        Some(match value {
            Val::I32(value) => Self::I32(*value),
            Val::I64(value) => Self::I64(*value),
            Val::F32(bits) => Self::F32(*bits),
            Val::F64(bits) => Self::F64(*bits),
            Val::V128(bits) => Self::V128(bits.as_u128()),
            _ => return None,
        })
    }

    pub(super) fn value(self) -> Val {
        match self {
            Self::I32(value) => Val::I32(value),
            Self::I64(value) => Val::I64(value),
            Self::F32(bits) => Val::F32(bits),
            Self::F64(bits) => Val::F64(bits),
            Self::V128(bits) => Val::V128(bits.into()),
        }
    }
}

/// One page: as bytes at once, where serde would write a vector byte by byte.
#[derive(Debug)]
pub(super) struct Page(pub(super) Vec<u8>);

impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Page;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the bytes of a page")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Page, E> {
                Ok(Page(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// An actor between events.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Saved {
    /// It had no event yet.
    Fresh { behaviour: u32, bytes: Vec<u8>, addresses: Vec<crate::model::address::Address> },
    /// It had some.
    Started {
        behaviour: u32,
        globals: Vec<Global>,
        handles: SavedHandles,
        /// Bytes of memory.
        memory: u64,
        /// Pages that were ever written, by number; the others are zero.
        pages: Vec<(u32, Page)>,
    },
}
