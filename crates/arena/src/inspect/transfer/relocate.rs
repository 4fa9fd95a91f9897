//! An arena at another address, or of another size, from one that holds nothing but nouns.
//!
//! A heap holds addresses, and lies where it was made: in an object or a collection none can be told from a
//! number, and the allocator's table, whose length follows from the reservation, stands before the first
//! object. Nouns say what in them is an address. So they are jammed and cued in the new place, and anything
//! else is a reason not to.

use std::path::Path;

use super::super::InspectError;
use super::{ImportError, Transfer};
use crate::arena::{Arena, ArenaOptions};
use crate::disk::NewFile;
use crate::noun::{Noun, Nouns};
use crate::store::Identity;

/// Makes a new arena where the options say, with the roots of the last commit of this one, which stays as it
/// is. Snapshots stay behind.
///
/// # Errors
/// [`InspectError::Immovable`] if there is something other than nouns, [`InspectError::NotANoun`] names a
/// root that is neither a noun nor a number below 2^63. There is then no arena of the new name.
pub fn relocate(path: &Path, to: &Path, options: ArenaOptions) -> Result<Transfer, InspectError> {
    let mut arena = Arena::open(path, ArenaOptions::default())?;
    let held = arena.used();
    if held > 0 {
        return Err(InspectError::Immovable(held));
    }
    let roots = arena.roots().clone();
    let (epoch, event) = (arena.position().epoch, arena.position().event);
    let mut nouns = Nouns::new(&mut arena);
    let parts: Vec<Noun> = roots
        .iter()
        .map(|(name, word)| nouns.noun_of_word(*word).ok_or_else(|| InspectError::NotANoun(name.clone())))
        .collect::<Result<_, _>>()?;
    // One jam keeps what the roots share. A heap without room for the list has one jam for each.
    let list = nouns.list(&parts).ok();
    let jams: Vec<Vec<u8>> = match list {
        Some(list) => vec![nouns.jam(list)],
        None => parts.iter().map(|part| nouns.jam(*part)).collect(),
    };
    drop(arena);

    let (new, disk) = NewFile::create(to)?;
    let mut arena = Arena::format(disk, Identity::new(options.base, options.reservation)?, options)?;
    let mut nouns = Nouns::new(&mut arena);
    let mut cued = jams.iter().map(|jam| nouns.cue(jam)).collect::<Result<Vec<Noun>, _>>()?;
    if list.is_some() {
        let mut rest = cued.pop();
        while cued.len() < roots.len() {
            let Some((part, behind)) = rest.and_then(|list| nouns.split(list)) else { break };
            cued.push(part);
            rest = Some(behind);
        }
    }
    if cued.len() != roots.len() {
        return Err(ImportError::NotAJam.into());
    }
    for (name, noun) in roots.keys().zip(cued) {
        arena.set_any_root(name, noun.word());
    }
    arena.commit(epoch, event)?;
    arena.fold()?;
    let position = arena.position().clone();
    new.publish()?;
    Ok(Transfer { pages: 0, position, bytes: jams.iter().map(|jam| jam.len() as u64).sum() })
}
