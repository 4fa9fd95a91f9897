//! Nouns: atoms and cells in an arena. A noun is an atom (a natural number) or a cell (two nouns).
//!
//! A [`Noun`] is one word: a direct atom below 2^63, or the address of an atom or cell in the heap with
//! its kind in the two highest bits. Cells cache their hash ([`Nouns::mug`]) and are unified when found
//! equal, by plain writes: the pages are dirty then, and nothing more is needed.
//!
//! Nouns are never freed by hand: [`Nouns::collect`] frees those that no root leads to, a little at a time.
//! Everything walks with its own stack, so depth is bounded by memory and never by the thread's stack. A noun
//! that is kept over a rollback or a collection against the rules, or used with another arena, gives wrong
//! answers or a panic, never an access to anything but nouns: they lie in spans of their own, and each
//! address is checked.

mod bits;
mod collect;
mod convert;
mod cue;
mod cue_error;
mod huge;
mod jam;
mod mug;
mod prefetch;
mod scratch;
mod snapshots;

pub use self::collect::{Collection, CollectionReport};
pub use self::convert::{FromNoun, ToNoun};
pub use self::cue_error::CueError;
pub use self::snapshots::{FrozenNounError, NounText};
use crate::arena::{AllocateError, Arena};
use crate::disk::Disk;
use crate::heap::Slots;

const KIND_SHIFT: u32 = 62;
const KIND_ATOM: u64 = 2;
const KIND_CELL: u64 = 3;
const ADDRESS: u64 = (1 << KIND_SHIFT) - 1;
const DIRECT_MAX: u64 = (1 << 63) - 1;
const FOREIGN: &str = "a noun of another arena, or from before a rollback or a collection";

/// An atom or a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Noun(u64);

impl Noun {
    /// The atom 0, which also ends lists.
    pub const ZERO: Noun = Noun(0);

    /// The word to keep in a root.
    #[must_use]
    pub fn word(self) -> u64 {
        self.0
    }

    /// A small number as an atom.
    #[must_use]
    pub fn small(value: u32) -> Noun {
        Noun(u64::from(value))
    }

    /// Whether it is a cell.
    #[must_use]
    #[inline]
    pub fn is_cell(self) -> bool {
        self.0 >> KIND_SHIFT == KIND_CELL
    }

    #[inline]
    fn is_direct(self) -> bool {
        self.0 <= DIRECT_MAX
    }
}

#[repr(C)]
struct Cell {
    /// 0: not computed yet.
    mug: u32,
    reserved: u32,
    head: Noun,
    tail: Noun,
}

#[repr(C)]
struct AtomHeader {
    mug: u32,
    reserved: u32,
    words: u64,
}

/// The nouns of an arena.
pub struct Nouns<'a, D: Disk> {
    arena: &'a mut Arena<D>,
}

impl<'a, D: Disk> Nouns<'a, D> {
    /// Works on the nouns of an arena until the arena is wanted for something else.
    ///
    /// # Panics
    /// In a process that was forked from the arena's.
    pub fn new(arena: &'a mut Arena<D>) -> Self {
        arena.assert_here();
        Self { arena }
    }

    /// The noun that a root's word stands for; `None` if the word is none, as far as that can be seen: a
    /// number below 2^63 always is one.
    #[must_use]
    pub fn noun_of_word(&self, word: u64) -> Option<Noun> {
        let noun = Noun(word);
        let is_one = noun.is_direct() || self.arena.allocator().slot_at((word & ADDRESS) as usize).is_some();
        is_one.then_some(noun)
    }

    /// An atom of one word.
    ///
    /// # Errors
    /// [`AllocateError`] if it does not fit a direct atom and the arena is full.
    pub fn atom(&mut self, value: u64) -> Result<Noun, AllocateError> {
        if value <= DIRECT_MAX { Ok(Noun(value)) } else { self.atom_of_words(&[value]) }
    }

