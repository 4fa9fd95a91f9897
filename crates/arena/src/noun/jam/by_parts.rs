//! Jam in three passes, whatever the noun is: the first meets every part and numbers it, the second finds
//! which are equal, from below, and the third writes. Each takes time in proportion to the parts: cells are
//! found by their parts' numbers, which nobody knows beforehand, and atoms by their words, both under a hash
//! with a random key. Mugs, which can be chosen to meet, are not looked at.
//!
//! For what `at_once` gives up.

use std::hash::{BuildHasher, RandomState};

use super::super::bits::{BitWriter, bit_length};
use super::super::huge::HugeVec;
use super::super::prefetch::{AHEAD, prefetch};
use super::super::{ADDRESS, DIRECT_MAX, KIND_CELL, KIND_SHIFT, Noun, Nouns};
use super::JamScratch;
use super::atoms::{Keys, SeenAtoms};
use super::places::Places;
use crate::disk::Disk;

/// The indirect nouns of one jam, each place of the heap once, numbered in the order in which they are first
/// met.
#[derive(Default)]
pub(super) struct Parts {
    nouns: HugeVec<Noun>,
    /// For each, one more than the bit at which it was written, 0 if it was not; or [`SAME`] and the number
    /// of the first one that equals it.
    positions: HugeVec<u64>,
    /// All in the order of the jam: a direct atom is itself; another noun is its number, its kind, and, where
    /// it is met for the first time, [`NEW`]: the parts of a cell follow then.
    visits: HugeVec<u64>,
    /// A hash table of firsts: the upper half of the hash above and one more than the number below. Half of
    /// it is empty at least.
    table: HugeVec<u64>,
    /// Keys of the hashes of cells, by their parts, and of atoms, by their words.
    cell_keys: Keys,
    atom_keys: RandomState,
    /// Cells whose parts are not all known yet, with the head once it is.
    open: Vec<(u32, u64)>,
}

/// A head that is not known yet. No part is known by this word.
const UNKNOWN: u64 = u64::MAX;

/// Marks the number of another noun in the place of a position.
const SAME: u64 = 1 << 63;
/// Marks the first visit of a noun. Numbers have 32 bits, and direct atoms lack the highest.
const NEW: u64 = 1 << 61;

impl Parts {
    pub(super) fn clear(&mut self) {
        self.nouns.clear();
        self.positions.clear();
        self.visits.clear();
        self.open.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        (self.nouns.capacity() + self.positions.capacity() + self.visits.capacity()) * 8
            + (self.table.capacity() + self.open.capacity() * 2) * 8
    }
}

/// The first part that equals this one, which has that hash; `None`: it is this one, and is found from now
/// on.
#[inline]
fn first_with(
    nouns: &HugeVec<Noun>,
    table: &mut HugeVec<u64>,
    hash: u64,
    number: u32,
    equals: impl Fn(Noun) -> bool,
) -> Option<u32> {
    let mask = table.len() - 1;
    let mut at = hash as usize & mask;
    loop {
        let entry = &mut table[at];
        if *entry == 0 {
            *entry = hash >> 32 << 32 | (u64::from(number) + 1);
            return None;
        }
        let other = *entry as u32 - 1;
        if *entry >> 32 == hash >> 32 && equals(nouns[other as usize]) {
            return Some(other);
        }
        at = (at + 1) & mask;
    }
}

