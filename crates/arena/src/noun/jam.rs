//! Jam: a noun as bits, exact to the bit. A part that was written before becomes a reference where that is
//! shorter.
//!
//! Three passes, so that each waits for memory as little as it can: the first meets every part and numbers
//! it, the second finds which are equal, many looks at a time, and the third writes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::bits::{BitWriter, bit_length};
use super::huge::HugeVec;
use super::prefetch::{AHEAD, prefetch};
use super::scratch::Scratch;
use super::{ADDRESS, DIRECT_MAX, FOREIGN, KIND_CELL, KIND_SHIFT, Noun, Nouns};
use crate::disk::Disk;

/// The number of each indirect noun, by the place where it lies: a small array for each page of the heap that
/// the noun touches. Nouns that were made together lie together, so a look here rarely misses the cache, and
/// a noun that is shared is known without being touched.
#[derive(Default)]
struct Places {
    base: usize,
    /// For each page of the heap, its array, counted from 1.
    pages: Vec<u32>,
    /// For each 16 bytes of a page, one more than the number; 0 is none.
    arrays: HugeVec<[u32; UNITS]>,
    /// Pages that have one.
    touched: Vec<u32>,
}

const PAGE: usize = 4096;
const UNITS: usize = PAGE / 16;

impl Places {
    /// Forgets everything, for a heap that lies there.
    fn clear(&mut self, base: usize, end: usize) {
        for page in self.touched.drain(..) {
            self.pages[page as usize] = 0;
        }
        self.base = base;
        self.pages.resize((end - base).div_ceil(PAGE), 0);
        self.arrays.clear();
    }

    /// Page and unit of an address.
    #[inline]
    fn place(&self, address: u64) -> (usize, usize) {
        let offset = (address as usize).wrapping_sub(self.base);
        (offset / PAGE, offset % PAGE / 16)
    }

    /// Where the number of the noun at an address is kept, counted from 1.
    #[inline]
    fn number(&mut self, address: u64) -> &mut u32 {
        let (page, unit) = self.place(address);
        let array = self.pages.get_mut(page).expect(FOREIGN);
        if *array == 0 {
            self.arrays.push([0; UNITS]);
            self.touched.push(page as u32);
            *array = self.arrays.len() as u32;
        }
        &mut self.arrays[*array as usize - 1][unit]
    }

    /// Asks for what [`Places::number`] will look at.
    #[inline]
    fn prefetch(&self, address: u64) {
        let (page, unit) = self.place(address);
        let array = self.pages.get(page).and_then(|array| (*array as usize).checked_sub(1));
        if let Some(array) = array {
            prefetch(&raw const self.arrays[array][unit]);
        }
    }
}

/// The indirect nouns of one jam, each place of the heap once, numbered in the order in which they are first
/// met.
#[derive(Default)]
struct Parts {
    nouns: HugeVec<Noun>,
    mugs: HugeVec<u32>,
    /// For each, one more than the bit at which it was written, 0 if it was not; or [`SAME`] and the number
    /// of the first one that equals it.
    positions: HugeVec<u64>,
    /// All in the order of the jam: a direct atom is itself; another noun is its number, its kind, and, where
    /// it is met for the first time, [`NEW`]: the parts of a cell follow then.
    visits: HugeVec<u64>,
    /// A hash table by mug: the mug above and one more than the number of a first below.
    table: HugeVec<u64>,
}

/// Marks the number of another noun in the place of a position.
const SAME: u64 = 1 << 63;
/// Marks the first visit of a noun. Numbers have 32 bits, and direct atoms lack the highest.
const NEW: u64 = 1 << 61;

impl Parts {
    fn clear(&mut self) {
        self.nouns.clear();
        self.mugs.clear();
        self.positions.clear();
        self.visits.clear();
    }

    fn bytes(&self) -> usize {
        (self.nouns.capacity() + self.positions.capacity() + self.visits.capacity()) * 8
            + self.mugs.capacity() * 4
            + self.table.capacity() * 8
    }
}

/// Memory for jam, kept between calls.
#[derive(Default)]
pub(super) struct JamScratch {
    places: Places,
    parts: Parts,
    atoms: SeenAtoms,
    stack: Vec<Noun>,
}

impl JamScratch {
    pub(super) fn bytes(&self) -> usize {
        let Self { places, parts, atoms, stack } = self;
        places.arrays.capacity() * size_of::<[u32; UNITS]>()
            + places.pages.capacity() * 4
            + parts.bytes()
            + atoms.large.capacity() * 16
            + stack.capacity() * 8
    }
}

/// Where direct atoms were first written. Small ones, of which there are most, by index.
#[derive(Default)]
struct SeenAtoms {
    small: Vec<u64>,
    large: Numbers,
}

const SMALL_ATOMS: usize = 4096;

impl SeenAtoms {
    fn clear(&mut self) {
        self.small.clear();
        self.small.resize(SMALL_ATOMS, 0);
        self.large.clear();
    }

    /// The position of an atom that was seen, or else it is remembered, if it can ever pay to refer to it.
    fn place(&mut self, value: u64, position: u64) -> Option<u64> {
        if let Some(known) = self.small.get_mut(value as usize) {
            // Kept one higher, since 0 says that it was not seen.
            if *known != 0 {
                return Some(*known - 1);
            }
            *known = position + 1;
            return None;
        }
        if let Some(known) = self.large.get(&value) {
            return Some(*known);
        }
        if value.leading_zeros() < position.leading_zeros() {
            self.large.insert(value, position);
        }
        None
    }
}