    /// The atom whose bytes, least significant first, are these: text is such an atom.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn atom_of_bytes(&mut self, bytes: &[u8]) -> Result<Noun, AllocateError> {
        let words: Vec<u64> = bytes
            .chunks(8)
            .map(|part| {
                let mut word = [0; 8];
                word[..part.len()].copy_from_slice(part);
                u64::from_le_bytes(word)
            })
            .collect();
        self.atom_of_words(&words)
    }

    /// The atom of these words, least significant first.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn atom_of_words(&mut self, words: &[u64]) -> Result<Noun, AllocateError> {
        let length = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let words = &words[..length];
        match words {
            [] => return Ok(Noun::ZERO),
            [word] if *word <= DIRECT_MAX => return Ok(Noun(*word)),
            _ => {}
        }
        let error = AllocateError::Full { size: usize::MAX, alignment: 8 };
        let size = words.len().checked_mul(8).and_then(|bytes| bytes.checked_add(size_of::<AtomHeader>()));
        let (place, slot) = self.arena.allocate_noun(size.ok_or(error)?)?;
        let place = place.cast::<AtomHeader>().as_ptr();
        // SAFETY: the object was just allocated with room for the header and the words, and is aligned to 16.
        unsafe {
            place.write(AtomHeader { mug: 0, reserved: 0, words: words.len() as u64 });
            std::ptr::copy_nonoverlapping(words.as_ptr(), place.add(1).cast::<u64>(), words.len());
        }
        self.arena.noun_is_new(slot);
        Ok(Noun(KIND_ATOM << KIND_SHIFT | place as u64))
    }

    /// The cell of two nouns.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    #[inline]
    pub fn cell(&mut self, head: Noun, tail: Noun) -> Result<Noun, AllocateError> {
        self.cell_of(&mut Slots::default(), 1, head, tail)
    }

    /// The cell of two nouns in the next of some slots; where there is none left, `most` or fewer are taken.
    #[inline]
    fn cell_of(
        &mut self,
        slots: &mut Slots,
        most: usize,
        head: Noun,
        tail: Noun,
    ) -> Result<Noun, AllocateError> {
        let (address, slot) = loop {
            match slots.take() {
                Some(found) => break found,
                None => *slots = self.arena.allocate_nouns(size_of::<Cell>(), most)?,
            }
        };
        let place: *mut Cell = std::ptr::with_exposed_provenance_mut(address);
        // SAFETY: the slot was just allocated for this size, is aligned to 16, and nothing else has it.
        unsafe { place.write(Cell { mug: 0, reserved: 0, head, tail }) };
        self.arena.noun_is_new(slot);
        Ok(Noun(KIND_CELL << KIND_SHIFT | address as u64))
    }

    /// `[a b c]`: cells that nest to the right. One noun is itself, none is 0.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn tuple(&mut self, nouns: &[Noun]) -> Result<Noun, AllocateError> {
        let Some((last, rest)) = nouns.split_last() else { return Ok(Noun::ZERO) };
        rest.iter().rev().try_fold(*last, |tail, head| self.cell(*head, tail))
    }

    /// A list: `[a b c 0]`.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn list(&mut self, nouns: &[Noun]) -> Result<Noun, AllocateError> {
        nouns.iter().rev().try_fold(Noun::ZERO, |tail, head| self.cell(*head, tail))
    }

    /// A path: the list of the texts between the slashes of `/a/b/c`.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn path(&mut self, path: &str) -> Result<Noun, AllocateError> {
        let mut parts = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            parts.push(self.atom_of_bytes(part.as_bytes())?);
        }
        self.list(&parts)
    }

    /// Head and tail of a cell; `None` for an atom.
    #[must_use]
    #[inline]
    pub fn split(&self, noun: Noun) -> Option<(Noun, Noun)> {
        let cell = self.cell_place(noun)?;
        // SAFETY: the place is inside the heap, see `cell_place`, and nothing writes there while `self` is
        // borrowed.
        unsafe { Some(((*cell).head, (*cell).tail)) }
    }

    /// The noun at a tree address: 1 is the whole, 2n and 2n+1 are head and tail of n.
    #[must_use]
    pub fn at(&self, noun: Noun, address: u64) -> Option<Noun> {
        let mut at = noun;
        let steps = address.checked_ilog2()?;
        for step in (0..steps).rev() {
            let (head, tail) = self.split(at)?;
            at = if address >> step & 1 == 0 { head } else { tail };
        }
        Some(at)
    }

    /// The words of an atom, least significant first and the last not 0; `None` for a cell.
    #[must_use]
    pub fn words(&self, noun: Noun) -> Option<Vec<u64>> {
        let mut words = Vec::new();
        self.with_words(noun, |slice| words.extend_from_slice(slice))?;
        Some(words)
    }

    /// An atom of at most 64 bits as a number.
    #[must_use]
    pub fn number(&self, noun: Noun) -> Option<u64> {
        self.with_words(noun, |words| match words {
            [] => Some(0),
            [word] => Some(*word),
            _ => None,
        })?
    }

    /// The bytes of an atom, least significant first and the last not 0; `None` for a cell.
    #[must_use]
    pub fn bytes(&self, noun: Noun) -> Option<Vec<u8>> {
        let mut bytes: Vec<u8> = self.words(noun)?.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        Some(bytes)
    }

    fn with_words<T>(&self, noun: Noun, use_words: impl FnOnce(&[u64]) -> T) -> Option<T> {
        if noun.is_cell() {
            return None;
        }
        if noun.is_direct() {
            return Some(use_words(if noun.0 == 0 { &[] } else { std::slice::from_ref(&noun.0) }));
        }
        let place = self.atom_place(noun)?;
        // SAFETY: the header is inside the heap, see `atom_place`; the words are checked to be as well, and
        // nothing writes there while `self` is borrowed.
        unsafe {
            let count = usize::try_from((*place).words).ok()?;
            let first: *const u64 = place.add(1).cast();
            let bytes = count.checked_mul(8)?.checked_add(size_of::<AtomHeader>())?;
            assert!(self.arena.allocator().is_noun_room(place as usize, bytes), "{FOREIGN}");
            Some(use_words(std::slice::from_raw_parts(first, count)))
        }
    }

    #[inline]
    fn place<T>(&self, noun: Noun) -> *mut T {
        let address = (noun.0 & ADDRESS) as usize;
        assert!(self.arena.allocator().holds_nouns(address, size_of::<T>()), "{FOREIGN}");
        std::ptr::with_exposed_provenance_mut(address)
    }

    #[inline]
    fn cell_place(&self, noun: Noun) -> Option<*mut Cell> {
        noun.is_cell().then(|| self.place(noun))
    }

    fn atom_place(&self, noun: Noun) -> Option<*mut AtomHeader> {
        (noun.0 >> KIND_SHIFT == KIND_ATOM).then(|| self.place(noun))
    }

    /// Whether two nouns are equal by value. Equal parts of equal cells are made one, so that the next
    /// comparison is short, and nouns with much sharing are compared in time linear in their cells.
    pub fn equal(&mut self, left: Noun, right: Noun) -> bool {
        enum Step {
            Compare(Noun, Noun),
            Unify(Noun, Noun),
        }
        // Cells that share both parts need no stack.
        if let (Some(one), Some(other)) = (self.split(left), self.split(right))
            && one == other
        {
            return true;
        }
        let mut steps = vec![Step::Compare(left, right)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Compare(left, right) if left == right => {}
                Step::Compare(left, right) => match (self.split(left), self.split(right)) {
                    (Some((a, b)), Some((c, d))) => {
                        if self.mug(left) != self.mug(right) {
                            return false;
                        }
                        steps.push(Step::Unify(left, right));
                        steps.push(Step::Compare(b, d));
                        steps.push(Step::Compare(a, c));
                    }
                    (None, None) if !left.is_direct() && !right.is_direct() => {
                        let same = self.with_words(left, |a| self.with_words(right, |b| a == b));
                        if same.flatten() != Some(true) {
                            return false;
                        }
                    }
                    _ => return false,
                },
                Step::Unify(left, right) => {
                    if let (Some(from), Some(to)) = (self.cell_place(left), self.cell_place(right)) {
                        // SAFETY: both places are inside the heap, and `self` is borrowed for writing. The
                        // parts are equal by value: everything above this step on the stack has been
                        // compared.
                        let (head, tail) = unsafe { ((*to).head, (*to).tail) };
                        // SAFETY: as above.
                        unsafe {
                            if head != (*from).head {
                                (*to).head = (*from).head;
                                self.noun_is_replaced(head);
                            }
                            if tail != (*from).tail {
                                (*to).tail = (*from).tail;
                                self.noun_is_replaced(tail);
                            }
                        }
                    }
                }
            }
        }
        true
    }
}
