//! [`Image`]: how a program's state is kept, behind one trait, so that the mechanism is one line.
//!
//! The state here is bytes, such as a jammed noun. [`Pma`] keeps them in an arena: a commit writes the
//! pages that changed. [`JamDoubleBuffer`] writes the whole state into the older of two checksummed
//! files: simple, and proportional to the state. [`InMemory`] keeps nothing beyond the process.
//!
//! After a crash each gives the last state whose `save` returned, or the one under way. One conformance
//! suite (`tests/image.rs`) holds all of them to it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::arena::{AllocateError, Arena, ArenaError, ArenaOptions, RollbackError};
use crate::collections::bytes;
use crate::store::CommitError;

/// A state with its numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// As given to `save`.
    pub epoch: u64,
    /// As given to `save`.
    pub event: u64,
    /// The state.
    pub bytes: Vec<u8>,
}

/// Why a state could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file system failed.
    #[error("the state could not be written: {0}; the last one saved is still there")]
    Io(#[from] io::Error),
    /// The arena did not commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The arena has no room.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The arena had no room or did not commit, and then could not be put back.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
}

/// A place that keeps the newest state of a program.
pub trait Image {
    /// Makes a state durable in place of the one before.
    ///
    /// # Errors
    /// [`SaveError`]; the state before is then still the one that `load` gives.
    fn save(&mut self, epoch: u64, event: u64, bytes: &[u8]) -> Result<(), SaveError>;

    /// The newest durable state, `None` before the first.
    ///
    /// # Errors
    /// What the file system says.
    fn load(&mut self) -> io::Result<Option<Saved>>;
}

/// Keeps the state in memory.
#[derive(Debug, Default)]
pub struct InMemory {
    saved: Option<Saved>,
}

impl Image for InMemory {
    fn save(&mut self, epoch: u64, event: u64, bytes: &[u8]) -> Result<(), SaveError> {
        self.saved = Some(Saved { epoch, event, bytes: bytes.to_vec() });
        Ok(())
    }
    fn load(&mut self) -> io::Result<Option<Saved>> {
        Ok(self.saved.clone())
    }
}

/// Keeps the state in an arena.
pub struct Pma {
    arena: Arena,
}

impl Pma {
    /// Opens or makes the arena.
    ///
    /// # Errors
    /// As [`Arena::open_or_create`].
    pub fn open(path: &Path, options: ArenaOptions) -> Result<Self, ArenaError> {
        Ok(Self { arena: Arena::open_or_create(path, options)? })
    }
}

impl Image for Pma {
    fn save(&mut self, epoch: u64, event: u64, bytes: &[u8]) -> Result<(), SaveError> {
        let written = bytes::write(&mut self.arena, bytes).map_err(SaveError::from);
        let saved = written.and_then(|()| Ok(self.arena.commit(epoch, event).map(|_| ())?));
        if saved.is_err() {
            self.arena.rollback()?;
        }
        saved
    }

    fn load(&mut self) -> io::Result<Option<Saved>> {
        self.arena.check_memory()?;
        let Some(bytes) = bytes::read(&self.arena) else { return Ok(None) };
        let position = self.arena.position();
        Ok(Some(Saved { epoch: position.epoch, event: position.event, bytes }))
    }
}

/// Keeps the whole state in the older of two files.
#[derive(Debug)]
pub struct JamDoubleBuffer {
    paths: [PathBuf; 2],
    directory: File,
    /// Number of the newest save; its file is the number modulo two.
    generation: u64,
}

const MAGIC: &[u8; 8] = b"BANYJAM1";
/// Magic, generation, epoch, event, length, checksum.
const HEADER: usize = 8 + 4 * 8 + 16;

impl JamDoubleBuffer {
    /// Keeps its two files, `0.jam` and `1.jam`, in a directory, which it makes if it must.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let paths = [directory.join("0.jam"), directory.join("1.jam")];
        let mut buffer = Self { paths, directory: File::open(directory)?, generation: 0 };
        buffer.generation = buffer.newest(u64::MAX)?.map_or(0, |(generation, _)| generation);
        Ok(buffer)
    }

    fn write(&self, path: &Path, header: &[u8], bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(header)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // The file may be new: its name must be durable too.
        self.directory.sync_all()
    }

    /// The newest state that is whole, of a save no later than `last`.
    fn newest(&self, last: u64) -> io::Result<Option<(u64, Saved)>> {
        let mut newest: Option<(u64, Saved)> = None;
        for path in &self.paths {
            let bytes = match std::fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if let Some((generation, saved)) = decode(&bytes)
                && generation <= last
                && newest.as_ref().is_none_or(|(other, _)| *other < generation)
            {
                newest = Some((generation, saved));
            }
        }
        Ok(newest)
    }
}

fn decode(bytes: &[u8]) -> Option<(u64, Saved)> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let sum = u128::from_le_bytes(header.get(40..56)?.try_into().ok()?);
    let sound =
        header.starts_with(MAGIC) && word(32)? == body.len() as u64 && sum == sum_of(&header[..40], body);
    // The next one has a number, too.
    let sound = sound && word(8)? < u64::MAX;
    sound.then_some((word(8)?, Saved { epoch: word(16)?, event: word(24)?, bytes: body.to_vec() }))
}

fn sum_of(header: &[u8], body: &[u8]) -> u128 {
    xxh3_128(body) ^ xxh3_128(header).rotate_left(64)
}

impl Image for JamDoubleBuffer {
    fn save(&mut self, epoch: u64, event: u64, bytes: &[u8]) -> Result<(), SaveError> {
        let generation = self.generation + 1;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        for field in [generation, epoch, event, bytes.len() as u64] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        header.extend_from_slice(&sum_of(&header, bytes).to_le_bytes());
        let path = &self.paths[(generation % 2) as usize];
        if let Err(error) = self.write(path, &header, bytes) {
            // It may be whole in the cache, though not on the disk. A file that stays all the same is not
            // taken for the state by this handle.
            let _kept = std::fs::remove_file(path);
            return Err(error.into());
        }
        self.generation = generation;
        Ok(())
    }

    fn load(&mut self) -> io::Result<Option<Saved>> {
        Ok(self.newest(self.generation)?.map(|(_, saved)| saved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The save after it would have no number.
    #[test]
    fn the_last_number_of_all_is_no_saves() {
        let file = |generation: u64| {
            let mut header = MAGIC.to_vec();
            for field in [generation, 3, 4, 5] {
                header.extend_from_slice(&field.to_le_bytes());
            }
            let sum = sum_of(&header, b"state");
            [&header[..], &sum.to_le_bytes(), b"state"].concat()
        };
        let saved = Saved { epoch: 3, event: 4, bytes: b"state".to_vec() };
        assert_eq!(decode(&file(u64::MAX - 1)), Some((u64::MAX - 1, saved)));
        assert_eq!(decode(&file(u64::MAX)), None);
    }
}
