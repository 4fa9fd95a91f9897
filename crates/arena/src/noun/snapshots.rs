//! Nouns of a snapshot: copied into the arena of the present, or written as text.
//!
//! A snapshot's words are taken at no more than their face: a number that is no noun leads to bytes that may
//! be anything, so that cells may seem to contain themselves, and an atom may seem to be longer than the
//! heap.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

use super::{ADDRESS, DIRECT_MAX, KIND_ATOM, KIND_CELL, KIND_SHIFT, Noun, Nouns};
use crate::arena::AllocateError;
use crate::disk::Disk;
use crate::reader::SnapshotReader;
use crate::store::ReadError;

/// Bytes before the words of an atom, or the head of a cell.
const ATOM_WORDS: u64 = 16;
const CELL_HEAD: u64 = 8;

/// Words of an atom that is written as text: a length may be any number.
const TEXT_WORDS_MAX: u64 = 8192;

/// Why a noun could not be had from a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FrozenNounError {
    /// The snapshot's pages could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No room for the copy.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The word leads to something else.
    #[error("the word {0:#x} is no noun of the snapshot; give one that a root holds by `Noun::word`")]
    NotANoun(u64),
}

/// A noun as a snapshot has it.
enum Frozen {
    Atom(Vec<u64>),
    /// An atom of more words than were to be read.
    LongAtom(u64),
    Cell(u64, u64),
}

/// A noun; of its words at most so many.
fn frozen<D: Disk>(reader: &SnapshotReader<D>, word: u64, most: u64) -> Result<Frozen, FrozenNounError> {
    let number = |address: u64| -> Result<u64, ReadError> {
        let mut bytes = [0; 8];
        reader.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let address = word & ADDRESS;
    match word >> KIND_SHIFT {
        _ if word <= DIRECT_MAX => Ok(Frozen::Atom(vec![word])),
        KIND_CELL => Ok(Frozen::Cell(number(address + CELL_HEAD)?, number(address + CELL_HEAD + 8)?)),
        KIND_ATOM => {
            let words = number(address + ATOM_WORDS - 8)?;
            if words.checked_mul(8).is_none_or(|bytes| bytes > reader.reservation()) {
                return Err(FrozenNounError::NotANoun(word));
            }
            if words > most {
                return Ok(Frozen::LongAtom(words));
            }
            let mut bytes = vec![0; words as usize * 8];
            reader.read(address + ATOM_WORDS, &mut bytes)?;
            let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
            Ok(Frozen::Atom(words.collect()))
        }
        _ => Err(FrozenNounError::NotANoun(word)),
    }
}

impl<D: Disk> Nouns<'_, D> {
    /// A copy of a noun of a snapshot, of this arena or another one, by the word that a root has there. Parts
    /// that are one there are one in the copy.
    ///
    /// # Errors
    /// [`FrozenNounError`]; what was copied until then is garbage.
    pub fn copy_from<E: Disk>(
        &mut self,
        reader: &SnapshotReader<E>,
        word: u64,
    ) -> Result<Noun, FrozenNounError> {
        enum Task {
            Copy(u64),
            Join { cell: u64, head: u64, tail: u64 },
        }
        let mut done: HashMap<u64, Noun> = HashMap::new();
        // Cells above the one at hand.
        let mut open: HashSet<u64> = HashSet::new();
        let copied = |done: &HashMap<u64, Noun>, word: u64| match word {
            direct if direct <= DIRECT_MAX => Some(Noun(direct)),
            word => done.get(&word).copied(),
        };
        let mut tasks = vec![Task::Copy(word)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Copy(word) if copied(&done, word).is_some() => {}
                Task::Copy(word) => match frozen(reader, word, u64::MAX)? {
                    Frozen::LongAtom(_) => return Err(FrozenNounError::NotANoun(word)),
                    Frozen::Atom(words) => {
                        done.insert(word, self.atom_of_words(&words)?);
                    }
                    Frozen::Cell(head, tail) => {
                        if !open.insert(word) {
                            return Err(FrozenNounError::NotANoun(word));
                        }
                        tasks.extend([
                            Task::Join { cell: word, head, tail },
                            Task::Copy(tail),
                            Task::Copy(head),
                        ]);
                    }
                },
                Task::Join { cell, head, tail } => {
                    let parts = copied(&done, head).zip(copied(&done, tail));
                    let (head, tail) = parts.ok_or(FrozenNounError::NotANoun(cell))?;
                    done.insert(cell, self.cell(head, tail)?);
                    open.remove(&cell);
                }
            }
        }
        copied(&done, word).ok_or(FrozenNounError::NotANoun(word))
    }
}

/// A noun as text: `[1 2 'text' 0xff]`. Of a noun with many equal parts each is written where it stands,
/// which may be more than there is time for: after so many atoms it ends in `...`.
#[derive(Clone, Copy, Debug)]
pub struct NounText {
    /// Atoms that are written at most.
    pub atoms: u64,
}

impl NounText {
    /// Writes the noun that a word stands for in a snapshot.
    ///
    /// # Errors
    /// [`FrozenNounError`]. Text has no end that could be reached.
    pub fn of<D: Disk>(self, reader: &SnapshotReader<D>, word: u64) -> Result<String, FrozenNounError> {
        enum Task {
            /// A noun, which may be the tail of the cell before: then it needs no bracket.
            Noun {
                word: u64,
                is_tail: bool,
            },
            Text(&'static str),
        }
        let mut text = String::new();
        let mut left = self.atoms;
        let mut tasks = vec![Task::Noun { word, is_tail: false }];
        while let Some(task) = tasks.pop() {
            let (word, is_tail) = match task {
                Task::Text(piece) => {
                    text.push_str(piece);
                    continue;
                }
                Task::Noun { word, is_tail } => (word, is_tail),
            };
            match frozen(reader, word, TEXT_WORDS_MAX)? {
                Frozen::LongAtom(words) => {
                    let _written = write!(text, "<an atom of {words} words>");
                }
                Frozen::Cell(head, tail) => {
                    if !is_tail {
                        text.push('[');
                        tasks.push(Task::Text("]"));
                    }
                    tasks.extend([
                        Task::Noun { word: tail, is_tail: true },
                        Task::Text(" "),
                        Task::Noun { word: head, is_tail: false },
                    ]);
                }
                Frozen::Atom(words) => {
                    // Writing to a string cannot fail.
                    let _written = write_atom(&mut text, &words);
                }
            }
            left = left.saturating_sub(1);
            if left == 0 && !tasks.is_empty() {
                text.push_str(" ...");
                break;
            }
        }
        Ok(text)
    }
}

/// An atom: as text if it is some, as a number if it fits a word, else as hexadecimal digits.
fn write_atom(text: &mut String, words: &[u64]) -> fmt::Result {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let printable = std::str::from_utf8(&bytes[..end])
        .ok()
        .filter(|text| text.len() > 1 && !text.chars().any(|it| it.is_control() || it == '\''));
    if let Some(printable) = printable {
        return write!(text, "'{printable}'");
    }
    if end <= 8 {
        return write!(text, "{}", words.first().copied().unwrap_or(0));
    }
    text.push_str("0x");
    let mut digits = bytes[..end].iter().rev();
    if let Some(first) = digits.next() {
        write!(text, "{first:x}")?;
    }
    digits.try_for_each(|byte| write!(text, "{byte:02x}"))
}
