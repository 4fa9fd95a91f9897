//! Jam: a noun as bits, exact to the bit. A part that was written before becomes a reference where that is
//! shorter.
//!
//! Most nouns are written in one pass ([`at_once`]). One in which too much meets by hash, as it does where it
//! was chosen to, is begun anew and takes three ([`by_parts`]): so the time is in proportion to the parts,
//! whatever they are.

mod at_once;
mod atoms;
mod by_parts;
mod places;

use self::at_once::Written;
use self::atoms::SeenAtoms;
use self::by_parts::Parts;
use self::places::Places;
use super::scratch::Scratch;
use super::{Noun, Nouns};
use crate::disk::Disk;

/// Memory for jam, kept between calls.
#[derive(Default)]
pub(super) struct JamScratch {
    places: Places,
    written: Written,
    parts: Parts,
    atoms: SeenAtoms,
    stack: Vec<Noun>,
}

impl JamScratch {
    pub(super) fn bytes(&self) -> usize {
        let Self { places, written, parts, atoms, stack } = self;
        places.bytes() + written.bytes() + parts.bytes() + atoms.bytes() + stack.capacity() * 8
    }
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
        let at_once = self.jam_at_once(noun, &mut scratch.jam);
        let bytes = at_once.unwrap_or_else(|_| self.jam_by_parts(noun, &mut scratch.jam));
        Scratch::keep(scratch, self.arena);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{Noun, Nouns};
    use super::JamScratch;
    use crate::disk::MemoryDisk;
    use crate::store::Identity;
    use crate::{Arena, ArenaOptions};

    fn arena(number: u64) -> Arena<Arc<MemoryDisk>> {
        let base = 0x1a00_0000_0000 + (number << 36);
        let identity = Identity { uuid: [7; 16], base, reservation: 1 << 33 };
        Arena::format(Arc::new(MemoryDisk::default()), identity, ArenaOptions::default()).expect("it is made")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        /// Many parts are equal without being one, and some of them have parts that are.
        #[test]
        fn both_ways_write_the_same(
            steps in proptest::collection::vec((0_u8..8, any::<u16>(), any::<u16>()), 1..400),
        ) {
            let mut arena = arena(0);
            let mut nouns = Nouns::new(&mut arena);
            let mut made = vec![Noun::ZERO];
            for (kind, one, two) in steps {
                let (one, two) = (usize::from(one) % made.len(), usize::from(two) % made.len());
                made.push(match kind {
                    0 => Noun::small(one as u32 % 4),
                    1 => nouns.atom_of_words(&[one as u64 % 4, 1]).expect("there is room"),
                    _ => nouns.cell(made[one], made[two]).expect("there is room"),
                });
            }
            let whole = nouns.list(&made).expect("there is room");
            let jammed = nouns.jam(whole);
            prop_assert_eq!(&nouns.jam_by_parts(whole, &mut JamScratch::default()), &jammed);
            let at_once = nouns.jam_at_once(whole, &mut JamScratch::default());
            prop_assert_eq!(&at_once.expect("few parts meet"), &jammed);
        }
    }

    #[test]
    fn copies_are_compared_once_and_chosen_parts_are_given_up() {
        let mut arena = arena(1);
        let mut nouns = Nouns::new(&mut arena);
        // A tree whose halves are equal and were made apart, all the way down; towers of the same two parts.
        let mut level: Vec<Noun> = (0..1 << 14).map(|_| Noun::small(7)).collect();
        while level.len() > 1 {
            let pairs = level.chunks(2).map(|pair| nouns.tuple(pair).expect("there is room"));
            level = pairs.collect();
        }
        let mut towers = [Noun::ZERO; 2];
        for tower in &mut towers {
            for _ in 0..1000 {
                *tower = nouns.cell(*tower, *tower).expect("there is room");
            }
        }
        let copies = nouns.tuple(&[level[0], towers[0], towers[1]]).expect("there is room");
        let at_once =
            nouns.jam_at_once(copies, &mut JamScratch::default()).expect("each part is compared once");
        assert_eq!(at_once, nouns.jam_by_parts(copies, &mut JamScratch::default()));
        // The mugs of such a list come round after some ten thousand.
        let ones = nouns.list(&vec![Noun::small(1); 200_000]).expect("there is room");
        nouns.mug(ones);
        nouns.jam_at_once(ones, &mut JamScratch::default()).expect_err("too many have the same hashes");
        let jammed = nouns.jam(ones);
        let cued = nouns.cue(&jammed).expect("a jam is cued");
        assert!(nouns.equal(cued, ones));
    }
}
