//! A text under a root.

use std::ops::Deref;

use super::{AVec, Access, CollectionError, Kinds};
use crate::arena::{AllocateError, Arena};
use crate::disk::{Disk, FileDisk};

pub(super) fn kinds() -> Kinds {
    Kinds::of("AString")
}

/// A string in an arena.
pub struct AString<'a, D: Disk = FileDisk> {
    bytes: AVec<'a, u8, D>,
}

impl<'a, D: Disk> AString<'a, D> {
    pub(super) fn open(arena: Access<'a, D>, name: &str) -> Result<Self, CollectionError> {
        Ok(Self { bytes: AVec::open_as(arena, name, &kinds())? })
    }

    pub(super) fn look_up(arena: &'a Arena<D>, name: &str) -> Result<Option<Self>, CollectionError> {
        Ok(AVec::look_up_as(arena, name, &kinds())?.map(|bytes| Self { bytes }))
    }

    /// Puts text at the end.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full; the text is then as it was.
    pub fn push_str(&mut self, text: &str) -> Result<(), AllocateError> {
        self.bytes.extend_from_slice(text.as_bytes())
    }

    /// Puts a character at the end.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn push(&mut self, character: char) -> Result<(), AllocateError> {
        self.push_str(character.encode_utf8(&mut [0; 4]))
    }

    /// Takes the last character.
    pub fn pop(&mut self) -> Option<char> {
        let last = self.chars().next_back()?;
        self.bytes.truncate(self.len() - last.len_utf8());
        Some(last)
    }

    /// Keeps at most this many bytes.
    ///
    /// # Panics
    /// If that cuts a character in two.
    pub fn truncate(&mut self, length: usize) {
        assert!(length >= self.len() || self.is_char_boundary(length), "byte {length} is inside a character");
        self.bytes.truncate(length);
    }

    /// Removes all text. Its room stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Frees the text and removes its root.
    pub fn delete(self) {
        self.bytes.delete();
    }
}

impl<D: Disk> Deref for AString<'_, D> {
    type Target = str;
    fn deref(&self) -> &str {
        // SAFETY: only whole texts were appended, and characters are only cut off whole.
        unsafe { std::str::from_utf8_unchecked(&self.bytes) }
    }
}
