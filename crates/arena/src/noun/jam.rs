//! Jam and cue: a noun as bits and back, exact to the bit. A part seen before becomes a reference.
//!
//! Cue takes untrusted bytes: it reads each bit once, keeps its own stack, and makes at most one cell for every
//! four bits, so its cost is linear in the input whatever the input says: at most 64 bytes of arena and some 80 of
//! other memory for each byte.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::huge::HugeVec;
use super::{ADDRESS, DIRECT_MAX, FOREIGN, KIND_CELL, KIND_SHIFT, Noun, Nouns};
use crate::arena::{AllocateError, Arena};
use crate::disk::Disk;

/// Why bytes are not a jammed noun. The arena may hold parts that were built before the fault: roll
/// back, or leave them to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CueError {
    /// The bits end in the middle of a noun.
    #[error("the jammed noun ends early, at bit {0}; it was cut off")]
    Truncated(u64),
    /// A length is longer than any noun can be.
    #[error("the atom at bit {0} claims more bits than there are; this is no jammed noun")]
    Length(u64),
    /// A reference to a place where no noun starts.
    #[error("the reference at bit {0} leads to no noun; this is no jammed noun")]
    Reference(u64),
    /// No room in the arena.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
}

/// The number of each indirect noun, by the place where it lies: a small array for each page of the heap that the noun
/// touches. Nouns that were made together lie together, so a look here rarely misses the cache, and a noun that
/// is shared is known without being touched.
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

/// Asks the processor for what will soon be looked at.
#[inline]
fn prefetch<T>(place: *const T) {
    // SAFETY: a prefetch reads nothing and never faults, whatever the address.
    unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(place.cast()) };
}

/// Items between the one that is worked on and the one whose memory is asked for.
const AHEAD: usize = 16;

/// The indirect nouns of one jam, each place of the heap once, numbered in the order in which they are first met.
#[derive(Default)]
struct Parts {
    nouns: HugeVec<Noun>,
    mugs: HugeVec<u32>,
    /// For each, the first that equals it.
    firsts: HugeVec<u32>,
    /// For each, one more than the bit at which it was written; 0 is not.
    positions: HugeVec<u64>,
    /// All in the order of the jam: a direct atom is itself; another noun is its number, its kind, and, where it is met
    /// for the first time, [`NEW`]: the parts of a cell follow then.
    visits: HugeVec<u64>,
    /// A hash table by mug: the mug above and one more than the number of a first below.
    table: HugeVec<u64>,
}

/// Marks the first visit of a noun. Numbers have 32 bits, and direct atoms lack the highest.
const NEW: u64 = 1 << 61;

impl Parts {
    fn clear(&mut self) {
        self.nouns.clear();
        self.mugs.clear();
        self.firsts.clear();
        self.positions.clear();
        self.visits.clear();
    }

    fn bytes(&self) -> usize {
        (self.nouns.capacity() + self.positions.capacity() + self.visits.capacity()) * 8
            + (self.mugs.capacity() + self.firsts.capacity()) * 4
            + self.table.capacity() * 8
    }
}

/// Memory for jam and cue, kept between them: the first touch of fresh memory would take a good part of their time.
#[derive(Default)]
pub(crate) struct Scratch {
    places: Places,
    parts: Parts,
    atoms: SeenAtoms,
    stack: Vec<Noun>,
    starts: Starts,
    open: Vec<(usize, Noun)>,
}

/// What is larger than this after a noun is given back.
const SCRATCH_MAX: usize = 64 << 20;

