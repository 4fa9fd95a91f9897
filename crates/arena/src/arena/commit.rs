//! Commits, at once and deferred, and the way back to the last one.

use std::collections::BTreeSet;

use super::{Arena, RollbackError};
use crate::committer::{Capture, Outcome, Queued};
use crate::disk::Disk;
use crate::store::{CommitError, CommitRequest, Position, ReadError, SnapshotOperation, roots_fit};

impl<D: Disk> Arena<D> {
    /// Makes everything durable: the heap, the roots, and these numbers. All or nothing, one sync.
    ///
    /// # Errors
    /// As [`Store::commit`](crate::store::Store::commit). After [`CommitError::DiskFull`] the heap is as the
    /// program left it and may be committed again.
    pub fn commit(&mut self, epoch: u64, event: u64) -> Result<Position, CommitError> {
        self.commit_with(epoch, event, SnapshotOperation::None)
    }

    /// Commits, and retains that commit under a name. Costs what the commit costs.
    ///
    /// # Errors
    /// As [`Arena::commit`], and [`CommitError::SnapshotExists`].
    pub fn snapshot(&mut self, name: &str, epoch: u64, event: u64) -> Result<Position, CommitError> {
        self.commit_with(epoch, event, SnapshotOperation::Retain(name.to_owned()))
    }

    /// Commits, and forgets a snapshot. Its space is free again after the next fold but one.
    ///
    /// # Errors
    /// As [`Arena::commit`], [`CommitError::NoSuchSnapshot`] and [`CommitError::SnapshotInUse`].
    pub fn drop_snapshot(&mut self, name: &str) -> Result<Position, CommitError> {
        let Position { epoch, event, .. } = *self.position();
        self.commit_with(epoch, event, SnapshotOperation::Drop(name.to_owned()))
    }

    /// Hands everything over to be made durable, in order, and returns as soon as it is copied: the program
    /// goes on while it is written. [`Arena::wait`] tells when it is durable. Until then a crash may lose it,
    /// never a part of it, nor an earlier one alone. Where no thread can be started, it is durable when this
    /// returns.
    ///
    /// # Errors
    /// That of an earlier deferred commit, which did not happen, nor did those behind it: what they held is
    /// dirty again, and part of the next commit.
    pub fn begin_commit(&mut self, epoch: u64, event: u64) -> Result<(), CommitError> {
        self.check_owner()?;
        let outcome = self.committer.poll();
        self.take_in(outcome)?;
        if !self.committer.is_ready() {
            // Before anything is taken out of the heap: what is not handed over must stay dirty.
            return self.commit(epoch, event).map(drop);
        }
        if !roots_fit(&self.roots) {
            return Err(CommitError::RootsTooLarge);
        }
        self.give_back();
        let zeroed = self.zeroed()?;
        let dirty = self.heap.take_dirty().map_err(CommitError::Io)?;
        let blocks = self.committer.copy(dirty.len(), &|at| self.heap.page(dirty[at]));
        let mut pages: Vec<(u32, bool)> = dirty.iter().map(|page| (*page, true)).collect();
        self.discarded.clear();
        if !zeroed.is_empty() {
            let zero = zeroed.into_iter().filter(|page| dirty.binary_search(page).is_err());
            pages.extend(zero.map(|page| (page, false)));
            pages.sort_unstable();
        }
        let number = self.heap.memory.captured();
        let (roots, operation) = (self.roots.clone(), SnapshotOperation::None);
        self.committer.commit(Capture { epoch, event, roots, operation, pages, blocks, number });
        Ok(())
    }

    /// Waits until every deferred commit is durable, and gives the last one's position.
    ///
    /// # Errors
    /// As [`Arena::begin_commit`].
    pub fn wait(&mut self) -> Result<&Position, CommitError> {
        self.check_owner()?;
        let outcome = self.committer.settle(Queued::Commits);
        self.take_in(outcome)?;
        Ok(&self.position)
    }

    /// A forked process has neither the heap, nor the thread, nor the file: not even a lock can be waited
    /// for.
    pub(super) fn check_owner(&self) -> Result<(), CommitError> {
        if self.owner.is_here() { Ok(()) } else { Err(CommitError::Forked) }
    }

    /// Pages that were given back and may not be zero in the last commit, or in one that is under way.
    fn zeroed(&self) -> Result<Vec<u32>, ReadError> {
        if self.discarded.is_empty() {
            return Ok(Vec::new());
        }
        // Those under way first: what becomes durable in between is then found there, at the latest.
        let mut pages = self.committer.queued_pages(&|page| self.discarded.contains(u64::from(page)));
        let committed = self.store.read_recursive().committed();
        for run in self.discarded.iter() {
            pages.append(&mut committed.pages_in(run)?);
        }
        pages.sort_unstable();
        pages.dedup();
        Ok(pages)
    }

