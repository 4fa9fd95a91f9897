//! Names for places of a heap, with what lies there: how processes that share nothing else find things.
//!
//! A table of 1,024 entries in the metadata, changed under the heap's lock and in the same change as the
//! allocation of what they name, so that a process that dies leaves both or none. Words of an entry:
//!
//! | word | what |
//! |---|---|
//! | 0 | 1 while used |
//! | 1 | bytes of what it names |
//! | 2 | its place, from the start of the heap |
//! | 3 | length of the name |
//! | 4 to 11 | the name |
//! | 12 | hash of the type |
//! | 13 to 15 | the type's name, cut to 24 bytes, for messages |

use crate::allocator::{Change, Damaged};
use crate::layout::{Geometry, ROOT_WORDS, ROOTS, WORD_ROOTS};

/// Bytes of a root's name.
pub(crate) const NAME_MAX: usize = 64;
const TYPE_WORDS: usize = 3;

/// What kind of thing a root names: two types are one if these are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeOf {
    /// As people read it. Of a longer one the first 24 bytes are kept.
    pub name: String,
    /// Of the whole name, the size and the alignment of an element.
    pub hash: u64,
}

impl TypeOf {
    /// The type `name`, whose elements have this size and alignment.
    #[must_use]
    pub fn new(name: &str, size: usize, align: usize) -> Self {
        // FNV-1a, 64 bits: the same in every language.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let (size, align) = ((size as u64).to_le_bytes(), (align as u64).to_le_bytes());
        for byte in name.as_bytes().iter().chain(&size).chain(&align) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self { name: name.to_owned(), hash }
    }
}

/// A named place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// From the start of the heap.
    pub offset: usize,
    /// Bytes.
    pub bytes: usize,
    /// Its type.
    pub kind: TypeOf,
}

fn place(entry: usize, word: usize) -> usize {
    WORD_ROOTS + entry * ROOT_WORDS + word
}

fn name_words(name: &str) -> [u64; NAME_MAX / 8] {
    let mut bytes = [0; NAME_MAX];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    std::array::from_fn(|word| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[word * 8..word * 8 + 8]);
        u64::from_le_bytes(eight)
    })
}

fn text(change: &Change<'_>, first: usize, words: usize, length: usize) -> Result<String, Damaged> {
    let mut bytes = Vec::with_capacity(words * 8);
    for word in 0..words {
        bytes.extend(change.get(first + word)?.to_le_bytes());
    }
    bytes.truncate(length);
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether `name` can name a root.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.contains('\0')
}

/// The root with this name.
pub(crate) fn find(change: &Change<'_>, geometry: Geometry, name: &str) -> Result<Option<Root>, Damaged> {
    entry_of(change, name)?.map(|entry| read(change, geometry, entry)).transpose()
}

