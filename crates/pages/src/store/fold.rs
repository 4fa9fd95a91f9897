//! Folding: the log's commits are applied to the page directory, and a new meta says so.
//!
//! Two syncs: one before the meta is written, so that it never speaks of what is not there, and one
//! after, so that nothing is freed on its word alone. A block that dies here is pending: it is
//! not used again before the *next* fold is durable, so the meta before stays whole, and the log behind
//! it too; losing the newest meta then loses nothing.
//!
//! A fold is worked out in memory ([`Store::begin_fold`]), written by any thread
//! ([`FoldWork::write`]) and then taken for true ([`Store::finish_fold`]). Commits go on in between: they
//! are in the log behind the position that the new meta names.
//!
//! Snapshots: a dead block that was born no later than the newest retained snapshot goes on that
//! snapshot's successor's deadlist, and is looked at again when a snapshot is dropped.

use super::blocks::Blocks;
use super::codec::{Reader, Writer, checksum};
use super::commit::{CommitRequest, take_back};
use super::error::{CommitError, Damage, ReadError};
use super::format::{
    BlobPointer, FORMAT_VERSION, LogPosition, META_SLOTS, Meta, NodePointer, Position, SnapshotOperation,
};
use super::free_space::BlockUse;
use super::free_space::FreeSpace;
use super::tree::{NodeAllocator, PageEntry, TreeChange, TreeUpdate};
use super::{BLOCK, Mutation, SnapshotHandle, SnapshotInfo, Store, Tail, blocks_in, blocks_of};
use crate::disk::{Block, Disk};
use std::collections::BTreeMap;

/// A retained snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) name: String,
    pub(crate) position: Position,
    pub(crate) tree: NodePointer,
    /// Blocks that died between the snapshot before and this one.
    pub(crate) deadlist: Vec<BlobPointer>,
}

/// All retained snapshots, oldest first, and the deadlist of the present.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotTable {
    pub(crate) snapshots: Vec<Snapshot>,
    /// Blocks that died since the newest snapshot and that it or an older one still needs.
    pub(crate) deadlist: Vec<BlobPointer>,
}

impl SnapshotTable {
    pub(crate) fn infos(&self) -> Vec<SnapshotInfo> {
        let info = |snapshot: &Snapshot| SnapshotInfo {
            name: snapshot.name.clone(),
            position: snapshot.position.clone(),
        };
        self.snapshots.iter().map(info).collect()
    }

    pub(crate) fn find(&self, name: &str) -> Option<SnapshotHandle> {
        let snapshot = self.snapshots.iter().find(|snapshot| snapshot.name == name)?;
        let info = SnapshotInfo { name: snapshot.name.clone(), position: snapshot.position.clone() };
        Some(SnapshotHandle { info, tree: snapshot.tree })
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let chunks = |writer: &mut Writer, list: &[BlobPointer]| {
            writer.u32(list.len() as u32);
            list.iter().for_each(|pointer| pointer.encode(writer));
        };
        writer.u32(self.snapshots.len() as u32);
        for snapshot in &self.snapshots {
            writer.text(&snapshot.name);
            snapshot.position.encode(&mut writer);
            snapshot.tree.encode(&mut writer);
            chunks(&mut writer, &snapshot.deadlist);
        }
        chunks(&mut writer, &self.deadlist);
        writer.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        fn chunks(reader: &mut Reader<'_>) -> Option<Vec<BlobPointer>> {
            (0..reader.u32()?).map(|_| BlobPointer::decode(reader)).collect()
        }
        let mut reader = Reader { bytes };
        let mut table = SnapshotTable::default();
        for _ in 0..reader.u32()? {
            let name = reader.text()?.to_owned();
            let position = Position::decode(&mut reader)?;
            let tree = NodePointer::decode(&mut reader)?;
            table.snapshots.push(Snapshot { name, position, tree, deadlist: chunks(&mut reader)? });
        }
        table.deadlist = chunks(&mut reader)?;
        Some(table)
    }
}

