//! Snapshots as they are asked for: the list of them, handles to read them by, and what differs between two.
//!
//! Not for retaining and dropping them: that is part of a commit.

use super::Store;
use super::committed_pages::{Committed, View};
use super::error::{CommitError, ReadError};
use super::format::{NodePointer, Position, SnapshotOperation};
use super::tree::PageEntry;
use crate::disk::Disk;
use std::sync::Arc;

/// A snapshot that is retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The commit that it retains.
    pub position: Position,
}

/// A version of the pages that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHandle {
    pub(crate) info: SnapshotInfo,
    pub(super) tree: NodePointer,
}

impl SnapshotHandle {
    /// Name and position.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }
}

impl<D: Disk> Store<D> {
    /// The snapshots that are retained, oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let mut list = self.snapshots.infos();
        for record in &self.tail.records {
            match &record.operation {
                SnapshotOperation::None => {}
                SnapshotOperation::Retain(name) => {
                    list.push(SnapshotInfo { name: name.clone(), position: record.position.clone() });
                }
                SnapshotOperation::Drop(name) => list.retain(|info| info.name != *name),
            }
        }
        list
    }

    /// A handle on a snapshot, which cannot be dropped until [`Store::close_snapshot`]. Folds the log
    /// first if the snapshot is that new.
    ///
    /// # Errors
    /// [`CommitError::NoSuchSnapshot`], or what the fold says.
    pub fn open_snapshot(&mut self, name: &str) -> Result<SnapshotHandle, CommitError> {
        if !self.snapshots().iter().any(|info| info.name == name) {
            return Err(CommitError::NoSuchSnapshot(name.to_owned()));
        }
        if self.folded_snapshot(name).is_none() {
            self.fold()?;
        }
        let found = self.snapshots.find(name).ok_or_else(|| CommitError::NoSuchSnapshot(name.to_owned()))?;
        *self.readers.entry(name.to_owned()).or_default() += 1;
        Ok(found)
    }

    /// The snapshot of that name, if it is folded already. The log may have dropped the one that the
    /// table knows and retained another under the same name.
    pub(crate) fn folded_snapshot(&self, name: &str) -> Option<SnapshotHandle> {
        let current = self.snapshots().into_iter().find(|info| info.name == name)?;
        self.snapshots.find(name).filter(|handle| handle.info == current)
    }

    /// The committed pages as they were at a snapshot, on this store's disk.
    pub(crate) fn into_snapshot(self, handle: &SnapshotHandle) -> Option<Committed<D>> {
        let committed = Arc::into_inner(self.committed)?;
        *committed.view() = View { tree: handle.tree, ..View::default() };
        Some(committed)
    }

    /// Gives a handle back.
    pub fn close_snapshot(&mut self, handle: &SnapshotHandle) {
        if let Some(count) = self.readers.get_mut(&handle.info.name) {
            *count -= 1;
            if *count == 0 {
                self.readers.remove(&handle.info.name);
            }
        }
    }

    /// Where a snapshot keeps a page.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn locate_in(&self, snapshot: &SnapshotHandle, page: u32) -> Result<Option<PageEntry>, ReadError> {
        self.reader().lookup(snapshot.tree, page)
    }

    /// Every page of a snapshot that is not zero, ascending.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn pages_of(&self, snapshot: &SnapshotHandle) -> Result<Vec<(u32, PageEntry)>, ReadError> {
        let mut pages = Vec::new();
        self.reader().walk(snapshot.tree, &mut |_| true, &mut |page, entry| pages.push((page, entry)))?;
        Ok(pages)
    }

    /// Pages that differ between two snapshots; `None` is a page that became zero. Costs what differs.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn diff(
        &self,
        old: &SnapshotHandle,
        new: &SnapshotHandle,
    ) -> Result<Vec<(u32, Option<PageEntry>)>, ReadError> {
        self.reader().diff(old.tree, new.tree)
    }
}