    /// Acts on what the committer reports.
    fn take_in(&mut self, outcome: Outcome) -> Result<(), CommitError> {
        if let Some(position) = outcome.position {
            self.position = position;
        }
        for (page, full) in outcome.returned {
            if full {
                self.heap.memory.mark_dirty(&[page]);
            } else {
                self.discarded.insert(u64::from(page)..u64::from(page) + 1, 0);
            }
        }
        let kept =
            outcome.accepted.map_or(Ok(()), |(number, pages)| self.heap.memory.accepted(number, pages));
        outcome.error.map_or(kept.map_err(CommitError::Io), Err)
    }

    fn commit_with(
        &mut self,
        epoch: u64,
        event: u64,
        operation: SnapshotOperation,
    ) -> Result<Position, CommitError> {
        self.check_owner()?;
        let outcome = self.committer.settle(Queued::Commits);
        self.take_in(outcome)?;
        self.give_back();
        let zeroed = self.zeroed()?;
        let dirty = self.heap.take_dirty().map_err(CommitError::Io)?;
        let mut pages: Vec<(u32, Option<&[u8]>)> = Vec::with_capacity(dirty.len() + zeroed.len());
        for page in &dirty {
            pages.push((*page, Some(self.heap.page(*page))));
        }
        if !zeroed.is_empty() {
            let zero = zeroed.into_iter().filter(|page| dirty.binary_search(page).is_err());
            pages.extend(zero.map(|page| (page, None)));
            pages.sort_unstable_by_key(|(page, _)| *page);
        }
        let request = CommitRequest { epoch, event, roots: self.roots.clone(), operation, pages };
        let mut store = self.store.write();
        let mut committed = store.commit_record(&request);
        if matches!(committed, Err(CommitError::DiskFull { .. })) {
            // A fold that is under way, and the commit after it, may free what the log has taken.
            drop(store);
            let outcome = self.committer.settle(Queued::CommitsAndFolds);
            self.committer.put_back(outcome);
            store = self.store.write();
            committed = store.commit_record(&request);
        }
        match committed {
            Ok(position) => {
                let (wants_fold, overdue) = (store.wants_fold(), store.fold_is_overdue());
                drop(store);
                self.position = position.clone();
                self.discarded.clear();
                let number = self.heap.memory.captured();
                // The commit is durable: what fails from here on is an error of the next call.
                let kept = self.heap.memory.accepted(number, dirty.len());
                let folded = if wants_fold { self.committer.fold() } else { None };
                let waited =
                    if overdue { self.committer.settle(Queued::CommitsAndFolds) } else { Outcome::default() };
                let error = waited.error.or(folded).or(kept.err().map(CommitError::Io));
                self.committer.put_back(Outcome { error, ..waited });
                Ok(position)
            }
            Err(error) => {
                drop(store);
                self.heap.memory.mark_dirty(&dirty);
                Err(error)
            }
        }
    }

    /// Undoes everything since the last commit: memory, roots, allocations. Costs what was written.
    ///
    /// The last commit is the last one begun, deferred or not. Every reference into the heap must be fetched
    /// anew from a root, which the borrow of `self` ensures for the typed API; raw pointers are the caller's
    /// business.
    ///
    /// # Errors
    /// [`RollbackError`]; the arena must then be dropped.
    pub fn rollback(&mut self) -> Result<(), RollbackError> {
        self.check_owner()?;
        let outcome = self.committer.settle(Queued::Commits);
        self.take_in(outcome)?;
        let zeroed = self.zeroed()?;
        let mut dirty: BTreeSet<u32> =
            self.heap.take_dirty().map_err(RollbackError::Memory)?.into_iter().collect();
        dirty.extend(zeroed);
        self.discarded.clear();
        let dirty: Vec<u32> = dirty.into_iter().collect();
        let committed = self.store.read_recursive().committed();
        self.heap.roll_back(&dirty, &committed)?;
        self.roots = self.position.roots.clone();
        let transaction = self.position.transaction;
        self.collector.take_if(|collector| !collector.survives_rollback_to(transaction));
        Ok(())
    }

    /// Waits for all that is under way.
    pub(super) fn settle(&mut self) -> Result<(), CommitError> {
        self.check_owner()?;
        let outcome = self.committer.settle(Queued::CommitsAndFolds);
        self.take_in(outcome)
    }
}
