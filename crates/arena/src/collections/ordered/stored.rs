//! How keys and values of an ordered map are bytes.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::collections::Persist;

/// Types outside of this module cannot be [`Stored`]: what a map holds is only ever what this module wrote.
mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// What an ordered map may hold: numbers, texts, bytes, and [`Plain`] data. It is written as bytes, and read
/// where they lie.
pub trait Stored: Sealed {
    /// What is read: the value itself, or a borrow of its bytes.
    type View<'a>;

    /// The type, for the check when the map is opened again.
    #[doc(hidden)]
    fn type_name() -> String;

    /// The bytes that stand for it.
    #[doc(hidden)]
    fn encode(&self) -> Cow<'_, [u8]>;

    /// The value that bytes stand for.
    ///
    /// # Safety
    /// The bytes came from [`Stored::encode`] of this type.
    #[doc(hidden)]
    unsafe fn decode(bytes: &[u8]) -> Self::View<'_>;
}

/// What may be a key: its bytes are ordered as the values are.
pub trait OrderedKey: Stored {}

/// The bytes of a number.
fn exactly<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut exact = [0; N];
    let count = bytes.len().min(N);
    exact[..count].copy_from_slice(&bytes[..count]);
    exact
}

macro_rules! numbers {
    ($($number:ty: $flip:expr;)*) => {$(
        impl Stored for $number {
            type View<'a> = $number;
            fn type_name() -> String {
                stringify!($number).to_owned()
            }
            fn encode(&self) -> Cow<'_, [u8]> {
                // The highest byte first, and the negative ones before the others.
                Cow::Owned((*self ^ $flip).to_be_bytes().to_vec())
            }
            unsafe fn decode(bytes: &[u8]) -> $number {
                <$number>::from_be_bytes(exactly(bytes)) ^ $flip
            }
        }
        impl Sealed for $number {}
        impl OrderedKey for $number {}
    )*};
}
numbers! {
    u8: 0; u16: 0; u32: 0; u64: 0; u128: 0;
    i8: i8::MIN; i16: i16::MIN; i32: i32::MIN; i64: i64::MIN; i128: i128::MIN;
}

impl Stored for [u8] {
    type View<'a> = &'a [u8];
    fn type_name() -> String {
        "[u8]".to_owned()
    }
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
    unsafe fn decode(bytes: &[u8]) -> &[u8] {
        bytes
    }
}
impl Sealed for [u8] {}
impl OrderedKey for [u8] {}

impl<const N: usize> Stored for [u8; N] {
    type View<'a> = [u8; N];
    fn type_name() -> String {
        format!("[u8; {N}]")
    }
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
    unsafe fn decode(bytes: &[u8]) -> [u8; N] {
        exactly(bytes)
    }
}
impl<const N: usize> Sealed for [u8; N] {}
impl<const N: usize> OrderedKey for [u8; N] {}

impl Stored for str {
    type View<'a> = &'a str;
    fn type_name() -> String {
        "str".to_owned()
    }
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
    unsafe fn decode(bytes: &[u8]) -> &str {
        // SAFETY: as the caller promises, they are those of a text.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}
impl Sealed for str {}
impl OrderedKey for str {}

/// Plain data as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain<T>(pub T);

impl<T: Persist> Sealed for Plain<T> {}
impl<T: Persist> Stored for Plain<T> {
    type View<'a> = T;
    fn type_name() -> String {
        format!("Plain<{}>", T::description())
    }
    fn encode(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; size_of::<T>()];
        // SAFETY: the buffer has the value's size. Padding that is copied is never read as anything but
        // padding.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(self.0) };
        Cow::Owned(bytes)
    }
    unsafe fn decode(bytes: &[u8]) -> T {
        // SAFETY: as the caller promises, they are those of a value of this type, which is plain data.
        unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
    }
}

/// A map of the type in a map: each value is itself an ordered map, opened with
/// [`open_nested`](super::AOrderedMap::open_nested).
#[derive(Debug)]
pub struct Nested<K: ?Sized, V: ?Sized>(PhantomData<(Box<K>, Box<V>)>);

/// What the values of an ordered map are: something [`Stored`], or [`Nested`] maps.
pub trait OrderedValue {
    /// The type, for the check when the map is opened again.
    #[doc(hidden)]
    fn value_type() -> String;
}

impl<V: Stored + ?Sized> OrderedValue for V {
    fn value_type() -> String {
        V::type_name()
    }
}

impl<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized> OrderedValue for Nested<K, V> {
    fn value_type() -> String {
        format!("Nested<{}, {}>", K::type_name(), V::value_type())
    }
}
