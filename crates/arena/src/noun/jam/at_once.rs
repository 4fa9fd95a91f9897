//! Jam in one pass: each part is met, looked up by its hash, and written. Where more meets there than usual
//! nouns have, it gives up.
//!
//! It waits for memory as little as it can. A part that was never met is nearly always a new value, and a
//! filter that stays in the processor's cache says so; the table behind it is filled a few parts later, when
//! the place in it has come.

use super::super::bits::{BitWriter, bit_length};
use super::super::huge::HugeVec;
use super::super::prefetch::{AHEAD, prefetch};
use super::super::{ADDRESS, Noun, Nouns};
use super::JamScratch;
use super::places::Places;
use crate::disk::Disk;

/// The parts that were written, to be found by value.
#[derive(Default)]
pub(super) struct Written {
    nouns: HugeVec<Noun>,
    mugs: HugeVec<u32>,
    /// For each, one more than the number of the one before it in its slot.
    before: HugeVec<u32>,
    /// For each hash, one more than the number of the last one in it.
    slots: HugeVec<u32>,
    /// How many of them are in the slots.
    entered: usize,
    /// A bit for each hash under which there is one.
    filter: HugeVec<u64>,
    compare: Vec<(Noun, Noun)>,
    /// Addresses that are taken for equal to others while a comparison lasts.
    assumed: Vec<u64>,
    /// Looks in vain that may still be made.
    credit: u64,
}

/// More looks in vain than most nouns need: each part brings some.
const CREDIT: u64 = 4096;
const CREDIT_OF_PART: u64 = 4;
const SLOTS_MIN: usize = 256;
/// As many as numbers of 32 bits are sure to reach.
const SLOTS_MAX: usize = 1 << 31;
/// Bits of the filter for each slot.
const FILTER: usize = 16;
const LINE: usize = 64;
/// Lines of memory before a part that are asked for with it: its own parts were made before it, often right
/// before.
const LINES_BEFORE: usize = 5;

/// Too much of a noun has the same hashes, or it is larger than any.
#[derive(Debug)]
pub(super) struct GivesUp;

impl Written {
    pub(super) fn bytes(&self) -> usize {
        self.nouns.capacity() * 8
            + (self.mugs.capacity() + self.before.capacity() + self.slots.capacity()) * 4
            + self.filter.capacity() * 8
            + self.compare.capacity() * 16
            + self.assumed.capacity() * 8
    }

    fn clear(&mut self) {
        self.nouns.clear();
        self.mugs.clear();
        self.before.clear();
        self.make_slots(SLOTS_MIN);
        self.credit = CREDIT;
    }

    /// Slots without anything in them.
    fn make_slots(&mut self, count: usize) {
        self.slots.clear();
        self.slots.resize(count, 0);
        self.filter.clear();
        self.filter.resize(count * FILTER / 64, 0);
        self.entered = 0;
    }

    fn spend(&mut self, looks: u64) -> Result<(), GivesUp> {
        self.credit = self.credit.checked_sub(looks).ok_or(GivesUp)?;
        Ok(())
    }

    /// Word and bit of the filter for a hash.
    #[inline]
    fn bit(&self, mug: u32) -> (usize, u64) {
        let bit = mug as usize & (self.slots.len() * FILTER - 1);
        (bit / 64, 1 << (bit % 64))
    }

    /// Adds a part that equals none.
    #[inline]
    fn add(&mut self, noun: Noun, mug: u32) -> Result<(), GivesUp> {
        self.credit += CREDIT_OF_PART;
        let number = self.nouns.len();
        if number == self.slots.len() {
            self.double()?;
        }
        self.nouns.push(noun);
        self.mugs.push(mug);
        self.before.push(0);
        let (word, bit) = self.bit(mug);
        self.filter[word] |= bit;
        prefetch(&raw const self.slots[mug as usize & (self.slots.len() - 1)]);
        if number >= self.entered + AHEAD {
            self.enter();
        }
        Ok(())
    }

    /// Enters the next part in its slot.
    #[inline]
    fn enter(&mut self) {
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[self.mugs[self.entered] as usize & mask];
        self.before[self.entered] = *slot;
        self.entered += 1;
        *slot = self.entered as u32;
    }

    #[cold]
    fn double(&mut self) -> Result<(), GivesUp> {
        if self.slots.len() >= SLOTS_MAX {
            return Err(GivesUp);
        }
        self.make_slots(self.slots.len() * 2);
        while self.entered < self.nouns.len() {
            let (word, bit) = self.bit(self.mugs[self.entered]);
            self.filter[word] |= bit;
            self.enter();
        }
        Ok(())
    }

    /// Whether one of this hash may have been written.
    #[inline]
    fn may_have(&self, mug: u32) -> bool {
        let (word, bit) = self.bit(mug);
        self.filter[word] & bit != 0
    }
}

/// Asks for what will be looked at of a part.
#[inline]
fn ask_for(places: &Places, part: Noun) {
    if !part.is_direct() {
        let address = part.0 & ADDRESS;
        for line in 0..=LINES_BEFORE {
            prefetch::<u8>(std::ptr::without_provenance((address as usize).wrapping_sub(line * LINE)));
        }
        places.prefetch(address);
    }
}

