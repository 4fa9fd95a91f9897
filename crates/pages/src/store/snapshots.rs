//! Snapshots as they are asked for: the list of them, handles to read them by, and what differs between two.
//!
//! Not for retaining and dropping them: that is part of a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Store;
use super::committed_pages::{Committed, View};
use super::error::{CommitError, ReadError};
use super::format::{NodePointer, Position, SnapshotOperation};
use super::tree::PageEntry;
use crate::disk::Disk;
use banyan_sys::owner::Owner;

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

/// The readers of this process, for each snapshot that has any: it is not dropped meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<BTreeMap<String, usize>>>);

impl Holds {
    pub(super) fn are_on(&self, name: &str) -> bool {
        self.0.lock().contains_key(name)
    }

    fn begin(&self, name: &str) {
        *self.0.lock().entry(name.to_owned()).or_default() += 1;
    }

    fn end(&self, name: &str) {
        let mut holds = self.0.lock();
        if let Some(count) = holds.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                holds.remove(name);
            }
        }
    }
}

/// A snapshot is not dropped as long as this lives, in any thread.
#[derive(Debug)]
pub struct Hold {
    holds: Holds,
    name: String,
    owner: Owner,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // A forked process: another thread may have had the lock as it was copied.
            return;
        }
        self.holds.end(&self.name);
    }
}

/// The pages of a snapshot, ascending, and what it retains.
pub type SnapshotPages = (SnapshotInfo, Vec<(u32, PageEntry)>);

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
        self.holds.begin(name);
        Ok(found)
    }

    /// The snapshot of that name, if it is folded already. The log may have dropped the one that the
    /// table knows and retained another under the same name.
    pub fn folded_snapshot(&self, name: &str) -> Option<SnapshotHandle> {
        let current = self.snapshots().into_iter().find(|info| info.name == name)?;
        self.snapshots.find(name).filter(|handle| handle.info == current)
    }

    /// The pages of a snapshot, as soon as it is retained; `None` if it is not. Its blocks stay what they are
    /// as long as it is retained.
    ///
    /// # Errors
    /// [`ReadError`] if the directory cannot be read.
    pub fn snapshot_pages(&self, name: &str) -> Result<Option<SnapshotPages>, ReadError> {
        let Some(info) = self.snapshots().into_iter().find(|info| info.name == name) else {
            return Ok(None);
        };
        if let Some(handle) = self.folded_snapshot(name) {
            return Ok(Some((info, self.pages_of(&handle)?)));
        }
        // The directory as it was folded last, and what the log says up to the snapshot.
        let mut pages = BTreeMap::new();
        self.reader().walk(self.meta.tree, &mut |_| true, &mut |page, entry| {
            pages.insert(page, entry);
        })?;
        let until = info.position.transaction;
        for record in self.tail.records.iter().take_while(|record| record.position.transaction <= until) {
            for (page, entry) in &record.pages {
                match entry {
                    Some(entry) => pages.insert(*page, *entry),
                    None => pages.remove(page),
                };
            }
        }
        Ok(Some((info, pages.into_iter().collect())))
    }

    /// A snapshot for readers in other threads, which read it while this store commits and folds.
    ///
    /// # Errors
    /// As [`Store::snapshot_pages`].
    pub fn snapshot(&self, name: &str) -> Result<Option<(SnapshotInfo, Committed<D>)>, ReadError> {
        let view = |view: View| Committed::new(Arc::clone(&self.committed.disk), view);
        if let Some(handle) = self.folded_snapshot(name) {
            return Ok(Some((handle.info, view(View { tree: handle.tree, ..View::default() }))));
        }
        // The nodes of the directory in which a fold will put it are not there yet, and those that lead to
        // its pages now are gone two folds later: so all of it is kept in memory.
        Ok(self.snapshot_pages(name)?.map(|(info, pages)| {
            let overlay = pages.into_iter().map(|(page, entry)| (page, Some(entry))).collect();
            (info, view(View { overlay, ..View::default() }))
        }))
    }

    /// Keeps a snapshot from being dropped.
    pub fn hold_snapshot(&self, name: &str, owner: Owner) -> Hold {
        self.holds.begin(name);
        Hold { holds: self.holds.clone(), name: name.to_owned(), owner }
    }

    /// Gives a handle back.
    pub fn close_snapshot(&mut self, handle: &SnapshotHandle) {
        self.holds.end(&handle.info.name);
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
