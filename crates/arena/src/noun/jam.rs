//! Jam and cue: a noun as bits and back, exact to the bit. A part seen before becomes a reference.
//!
//! Cue takes untrusted bytes: it reads each bit once, keeps its own stack, and makes at most one cell for every
//! four bits, so its cost is linear in the input whatever the input says: at most 64 bytes of arena and some 80 of
//! other memory for each byte.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::huge::HugeVec;
use super::{ADDRESS, Noun, Nouns};
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

/// Where each indirect noun was first written, by the place where it lies: a small array for each page of the heap that
/// the noun touches. Nouns that were made together lie together, so a look here rarely misses the cache, and a noun that
/// is shared is known without being touched.
#[derive(Default)]
struct Places {
    base: usize,
    /// For each page of the heap, its array, counted from 1.
    pages: Vec<u32>,
    /// For each 16 bytes of a page, one more than the position in bits; 0 is none.
    arrays: HugeVec<[u32; UNITS]>,
    /// Pages that have one.
    touched: Vec<u32>,
    /// Positions that do not fit.
    large: Numbers,
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
        self.large.clear();
    }

    /// Page and unit of an address; addresses are checked before a noun is followed, not before it is looked up.
    #[inline]
    fn place(&self, address: u64) -> (usize, usize) {
        let offset = (address as usize).wrapping_sub(self.base);
        (offset / PAGE, offset % PAGE / 16)
    }

    #[inline]
    fn find(&self, address: u64) -> Option<u64> {
        let (page, unit) = self.place(address);
        let array = *self.pages.get(page)?;
        if array == 0 {
            return None;
        }
        match self.arrays[array as usize - 1][unit] {
            0 => None,
            u32::MAX => self.large.get(&address).copied(),
            position => Some(u64::from(position) - 1),
        }
    }

    #[inline]
    fn insert(&mut self, address: u64, position: u64) {
        let (page, unit) = self.place(address);
        let array = &mut self.pages[page];
        if *array == 0 {
            self.arrays.push([0; UNITS]);
            self.touched.push(page as u32);
            *array = self.arrays.len() as u32;
        }
        let kept = u32::try_from(position + 1).unwrap_or(u32::MAX);
        self.arrays[*array as usize - 1][unit] = kept;
        if kept == u32::MAX {
            self.large.insert(address, position);
        }
    }
}

/// The first of each set of equal nouns: a chained hash table by mug, with a filter of 32 bits in each bucket. Nearly
/// every noun is new, and for it the filter says so: the processor guesses that, and waits neither for the bucket nor for
/// the chain.
#[derive(Default)]
struct Firsts {
    buckets: HugeVec<Bucket>,
    entries: HugeVec<First>,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// A bit for each value of the highest bits of the mugs in it.
    filter: u32,
    /// Its newest entry, counted from 1.
    head: u32,
}

#[derive(Clone, Copy)]
struct First {
    noun: Noun,
    mug: u32,
    /// The entry before it in its bucket.
    next: u32,
}

impl Firsts {
    /// Forgets everything.
    fn clear(&mut self) {
        // A large table costs more to empty than a small noun needs.
        if self.entries.len() < self.buckets.len() / 64 || self.buckets.is_empty() {
            self.buckets = HugeVec::filled(1024, Bucket::default());
        } else {
            self.buckets.fill(Bucket::default());
        }
        self.entries.clear();
    }

    #[inline]
    fn place(&self, mug: u32) -> usize {
        mug as usize & (self.buckets.len() - 1)
    }

    /// The newest entry that may have this mug, counted from 1; 0 is none.
    #[inline]
    fn chain(&self, mug: u32) -> u32 {
        let bucket = self.buckets[self.place(mug)];
        if bucket.filter & filter(mug) == 0 { 0 } else { bucket.head }
    }

    #[inline]
    fn insert(&mut self, noun: Noun, mug: u32) {
        assert!(
            self.entries.len() < u32::MAX as usize,
            "a jammed noun has at most 2^32 parts that are not equal"
        );
        if self.entries.len() == self.buckets.len() {
            self.grow();
        }
        let at = self.place(mug);
        let bucket = &mut self.buckets[at];
        self.entries.push(First { noun, mug, next: bucket.head });
        *bucket = Bucket { filter: bucket.filter | filter(mug), head: self.entries.len() as u32 };
    }

