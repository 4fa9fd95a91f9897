//! What `banyan arena` does, as functions: the command line only parses and prints.
//!
//! All but [`bench()`] read; none needs the heap mapped, so they work on an arena of any base.

mod bench;
mod noun_bench;

use std::path::Path;

pub use self::bench::{BenchError, BenchOptions, BenchRow, bench};
pub use self::noun_bench::bench_nouns;
use crate::disk::{FileDisk, FileDiskError};
use crate::store::{
    Identity, OpenError, Position, ReadError, RecoveryReport, SnapshotInfo, Store, StoreOptions, VerifyReport,
};

/// Why a command on an arena failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The file could not be had.
    #[error(transparent)]
    File(#[from] FileDiskError),
    /// The arena could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The arena could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No snapshot of that name, or only in the log so far.
    #[error(
        "there is no snapshot named {0:?} in the page directory; list them, or open and close the arena once to fold its log"
    )]
    NoSuchSnapshot(String),
}

/// What `info` prints.
#[derive(Clone, Debug)]
pub struct Info {
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

fn open(path: &Path) -> Result<(Store<FileDisk>, RecoveryReport), ToolError> {
    Ok(Store::open_read_only(FileDisk::open_read_only(path)?, StoreOptions::default())?)
}

/// Describes an arena. Writes nothing.
///
/// # Errors
/// [`ToolError`].
pub fn info(path: &Path) -> Result<Info, ToolError> {
    let (store, recovery) = open(path)?;
    let pages = store.pages()?.len() as u64;
    let (identity, position) = (store.identity(), store.position().clone());
    let (blocks, snapshots) = (store.space(), store.snapshots());
    Ok(Info { identity, position, recovery, blocks, pages, snapshots })
}

/// Checks every checksum of an arena; `progress` is told pages done and pages in all. Writes nothing.
///
/// # Errors
/// [`ToolError`]; damage that leaves the arena readable is in the report.
pub fn verify(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, ToolError> {
    let (mut store, recovery) = open(path)?;
    let mut report = store.verify(progress)?;
    report.damage.extend(recovery.dropped);
    Ok(report)
}

/// The retained snapshots, oldest first. Writes nothing.
///
/// # Errors
/// [`ToolError`].
pub fn snapshots(path: &Path) -> Result<Vec<SnapshotInfo>, ToolError> {
    Ok(open(path)?.0.snapshots())
}

/// Numbers of the pages that differ between two snapshots. Writes nothing.
///
/// # Errors
/// [`ToolError`].
pub fn diff(path: &Path, old: &str, new: &str) -> Result<Vec<u32>, ToolError> {
    let (store, _) = open(path)?;
    let find =
        |name: &str| store.folded_snapshot(name).ok_or_else(|| ToolError::NoSuchSnapshot(name.to_owned()));
    let changed = store.diff(&find(old)?, &find(new)?)?;
    Ok(changed.into_iter().map(|(page, _)| page).collect())
}
