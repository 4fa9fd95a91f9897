//! What `banyan arena` does, as functions: the command line only parses and prints.
//!
//! Those that only read need no heap mapped, so they work on an arena of any base.

mod dump;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::dump::{Dump, DumpLimits, Item, dump};
pub use self::transfer::{Export, ImportError, Transfer, export, export_noun, import, import_noun, relocate};
use crate::arena::{Arena, ArenaError, ArenaOptions};
use crate::disk::{FileDisk, FileDiskError};
use crate::noun::{Collection, CollectionReport, CueError, Nouns};
use crate::reader::ReaderError;
use crate::store::{
    CommitError, Compacted, CreateError, Damage, Identity, LogEnd, OpenError, PageEntry, Position, ReadError,
    RecoveryReport, SnapshotInfo, Store, StoreOptions, VerifyReport,
};

/// Why a command on an arena failed.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file could not be had.
    #[error(transparent)]
    File(#[from] FileDiskError),
    /// The arena could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The arena could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No snapshot of that name.
    #[error("the arena retains no snapshot named {0:?}; `banyan arena snapshots` lists those that it does")]
    NoSuchSnapshot(String),
    /// No commit of that number, nor a snapshot of that name.
    #[error(
        "the arena has no commit and no snapshot {0:?} to begin from; `banyan arena info` says which commit is the \
         last, `banyan arena snapshots` lists the snapshots"
    )]
    NoSuchCommit(String),
    /// The arena could not be made or mapped.
    #[error(transparent)]
    Arena(ArenaError),
    /// The new arena could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The file to write could not be written.
    #[error("cannot write {path}: {source}; choose a name that is not taken, where there is room")]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was to be imported could not be.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The jam is none.
    #[error(transparent)]
    Cue(#[from] CueError),
    /// No root of that name.
    #[error("the arena has no root named {0:?}; `banyan arena info` lists them")]
    NoSuchRoot(String),
    /// A heap with objects or collections, whose addresses cannot be told from numbers.
    #[error(
        "the heap holds {0} bytes of collections or objects, which stay at their addresses; only nouns can be moved: \
         have the program delete the rest, or take single nouns with `banyan arena export --jam`"
    )]
    Immovable(u64),
    /// A collection of structures, or from another build.
    #[error(
        "the collection's type, of hash {0:#x}, is none that is known here; read it with a program that has the type, \
         by `SnapshotReader`"
    )]
    UnknownType(u64),
    /// The root's value is no noun.
    #[error("root {0:?} holds no noun; export the whole arena instead")]
    NotANoun(String),
}

impl From<ArenaError> for InspectError {
    fn from(error: ArenaError) -> Self {
        match error {
            // The caller knows the path.
            ArenaError::File { source, .. } => InspectError::File(source),
            ArenaError::Open(error) => InspectError::Open(error),
            error => InspectError::Arena(error),
        }
    }
}

impl From<ReaderError> for InspectError {
    fn from(error: ReaderError) -> Self {
        match error {
            // The caller knows the path.
            ReaderError::File { source, .. } => InspectError::File(source),
            ReaderError::Open(error) => InspectError::Open(error),
            ReaderError::Read(error) => InspectError::Read(error),
            ReaderError::NoSuchSnapshot(name) => InspectError::NoSuchSnapshot(name),
            ReaderError::Lock(error) => InspectError::Read(ReadError::Io(error)),
        }
    }
}

/// What [`collect`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The whole collection.
    pub report: CollectionReport,
    /// Its steps, after each of which came a commit if something had changed.
    pub steps: u64,
}

/// Frees the nouns that no root leads to, in steps with commits between them; `progress` gets how far it is.
///
/// # Errors
/// [`InspectError`]. The arena is then at the last step that was committed, and loses nothing.
pub fn collect(path: &Path, progress: &mut dyn FnMut(Collection)) -> Result<Collected, InspectError> {
    const STEP: Duration = Duration::from_millis(50);
    let mut arena = Arena::open(path, ArenaOptions::default())?;
    let (epoch, event) = (arena.position().epoch, arena.position().event);
    let mut steps = 0;
    loop {
        let step = Nouns::new(&mut arena).collect_step(STEP, &[]);
        steps += 1;
        progress(step);
        if !matches!(step, Collection::Marking(_)) {
            arena.commit(epoch, event)?;
        }
        if let Collection::Done(report) = step {
            arena.fold()?;
            return Ok(Collected { report, steps });
        }
    }
}

