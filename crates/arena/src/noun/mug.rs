//! The 31-bit hash of a noun: Murmur3 over an atom's bytes or over the hashes of a cell's two parts,
//! kept in the object once computed.

use zerocopy::IntoBytes;

use super::{Noun, Nouns};
use crate::disk::Disk;

const ATOM_SEED: u32 = 0xcafe_babe;
const CELL_SEED: u32 = 0xdead_beef;

fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed;
    let scramble = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    hash ^= scramble(u32::from_le_bytes(last));
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// 31 bits of Murmur3, never 0: the seed goes up until the hash is not 0.
fn hash(bytes: &[u8], seed: u32, fallback: u32) -> u32 {
    for step in 0..8 {
        let hash = murmur3(bytes, seed.wrapping_add(step));
        let folded = (hash >> 31) ^ (hash & 0x7fff_ffff);
        if folded != 0 {
            return folded;
        }
    }
    fallback
}

fn hash_of_cell(head: u32, tail: u32) -> u32 {
    let bytes = u64::from(tail) << 32 | u64::from(head);
    // The tail's leading zero bytes are not hashed, as if the two were one atom after the first four bytes.
    let length = 4 + (32 - tail.leading_zeros()).div_ceil(8) as usize;
    hash(&bytes.to_le_bytes()[..length], CELL_SEED, 0xfffe)
}

fn hash_of_words(words: &[u64]) -> u32 {
    // The bytes in memory are in the order that is hashed, since only little-endian machines are supported.
    let bytes = words.as_bytes();
    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    hash(&bytes[..length], ATOM_SEED, 0x7fff)
}

impl<D: Disk> Nouns<'_, D> {
    /// The noun's hash, below 2^31 and never 0.
    #[inline]
    pub fn mug(&mut self, noun: Noun) -> u32 {
        if let Some(mug) = self.known_mug(noun) {
            return mug;
        }
        self.find_mug(noun)
    }

    /// Hash, head and tail of a cell, with one look at it where its hash is known.
    #[inline]
    pub(super) fn whole_cell(&mut self, noun: Noun) -> Option<(u32, Noun, Noun)> {
        let place = self.cell_place(noun)?;
        // SAFETY: the place is inside the heap, and nothing writes there while `self` is borrowed.
        let (mug, head, tail) = unsafe { ((*place).mug, (*place).head, (*place).tail) };
        let mug = if mug == 0 { self.find_mug(noun) } else { mug };
        Some((mug, head, tail))
    }

    fn find_mug(&mut self, noun: Noun) -> u32 {
        let mut stack = vec![noun];
        while let Some(at) = stack.last().copied() {
            let Some((head, tail)) = self.split(at) else {
                // Atoms are hashed at once.
                stack.pop();
                continue;
            };
            match (self.known_mug(head), self.known_mug(tail)) {
                (Some(head), Some(tail)) => {
                    if let Some(place) = self.cell_place(at) {
                        // SAFETY: the place is inside the heap, and `self` is borrowed for writing.
                        unsafe { (*place).mug = hash_of_cell(head, tail) };
                    }
                    stack.pop();
                }
                (head_mug, tail_mug) => {
                    stack.extend(head_mug.is_none().then_some(head));
                    stack.extend(tail_mug.is_none().then_some(tail));
                }
            }
        }
        self.known_mug(noun).unwrap_or(0x7fff)
    }

    /// The hash of an atom, or of a cell whose hash is kept.
    #[inline]
    fn known_mug(&mut self, noun: Noun) -> Option<u32> {
        if let Some(place) = self.cell_place(noun) {
            // SAFETY: the place is inside the heap.
            let mug = unsafe { (*place).mug };
            return (mug != 0).then_some(mug);
        }
        if let Some(place) = self.atom_place(noun) {
            // SAFETY: the place is inside the heap.
            let mug = unsafe { (*place).mug };
            if mug != 0 {
                return Some(mug);
            }
            let mug = self.with_words(noun, hash_of_words)?;
            // SAFETY: as above, and `self` is borrowed for writing.
            unsafe { (*place).mug = mug };
            return Some(mug);
        }
        self.with_words(noun, hash_of_words)
    }
}
