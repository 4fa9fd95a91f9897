//! Jam and cue: a noun as bits and back, exact to the bit. A part seen before becomes a reference.
//!
//! Cue takes untrusted bytes: it reads each bit once, keeps its own stack, and makes at most one cell
//! for every two bits, so its cost is linear in the input whatever the input says.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Noun, Nouns};
use crate::arena::AllocateError;
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

type Numbers<V> = HashMap<u64, V, BuildHasherDefault<Multiply>>;

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    filled: u32,
}

impl BitWriter {
    fn position(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.filled)
    }
    /// The low `count` bits, at most 64.
    fn put(&mut self, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        let value = value & (u64::MAX >> (64 - count));
        self.word |= value << self.filled;
        let room = 64 - self.filled;
        if count < room {
            self.filled += count;
            return;
        }
        self.bytes.extend_from_slice(&self.word.to_le_bytes());
        self.word = if room == 64 { 0 } else { value >> room };
        self.filled = count - room;
    }
    fn finish(mut self) -> Vec<u8> {
        let rest = self.filled.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.word.to_le_bytes()[..rest]);
        self.bytes
    }
    /// A number with its own length before it.
    fn put_number(&mut self, words: &[u64]) {
        let bits = bit_length(words);
        if bits == 0 {
            return self.put(1, 1);
        }
        let width = 64 - bits.leading_zeros();
        // `width` zeroes and a one, then the length without its highest bit, then the number.
        self.put(0, width);
        self.put(1, 1);
        self.put(bits, width - 1);
        let mut left = bits;
        for word in words {
            let count = left.min(64);
            self.put(*word, count as u32);
            left -= count;
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

impl BitReader<'_> {
    fn get(&mut self, count: u32) -> Result<u64, CueError> {
        if u64::from(count) > self.end - self.position {
            return Err(CueError::Truncated(self.position));
        }
        let mut value = 0;
        let mut done = 0;
        while done < count {
            let byte = (self.position / 8) as usize;
            let shift = (self.position % 8) as u32;
            let (bits, taken) = match self.bytes.get(byte..byte + 8) {
                Some(word) => {
                    let word: [u8; 8] = word.try_into().unwrap_or_default();
                    (u64::from_le_bytes(word) >> shift, (64 - shift).min(count - done))
                }
                None => (u64::from(self.bytes[byte]) >> shift, (8 - shift).min(count - done)),
            };
            value |= (bits & (u64::MAX >> (64 - taken))) << done;
            done += taken;
            self.position += u64::from(taken);
        }
        Ok(value)
    }

    /// The words of a number with its length before it.
    fn number(&mut self, words: &mut Vec<u64>) -> Result<(), CueError> {
        let start = self.position;
        words.clear();
        let mut width = 0;
        while self.get(1)? == 0 {
            width += 1;
            if width > 63 {
                return Err(CueError::Length(start));
            }
        }
        if width == 0 {
            return Ok(());
        }
        let bits = self.get(width - 1)? | 1 << (width - 1);
        // Checked before any memory is taken for it.
        if bits > self.end - self.position {
            return Err(CueError::Length(start));
        }
        let mut left = bits;
        while left > 0 {
            let count = left.min(64);
            words.push(self.get(count as u32)?);
            left -= count;
        }
        Ok(())
    }
}

impl<D: Disk> Nouns<'_, D> {
    /// The noun as bytes.
    pub fn jam(&mut self, noun: Noun) -> Vec<u8> {
        let mut writer = BitWriter::default();
        // Direct atoms by value; the rest by hash in the low half of the key, and in the high half a count of
        // the nouns that share it.
        let mut atoms: Numbers<u64> = HashMap::default();
        let mut seen: Numbers<(Noun, u64)> = HashMap::default();
        let mut stack = vec![noun];
        while let Some(at) = stack.pop() {
            let position = writer.position();
            let mut known = None;
            if at.is_direct() {
                known = atoms.get(&at.0).copied();
                if known.is_none() {
                    atoms.insert(at.0, position);
                }
            } else {
                let mut key = u64::from(self.mug(at));
                loop {
                    match seen.entry(key) {
                        Entry::Vacant(entry) => {
                            entry.insert((at, position));
                            break;
                        }
                        Entry::Occupied(entry) => {
                            let (other, before) = *entry.get();
                            if other == at || self.equal(other, at) {
                                known = Some(before);
                                break;
                            }
                            key += 1 << 32;
                        }
                    }
                }
            }
            if let Some((head, tail)) = self.split(at) {
                if let Some(before) = known {
                    writer.put(0b11, 2);
                    writer.put_number(&[before][..usize::from(before != 0)]);
                } else {
                    writer.put(0b01, 2);
                    stack.push(tail);
                    stack.push(head);
                }
                continue;
            }
            let written = self.with_words(at, |words| match known {
                // A reference must be shorter than the atom to be worth it.
                Some(before) if bit_length(words) > u64::from(64 - before.leading_zeros()) => {
                    writer.put(0b11, 2);
                    writer.put_number(&[before][..usize::from(before != 0)]);
                }
                _ => {
                    writer.put(0, 1);
                    writer.put_number(words);
                }
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
        enum Step {
            Read,
            Join(u64),
        }
        let mut reader = BitReader { bytes, position: 0, end: bytes.len() as u64 * 8 };
        let mut seen: Numbers<Noun> = HashMap::default();
        let mut steps = vec![Step::Read];
        let mut done: Vec<Noun> = Vec::new();
        let mut words = Vec::new();
        while let Some(step) = steps.pop() {
            let start = reader.position;
            match step {
                Step::Join(start) => {
                    // Each join follows two reads, and each read leaves one noun.
                    if let (Some(tail), Some(head)) = (done.pop(), done.pop()) {
                        let cell = self.cell(head, tail)?;
                        seen.insert(start, cell);
                        done.push(cell);
                    }
                }
                Step::Read if reader.get(1)? == 0 => {
                    reader.number(&mut words)?;
                    let atom = self.atom_of_words(&words)?;
                    seen.insert(start, atom);
                    done.push(atom);
                }
                Step::Read if reader.get(1)? == 0 => {
                    steps.push(Step::Join(start));
                    steps.push(Step::Read);
                    steps.push(Step::Read);
                }
                Step::Read => {
                    reader.number(&mut words)?;
                    let target = match words.as_slice() {
                        [] => Some(0),
                        [word] => Some(*word),
                        _ => None,
                    };
                    let found = target.and_then(|target| seen.get(&target));
                    done.push(*found.ok_or(CueError::Reference(start))?);
                }
            }
        }
        done.pop().ok_or(CueError::Truncated(0))
    }
}