/// Sorted, merged runs.
pub(crate) fn merge_runs(mut runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(runs.len());
    for (start, count) in runs {
        match merged.last_mut() {
            Some((first, length)) if *first + *length == start => *length += count,
            _ => merged.push((start, count)),
        }
    }
    merged
}

pub(crate) fn encode_runs(runs: &[(u64, u64)]) -> Vec<u8> {
    let mut writer = Writer::default();
    for (start, count) in runs {
        writer.u64(*start);
        writer.u64(*count);
    }
    writer.bytes
}

pub(crate) fn decode_runs(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut reader = Reader { bytes };
    let mut runs = Vec::new();
    while !reader.bytes.is_empty() {
        runs.push((reader.u64()?, reader.u64()?));
    }
    Some(runs)
}

pub(super) fn encode_dead(dead: &[(u64, u64)]) -> Vec<u8> {
    let mut writer = Writer::default();
    for (block, birth) in dead {
        writer.u48(*block);
        writer.u48(*birth);
    }
    writer.bytes
}

pub(crate) fn decode_dead(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut reader = Reader { bytes };
    let mut dead = Vec::new();
    while !reader.bytes.is_empty() {
        dead.push((reader.u48()?, reader.u48()?));
    }
    Some(dead)
}

/// Reads a blob and checks it.
pub(crate) fn read_blob<D: Disk>(disk: &D, pointer: BlobPointer, what: &str) -> Result<Vec<u8>, ReadError> {
    if pointer.block == 0 {
        return Ok(Vec::new());
    }
    let (offset, length) = pointer.range();
    let damaged = || ReadError::Damaged(Damage { offset, length, what: what.to_owned() });
    // The length is checked against the disk before memory is reserved for it.
    if offset.checked_add(length).is_none_or(|end| disk.length().is_ok_and(|length| end > length)) {
        return Err(damaged());
    }
    let mut blocks = Block::zeroed(pointer.blocks() as usize);
    let bytes = zerocopy::IntoBytes::as_mut_bytes(blocks.as_mut_slice());
    disk.read_at(offset, bytes)?;
    let bytes = &bytes[..pointer.bytes as usize];
    if checksum(bytes) == pointer.checksum { Ok(bytes.to_vec()) } else { Err(damaged()) }
}

/// Milliseconds that a fold is put off for readers.
const REST_MAX: u32 = 1000;
/// Blocks that stay free for the dropping of snapshots, when other commits find none.
const DROP_ROOM: u64 = 32;
/// Scattered runs of a fold that are written in one call.
const RUNS_AT_ONCE: usize = if cfg!(test) { 1 } else { 64 };

/// A fold worked out, to be written: by any thread, while the store takes commits.
pub struct FoldWork {
    /// Nodes, blobs and the space map.
    blocks: Vec<(u64, Block)>,
    meta: Meta,
    mutation: Mutation,
}

impl FoldWork {
    /// Writes everything and then the meta. `between` is called before each operation on the disk.
    ///
    /// # Errors
    /// What the disk says; pass it to [`Store::finish_fold`].
    pub fn write(&self, disk: &impl Disk, between: &mut dyn FnMut()) -> std::io::Result<()> {
        let slot = match self.mutation {
            Mutation::MetaInPlace => 0,
            _ => self.meta.generation % META_SLOTS,
        };
        let meta = self.meta.encode();
        if self.mutation == Mutation::MetaBeforeData {
            disk.write_durable_at(slot * BLOCK, &[&meta.0])?;
        }
        // In parts, so that a commit in another thread need not wait for all of it.
        // In file order. References are sorted, since each block is a page.
        let mut blocks: Vec<&(u64, Block)> = self.blocks.iter().collect();
        blocks.sort_unstable_by_key(|(at, _)| *at);
        let runs: Vec<&[&(u64, Block)]> = blocks.chunk_by(|(a, _), (b, _)| a + 1 == *b).collect();
        for part in runs.chunks(RUNS_AT_ONCE) {
            between();
            let part: Vec<(u64, Vec<&[u8]>)> = part
                .iter()
                .map(|run| (run[0].0 * BLOCK, run.iter().map(|(_, block)| &block.0[..]).collect()))
                .collect();
            disk.write_scattered(&part)?;
        }
        between();
        if self.mutation != Mutation::SkipFoldDataSync {
            disk.sync()?;
        }
        between();
        if self.mutation == Mutation::SkipMetaSync {
            return disk.write_at(slot * BLOCK, &[&meta.0]);
        }
        let written = disk.write_durable_at(slot * BLOCK, &[&meta.0]);
        if written.is_err() && self.mutation != Mutation::KeepFailed {
            take_back(disk, slot);
        }
        written
    }
}

