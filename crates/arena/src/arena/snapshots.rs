//! Snapshots of an arena, read in the process that has it open: by the writer itself, or by other threads
//! beside it ([`Arena::reader`]). Another process opens one by [`SnapshotReader::open`].

use super::Arena;
use crate::SnapshotReader;
use crate::disk::{BLOCK_SIZE, Block, Disk};
use crate::reader::ReaderError;
use crate::store::{CommitError, ReadError, SnapshotHandle, SnapshotInfo};

impl<D: Disk> Arena<D> {
    /// The snapshots that are retained, oldest first.
    ///
    /// # Panics
    /// In a process that was forked from the arena's.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.store().snapshots()
    }

    /// A snapshot for readers in other threads, as soon as it is retained: they read it while this arena goes
    /// on, and neither waits for the other. It is not dropped as long as a reader of it lives.
    ///
    /// # Errors
    /// [`ReaderError::NoSuchSnapshot`], or [`ReaderError::Read`].
    pub fn reader(&self, name: &str) -> Result<SnapshotReader<D>, ReaderError> {
        if !self.owner.is_here() {
            return Err(ReadError::Forked.into());
        }
        // A deferred commit that is under way is none of the reader's business, and a snapshot is not
        // deferred.
        SnapshotReader::beside(&self.store(), name, self.owner)
    }

    /// Opens a snapshot for reading; close it with [`Arena::close_snapshot`].
    ///
    /// # Errors
    /// As [`Store::open_snapshot`](crate::store::Store::open_snapshot).
    pub fn open_snapshot(&mut self, name: &str) -> Result<SnapshotHandle, CommitError> {
        self.settle()?;
        self.store.write().open_snapshot(name)
    }

    /// Gives a snapshot back.
    pub fn close_snapshot(&mut self, snapshot: &SnapshotHandle) {
        if self.owner.is_here() {
            self.store.write().close_snapshot(snapshot);
        }
    }

    /// Copies bytes of a snapshot, from the address that they had in the heap. Checked as they are read.
    ///
    /// # Errors
    /// [`ReadError`]. Addresses outside the heap read as zero.
    pub fn read_snapshot(
        &self,
        snapshot: &SnapshotHandle,
        address: usize,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        if !self.owner.is_here() {
            return Err(ReadError::Forked);
        }
        let store = self.store();
        let mut block = Block::ZERO;
        let mut done = 0;
        while done < buffer.len() {
            let offset = address.wrapping_add(done).wrapping_sub(self.heap.memory.base());
            let within = offset % BLOCK_SIZE;
            let count = (BLOCK_SIZE - within).min(buffer.len() - done);
            let page = u32::try_from(offset / BLOCK_SIZE).ok();
            match page.map(|page| store.locate_in(snapshot, page)).transpose()?.flatten() {
                Some(entry) => {
                    store.read_entry((offset / BLOCK_SIZE) as u32, entry, &mut block.0)?;
                    buffer[done..done + count].copy_from_slice(&block.0[within..within + count]);
                }
                None => buffer[done..done + count].fill(0),
            }
            done += count;
        }
        Ok(())
    }

    /// Numbers of the pages that differ between two snapshots. Costs what differs.
    ///
    /// # Errors
    /// As [`Store::open_snapshot`](crate::store::Store::open_snapshot), or [`CommitError::Read`].
    pub fn diff(&mut self, old: &str, new: &str) -> Result<Vec<u32>, CommitError> {
        self.settle()?;
        let mut store = self.store.write();
        let old = store.open_snapshot(old)?;
        let new = store.open_snapshot(new);
        let changed = match &new {
            Ok(new) => store.diff(&old, new),
            Err(_) => Ok(Vec::new()),
        };
        store.close_snapshot(&old);
        store.close_snapshot(&new?);
        Ok(changed?.into_iter().map(|(page, _)| page).collect())
    }
}