/// The entry of the root with this name.
fn entry_of(change: &Change<'_>, name: &str) -> Result<Option<usize>, Damaged> {
    let words = name_words(name);
    for entry in 0..ROOTS {
        if change.get(place(entry, 0))? != 1 || change.get(place(entry, 3))? != name.len() as u64 {
            continue;
        }
        let is_it =
            words.iter().enumerate().all(|(word, value)| change.get(place(entry, 4 + word)) == Ok(*value));
        if is_it {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// What an entry says. A place outside of the users' part is none.
fn read(change: &Change<'_>, geometry: Geometry, entry: usize) -> Result<Root, Damaged> {
    let [bytes, offset, length] = [1, 2, 3].map(|word| change.get(place(entry, word)));
    let (bytes, offset, length) = (bytes? as usize, offset? as usize, length? as usize);
    let is_inside = offset >= geometry.metadata_bytes()
        && offset.checked_add(bytes).is_some_and(|end| end <= geometry.file_bytes());
    if !is_inside {
        return Err(Damaged { word: place(entry, 2) });
    }
    Ok(Root {
        name: text(change, place(entry, 4), NAME_MAX / 8, length)?,
        offset,
        bytes,
        kind: TypeOf {
            name: text(change, place(entry, 13), TYPE_WORDS, TYPE_WORDS * 8)?,
            hash: change.get(place(entry, 12))?,
        },
    })
}

/// All roots.
pub(crate) fn list(change: &Change<'_>, geometry: Geometry) -> Result<Vec<Root>, Damaged> {
    let mut found = Vec::new();
    for entry in 0..ROOTS {
        if change.get(place(entry, 0))? == 1 {
            found.push(read(change, geometry, entry)?);
        }
    }
    Ok(found)
}

/// Sets a root, in place of one with this name if there is one; `false` if all entries are used.
pub(crate) fn set(change: &mut Change<'_>, root: &Root) -> Result<bool, Damaged> {
    let entry = match entry_of(change, &root.name)? {
        Some(entry) => entry,
        None => {
            let mut free = None;
            for entry in 0..ROOTS {
                if change.get(place(entry, 0))? != 1 {
                    free = Some(entry);
                    break;
                }
            }
            let Some(free) = free else { return Ok(false) };
            free
        }
    };
    for (word, value) in name_words(&root.name).into_iter().enumerate() {
        change.set(place(entry, 4 + word), value)?;
    }
    let kind: String = root
        .kind
        .name
        .chars()
        .scan(0, |used, letter| {
            *used += letter.len_utf8();
            (*used <= TYPE_WORDS * 8).then_some(letter)
        })
        .collect();
    for (word, value) in name_words(&kind).into_iter().take(TYPE_WORDS).enumerate() {
        change.set(place(entry, 13 + word), value)?;
    }
    change.set(place(entry, 12), root.kind.hash)?;
    change.set(place(entry, 3), root.name.len() as u64)?;
    change.set(place(entry, 2), root.offset as u64)?;
    change.set(place(entry, 1), root.bytes as u64)?;
    change.set(place(entry, 0), 1)?;
    Ok(true)
}

/// Takes a root away; `false` if there is none with this name.
pub(crate) fn remove(change: &mut Change<'_>, name: &str) -> Result<bool, Damaged> {
    let Some(entry) = entry_of(change, name)? else { return Ok(false) };
    change.set(place(entry, 0), 0)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Who adds such a place to the heap's address would be anywhere.
    #[test]
    fn a_root_outside_of_the_users_part_is_damage() {
        let geometry = Geometry { granules: 2 };
        let words: Vec<AtomicU64> = (0..geometry.metadata_bytes() / 8).map(|_| AtomicU64::new(0)).collect();
        let first = geometry.metadata_bytes();
        let root = Root { name: "it".into(), offset: first, bytes: 16, kind: TypeOf::new("u64", 8, 8) };
        let mut change = Change::begin(&words);
        assert_eq!(set(&mut change, &root), Ok(true));
        change.commit();
        let end = geometry.file_bytes();
        for (offset, bytes, is_inside) in [
            (first, 16, true),
            (end - 16, 16, true),
            (first, geometry.data_bytes(), true),
            (first - 8, 16, false),
            (end - 8, 16, false),
            (0, 16, false),
            (usize::MAX, 16, false),
            (first, usize::MAX, false),
        ] {
            for (word, value) in [(2, offset), (1, bytes)] {
                words[place(0, word)].store(value as u64, Ordering::Relaxed);
            }
            let change = Change::begin(&words);
            let damaged = Damaged { word: place(0, 2) };
            let expected = Root { offset, bytes, ..root.clone() };
            let (one, all) = (find(&change, geometry, "it"), list(&change, geometry));
            if is_inside {
                assert_eq!((one, all), (Ok(Some(expected.clone())), Ok(vec![expected])));
            } else {
                assert_eq!((one, all), (Err(damaged), Err(damaged)), "{offset:#x} {bytes:#x}");
            }
        }
        // Its name can be given to another place all the same.
        let mut change = Change::begin(&words);
        assert_eq!(set(&mut change, &root), Ok(true));
        assert_eq!(find(&change, geometry, "it"), Ok(Some(root)));
    }
}