impl<D: Disk> Arena<D> {
    fn keep_scratch(&mut self, scratch: Box<Scratch>) {
        let Scratch { places, parts, atoms, stack, starts, open } = &*scratch;
        let bytes = places.arrays.capacity() * size_of::<[u32; UNITS]>()
            + places.pages.capacity() * 4
            + parts.bytes()
            + (atoms.large.capacity() + open.capacity()) * 16
            + (stack.capacity() + starts.index.capacity() + starts.nouns.capacity()) * 8;
        if bytes <= SCRATCH_MAX {
            self.scratch = Some(scratch);
        }
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

/// Bits of which the first is the lowest of the first byte.
#[derive(Default)]
struct BitWriter {
    /// As long as there is room; what is behind `position` has no meaning.
    bytes: Vec<u8>,
    /// Bits written.
    position: u64,
    /// The bits of the last byte, if it is not full.
    partial: u64,
}

/// Bits that fit one write beside a partial byte.
const PUT_MAX: u32 = 56;

impl BitWriter {
    #[inline]
    fn position(&self) -> u64 {
        self.position
    }

    /// The low `count` bits of a value that has no others, at most 56: one write, and no branch that could be guessed wrongly.
    #[inline]
    fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count <= PUT_MAX && value >> count == 0, "the value fits");
        let (byte, filled) = ((self.position / 8) as usize, (self.position % 8) as u32);
        if byte + 8 > self.bytes.len() {
            self.grow();
        }
        let word = self.partial | value << filled;
        self.bytes[byte..byte + 8].copy_from_slice(&word.to_le_bytes());
        self.position += u64::from(count);
        self.partial = word >> ((filled + count) & !7);
    }

    #[cold]
    fn grow(&mut self) {
        let length = self.bytes.len();
        self.bytes.resize((length * 2).max(64), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.position.div_ceil(8) as usize);
        self.bytes
    }

    #[inline]
    fn put_reference(&mut self, position: u64) {
        self.put_tagged(0b11, 2, position);
    }

    fn put_atom(&mut self, words: &[u64]) {
        match words {
            [] => self.put_tagged(0, 1, 0),
            [word] => self.put_tagged(0, 1, *word),
            _ => {
                self.put(0, 1);
                self.put_long(bit_length(words), words);
            }
        }
    }

    /// A tag, then a number with its own length before it: so many zeroes as the length has bits, a one, the length
    /// without its highest bit, and the number.
    #[inline]
    fn put_tagged(&mut self, tag: u64, tag_bits: u32, value: u64) {
        if value == 0 {
            return self.put(tag | 1 << tag_bits, tag_bits + 1);
        }
        let bits = 64 - value.leading_zeros();
        let width = 32 - bits.leading_zeros();
        let length = u64::from(bits) & !(1 << (width - 1));
        let prefix = tag | (1 << width | length << (width + 1)) << tag_bits;
        let prefix_bits = tag_bits + 2 * width;
        if prefix_bits + bits <= PUT_MAX {
            return self.put(prefix | value << prefix_bits, prefix_bits + bits);
        }
        self.put(prefix, prefix_bits);
        self.put_word(value, bits);
    }

    fn put_word(&mut self, value: u64, bits: u32) {
        let low = bits.min(32);
        self.put(value & 0xffff_ffff, low);
        self.put(value >> low, bits - low);
    }

    #[cold]
    fn put_long(&mut self, bits: u64, words: &[u64]) {
        let width = 64 - bits.leading_zeros();
        self.put(1 << width, width + 1);
        self.put(bits & !(1 << (width - 1)), width - 1);
        let mut left = bits;
        for word in words {
            let count = left.min(64) as u32;
            self.put_word(*word, count);
            left -= u64::from(count);
        }
    }
}