impl<D: Disk> Nouns<'_, D> {
    /// The noun as bytes, unless that takes too many looks.
    pub(super) fn jam_at_once(&mut self, noun: Noun, scratch: &mut JamScratch) -> Result<Vec<u8>, GivesUp> {
        let JamScratch { places, written, atoms, stack, .. } = scratch;
        let (base, end) = self.arena.allocator().reach();
        // For each part, one more than where the first that equals it was written.
        places.clear(base, end);
        written.clear();
        atoms.clear();
        stack.clear();
        let mut writer = BitWriter::default();
        stack.push(noun);
        while let Some(mut at) = stack.pop() {
            if let Some((head, tail)) = stack.last().and_then(|next| self.split(*next)) {
                ask_for(places, head);
                ask_for(places, tail);
            }
            // Down the heads.
            loop {
                let position = writer.position();
                if at.is_direct() {
                    match atoms.place(at.0, position) {
                        // A reference must be shorter than the atom to be worth it.
                        Some(before) if at.0.leading_zeros() < before.leading_zeros() => {
                            writer.put_reference(before);
                        }
                        _ => writer.put_tagged(0, 1, at.0),
                    }
                    break;
                }
                let place = places.word(at.0 & ADDRESS);
                let mut known = *place;
                let mut parts = None;
                if known == 0 {
                    *place = position + 1;
                    let mug = match self.whole_cell(at) {
                        Some((mug, head, tail)) => {
                            parts = Some((head, tail));
                            mug
                        }
                        None => self.mug(at),
                    };
                    if written.may_have(mug) {
                        *places.word(at.0 & ADDRESS) = 0;
                        known = self.find_written(places, written, at, mug)?.unwrap_or(0);
                        *places.word(at.0 & ADDRESS) = if known == 0 { position + 1 } else { known };
                    }
                    if known == 0 {
                        written.add(at, mug)?;
                    }
                }
                let before = known.checked_sub(1);
                if !at.is_cell() {
                    let put = self.with_words(at, |words| match before {
                        Some(before) if bit_length(words) > u64::from(64 - before.leading_zeros()) => {
                            writer.put_reference(before);
                        }
                        _ => writer.put_atom(words),
                    });
                    debug_assert!(put.is_some(), "what is no cell is an atom");
                    break;
                }
                match (before, parts) {
                    (None, Some((head, tail))) => {
                        writer.put(0b01, 2);
                        ask_for(places, head);
                        ask_for(places, tail);
                        stack.push(tail);
                        at = head;
                    }
                    (before, _) => {
                        writer.put_reference(before.unwrap_or(0));
                        break;
                    }
                }
            }
        }
        Ok(writer.finish())
    }

    /// The word of the part that was written and equals this one.
    fn find_written(
        &self,
        places: &mut Places,
        written: &mut Written,
        noun: Noun,
        mug: u32,
    ) -> Result<Option<u64>, GivesUp> {
        while written.entered < written.nouns.len() {
            written.enter();
        }
        let mut next = written.slots[mug as usize & (written.slots.len() - 1)];
        while let Some(number) = next.checked_sub(1) {
            let (number, other) = (number as usize, written.nouns[number as usize]);
            if written.mugs[number] == mug && self.is_same(places, written, other, noun)? {
                return Ok(Some(*places.word(other.0 & ADDRESS)));
            }
            written.spend(1)?;
            next = written.before[number];
        }
        Ok(None)
    }

    /// Whether a part equals one that was written; its own parts have the words of the other's then, so that
    /// none is compared twice.
    fn is_same(
        &self,
        places: &mut Places,
        written: &mut Written,
        other: Noun,
        noun: Noun,
    ) -> Result<bool, GivesUp> {
        written.compare.clear();
        written.assumed.clear();
        written.compare.push((other, noun));
        let mut looks = 0;
        let mut same = true;
        while same && let Some((other, noun)) = written.compare.pop() {
            if other == noun {
                continue;
            }
            if other.is_direct() || noun.is_direct() || other.is_cell() != noun.is_cell() {
                same = false;
                continue;
            }
            // Of two parts that have words, the words say it.
            let (known, place) = (places.known(other.0 & ADDRESS), places.word(noun.0 & ADDRESS));
            if let (Some(known), Some(place)) = (known, place.checked_sub(1)) {
                same = known == place;
                continue;
            }
            if let (Some(known), 0) = (known, *place) {
                *place = known + 1;
                written.assumed.push(noun.0 & ADDRESS);
            } else {
                written.spend(1)?;
            }
            looks += 1;
            match (self.split(other), self.split(noun)) {
                (Some((other_head, other_tail)), Some((head, tail))) => {
                    written.compare.push((other_tail, tail));
                    written.compare.push((other_head, head));
                }
                _ => {
                    let equal = |a: &[u64]| self.with_words(noun, |b| (a == b, a.len().min(b.len()) as u64));
                    let (equal, words) = self.with_words(other, equal).flatten().unwrap_or_default();
                    same = equal;
                    looks += words;
                }
            }
        }
        if !same {
            for address in written.assumed.drain(..) {
                *places.word(address) = 0;
            }
            written.spend(looks)?;
        }
        Ok(same)
    }
}
