//! A snapshot read by another process, while the writer goes on.
//!
//! The reader looks at the file beside the writer ([`Store::open_concurrently`]), and takes no lock that a
//! writer waits for. It then shares a lock on the byte that stands for the snapshot; as long as it does, the
//! writer's drop of that snapshot is refused, so none of its blocks is written again. A second look, behind
//! the lock, tells whether it was still there: a drop before the lock is in the log by then, or folded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::arena::ArenaError;
use crate::disk::{BLOCK_SIZE, Block, FileDisk, FileDiskError};
use crate::heap::{HeapMemory, Tracking};
use crate::store::{Committed, Identity, LogEnd, OpenError, ReadError, SnapshotInfo, Store, StoreOptions};

/// Times, a millisecond apart, that a snapshot may be found just as it is dropped, before it counts as gone:
/// the drop may fail.
const DROPS_MAX: u32 = 100;

/// Why a snapshot could not be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The file could not be had.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileDiskError,
    },
    /// The arena could not be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No snapshot of that name.
    #[error("there is no snapshot named {0:?}; list them to see the names")]
    NoSuchSnapshot(String),
    /// The snapshot is only in the log so far, where the next fold may write.
    #[error(
        "snapshot {0:?} is not folded yet; let its writer call `Arena::fold`, or open and close the arena once"
    )]
    NotFolded(String),
    /// The kernel would not lock.
    #[error("the snapshot could not be locked against its removal")]
    Lock(#[source] std::io::Error),
}

/// A snapshot, held for as long as this lives.
pub struct SnapshotReader {
    memory: Option<HeapMemory<FileDisk>>,
    committed: Arc<Committed<FileDisk>>,
    identity: Identity,
    info: SnapshotInfo,
    /// Has the lock.
    _held: FileDisk,
}

fn open_file(path: &Path) -> Result<FileDisk, ReaderError> {
    FileDisk::open_read_only(path).map_err(|source| ReaderError::File { path: path.to_owned(), source })
}

/// The arena as it is now.
fn look(path: &Path) -> Result<Store<FileDisk>, ReaderError> {
    Ok(Store::open_concurrently(&mut || open_file(path), StoreOptions::default(), LogEnd::Taken)?.0)
}

impl SnapshotReader {
    /// Opens a snapshot of an arena, whether or not the arena is open for writing.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn open(path: &Path, name: &str) -> Result<Self, ReaderError> {
        let gone = || ReaderError::NoSuchSnapshot(name.to_owned());
        let find = |store: &Store<FileDisk>| store.snapshots().into_iter().find(|info| info.name == name);
        for _ in 0..DROPS_MAX {
            let seen = find(&look(path)?).ok_or_else(gone)?;
            let held = open_file(path)?;
            if !held.hold_snapshot(seen.position.transaction).map_err(ReaderError::Lock)? {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let store = look(path)?;
            if find(&store).ok_or_else(gone)? != seen {
                // Dropped and made anew under the same name.
                continue;
            }
            let handle =
                store.folded_snapshot(name).ok_or_else(|| ReaderError::NotFolded(name.to_owned()))?;
            let identity = store.identity();
            let committed = Arc::new(store.into_snapshot(&handle).ok_or_else(gone)?);
            return Ok(Self { memory: None, committed, identity, info: seen, _held: held });
        }
        Err(gone())
    }

    /// Name and position, with the roots.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Copies bytes from the address that they had in the heap. Checked as they are read; what was never
    /// written, or lies outside the heap, reads as zero.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut block = Block::ZERO;
        let mut done = 0;
        while done < buffer.len() {
            let offset = address.wrapping_add(done as u64).wrapping_sub(self.identity.base);
            let within = (offset % BLOCK_SIZE as u64) as usize;
            let count = (BLOCK_SIZE - within).min(buffer.len() - done);
            let inside = offset < self.identity.reservation;
            let page = u32::try_from(offset / BLOCK_SIZE as u64).ok().filter(|_| inside);
            let entry = match page {
                Some(page) => self.committed.locate(page)?.map(|entry| (page, entry)),
                None => None,
            };
            match entry {
                Some((page, entry)) => {
                    self.committed.read_entry(page, entry, &mut block.0)?;
                    buffer[done..done + count].copy_from_slice(&block.0[within..within + count]);
                }
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
        Ok(())
    }

    /// Maps the snapshot at the heap's own address, so that its pointers work. Pages come when they are
    /// touched; a write ends in SIGSEGV. Not in a process that has the arena itself open.
    ///
    /// # Errors
    /// [`ArenaError::BaseTaken`], [`ArenaError::LazyUnavailable`], or what the kernel says.
    pub fn map(&mut self) -> Result<(), ArenaError> {
        let Identity { base, reservation, .. } = self.identity;
        let reserved = HeapMemory::reserve(base, reservation, Tracking::WriteProtection);
        let mut memory = reserved.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => ArenaError::BaseTaken { base },
            _ => ArenaError::LazyUnavailable,
        })?;
        let served = self.committed.page_bound()? as usize * BLOCK_SIZE;
        let mapped = memory.page_from(Arc::clone(&self.committed), served, None);
        mapped.and_then(|()| memory.forbid_writes()).map_err(ArenaError::Memory)?;
        self.memory = Some(memory);
        Ok(())
    }
}
