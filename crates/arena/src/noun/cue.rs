//! Cue: bytes back to the noun that was jammed into them.
//!
//! The bytes are untrusted. Each bit is read once, the stack is its own, and at most one cell is made for
//! every four bits, so the cost is linear in the input whatever the input says: at most 64 bytes of arena and
//! some 130 of other memory for each byte.
//!
//! Three passes, so that none waits for memory: the first reads the bits, the second finds which noun each
//! reference means, many looks at a time, and the third builds.

use super::bits::{BitReader, Number};
use super::cue_error::CueError;
use super::huge::HugeVec;
use super::prefetch::{AHEAD, prefetch};
use super::scratch::Scratch;
use super::{Noun, Nouns, Slots};
use crate::disk::Disk;

/// Items that are no atom: no noun has these words.
const CELL: u64 = u64::MAX;
const REFERENCE: u64 = u64::MAX - 1;
/// A cell of which both parts are not built yet.
const PENDING: Noun = Noun(CELL);

/// A reference: the bit at which its noun starts, and then the number of that noun; and the bit at which it
/// stands itself.
#[derive(Clone, Copy)]
struct Reference {
    target: u64,
    start: u64,
}

/// Memory for cue, kept between calls.
#[derive(Default)]
pub(super) struct CueScratch {
    /// What was read: atoms as they are, [`CELL`], [`REFERENCE`].
    items: HugeVec<u64>,
    references: HugeVec<Reference>,
    starts: Starts,
    /// Atoms and cells in the order in which they start, and so numbered.
    nouns: HugeVec<Noun>,
    /// Cells that are still to be built.
    cells: usize,
    /// Cells that are not whole yet: the number of each, and its head once that is built.
    open: Vec<(usize, Noun)>,
    words: Vec<u64>,
}

impl CueScratch {
    pub(super) fn bytes(&self) -> usize {
        (self.items.capacity() + self.nouns.capacity() + self.words.capacity()) * 8
            + (self.references.capacity() + self.open.capacity() + self.starts.index.capacity()) * 16
    }
}

/// Which bits start an atom or a cell. They start in the order in which they are read, so a bitmap with
/// running counts leads from a bit to a number, with no hashing.
#[derive(Default)]
struct Starts {
    /// For each 64 bits of input: which of them start a noun, and how many nouns started before.
    index: HugeVec<(u64, u64)>,
    count: u64,
}

impl Starts {
    /// Forgets everything, for an input of this many bytes.
    fn clear(&mut self, bytes: usize) {
        self.index.clear();
        self.index.resize(bytes.div_ceil(8), (0, 0));
        self.count = 0;
    }

    #[inline]
    fn add(&mut self, position: u64) {
        let (bits, before) = &mut self.index[(position / 64) as usize];
        if *bits == 0 {
            *before = self.count;
        }
        *bits |= 1 << (position % 64);
        self.count += 1;
    }

    #[inline]
    fn prefetch(&self, position: u64) {
        prefetch(self.index.as_ptr().wrapping_add((position / 64) as usize));
    }

    /// The number of the noun that starts there.
    #[inline]
    fn number(&self, position: u64) -> Option<u64> {
        let (bits, before) = *self.index.get(usize::try_from(position / 64).ok()?)?;
        let bit = 1 << (position % 64);
        (bits & bit != 0).then(|| before + u64::from((bits & (bit - 1)).count_ones()))
    }
}

impl<D: Disk> Nouns<'_, D> {
    /// The noun that was jammed into these bytes. What follows it is ignored.
    ///
    /// # Errors
    /// [`CueError`] names the bit at which the input stops making sense.
    pub fn cue(&mut self, bytes: &[u8]) -> Result<Noun, CueError> {
        let mut scratch = Scratch::take(self.arena);
        let result = self.cue_with(bytes, &mut scratch.cue);
        Scratch::keep(scratch, self.arena);
        result
    }

    fn cue_with(&mut self, bytes: &[u8], scratch: &mut CueScratch) -> Result<Noun, CueError> {
        self.read_items(bytes, scratch)?;
        locate(scratch)?;
        self.build(scratch)
    }

    /// Reads the bits, up to the end of the noun.
    fn read_items(&mut self, bytes: &[u8], scratch: &mut CueScratch) -> Result<(), CueError> {
        let CueScratch { items, references, starts, cells, words, .. } = scratch;
        *cells = 0;
        items.clear();
        references.clear();
        starts.clear(bytes.len());
        let mut reader = BitReader::new(bytes);
        // Nouns that are still to come.
        let mut left = 1_u64;
        while left > 0 {
            let start = reader.position();
            let tag = reader.peek();
            if tag & 1 == 0 {
                reader.skip(1)?;
                let atom = match reader.number(start, words)? {
                    Number::Small(value) => self.atom(value)?,
                    Number::Large => self.atom_of_words(words)?,
                };
                starts.add(start);
                items.push(atom.0);
                left -= 1;
            } else if tag & 2 == 0 {
                reader.skip(2)?;
                starts.add(start);
                items.push(CELL);
                *cells += 1;
                left += 1;
            } else {
                reader.skip(2)?;
                match reader.number(start, words)? {
                    Number::Small(target) => references.push(Reference { target, start }),
                    Number::Large => return Err(CueError::Reference(start)),
                }
                items.push(REFERENCE);
                left -= 1;
            }
        }
        Ok(())
    }

    /// Builds the noun from its items.
    fn build(&mut self, scratch: &mut CueScratch) -> Result<Noun, CueError> {
        let CueScratch { items, references, nouns, cells, open, .. } = scratch;
        let mut slots = Slots::default();
        nouns.clear();
        open.clear();
        let mut met = 0;
        for item in items.iter().copied() {
            let mut noun = match item {
                CELL => {
                    open.push((nouns.len(), PENDING));
                    nouns.push(PENDING);
                    continue;
                }
                REFERENCE => {
                    if let Some(ahead) = references.get(met + AHEAD) {
                        prefetch(nouns.as_ptr().wrapping_add(ahead.target as usize));
                    }
                    let Reference { target, start } = references[met];
                    met += 1;
                    // Neither to what comes later, nor to a cell that this is a part of.
                    let known = nouns.get(target as usize).filter(|noun| **noun != PENDING);
                    *known.ok_or(CueError::Reference(start))?
                }
                atom => {
                    nouns.push(Noun(atom));
                    Noun(atom)
                }
            };
            loop {
                match open.last_mut() {
                    None => return Ok(noun),
                    Some((_, head)) if *head == PENDING => {
                        *head = noun;
                        break;
                    }
                    Some((number, head)) => {
                        noun = self.cell_of(&mut slots, *cells, *head, noun)?;
                        *cells -= 1;
                        nouns[*number] = noun;
                        open.pop();
                    }
                }
            }
        }
        unreachable!("the items end with the noun");
    }
}

/// Finds the number of the noun that each reference means.
fn locate(scratch: &mut CueScratch) -> Result<(), CueError> {
    let CueScratch { references, starts, .. } = scratch;
    for at in 0..references.len() {
        if let Some(ahead) = references.get(at + AHEAD) {
            starts.prefetch(ahead.target);
        }
        let Reference { target, start } = references[at];
        references[at].target = starts.number(target).ok_or(CueError::Reference(start))?;
    }
    Ok(())
}