/// What a part is known by: its kind, and the number of the first one that equals it.
#[inline]
fn first_of(positions: &HugeVec<u64>, visit: u64) -> u64 {
    let number = u64::from(visit as u32);
    let position = positions[number as usize];
    let first = if position & SAME != 0 { u64::from(position as u32) } else { number };
    visit >> KIND_SHIFT << KIND_SHIFT | first
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
    pub(super) fn jam_by_parts(&self, noun: Noun, scratch: &mut JamScratch) -> Vec<u8> {
        let JamScratch { places, parts, atoms, stack, .. } = scratch;
        self.meet(noun, places, parts, stack);
        self.find_equal(places, parts);
        self.write(parts, atoms)
    }

    /// Numbers all parts of a noun, and lists the visits.
    fn meet(&self, noun: Noun, places: &mut Places, parts: &mut Parts, stack: &mut Vec<Noun>) {
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
                let number = places.word(at.0 & ADDRESS);
                if *number != 0 {
                    parts.visits.push(kind | (*number - 1));
                    break;
                }
                let count = parts.nouns.len();
                assert!(count < u32::MAX as usize, "a jammed noun has less than 2^32 cells");
                *number = count as u64 + 1;
                parts.visits.push(kind | NEW | count as u64);
                parts.nouns.push(at);
                let Some((head, tail)) = self.split(at) else { break };
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

    /// Finds for each part the first one that equals it, in the order in which they are complete: so a cell
    /// is compared by its parts' firsts, never by walking into them.
    fn find_equal(&self, places: &Places, parts: &mut Parts) {
        let size = (parts.nouns.len() * 2).next_power_of_two();
        parts.table.clear();
        parts.table.resize(size, 0);
        parts.positions.resize(parts.nouns.len(), 0);
        for at in 0..parts.visits.len() {
            // Positions of new ones are looked at one after the other.
            let is_old = |ahead: &&u64| **ahead > DIRECT_MAX && **ahead & NEW == 0;
            if let Some(ahead) = parts.visits.get(at + AHEAD).filter(is_old) {
                prefetch(&raw const parts.positions[*ahead as u32 as usize]);
            }
            let visit = parts.visits[at];
            let mut known = match visit {
                ..=DIRECT_MAX => visit,
                _ if visit & NEW == 0 => first_of(&parts.positions, visit),
                _ if visit >> KIND_SHIFT == KIND_CELL => {
                    parts.open.push((visit as u32, UNKNOWN));
                    continue;
                }
                _ => {
                    self.find_atom(parts, visit as u32);
                    first_of(&parts.positions, visit)
                }
            };
            // Whatever this completes is known too.
            while let Some((number, head)) = parts.open.last_mut() {
                if *head == UNKNOWN {
                    *head = known;
                    break;
                }
                let (number, pair) = (*number, (*head, known));
                parts.open.pop();
                self.find_cell(places, parts, number, pair);
                known = first_of(&parts.positions, KIND_CELL << KIND_SHIFT | u64::from(number));
            }
        }
    }

    /// Finds the first atom of the same words.
    fn find_atom(&self, parts: &mut Parts, number: u32) {
        let Parts { nouns, positions, table, atom_keys, .. } = parts;
        let noun = nouns[number as usize];
        let hash = self.with_words(noun, |words| atom_keys.hash_one(words)).unwrap_or(0);
        let equals = |other: Noun| {
            self.with_words(noun, |a| self.with_words(other, |b| a == b)).flatten() == Some(true)
        };
        if let Some(first) = first_with(nouns, table, hash, number, equals) {
            positions[number as usize] = SAME | u64::from(first);
        }
    }

    /// Finds the first cell that has these parts.
    #[inline]
    fn find_cell(&self, places: &Places, parts: &mut Parts, number: u32, pair: (u64, u64)) {
        let Parts { nouns, positions, table, cell_keys, .. } = parts;
        let known = |noun: Noun| match noun.0 {
            ..=DIRECT_MAX => Some(noun.0),
            word => Some(first_of(positions, word & !ADDRESS | (places.known(word & ADDRESS)?))),
        };
        let equals = |other: Noun| {
            self.split(other)
                .is_some_and(|(head, tail)| known(head) == Some(pair.0) && known(tail) == Some(pair.1))
        };
        if let Some(first) = first_with(nouns, table, cell_keys.hash_one(pair), number, equals) {
            positions[number as usize] = SAME | u64::from(first);
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
