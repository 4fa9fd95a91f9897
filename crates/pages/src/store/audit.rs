//! Proof that a store is sound: every checksum, and every block of the file accounted for once.
//!
//! Used by `inspect::verify` and, as the oracle, by every crash test. Reads, never writes.

use std::collections::HashSet;

use super::error::{Damage, ReadError};
use super::fold::decode_dead;
use super::format::{BlobPointer, Meta, NodePointer, RecordHeader, decode_witness};
use super::witness::witness_damage;
use super::{BLOCK, Store, check_page};
use crate::disk::{Block, Disk};

/// Where the file's blocks have gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Blocks that something refers to.
    pub used: u64,
    /// Blocks that nothing refers to.
    pub free: u64,
    /// What does not add up; empty in a sound store.
    pub faults: Vec<String>,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Pages checked, those of snapshots included, each once.
    pub pages: u64,
    /// Directory nodes checked.
    pub nodes: u64,
    /// Ranges that do not hold what they must, in file order.
    pub damage: Vec<Damage>,
    /// The last record of the log, if it is not whole: a crash left it so, or it was damaged since, which
    /// cannot be told apart. Its commit does not count.
    pub unfinished: Option<Damage>,
}

#[derive(Default)]
struct Census {
    owned: HashSet<u64>,
    faults: Vec<String>,
}

impl Census {
    fn own(&mut self, start: u64, count: u64, what: &str) {
        for block in start..start + count {
            if !self.owned.insert(block) {
                self.faults.push(format!("block {block} is used twice, the second time by {what}"));
            }
        }
    }
    fn own_blob(&mut self, pointer: BlobPointer, what: &str) {
        if pointer.block != 0 {
            self.own(pointer.block, pointer.blocks(), what);
        }
    }
}

impl<D: Disk> Store<D> {
    fn trees(&self) -> Vec<NodePointer> {
        let mut trees = vec![self.meta.tree];
        trees.extend(self.snapshots.snapshots.iter().map(|snapshot| snapshot.tree));
        trees
    }

    /// Accounts for every block: used ones belong to one owner, the space map says the same.
    ///
    /// # Errors
    /// [`ReadError`] if the directory or the map cannot be read.
    pub fn audit(&mut self) -> Result<Audit, ReadError> {
        let mut census = Census::default();
        census.own(0, 2, "the meta slots");
        for at in self.meta.witnesses.into_iter().filter(|at| *at != 0) {
            census.own(at, 1, "a witness");
        }
        census.own(self.log.next, self.log.segment_end - self.log.next, "the log segment");
        census.own_blob(self.meta.space_index, "the index of the space map");
        census.own_blob(self.meta.pending_free, "the list of freed blocks");
        census.own_blob(self.meta.snapshots, "the snapshot table");
        for entry in self.space.index.iter().filter(|entry| entry.block != 0) {
            census.own(entry.block, 1, "the space map");
        }
        for (start, count) in &self.pending_free {
            census.own(*start, *count, "pending");
        }
        for record in &self.tail.records {
            for (start, count) in &record.overhead {
                census.own(*start, *count, "a log record");
            }
            for entry in record.pages.iter().filter_map(|(_, entry)| *entry) {
                census.own(entry.block, 1, "a page in the log");
            }
        }
        self.census_of_trees(&mut census)?;
        let mut audit = Audit { faults: census.faults, ..Audit::default() };
        for block in 0..self.space.total {
            let used = self.space.is_used(&self.committed.disk, block)?;
            let owned = census.owned.contains(&block);
            if used != owned {
                audit.faults.push(format!("block {block}: owned {owned}, marked used {used}"));
            }
            if used {
                audit.used += 1;
            } else {
                audit.free += 1;
            }
        }
        Ok(audit)
    }

    fn census_of_trees(&self, census: &mut Census) -> Result<(), ReadError> {
        let reader = self.reader();
        // Versions share blocks, so the union over all of them is owned once.
        let mut shared: HashSet<u64> = HashSet::new();
        let mut seen: HashSet<u64> = HashSet::new();
        for tree in self.trees() {
            let mut pages = Vec::new();
            reader
                .walk(tree, &mut |node| seen.insert(node.block), &mut |_, entry| pages.push(entry.block))?;
            shared.extend(pages);
        }
        shared.extend(&seen);
        for block in &shared {
            census.own(*block, 1, "a version of the pages");
        }
        let mut current: HashSet<u64> = HashSet::new();
        let mut nodes: HashSet<u64> = HashSet::new();
        reader.walk(self.meta.tree, &mut |node| nodes.insert(node.block), &mut |_, entry| {
            current.insert(entry.block);
        })?;
        current.extend(nodes);
        let lists = self.snapshots.snapshots.iter().flat_map(|snapshot| &snapshot.deadlist);
        for chunk in lists.chain(&self.snapshots.deadlist) {
            census.own_blob(*chunk, "a deadlist");
            let bytes = super::fold::read_blob(&self.committed.disk, *chunk, "deadlist of a snapshot")?;
            for (block, _) in decode_dead(&bytes).unwrap_or_default() {
                if current.contains(&block) || !shared.contains(&block) {
                    census.faults.push(format!("block {block} is on a deadlist, wrongly"));
                }
            }
        }
        Ok(())
    }