    #[cold]
    fn grow(&mut self) {
        self.buckets = HugeVec::filled(self.buckets.len() * 2, Bucket::default());
        for at in 0..self.entries.len() {
            let mug = self.entries[at].mug;
            let place = self.place(mug);
            let bucket = &mut self.buckets[place];
            self.entries[at].next = bucket.head;
            *bucket = Bucket { filter: bucket.filter | filter(mug), head: at as u32 + 1 };
        }
    }
}

/// A mug has 31 bits, and the highest are the last that tell buckets apart.
#[inline]
fn filter(mug: u32) -> u32 {
    1 << (mug >> 26)
}

/// Memory for jam and cue, kept between them: the first touch of fresh memory would take a good part of their time.
#[derive(Default)]
pub(crate) struct Scratch {
    places: Places,
    firsts: Firsts,
    atoms: SeenAtoms,
    stack: Vec<Noun>,
    starts: Starts,
    open: Vec<(usize, Noun)>,
}

/// What is larger than this after a noun is given back.
const SCRATCH_MAX: usize = 64 << 20;

impl<D: Disk> Arena<D> {
    fn keep_scratch(&mut self, scratch: Box<Scratch>) {
        let Scratch { places, firsts, atoms, stack, starts, open } = &*scratch;
        let bytes = places.arrays.capacity() * size_of::<[u32; UNITS]>()
            + places.pages.capacity() * 4
            + firsts.buckets.capacity() * size_of::<Bucket>()
            + firsts.entries.capacity() * size_of::<First>()
            + (atoms.large.capacity() + places.large.capacity() + open.capacity()) * 16
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

impl<D: Disk> Nouns<'_, D> {
    /// The noun as bytes.
    ///
    /// # Panics
    /// If more than 2^32 of its parts differ.
    pub fn jam(&mut self, noun: Noun) -> Vec<u8> {
        let mut writer = BitWriter::default();
        let (base, end) = self.arena.allocator().reach();
        let mut scratch = self.arena.scratch.take().unwrap_or_default();
        let Scratch { places, firsts, atoms, stack, .. } = &mut *scratch;
        places.clear(base, end);
        firsts.clear();
        atoms.clear();
        stack.clear();
        stack.push(noun);
        while let Some(at) = stack.pop() {
            let position = writer.position();
            if at.is_direct() {
                match atoms.place(at.0, position) {
                    // A reference must be shorter than the atom to be worth it.
                    Some(before) if at.0.leading_zeros() < before.leading_zeros() => {
                        writer.put_reference(before);
                    }
                    _ => writer.put_tagged(0, 1, at.0),
                }
                continue;
            }
            let address = at.0 & ADDRESS;
            let mut known = places.find(address);
            if at.is_cell()
                && let Some(before) = known
            {
                writer.put_reference(before);
                continue;
            }
            if known.is_none() {
                let mug = self.mug(at);
                known = match self.first(firsts, at, mug) {
                    Some(other) => places.find(other.0 & ADDRESS),
                    None => None,
                };
                places.insert(address, known.unwrap_or(position));
            }
            match (self.split(at), known) {
                (Some(_), Some(before)) => writer.put_reference(before),
                (Some((head, tail)), None) => {
                    writer.put(0b01, 2);
                    self.prefetch(tail);
                    self.prefetch(head);
                    stack.push(tail);
                    stack.push(head);
                }
                (None, known) => {
                    let written = self.with_words(at, |words| match known {
                        Some(before) if bit_length(words) > u64::from(64 - before.leading_zeros()) => {
                            writer.put_reference(before);
                        }
                        _ => writer.put_atom(words),
                    });
                    debug_assert!(written.is_some(), "what is no cell is an atom");
                }
            }
        }
        self.arena.keep_scratch(scratch);
        writer.finish()
    }

    /// The noun that equals this one and was written before, if there is one; else this is the first.
    #[inline]
    fn first(&mut self, firsts: &mut Firsts, noun: Noun, mug: u32) -> Option<Noun> {
        let mut at = firsts.chain(mug);
        while at != 0 {
            let First { noun: other, mug: its, next } = firsts.entries[at as usize - 1];
            if its == mug && self.equal(other, noun) {
                return Some(other);
            }
            at = next;
        }
        firsts.insert(noun, mug);
        None
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