/// A fold worked out: the new state, its meta, and the blocks of the space map.
type Prepared = (Folding, Meta, Vec<(u64, Block)>);

/// What a store keeps of a fold that is being written.
pub(crate) struct PendingFold {
    table: SnapshotTable,
    released: Vec<(u64, u64)>,
    /// Records of the log that the fold takes in, and their blocks.
    records: usize,
    log_blocks: u64,
}

/// The growing result of a fold; nothing of it is in the store until the meta is durable.
#[derive(Default)]
pub(super) struct Folding {
    pub(super) tree: NodePointer,
    pub(super) table: SnapshotTable,
    pub(super) change: TreeChange,
    /// Blocks that nothing needs once the new meta is durable.
    pub(super) released: Vec<(u64, u64)>,
    /// Dead blocks that the newest snapshot still needs, with their births.
    held: Vec<(u64, u64)>,
    blobs: Vec<(u64, Vec<u8>)>,
    /// Witnesses from this block on are moved.
    pub(super) limit: Option<u64>,
    stage: BTreeMap<u32, Option<PageEntry>>,
}

impl<D: Disk> NodeAllocator for Blocks<'_, D> {
    type Error = CommitError;
    fn allocate(&mut self) -> Result<u64, CommitError> {
        self.whole(1)
    }
}

