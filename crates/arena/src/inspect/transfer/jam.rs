//! Single nouns, as jams.

use std::io::{Read, Write};
use std::path::Path;

use super::super::InspectError;
use super::{ImportError, NewOutput, Transfer, not_written, open_input};
use crate::arena::{Arena, ArenaOptions};
use crate::noun::{Noun, Nouns};

/// Writes the noun of a root, jammed, into a new file.
///
/// # Errors
/// [`InspectError`].
pub fn export_noun(path: &Path, root: &str, output: &Path) -> Result<Transfer, InspectError> {
    let mut arena = Arena::open(path, ArenaOptions::default())?;
    let word = arena.root(root).ok_or_else(|| InspectError::NoSuchRoot(root.to_owned()))?;
    let position = arena.position().clone();
    let mut nouns = Nouns::new(&mut arena);
    let noun = nouns.noun_of_word(word).ok_or_else(|| InspectError::NotANoun(root.to_owned()))?;
    let jammed = nouns.jam(noun);
    let mut written = NewOutput::create(output)?;
    written.file.write_all(&jammed).map_err(|error| not_written(output, error))?;
    written.publish(output)?;
    Ok(Transfer { pages: 0, position, bytes: jammed.len() as u64 })
}

/// Cues a jam into an arena, which is made if it is not there, and commits it under a root.
///
/// # Errors
/// [`InspectError`]; an arena that was there is as it was.
pub fn import_noun(
    input: &Path,
    path: &Path,
    root: &str,
    options: ArenaOptions,
) -> Result<Transfer, InspectError> {
    let mut jammed = Vec::new();
    open_input(input)?.read_to_end(&mut jammed).map_err(ImportError::Io)?;
    let is_new = !path.exists();
    let mut arena = Arena::open_or_create(path, options)?;
    let mut nouns = Nouns::new(&mut arena);
    let cued = match nouns.cue(&jammed) {
        // Nearly any bytes begin with some noun: only those that it is jammed as are meant as one.
        Ok(noun) if nouns.jam(noun) == jammed => Ok(noun),
        Ok(_) => Err(ImportError::NotAJam.into()),
        Err(error) => Err(InspectError::from(error)),
    };
    let done = cued.and_then(|noun: Noun| {
        arena.set_root(root, noun.word());
        let (epoch, event) = (arena.position().epoch, arena.position().event);
        arena.commit(epoch, event)?;
        arena.fold()?;
        Ok(Transfer { pages: 0, position: arena.position().clone(), bytes: jammed.len() as u64 })
    });
    if done.is_err() && is_new {
        // An arena that was only made for this noun has no use without it.
        let _empty = std::fs::remove_file(path);
    }
    done
}