fn bit_length(words: &[u64]) -> u64 {
    match words.split_last() {
        Some((last, rest)) => rest.len() as u64 * 64 + u64::from(64 - last.leading_zeros()),
        None => 0,
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    position: u64,
    end: u64,
}

/// A number as it is read: most fit a word.
enum Number {
    Small(u64),
    /// Its words are in the buffer.
    Large,
}

impl BitReader<'_> {
    /// The next bits, at least 57 of them, with zeroes behind the end.
    #[inline]
    fn peek(&self) -> u64 {
        let (byte, shift) = ((self.position / 8) as usize, self.position % 8);
        match self.bytes.get(byte..byte + 8).and_then(|word| word.try_into().ok()) {
            Some(word) => u64::from_le_bytes(word) >> shift,
            None => self.peek_at_the_end(byte) >> shift,
        }
    }

    #[cold]
    fn peek_at_the_end(&self, byte: usize) -> u64 {
        let mut word = [0; 8];
        let rest = self.bytes.get(byte..).unwrap_or_default();
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    /// Goes on by so many bits.
    #[inline]
    fn skip(&mut self, count: u64) -> Result<(), CueError> {
        if count > self.end - self.position {
            return Err(CueError::Truncated(self.position));
        }
        self.position += count;
        Ok(())
    }

    /// At most 64 bits.
    #[inline]
    fn get(&mut self, count: u64) -> Result<u64, CueError> {
        let first = self.peek();
        if count <= 57 {
            self.skip(count)?;
            return Ok(first & ((1 << count) - 1));
        }
        self.skip(32)?;
        let rest = self.peek();
        self.skip(count - 32)?;
        Ok(first & 0xffff_ffff | (rest & ((1 << (count - 32)) - 1)) << 32)
    }

    /// A number with its length before it, which began at bit `start`.
    #[inline]
    fn number(&mut self, start: u64, words: &mut Vec<u64>) -> Result<Number, CueError> {
        let next = self.peek();
        let width = u64::from(next.trailing_zeros());
        if width == 0 {
            self.skip(1)?;
            return Ok(Number::Small(0));
        }
        if width >= 48 {
            // So long a number is longer than any input, if the zeroes do not end with the input.
            let cut = self.end - self.position < 48;
            return Err(if cut { CueError::Truncated(self.position) } else { CueError::Length(start) });
        }
        self.skip(width + 1)?;
        let bits = self.get(width - 1)? | 1 << (width - 1);
        // Checked before any memory is taken for it.
        if bits > self.end - self.position {
            return Err(CueError::Length(start));
        }
        if bits <= 64 {
            return Ok(Number::Small(self.get(bits)?));
        }
        words.clear();
        let mut left = bits;
        while left > 0 {
            let count = left.min(64);
            words.push(self.get(count)?);
            left -= count;
        }
        Ok(Number::Large)
    }
}

/// What was read so far, by the bit at which it starts. Nouns start in the order in which they are read, so a bitmap
/// with running counts leads from a bit to an index, with no hashing.
#[derive(Default)]
struct Starts {
    /// For each 64 bits of input: which of them start a noun, and how many nouns started before.
    index: HugeVec<u64>,
    nouns: HugeVec<Noun>,
}

/// A cell of which both parts are not read yet. No noun has this word.
const PENDING: Noun = Noun(u64::MAX);

impl Starts {
    /// Forgets everything, for an input of so many bytes.
    fn clear(&mut self, bytes: usize) {
        self.index.clear();
        self.index.resize(bytes.div_ceil(8) * 2, 0);
        self.nouns.clear();
    }

    #[inline]
    fn add(&mut self, position: u64, noun: Noun) -> usize {
        let at = (position / 64) as usize * 2;
        if self.index[at] == 0 {
            self.index[at + 1] = self.nouns.len() as u64;
        }
        self.index[at] |= 1 << (position % 64);
        self.nouns.push(noun);
        self.nouns.len() - 1
    }

    #[inline]
    fn find(&self, position: u64) -> Option<Noun> {
        let at = usize::try_from(position / 64).ok()?.checked_mul(2)?;
        let (bits, before) = (*self.index.get(at)?, *self.index.get(at + 1)?);
        let bit = 1 << (position % 64);
        if bits & bit == 0 {
            return None;
        }
        let noun = self.nouns[before as usize + (bits & (bit - 1)).count_ones() as usize];
        (noun != PENDING).then_some(noun)
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
    /// Three passes, so that each waits for memory as little as it can: the first meets every part and numbers it,
    /// the second finds which are equal, many looks at a time, and the third writes.
    ///
    /// # Panics
    /// If it has 2^32 cells or more.
    pub fn jam(&mut self, noun: Noun) -> Vec<u8> {
        if noun.is_cell() {
            // Finds those of all its parts.
            self.mug(noun);
        }
        let mut scratch = self.arena.scratch.take().unwrap_or_default();
        let Scratch { places, parts, atoms, stack, .. } = &mut *scratch;
        self.meet(noun, places, parts, stack);
        self.find_equal(parts);
        let bytes = self.write(parts, atoms);
        self.arena.keep_scratch(scratch);
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
                let mug = self.mug(at);
                parts.mugs.push(mug);
                let Some((head, tail)) = self.split(at) else { break };
                for part in [head, tail] {
                    if !part.is_direct() {
                        self.prefetch(part);
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
        let Parts { nouns, mugs, firsts, positions, table, .. } = parts;
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
            let first = loop {
                let entry = table[at];
                if entry == 0 {
                    table[at] = u64::from(mug) << 32 | (number as u64 + 1);
                    break number as u32;
                }
                let other = entry as u32 - 1;
                if (entry >> 32) as u32 == mug && self.equal(nouns[other as usize], nouns[number]) {
                    break other;
                }
                at = (at + 1) & mask;
            };
            firsts.push(first);
        }
    }

    /// Writes what the visits say.
    fn write(&self, parts: &mut Parts, atoms: &mut SeenAtoms) -> Vec<u8> {
        let mut writer = BitWriter::default();
        atoms.clear();
        let Parts { nouns, firsts, positions, visits, .. } = parts;
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
            let number = visit as u32 as usize;
            let first = firsts[number] as usize;
            let known = positions[first].checked_sub(1);
            if known.is_none() {
                positions[first] = position + 1;
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

    /// The noun that was jammed into these bytes. What follows it is ignored.
    ///
    /// # Errors
    /// [`CueError`] names the bit at which the input stops making sense.
    pub fn cue(&mut self, bytes: &[u8]) -> Result<Noun, CueError> {
        let mut scratch = self.arena.scratch.take().unwrap_or_default();
        let result = self.cue_with(bytes, &mut scratch);
        self.arena.keep_scratch(scratch);
        result
    }

    fn cue_with(&mut self, bytes: &[u8], scratch: &mut Scratch) -> Result<Noun, CueError> {
        let mut reader = BitReader { bytes, position: 0, end: bytes.len() as u64 * 8 };
        // `open` are cells that are not whole yet: the index of each, and its head once that is read.
        let Scratch { starts, open, .. } = scratch;
        starts.clear(bytes.len());
        open.clear();
        let mut words = Vec::new();
        loop {
            let start = reader.position;
            let tag = reader.peek();
            let mut noun = if tag & 1 == 0 {
                reader.skip(1)?;
                let atom = match reader.number(start, &mut words)? {
                    Number::Small(value) => self.atom(value)?,
                    Number::Large => self.atom_of_words(&words)?,
                };
                starts.add(start, atom);
                atom
            } else if tag & 2 == 0 {
                reader.skip(2)?;
                open.push((starts.add(start, PENDING), PENDING));
                continue;
            } else {
                reader.skip(2)?;
                let target = match reader.number(start, &mut words)? {
                    Number::Small(target) => starts.find(target),
                    Number::Large => None,
                };
                target.ok_or(CueError::Reference(start))?
            };
            loop {
                match open.last_mut() {
                    None => return Ok(noun),
                    Some((_, head)) if *head == PENDING => {
                        *head = noun;
                        break;
                    }
                    Some((index, head)) => {
                        noun = self.cell(*head, noun)?;
                        starts.nouns[*index] = noun;
                        open.pop();
                    }
                }
            }
        }
    }
}