type Numbers = HashMap<u64, u64, BuildHasherDefault<Multiply>>;

/// A hash for keys that are numbers already.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// Where the visits go on behind the parts of a cell whose first visit was the one before `at`.
fn behind(visits: &[u64], mut at: usize) -> usize {
    let mut open = 2_u64;
    while open > 0 {
        let visit = visits[at];
        let is_new_cell = visit > DIRECT_MAX && visit >> KIND_SHIFT == KIND_CELL && visit & NEW != 0;
        open = open - 1 + if is_new_cell { 2 } else { 0 };
        at += 1;
    }
    at
}

impl<D: Disk> Nouns<'_, D> {
    /// The noun as bytes.
    ///
    /// # Panics
    /// If it has 2^32 cells or more.
    pub fn jam(&mut self, noun: Noun) -> Vec<u8> {
        if noun.is_cell() {
            // Finds those of all its parts.
            self.mug(noun);
        }
        let mut scratch = Scratch::take(self.arena);
        let JamScratch { places, parts, atoms, stack } = &mut scratch.jam;
        self.meet(noun, places, parts, stack);
        self.find_equal(parts);
        let bytes = self.write(parts, atoms);
        Scratch::keep(scratch, self.arena);
        bytes
    }

    /// Numbers all parts of a noun, and lists the visits.
    fn meet(&mut self, noun: Noun, places: &mut Places, parts: &mut Parts, stack: &mut Vec<Noun>) {
        let (base, end) = self.arena.allocator().reach();
        places.clear(base, end);
        parts.clear();
        stack.clear();
        let mut next = Some(noun);
        while let Some(mut at) = next.take().or_else(|| stack.pop()) {
            // Down the heads.
            loop {
                if at.is_direct() {
                    parts.visits.push(at.0);
                    break;
                }
                let kind = at.0 & !ADDRESS;
                let number = places.number(at.0 & ADDRESS);
                if *number != 0 {
                    parts.visits.push(kind | u64::from(*number - 1));
                    break;
                }
                let count = parts.nouns.len();
                assert!(count < u32::MAX as usize, "a jammed noun has less than 2^32 cells");
                *number = count as u32 + 1;
                parts.visits.push(kind | NEW | count as u64);
                parts.nouns.push(at);
                let Some((mug, head, tail)) = self.whole_cell(at) else {
                    parts.mugs.push(self.mug(at));
                    break;
                };
                parts.mugs.push(mug);
                for part in [head, tail] {
                    if !part.is_direct() {
                        prefetch::<u8>(std::ptr::without_provenance((part.0 & ADDRESS) as usize));
                        places.prefetch(part.0 & ADDRESS);
                    }
                }
                stack.push(tail);
                at = head;
            }
        }
    }

    /// Finds for each part the first one that equals it.
    fn find_equal(&mut self, parts: &mut Parts) {
        let Parts { nouns, mugs, positions, table, .. } = parts;
        let size = (nouns.len() * 2).next_power_of_two();
        table.clear();
        table.resize(size, 0);
        positions.resize(nouns.len(), 0);
        let mask = size - 1;
        for number in 0..nouns.len() {
            if let Some(mug) = mugs.get(number + AHEAD) {
                prefetch(&raw const table[*mug as usize & mask]);
            }
            let mug = mugs[number];
            let mut at = mug as usize & mask;
            loop {
                let entry = table[at];
                if entry == 0 {
                    table[at] = u64::from(mug) << 32 | (number as u64 + 1);
                    break;
                }
                let other = entry as u32 - 1;
                if (entry >> 32) as u32 == mug && self.equal(nouns[other as usize], nouns[number]) {
                    positions[number] = SAME | u64::from(other);
                    break;
                }
                at = (at + 1) & mask;
            }
        }
    }

    /// Writes what the visits say.
    fn write(&self, parts: &mut Parts, atoms: &mut SeenAtoms) -> Vec<u8> {
        let mut writer = BitWriter::default();
        atoms.clear();
        let Parts { nouns, positions, visits, .. } = parts;
        let mut at = 0;
        while let Some(visit) = visits.get(at).copied() {
            at += 1;
            let position = writer.position();
            if visit <= DIRECT_MAX {
                match atoms.place(visit, position) {
                    // A reference must be shorter than the atom to be worth it.
                    Some(before) if visit.leading_zeros() < before.leading_zeros() => {
                        writer.put_reference(before);
                    }
                    _ => writer.put_tagged(0, 1, visit),
                }
                continue;
            }
            if let Some(ahead) = visits.get(at + AHEAD).filter(|ahead| **ahead > DIRECT_MAX) {
                prefetch(positions.as_ptr().wrapping_add(*ahead as u32 as usize));
            }
            let mut number = visit as u32 as usize;
            if positions[number] & SAME != 0 {
                number = positions[number] as u32 as usize;
            }
            let known = positions[number].checked_sub(1);
            if known.is_none() {
                positions[number] = position + 1;
            }
            if visit >> KIND_SHIFT == KIND_CELL {
                match known {
                    Some(before) => {
                        writer.put_reference(before);
                        if visit & NEW != 0 {
                            at = behind(visits, at);
                        }
                    }
                    None => writer.put(0b01, 2),
                }
                continue;
            }
            let written = self.with_words(nouns[number], |words| match known {
                Some(before) if bit_length(words) > u64::from(64 - before.leading_zeros()) => {
                    writer.put_reference(before);
                }
                _ => writer.put_atom(words),
            });
            debug_assert!(written.is_some(), "what is no cell is an atom");
        }
        writer.finish()
    }
}
