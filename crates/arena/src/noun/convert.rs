//! Rust values as nouns and back, and the [`noun!`](crate::noun!) macro.
//!
//! Numbers are atoms; text and bytes are atoms whose bytes, least significant first, they are, so zero bytes
//! at the end are lost; `true` is 0 and `false` is 1, as nouns have it; slices and vectors are lists that end
//! with 0; tuples nest to the right; `None` is 0 and `Some(x)` is `[0 x]`.

use super::{Noun, Nouns};
use crate::arena::AllocateError;
use crate::disk::Disk;

/// What can be made into a noun.
pub trait ToNoun {
    /// The noun of this value, in that arena.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError>;
}

/// What a noun can be made into.
pub trait FromNoun: Sized {
    /// The value of a noun, or `None` if the noun has another shape or is too large.
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self>;
}

impl ToNoun for Noun {
    fn to_noun<D: Disk>(&self, _: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        Ok(*self)
    }
}

impl FromNoun for Noun {
    fn from_noun<D: Disk>(_: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        Some(noun)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl ToNoun for $number {
            fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
                nouns.atom_of_bytes(&self.to_le_bytes())
            }
        }
        impl FromNoun for $number {
            fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
                let bytes = nouns.bytes(noun)?;
                let mut number = [0; size_of::<Self>()];
                number.get_mut(..bytes.len())?.copy_from_slice(&bytes);
                Some(Self::from_le_bytes(number))
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64 u128 usize);

// A literal in `noun!` is an `i32` where nothing else is said; negative numbers are no atoms.
impl ToNoun for i32 {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        assert!(*self >= 0, "an atom is a natural number, {self} is not");
        self.unsigned_abs().to_noun(nouns)
    }
}

impl ToNoun for bool {
    fn to_noun<D: Disk>(&self, _: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        Ok(Noun::small(u32::from(!*self)))
    }
}

impl FromNoun for bool {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        match nouns.number(noun)? {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }
}

impl ToNoun for str {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        nouns.atom_of_bytes(self.as_bytes())
    }
}

impl ToNoun for String {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        self.as_str().to_noun(nouns)
    }
}

impl FromNoun for String {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        Self::from_utf8(nouns.bytes(noun)?).ok()
    }
}

impl<T: ToNoun + ?Sized> ToNoun for &T {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        (**self).to_noun(nouns)
    }
}

impl<T: ToNoun> ToNoun for [T] {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        let mut list = Noun::ZERO;
        for item in self.iter().rev() {
            let head = item.to_noun(nouns)?;
            list = nouns.cell(head, list)?;
        }
        Ok(list)
    }
}

impl<T: ToNoun> ToNoun for Vec<T> {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        self.as_slice().to_noun(nouns)
    }
}

impl<T: FromNoun> FromNoun for Vec<T> {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        let mut items = Self::new();
        let mut at = noun;
        while let Some((head, tail)) = nouns.split(at) {
            items.push(T::from_noun(nouns, head)?);
            at = tail;
        }
        (at == Noun::ZERO).then_some(items)
    }
}

impl<T: ToNoun> ToNoun for Option<T> {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        let Some(value) = self else { return Ok(Noun::ZERO) };
        let value = value.to_noun(nouns)?;
        nouns.cell(Noun::ZERO, value)
    }
}

impl<T: FromNoun> FromNoun for Option<T> {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        match nouns.split(noun) {
            Some((Noun::ZERO, value)) => Some(Some(T::from_noun(nouns, value)?)),
            None if noun == Noun::ZERO => Some(None),
            _ => None,
        }
    }
}

impl<A: ToNoun, B: ToNoun> ToNoun for (A, B) {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        let (head, tail) = (self.0.to_noun(nouns)?, self.1.to_noun(nouns)?);
        nouns.cell(head, tail)
    }
}

impl<A: FromNoun, B: FromNoun> FromNoun for (A, B) {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        let (head, tail) = nouns.split(noun)?;
        Some((A::from_noun(nouns, head)?, B::from_noun(nouns, tail)?))
    }
}

impl<A: ToNoun, B: ToNoun, C: ToNoun> ToNoun for (A, B, C) {
    fn to_noun<D: Disk>(&self, nouns: &mut Nouns<'_, D>) -> Result<Noun, AllocateError> {
        (&self.0, (&self.1, &self.2)).to_noun(nouns)
    }
}

impl<A: FromNoun, B: FromNoun, C: FromNoun> FromNoun for (A, B, C) {
    fn from_noun<D: Disk>(nouns: &Nouns<'_, D>, noun: Noun) -> Option<Self> {
        let (a, (b, c)) = FromNoun::from_noun(nouns, noun)?;
        Some((a, b, c))
    }
}

/// A noun written as nouns are: `noun!(nouns, [1 2 [3 "text"] x])` is `[1 2 [3 'text'] x]`, nested to the
/// right.
///
/// Each part is one token: a literal, a variable, `~` for 0, another bracket, or any expression in
/// parentheses. Parts are made with [`ToNoun`](crate::noun::ToNoun). Gives a `Result` with
/// [`AllocateError`](crate::AllocateError).
///
/// ```
/// # use banyan_arena::{noun, noun::{Nouns, Noun}, disk::MemoryDisk, store::Identity, Arena, ArenaOptions};
/// # let identity = Identity { uuid: [1; 16], base: 0x1700_0000_0000, reservation: 1 << 30 };
/// # let mut arena = Arena::format(MemoryDisk::default(), identity, ArenaOptions::default()).unwrap();
/// let mut nouns = Nouns::new(&mut arena);
/// let x = 40_u64;
/// let noun = noun!(&mut nouns, [1 [2 "three"] (x + 2) ~]).unwrap();
/// assert_eq!(nouns.at(noun, 14).and_then(|part| nouns.number(part)), Some(42));
/// ```
#[macro_export]
macro_rules! noun {
    ($nouns:expr, [$($part:tt)+]) => {{
        let nouns: &mut $crate::noun::Nouns<'_, _> = $nouns;
        $crate::noun!(@tuple nouns, $($part)+)
    }};
    ($nouns:expr, $part:tt) => {{
        let nouns: &mut $crate::noun::Nouns<'_, _> = $nouns;
        $crate::noun!(@part nouns, $part)
    }};
    (@tuple $nouns:ident, $last:tt) => { $crate::noun!(@part $nouns, $last) };
    (@tuple $nouns:ident, $head:tt $($tail:tt)+) => {
        match $crate::noun!(@part $nouns, $head) {
            Ok(head) => match $crate::noun!(@tuple $nouns, $($tail)+) {
                Ok(tail) => $nouns.cell(head, tail),
                error => error,
            },
            error => error,
        }
    };
    (@part $nouns:ident, [$($part:tt)+]) => { $crate::noun!(@tuple $nouns, $($part)+) };
    (@part $nouns:ident, ~) => { Ok::<_, $crate::AllocateError>($crate::noun::Noun::ZERO) };
    (@part $nouns:ident, $value:expr) => { $crate::noun::ToNoun::to_noun(&$value, &mut *$nouns) };
}