/// Moves what an arena's file holds to its start and cuts its end off: a crash at any moment leaves an arena
/// with the same content. `progress` gets pages moved and pages to move.
///
/// # Errors
/// [`InspectError`]; the arena holds what it held.
pub fn compact(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Compacted, InspectError> {
    let (mut store, _) = Store::open(FileDisk::open(path)?, StoreOptions::default())?;
    Ok(store.compact(progress)?)
}

/// Makes an empty arena.
///
/// # Errors
/// [`InspectError`]; a file of that name is never touched.
pub fn create(path: &Path, options: ArenaOptions) -> Result<(), InspectError> {
    Arena::create(path, options)?;
    Ok(())
}

/// The damage that kept an arena from being opened or read, if that is why a command failed.
#[must_use]
pub fn damage_of(error: &InspectError) -> Option<&Damage> {
    match error {
        InspectError::Open(OpenError::Damaged(damage)) | InspectError::Read(ReadError::Damaged(damage)) => {
            Some(damage)
        }
        _ => None,
    }
}

/// What `info` prints.
#[derive(Clone, Debug)]
pub struct Info {
    /// The version of the format in which the file is.
    pub format_version: u32,
    /// Identity of the arena.
    pub identity: Identity,
    /// The last commit.
    pub position: Position,
    /// What a recovery finds.
    pub recovery: RecoveryReport,
    /// Blocks of 4 KiB in the file, and how many of them are free.
    pub blocks: (u64, u64),
    /// Pages that are not zero.
    pub pages: u64,
    /// Retained snapshots.
    pub snapshots: Vec<SnapshotInfo>,
}

fn open(path: &Path) -> Result<(Store<FileDisk>, RecoveryReport), InspectError> {
    // Its writer may be at work.
    let disk = &mut || Ok(FileDisk::open_read_only(path)?);
    Store::open_concurrently(disk, StoreOptions::default(), LogEnd::Checked)
}

/// Describes an arena. Writes nothing.
///
/// # Errors
/// [`InspectError`].
pub fn info(path: &Path) -> Result<Info, InspectError> {
    let (store, recovery) = open(path)?;
    let pages = store.pages()?.len() as u64;
    let (identity, position) = (store.identity(), store.position().clone());
    let (blocks, snapshots) = (store.space(), store.snapshots());
    let format_version = store.format_version();
    Ok(Info { format_version, identity, position, recovery, blocks, pages, snapshots })
}

/// Checks every checksum of an arena; `progress` gets pages done and pages in all. Writes nothing.
///
/// # Errors
/// [`InspectError`]; damage that leaves the arena readable is in the report. [`OpenError::Overtaken`] if its
/// writer folds meanwhile, so that what is checked may have been written over.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, InspectError> {
    let (mut store, recovery) = open(path)?;
    let mut report = store.verify(progress)?;
    // A record that its writer was just writing is whole by now.
    if let Some(dropped) = recovery.dropped
        && open(path)?.1.dropped.as_ref() == Some(&dropped)
    {
        report.unfinished = Some(dropped);
    }
    if !report.damage.is_empty() && store.is_overtaken() {
        return Err(OpenError::Overtaken.into());
    }
    Ok(report)
}

/// The retained snapshots, oldest first. Writes nothing.
///
/// # Errors
/// [`InspectError`].
pub fn snapshots(path: &Path) -> Result<Vec<SnapshotInfo>, InspectError> {
    Ok(open(path)?.0.snapshots())
}

/// Numbers of the pages that differ between two snapshots. Writes nothing.
///
/// # Errors
/// [`InspectError`].
pub fn diff(path: &Path, old: &str, new: &str) -> Result<Vec<u32>, InspectError> {
    let (store, _) = open(path)?;
    if let (Some(old), Some(new)) = (store.folded_snapshot(old), store.folded_snapshot(new)) {
        let changed = store.diff(&old, &new)?;
        return Ok(changed.into_iter().map(|(page, _)| page).collect());
    }
    let pages = |name: &str| match store.snapshot_pages(name)? {
        Some((_, pages)) => Ok(pages.into_iter().collect::<BTreeMap<u32, PageEntry>>()),
        None => Err(InspectError::NoSuchSnapshot(name.to_owned())),
    };
    let (old, new) = (pages(old)?, pages(new)?);
    let numbers: BTreeSet<u32> = old.keys().chain(new.keys()).copied().collect();
    let differs = |page: &u32| old.get(page).map(|it| it.block) != new.get(page).map(|it| it.block);
    let changed = numbers.into_iter().filter(differs).collect();
    if store.is_overtaken() { Err(OpenError::Overtaken.into()) } else { Ok(changed) }
}
