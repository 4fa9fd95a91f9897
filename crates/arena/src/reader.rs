//! A snapshot that is read while the writer goes on: by threads of the writer's process, or by another
//! process.
//!
//! In the same process ([`Arena::reader`](crate::Arena::reader)) a count keeps the snapshot from being
//! dropped. Another process looks at the file beside the writer ([`Store::open_concurrently`]), and takes no
//! lock that a writer waits for. It then shares a lock on the byte that stands for the snapshot; as long as
//! it does, the writer's drop of that snapshot is refused, so none of its blocks is written again. A second
//! look, behind the lock, tells whether it was still there: a drop before the lock is in the log by then, or
//! folded.
//!
//! A reader takes no lock of the store, so a commit never waits for one, nor it for a commit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::arena::ArenaError;
use crate::disk::{BLOCK_SIZE, Block, Disk, FileDisk, FileDiskError};
use crate::heap::{HeapMemory, Tracking};
use crate::store::{
    Committed, Hold, Identity, LogEnd, OpenError, ReadError, SnapshotInfo, Store, StoreOptions,
};
use banyan_sys::owner::Owner;

/// Times, a millisecond apart, that a snapshot may be found just as it is dropped, before it counts as gone:
/// the drop may fail.
const DROPS_MAX: u32 = 100;
/// Pages that a reader keeps in memory, before it forgets them all.
const KEPT_MAX: usize = 1024;

/// Why a snapshot could not be opened for reading.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The file could not be had.
    #[error("{path}: {source}")]
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
    /// The page directory could not be read, or not by this process.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No snapshot of that name.
    #[error(
        "the arena retains no snapshot named {0:?}; `Arena::snapshots` and `banyan arena snapshots` list those that it does"
    )]
    NoSuchSnapshot(String),
    /// The kernel would not lock.
    #[error("the snapshot could not be locked against its removal: {0}")]
    Lock(#[source] std::io::Error),
}

/// What keeps a snapshot from being dropped, until it is dropped itself.
#[expect(dead_code, reason = "held, not read")]
enum Held {
    Lock(FileDisk),
    Count(Hold),
    Nothing,
}

/// A snapshot, held for as long as this lives. Any number of threads may read it at once. One that came from
/// an open arena keeps the arena's file open, and locked.
pub struct SnapshotReader<D: Disk = FileDisk> {
    memory: Option<HeapMemory<D>>,
    committed: Arc<Committed<D>>,
    identity: Identity,
    info: SnapshotInfo,
    /// Pages that were read lately; `None` is one of zeroes.
    kept: Mutex<HashMap<u32, Option<Arc<Block>>>>,
    _held: Held,
    owner: Owner,
}

fn open_file(path: &Path) -> Result<FileDisk, ReaderError> {
    FileDisk::open_read_only(path).map_err(|source| ReaderError::File { path: path.to_owned(), source })
}

/// The arena as it is now.
fn look(path: &Path) -> Result<Store<FileDisk>, ReaderError> {
    Ok(Store::open_concurrently(&mut || open_file(path), StoreOptions::default(), LogEnd::Taken)?.0)
}

impl SnapshotReader<FileDisk> {
    /// The last commit, or a snapshot, without holding it: what is read may turn out to be damaged once the
    /// store that comes with it is overtaken.
    pub(crate) fn look_at(path: &Path, name: Option<&str>) -> Result<(Self, Store<FileDisk>), ReaderError> {
        let store = look(path)?;
        let (info, committed) = match name {
            None => {
                let info = SnapshotInfo { name: String::new(), position: store.position().clone() };
                (info, store.committed())
            }
            Some(name) => {
                let found = store.snapshot(name)?;
                let found = found.ok_or_else(|| ReaderError::NoSuchSnapshot(name.to_owned()))?;
                (found.0, Arc::new(found.1))
            }
        };
        let owner = Owner::this_process().map_err(ReadError::Io)?;
        Ok((Self::over(info, committed, store.identity(), Held::Nothing, owner), store))
    }

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
            let found = store.snapshot(name);
            if store.is_overtaken() {
                // What led to its pages may have been written over while it was read.
                continue;
            }
            let (info, committed) = found?.ok_or_else(gone)?;
            let owner = Owner::this_process().map_err(ReaderError::Lock)?;
            return Ok(Self::over(info, Arc::new(committed), store.identity(), Held::Lock(held), owner));
        }
        Err(gone())
    }
}

impl<D: Disk> SnapshotReader<D> {
    fn over(
        info: SnapshotInfo,
        committed: Arc<Committed<D>>,
        identity: Identity,
        held: Held,
        owner: Owner,
    ) -> Self {
        Self { memory: None, committed, identity, info, kept: Mutex::default(), _held: held, owner }
    }

    /// A snapshot of a store of this process.
    pub(crate) fn beside(store: &Store<D>, name: &str, owner: Owner) -> Result<Self, ReaderError> {
        let gone = || ReaderError::NoSuchSnapshot(name.to_owned());
        let (info, committed) = store.snapshot(name)?.ok_or_else(gone)?;
        let held = Held::Count(store.hold_snapshot(name, owner));
        Ok(Self::over(info, Arc::new(committed), store.identity(), held, owner))
    }

    /// Name and position, with the roots.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Bytes of the heap's address range.
    pub(crate) fn reservation(&self) -> u64 {
        self.identity.reservation
    }

    /// Copies bytes from the address that they had in the heap. Checked as they are read; what was never
    /// written, or lies outside the heap, reads as zero.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        if !self.owner.is_here() {
            return Err(ReadError::Forked);
        }
        let mut done = 0;
        while done < buffer.len() {
            let offset = address.wrapping_add(done as u64).wrapping_sub(self.identity.base);
            let within = (offset % BLOCK_SIZE as u64) as usize;
            let count = (BLOCK_SIZE - within).min(buffer.len() - done);
            let inside = offset < self.identity.reservation;
            let page = u32::try_from(offset / BLOCK_SIZE as u64).ok().filter(|_| inside);
            let block = page.map(|page| self.page(page)).transpose()?.flatten();
            match block {
                Some(block) => buffer[done..done + count].copy_from_slice(&block.0[within..within + count]),
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
        Ok(())
    }

    /// A page; `None` is one of zeroes.
    fn page(&self, page: u32) -> Result<Option<Arc<Block>>, ReadError> {
        if let Some(block) = self.kept.lock().get(&page) {
            return Ok(block.clone());
        }
        let block = match self.committed.locate(page)? {
            Some(entry) => {
                let mut block = Block::ZERO;
                self.committed.read_entry(page, entry, &mut block.0)?;
                Some(Arc::new(block))
            }
            None => None,
        };
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
            self.committed.trim();
        }
        kept.insert(page, block.clone());
        Ok(block)
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