/// Before a fold: waits for readers that ask for rest, but not for long, since one of them may be stopped.
pub fn let_readers_in(disk: &impl Disk) {
    for _ in 0..REST_MAX {
        if !disk.is_asked_for_rest().unwrap_or(false) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

impl<D: Disk> Store<D> {
    /// Applies the log to the page directory and writes a new meta. A program calls it before closing,
    /// to make the next open cheap.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`] leaves everything as it was; [`CommitError::Io`] poisons the store.
    pub fn fold(&mut self) -> Result<(), CommitError> {
        let_readers_in(&self.committed.disk);
        let Some(work) = self.begin_fold()? else { return Ok(()) };
        let written = work.write(&self.committed.disk, &mut || {});
        self.finish_fold(work, written)
    }

    /// Blocks that commits leave free: what folding the log with this commit takes at most, and the fold
    /// after it, since only then is the log's space free. So a file that is full of dead log, on a full disk,
    /// can be cleared. To drop a snapshot may take a part of it.
    pub(super) fn fold_reserve(&self, request: &CommitRequest<'_>) -> u64 {
        const LEAF_FILL: u64 = 64;
        if self.is_mutated(Mutation::NoReserve) {
            return 0;
        }
        let per_block = |count: u64, bytes: u64| (count * bytes).div_ceil(BLOCK);
        let changed = self.tail.pages + request.pages.len() as u64;
        let stages = self.tail.operations + 2;
        let used = self.space.total.saturating_sub(self.space.free());
        let leaves = used / LEAF_FILL + 1;
        let nodes = changed.min(stages * leaves) + changed / LEAF_FILL + 4 * stages;
        let freed = changed + self.tail.blocks + nodes;
        let groups = self.space.index.len() as u64;
        // Names and roots are much shorter than this, as a rule.
        let each = per_block(self.retained.len() as u64 + 1, 2048) + groups + per_block(groups + 64, 20) + 1;
        let slack = match request.operation {
            SnapshotOperation::Drop(_) => 0,
            _ => DROP_ROOM,
        };
        nodes + per_block(freed, 16 + 12) + stages + 2 * each + slack
    }

    /// Folds twice, since what only the log needs is pending after the first time; whether anything is free
    /// that was not.
    pub(super) fn make_room(&mut self) -> Result<bool, CommitError> {
        if self.poisoned || self.pending.is_some() || self.is_mutated(Mutation::NoReserve) {
            return Ok(false);
        }
        let before = self.space.free();
        for _ in 0..2 {
            let work = match self.begin_any_fold() {
                Ok(work) => work,
                Err(CommitError::DiskFull { .. }) => break,
                Err(error) => return Err(error),
            };
            let written = work.write(&self.committed.disk, &mut || {});
            self.finish_fold(work, written)?;
        }
        Ok(self.space.free() > before)
    }

    /// Works out a fold of the log as it is now, in memory. The caller writes it
    /// ([`FoldWork::write`]) and then calls [`Store::finish_fold`]; the store takes commits in between.
    /// `None` if there is nothing to fold or a fold is under way.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn begin_fold(&mut self) -> Result<Option<FoldWork>, CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        if self.tail.records.is_empty() || self.pending.is_some() {
            return Ok(None);
        }
        self.begin_any_fold().map(Some)
    }

    /// A fold of the log, which may be empty: what was pending is free then.
    pub(super) fn begin_any_fold(&mut self) -> Result<FoldWork, CommitError> {
        self.begin_fold_with(|store, folding| {
            let tail = std::mem::take(&mut store.tail);
            let applied = store.apply_tail(&tail, folding);
            store.tail = tail;
            applied.map(|()| store.log)
        })
    }

    /// A fold that changes what `change` says; it gives where the log goes on.
    pub(super) fn begin_fold_with(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Folding) -> Result<LogPosition, CommitError>,
    ) -> Result<FoldWork, CommitError> {
        self.space.begin();
        match self.prepare(change) {
            Ok((folding, meta, groups)) => Ok(self.hand_out(folding, meta, groups)),
            Err(error) => {
                // Nothing was written but to blocks that were free: forget it all.
                self.poisoned |= matches!(error, CommitError::Io(_));
                self.space.revert(&self.committed.disk)?;
                Err(error)
            }
        }
    }

    fn hand_out(&mut self, folding: Folding, meta: Meta, groups: Vec<(u64, Block)>) -> FoldWork {
        let mut blocks = folding.change.written;
        blocks.extend(groups);
        for (start, bytes) in &folding.blobs {
            blocks.extend((*start..).zip(blocks_of(bytes)));
        }
        self.pending = Some(PendingFold {
            table: folding.table,
            released: folding.released,
            records: self.tail.records.len(),
            log_blocks: self.tail.blocks,
        });
        let mut view = self.committed.view();
        view.folding = std::mem::take(&mut view.overlay);
        // What commits change in the map from here on belongs to the next fold.
        self.space.mark_clean();
        drop(view);
        self.log = meta.log;
        FoldWork { blocks, meta, mutation: self.options.mutation }
    }

    /// Accepts a written fold, or poisons the store if it could not be written.
    ///
    /// # Errors
    /// [`CommitError::Io`] with the error of the write.
    pub fn finish_fold(&mut self, work: FoldWork, written: std::io::Result<()>) -> Result<(), CommitError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        if let Err(error) = written {
            self.poisoned = true;
            return Err(CommitError::Io(error));
        }
        self.statistics.folds += 1;
        self.statistics.bytes_written += (work.blocks.len() as u64 + 1) * BLOCK;
        for (start, count) in std::mem::replace(&mut self.pending_free, merge_runs(pending.released)) {
            if !self.is_mutated(Mutation::FreePendingEarly) {
                self.space.set(&self.committed.disk, start, count, BlockUse::Free)?;
            }
        }
        self.pending_free_blocks = blocks_in(&self.pending_free);
        self.snapshots = pending.table;
        self.tail.forget(pending.records, pending.log_blocks);
        let witnesses = std::mem::replace(&mut self.meta, work.meta).witnesses;
        if witnesses != self.meta.witnesses {
            // The new ones know of no commit beside the fold.
            self.note_position();
        }
        self.slot_versions[(self.meta.generation % META_SLOTS) as usize] = self.meta.version;
        let mut view = self.committed.view();
        view.tree = self.meta.tree;
        view.folding.clear();
        self.committed.cache.trim();
        Ok(())
    }

    /// Works out the new state in memory.
    fn prepare(
        &mut self,
        change: impl FnOnce(&mut Self, &mut Folding) -> Result<LogPosition, CommitError>,
    ) -> Result<Prepared, CommitError> {
        let mut folding =
            Folding { tree: self.meta.tree, table: self.snapshots.clone(), ..Folding::default() };
        let log = change(self, &mut folding)?;

        let old = [self.meta.space_index, self.meta.pending_free, self.meta.snapshots];
        folding.released.extend(old.iter().filter(|blob| blob.block != 0).map(|b| (b.block, b.blocks())));
        let limit = folding.limit.unwrap_or(self.space.total);
        let (released, written) = (&mut folding.released, &mut folding.change.written);
        let witnesses = self.place_witnesses(limit, released, written)?;
        self.hold(&mut folding)?;
        let snapshots = folding.table.encode();
        let snapshots = self.place(&mut folding, snapshots)?;
        if self.is_mutated(Mutation::ReuseEarly) {
            for (start, count) in std::mem::take(&mut folding.released) {
                self.space.set(&self.committed.disk, start, count, BlockUse::Free)?;
            }
        }
        // The slot that is written next belongs to the meta that these runs were kept for: the map that is
        // written has them free. The one in memory not yet: a commit that took them before the new meta is
        // durable would be replayed over the present one, whose pending list they are on.
        let pending_before = self.pending_free.clone();
        for (start, count) in &pending_before {
            self.space.touch(&self.committed.disk, *start, *count)?;
        }
        let (index_blocks, pending_bytes) = self.reserve_map(&mut folding)?;
        // From here on nothing is allocated.
        for (start, count) in &pending_before {
            self.space.set(&self.committed.disk, *start, *count, BlockUse::Free)?;
        }
        let mut index = self.space.index.clone();
        let mut groups = Vec::new();
        for (number, block) in &index_blocks.groups {
            let bits = self.space.encode_group(*number);
            index[*number].block = *block;
            index[*number].checksum = checksum(&bits.0);
            groups.push((*block, bits));
        }
        let index_bytes = FreeSpace::encode_index(&index);
        let space_index = pointer(index_blocks.index, &index_bytes);
        let pending_free = pointer(index_blocks.pending_free, &pending_bytes);
        folding.blobs.push((index_blocks.index, index_bytes));
        if index_blocks.pending_free != 0 {
            folding.blobs.push((index_blocks.pending_free, pending_bytes));
        }
        let meta = Meta {
            version: FORMAT_VERSION,
            identity: self.meta.identity,
            generation: self.meta.generation + 1,
            position: self.position.clone(),
            log,
            total_blocks: self.space.total,
            tree: folding.tree,
            space_index,
            pending_free,
            snapshots,
            witnesses,
        };
        self.space.index = index;
        if !self.is_mutated(Mutation::FreePendingEarly) {
            for (start, count) in &pending_before {
                self.space.set(&self.committed.disk, *start, *count, BlockUse::Used)?;
            }
        }
        Ok((folding, meta, groups))
    }

    /// Takes the log's records in order; a snapshot on the way gets the tree as it is there.
    fn apply_tail(&mut self, tail: &Tail, folding: &mut Folding) -> Result<(), CommitError> {
        for record in &tail.records {
            for (page, entry) in &record.pages {
                if let Some(Some(before)) = folding.stage.insert(*page, *entry) {
                    // No snapshot came between, or the stage would have been applied.
                    folding.released.push((before.block, 1));
                }
            }
            folding.released.extend(record.overhead.iter().copied());
            match &record.operation {
                SnapshotOperation::None => {}
                SnapshotOperation::Retain(name) => {
                    self.apply_stage(folding, record.position.transaction)?;
                    self.hold(folding)?;
                    let deadlist = std::mem::take(&mut folding.table.deadlist);
                    folding.table.snapshots.push(Snapshot {
                        name: name.clone(),
                        position: record.position.clone(),
                        tree: folding.tree,
                        deadlist,
                    });
                }
                SnapshotOperation::Drop(name) => {
                    self.apply_stage(folding, record.position.transaction)?;
                    self.hold(folding)?;
                    self.drop_snapshot(folding, name)?;
                }
            }
        }
        self.apply_stage(folding, self.position.transaction)
    }

    fn apply_stage(&mut self, folding: &mut Folding, birth: u64) -> Result<(), CommitError> {
        let changes: Vec<_> = std::mem::take(&mut folding.stage).into_iter().collect();
        let mut change = std::mem::take(&mut folding.change);
        let root = folding.tree;
        let updated = self.update_tree(root, &changes, birth, &mut change);
        folding.tree = updated?;
        let newest = folding.table.snapshots.last().map_or(0, |snapshot| snapshot.position.transaction);
        for (block, birth) in change.dead.drain(..) {
            if birth <= newest && !self.is_mutated(Mutation::ForgetDeadlist) {
                folding.held.push((block, birth));
            } else {
                folding.released.push((block, 1));
            }
        }
        folding.change = change;
        Ok(())
    }

    fn update_tree(
        &mut self,
        root: NodePointer,
        changes: &[(u32, Option<PageEntry>)],
        birth: u64,
        change: &mut TreeChange,
    ) -> Result<NodePointer, CommitError> {
        let committed = std::sync::Arc::clone(&self.committed);
        let mut blocks = self.blocks();
        let reader = committed.reader();
        TreeUpdate { reader, allocator: &mut blocks, birth, change }.apply(root, changes)
    }

    /// Writes the dead blocks that snapshots need to the present's deadlist.
    fn hold(&mut self, folding: &mut Folding) -> Result<(), CommitError> {
        if folding.held.is_empty() {
            return Ok(());
        }
        let bytes = encode_dead(&std::mem::take(&mut folding.held));
        let chunk = self.place(folding, bytes)?;
        folding.table.deadlist.push(chunk);
        Ok(())
    }

    fn drop_snapshot(&mut self, folding: &mut Folding, name: &str) -> Result<(), CommitError> {
        let Some(at) = folding.table.snapshots.iter().position(|snapshot| snapshot.name == name) else {
            return Ok(());
        };
        let dropped = folding.table.snapshots.remove(at);
        let before = at.checked_sub(1).map_or(0, |at| folding.table.snapshots[at].position.transaction);
        // Of what died right after it, the part born after the snapshot before was needed by this one only.
        let list = match folding.table.snapshots.get_mut(at) {
            Some(next) => std::mem::take(&mut next.deadlist),
            None => std::mem::take(&mut folding.table.deadlist),
        };
        let mut kept = Vec::new();
        for chunk in list {
            for (block, birth) in self.read_dead(folding, chunk)? {
                if birth > before {
                    folding.released.push((block, 1));
                } else {
                    kept.push((block, birth));
                }
            }
            folding.released.push((chunk.block, chunk.blocks()));
        }
        let mut merged = dropped.deadlist;
        if !kept.is_empty() {
            merged.push(self.place(folding, encode_dead(&kept))?);
        }
        match folding.table.snapshots.get_mut(at) {
            Some(next) => next.deadlist = merged,
            None => folding.table.deadlist = merged,
        }
        Ok(())
    }

    /// A chunk of a deadlist, which this very fold may have made.
    pub(super) fn read_dead(
        &self,
        folding: &Folding,
        chunk: BlobPointer,
    ) -> Result<Vec<(u64, u64)>, ReadError> {
        let decoded = match folding.blobs.iter().find(|(block, _)| *block == chunk.block) {
            Some((_, bytes)) => decode_dead(bytes),
            None => decode_dead(&read_blob(&self.committed.disk, chunk, "deadlist of a snapshot")?),
        };
        let (offset, length) = chunk.range();
        decoded.ok_or_else(|| {
            ReadError::Damaged(Damage { offset, length, what: "deadlist of a snapshot".to_owned() })
        })
    }

    pub(super) fn place(
        &mut self,
        folding: &mut Folding,
        bytes: Vec<u8>,
    ) -> Result<BlobPointer, CommitError> {
        let block = self.blocks().whole((bytes.len() as u64).div_ceil(BLOCK))?;
        let placed = pointer(block, &bytes);
        folding.blobs.push((block, bytes));
        Ok(placed)
    }

    /// Finds a place for every changed group of the space map, for its index and for the list of pending
    /// blocks. Each place may change another group, so this goes on until nothing new is touched.
    fn reserve_map(&mut self, folding: &mut Folding) -> Result<(MapBlocks, Vec<u8>), CommitError> {
        let mut blocks = MapBlocks::default();
        // Room for the runs that the old places of the groups will add: every group at most once.
        let upper = merge_runs(folding.released.clone()).len() + self.space.index.len() + 16;
        let pending_free_blocks = (upper as u64 * 16).div_ceil(BLOCK);
        blocks.pending_free = self.blocks().whole(pending_free_blocks)?;
        let index_bytes = (self.space.index.len() as u64 + 64) * 20;
        let index_blocks = index_bytes.div_ceil(BLOCK);
        blocks.index = self.blocks().whole(index_blocks)?;
        for _ in 0..=self.space.index.len() + 64 {
            let missing: Vec<usize> =
                self.space.dirty_groups().into_iter().filter(|g| !blocks.groups.contains_key(g)).collect();
            if missing.is_empty() {
                break;
            }
            for number in missing {
                let old = self.space.index[number].block;
                if old != 0 {
                    folding.released.push((old, 1));
                }
                let block = self.blocks().whole(1)?;
                blocks.groups.insert(number, block);
            }
        }
        let pending_free = encode_runs(&merge_runs(folding.released.clone()));
        // What was reserved too much is given back before the map is written.
        let used = (pending_free.len() as u64).div_ceil(BLOCK);
        self.space.set(
            &self.committed.disk,
            blocks.pending_free + used,
            pending_free_blocks - used,
            BlockUse::Free,
        )?;
        assert!(
            self.space.index.len() as u64 * 20 <= index_blocks * BLOCK,
            "the fold grew the file by 64 groups"
        );
        let index_used = (self.space.index.len() as u64 * 20).div_ceil(BLOCK);
        self.space.set(
            &self.committed.disk,
            blocks.index + index_used,
            index_blocks - index_used,
            BlockUse::Free,
        )?;
        if pending_free.is_empty() {
            blocks.pending_free = 0;
        }
        Ok((blocks, pending_free))
    }
}

#[derive(Default)]
struct MapBlocks {
    groups: BTreeMap<usize, u64>,
    index: u64,
    pending_free: u64,
}

fn pointer(block: u64, bytes: &[u8]) -> BlobPointer {
    if bytes.is_empty() {
        return BlobPointer::default();
    }
    BlobPointer { block, bytes: bytes.len() as u64, checksum: checksum(bytes) }
}