    /// Reads everything that any version refers to and checks every checksum. `progress` gets how
    /// many pages are done, out of how many.
    ///
    /// # Errors
    /// [`ReadError::Io`] if the disk fails; damage is in the report, not an error.
    pub fn verify(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, ReadError> {
        let mut report = VerifyReport::default();
        self.committed.cache.clear();
        let mut block = Block::ZERO;
        for slot in 0..2 {
            self.committed.disk.read_at(slot * BLOCK, &mut block.0)?;
            if Meta::decode(&block, true).is_err() {
                let what = "meta slot".to_owned();
                report.damage.push(Damage { offset: slot * BLOCK, length: BLOCK, what });
            }
        }
        for at in self.meta.witnesses.into_iter().filter(|at| *at != 0) {
            self.committed.disk.read_at(at * BLOCK, &mut block.0)?;
            if decode_witness(&block, &self.meta.identity.uuid).is_none() {
                report.damage.push(witness_damage(at));
            }
        }
        let mut blobs = vec![
            (self.meta.space_index, "index of the space map"),
            (self.meta.pending_free, "list of freed blocks"),
            (self.meta.snapshots, "snapshot table"),
        ];
        for snapshot in &self.snapshots.snapshots {
            blobs.extend(snapshot.deadlist.iter().map(|chunk| (*chunk, "deadlist of a snapshot")));
        }
        blobs.extend(self.snapshots.deadlist.iter().map(|chunk| (*chunk, "deadlist of a snapshot")));
        for (pointer, what) in blobs {
            if !self.blob_is_intact(pointer) {
                let (offset, length) = pointer.range();
                report.damage.push(Damage { offset, length, what: what.to_owned() });
            }
        }
        for number in 0..self.space.index.len() {
            let entry = self.space.index[number];
            if entry.block != 0 {
                self.committed.disk.read_at(entry.block * BLOCK, &mut block.0)?;
                if super::codec::checksum(&block.0) != entry.checksum {
                    let what = format!("space map of group {number}");
                    report.damage.push(Damage { offset: entry.block * BLOCK, length: BLOCK, what });
                }
            }
        }
        self.verify_trees(&mut report, progress)?;
        self.verify_log(&mut report)?;
        report.damage.sort_by_key(|damage| damage.offset);
        Ok(report)
    }

    fn verify_trees(
        &self,
        report: &mut VerifyReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ReadError> {
        let mut nodes: Vec<NodePointer> = self.trees();
        let mut seen: HashSet<u64> = HashSet::new();
        let mut entries = Vec::new();
        while let Some(pointer) = nodes.pop() {
            if pointer.block == 0 || !seen.insert(pointer.block) {
                continue;
            }
            report.nodes += 1;
            match self.reader().node(pointer) {
                Ok(node) => match &*node {
                    super::tree::Node::Leaf(leaf) => entries.extend_from_slice(leaf),
                    super::tree::Node::Inner(_, children) => {
                        nodes.extend(children.iter().map(|(_, child)| *child));
                    }
                },
                Err(ReadError::Damaged(damage)) => report.damage.push(damage),
                Err(error) => return Err(error),
            }
        }
        for record in &self.tail.records {
            entries.extend(record.pages.iter().filter_map(|(page, entry)| Some((*page, (*entry)?))));
        }
        entries.sort_unstable_by_key(|(_, entry)| entry.block);
        entries.dedup_by_key(|(_, entry)| entry.block);
        let total = entries.len() as u64;
        let mut block = Block::ZERO;
        for (page, entry) in entries {
            self.committed.disk.read_at(entry.block * BLOCK, &mut block.0)?;
            if let Err(ReadError::Damaged(damage)) = check_page(page, entry, &block.0) {
                report.damage.push(damage);
            }
            report.pages += 1;
            if report.pages.is_multiple_of(1024) || report.pages == total {
                progress(report.pages, total);
            }
        }
        Ok(())
    }

    /// The log's own headers and bodies were checked when it was replayed, but may have rotted since.
    fn verify_log(&self, report: &mut VerifyReport) -> Result<(), ReadError> {
        let mut block = Block::ZERO;
        for (number, record) in self.tail.records.iter().enumerate() {
            let Some((start, _)) = record.overhead.first() else { continue };
            self.committed.disk.read_at(start * BLOCK, &mut block.0)?;
            let decoded = RecordHeader::decode(&block, true);
            let intact = decoded.as_ref().is_some_and(|(header, _, inline)| {
                let pointer = BlobPointer {
                    block: header.body_block,
                    bytes: header.body_bytes,
                    checksum: header.body_checksum,
                };
                header.transaction == record.position.transaction
                    && (inline.is_some() || self.blob_is_intact(pointer))
            });
            if !intact {
                let what = "log record".to_owned();
                report.damage.push(Damage { offset: start * BLOCK, length: BLOCK, what });
            }
            let repeat = decoded.map_or(0, |(header, ..)| header.repeat);
            // The writer of the last one may have ended before it wrote the second: see `RecoveryReport`.
            let is_last = number + 1 == self.tail.records.len();
            if intact && repeat != 0 && !is_last {
                let mut second = Block::ZERO;
                self.committed.disk.read_at(repeat * BLOCK, &mut second.0)?;
                if second.0 != block.0 {
                    let what = "second header of a log record".to_owned();
                    report.damage.push(Damage { offset: repeat * BLOCK, length: BLOCK, what });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl<D: Disk> Store<D> {
    pub(crate) fn block_is_used(&mut self, block: u64) -> Result<bool, ReadError> {
        self.space.is_used(&self.committed.disk, block)
    }
    /// The headers in the log, first to last.
    pub(crate) fn log_headers(&self) -> Vec<u64> {
        self.tail.records.iter().filter_map(|record| Some(record.overhead.first()?.0)).collect()
    }
    /// Headers in the log that are there twice.
    pub(crate) fn log_repeats(&self) -> usize {
        let repeats = |record: &&super::TailRecord| {
            let mut block = Block::ZERO;
            let read = self.committed.disk.read_at(record.overhead[0].0 * BLOCK, &mut block.0);
            read.is_ok() && RecordHeader::decode(&block, true).is_some_and(|(header, ..)| header.repeat != 0)
        };
        self.tail.records.iter().filter(repeats).count()
    }
    /// The end of the log's last segment.
    pub(crate) fn log_end(&self) -> u64 {
        self.log.segment_end
    }
    /// Makes both slots what version 1 would have written, with an empty log.
    pub(crate) fn write_old_metas(&mut self) -> Result<(), super::CommitError> {
        for at in std::mem::take(&mut self.meta.witnesses).into_iter().filter(|at| *at != 0) {
            self.space.set(&self.committed.disk, at, 1, super::free_space::BlockUse::Free)?;
        }
        self.slot_versions = [1; 2];
        for _ in 0..2 {
            let work = self.begin_any_fold()?;
            let written = work.write(&self.committed.disk, &mut || {});
            self.finish_fold(work, written)?;
        }
        for generation in [self.meta.generation - 1, self.meta.generation] {
            let old = Meta { version: 1, generation, witnesses: [0; 2], ..self.meta.clone() };
            let written = self.committed.disk.write_at(generation % 2 * BLOCK, &[&old.encode().0]);
            written.map_err(super::CommitError::Io)?;
        }
        self.committed.disk.sync().map_err(super::CommitError::Io)
    }
    /// In use only as room for the log to go on, or to keep the meta before whole.
    pub(crate) fn block_is_reserved(&self, block: u64) -> bool {
        (self.log.next..self.log.segment_end).contains(&block)
            || self.pending_free.iter().any(|(start, count)| (*start..start + count).contains(&block))
    }
    /// Whether a byte lies behind the end of a blob, in its last block.
    pub(crate) fn is_padding(&self, byte: u64) -> bool {
        let mut blobs = vec![self.meta.space_index, self.meta.pending_free, self.meta.snapshots];
        blobs.extend(self.snapshots.snapshots.iter().flat_map(|snapshot| snapshot.deadlist.clone()));
        blobs.extend(self.snapshots.deadlist.clone());
        blobs.iter().filter(|blob| blob.block != 0).any(|blob| {
            let start = blob.block * BLOCK;
            (start + blob.bytes..start + blob.blocks() * BLOCK).contains(&byte)
        })
    }
}
