//! Compaction: what lies at the end of the file is moved to free blocks before it, and the file is cut.
//!
//! Moving is a fold that changes no page: the directories of the present and of every snapshot get new nodes
//! where a block below them has moved, with the births that they had. The pages are copied before the fold's
//! first sync, to blocks that were free, so the metas on the disk, and what they refer to, stay whole until
//! the new one is durable. The log, empty by then, goes on in a new place: no commit comes between, so
//! neither slot needs the way from the old place to the new.
//!
//! The file is cut only once both slots hold a meta that says where it ends: either may be lost.
//!
//! Not beside readers: a snapshot that another process reads is found where it was.

use std::collections::{HashMap, HashSet};

use super::codec::checksum;
use super::error::CommitError;
use super::fold::{Folding, encode_dead};
use super::format::{BlobPointer, LogPosition, NodePointer};
use super::tree::{Node, PageEntry};
use super::{BLOCK, Mutation, SEGMENT_MIN, Store, TAKEN_BACK, check_page};
use crate::disk::{Block, Disk};

/// Blocks of the log segment in a file that was compacted: the first commits go there.
const LOG_BLOCKS: u64 = 64;
/// Pages that are copied at once.
const COPY_PAGES: usize = 512;
/// Times that everything is looked through: what one leaves, for want of room, the next may move.
const PASSES_MAX: u32 = 8;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file now.
    pub after: u64,
    /// Pages that were moved.
    pub moved: u64,
}

/// Where everything goes in one pass.
struct Moving {
    /// What lies there or behind is moved.
    limit: u64,
    /// No block before this one is free.
    first_free: u64,
    /// New places of moved blocks.
    moved: HashMap<u64, u64>,
    /// Nodes that are done: where they are now.
    nodes: HashMap<u64, NodePointer>,
}

impl<D: Disk> Store<D> {
    /// Moves what the file holds to its start and cuts its end off. `progress` gets pages moved, and how many
    /// are to be in this pass. A crash at any moment leaves an arena with the same content.
    ///
    /// # Errors
    /// [`CommitError::SnapshotInUse`] with readers about; [`CommitError::DiskFull`] if there is no room for
    /// the new directory; [`CommitError::Read`] if a page is damaged: it stays where it is, and so does all
    /// else. [`CommitError::Io`] poisons the store.
    pub fn compact(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Compacted, CommitError> {
        if self.poisoned {
            return Err(CommitError::Poisoned);
        }
        let names: Vec<String> = self.retained.keys().cloned().collect();
        if let Some(name) = names.iter().find(|name| self.holds.are_on(name)) {
            return Err(CommitError::SnapshotInUse(name.clone()));
        }
        let mut claimed = Vec::new();
        let mut done = Ok(Compacted::default());
        for name in &names {
            match self.claim(name) {
                Ok(transaction) => claimed.extend(transaction),
                Err(error) => {
                    done = Err(error);
                    break;
                }
            }
        }
        if done.is_ok() {
            done = self.compact_alone(progress);
        }
        for transaction in claimed {
            self.committed.disk.release_snapshot(transaction);
        }
        done
    }

    fn compact_alone(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Compacted, CommitError> {
        let before = self.committed.disk.length().map_err(CommitError::Io)?;
        let mut moved = 0;
        // What only the log or the meta before needs is free after two.
        self.fold_as_it_is()?;
        self.fold_as_it_is()?;
        for _ in 0..PASSES_MAX {
            let end = self.space.end(&self.committed.disk)?;
            let limit = self.end_at_best();
            if end <= limit {
                break;
            }
            match self.move_down(limit, progress) {
                Ok(pages) => moved += pages,
                // What was moved before is worth something, too.
                Err(CommitError::DiskFull { .. }) if moved > 0 => break,
                Err(error) => return Err(error),
            }
            self.fold_as_it_is()?;
            if self.space.end(&self.committed.disk)? >= end {
                break;
            }
        }
        let after = self.cut_end()?;
        Ok(Compacted { before, after, moved })
    }

    /// Folds the log, which may be empty, with what it needs at the file's start.
    fn fold_as_it_is(&mut self) -> Result<(), CommitError> {
        self.space.rewind();
        let work = self.begin_any_fold()?;
        let written = work.write(&self.committed.disk, &mut || {});
        self.finish_fold(work, written)
    }

    /// Blocks that the meta's blobs take in a fold that changes nothing.
    fn blob_blocks(&self) -> u64 {
        let groups = self.space.index.len() as u64;
        let of = |bytes: u64| bytes.div_ceil(BLOCK) + 1;
        self.meta.snapshots.blocks() + of((groups + 64) * 20) + of((groups + 64) * 16) + groups.min(16)
    }

    /// Where the file would end with nothing free in it but what moving takes.
    fn end_at_best(&self) -> u64 {
        let used = self.space.total - self.space.free();
        let log = self.log.segment_end - self.log.next;
        used - log + self.log_blocks_wanted() + 2 * self.blob_blocks()
    }

    fn log_blocks_wanted(&self) -> u64 {
        LOG_BLOCKS.min(self.options.segment_blocks).max(SEGMENT_MIN)
    }

    /// Moves what lies behind the limit, as far as there is room before it; gives the pages that moved.
    fn move_down(&mut self, limit: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, CommitError> {
        self.space.rewind();
        let mut pages = 0;
        let work = self.begin_fold_with(|store, folding| {
            let mut moving = Moving { limit, first_free: 0, moved: HashMap::new(), nodes: HashMap::new() };
            folding.limit = Some(limit);
            let log = store.move_log(folding, &moving)?;
            pages = store.move_pages(folding, &mut moving, progress)?;
            folding.tree = store.move_tree(folding, &mut moving, folding.tree)?;
            for at in 0..folding.table.snapshots.len() {
                let tree = folding.table.snapshots[at].tree;
                folding.table.snapshots[at].tree = store.move_tree(folding, &mut moving, tree)?;
                let list = std::mem::take(&mut folding.table.snapshots[at].deadlist);
                folding.table.snapshots[at].deadlist = store.move_deadlist(folding, &moving, list)?;
            }
            let list = std::mem::take(&mut folding.table.deadlist);
            folding.table.deadlist = store.move_deadlist(folding, &moving, list)?;
            for number in 0..store.space.index.len() {
                let block = store.space.index[number].block;
                if block >= limit {
                    // A group that differs is written anew, elsewhere.
                    let first = number as u64 * super::free_space::GROUP_BLOCKS;
                    store.space.touch(&store.committed.disk, first, 1)?;
                }
            }
            Ok(log)
        })?;
        let written = work.write(&self.committed.disk, &mut || {});
        self.finish_fold(work, written)?;
        Ok(pages)
    }

    /// A segment for the log, if the one that it has lies too far behind or is longer than need be.
    fn move_log(&mut self, folding: &mut Folding, moving: &Moving) -> Result<LogPosition, CommitError> {
        let LogPosition { next, segment_end, chain } = self.log;
        let wanted = self.log_blocks_wanted();
        if segment_end <= moving.limit && segment_end - next <= 2 * wanted {
            return Ok(self.log);
        }
        let start = self.blocks().whole(wanted)?;
        folding.released.push((next, segment_end - next));
        // What lay there must not be taken for a record.
        folding.change.written.push((start, TAKEN_BACK.clone()));
        Ok(LogPosition { next: start, segment_end: start + wanted, chain })
    }

    /// Copies the pages behind the limit to free blocks before it, the last ones first.
    fn move_pages(
        &mut self,
        folding: &mut Folding,
        moving: &mut Moving,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, CommitError> {
        let mut seen: HashSet<u64> = HashSet::new();
        let mut behind: Vec<(u32, PageEntry)> = Vec::new();
        let trees = folding.table.snapshots.iter().map(|snapshot| snapshot.tree).chain([folding.tree]);
        for tree in trees {
            self.reader().walk(tree, &mut |node| seen.insert(node.block), &mut |page, entry| {
                if entry.block >= moving.limit {
                    behind.push((page, entry));
                }
            })?;
        }
        behind.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(entry.block));
        behind.dedup_by_key(|(_, entry)| entry.block);
        let mut ways: Vec<(u32, PageEntry, u64)> = Vec::with_capacity(behind.len());
        for (page, entry) in behind {
            let Some(to) = self.take_before(moving)? else { break };
            moving.moved.insert(entry.block, to);
            folding.released.push((entry.block, 1));
            ways.push((page, entry, to));
        }
        ways.sort_unstable_by_key(|(_, entry, _)| entry.block);
        let total = ways.len() as u64;
        let mut blocks = Block::zeroed(COPY_PAGES.min(ways.len()));
        for (part, done) in ways.chunks(COPY_PAGES).zip((0..).step_by(COPY_PAGES)) {
            progress(done, total);
            for ((page, entry, _), block) in part.iter().zip(&mut blocks) {
                self.committed.disk.read_on_at(entry.block * BLOCK, &mut block.0).map_err(CommitError::Io)?;
                check_page(*page, *entry, &block.0)?;
            }
            let mut placed: Vec<(u64, &[u8])> =
                part.iter().zip(&blocks).map(|((.., to), block)| (*to, &block.0[..])).collect();
            placed.sort_unstable_by_key(|(to, _)| *to);
            let runs: Vec<(u64, Vec<&[u8]>)> = placed
                .chunk_by(|(a, _), (b, _)| a + 1 == *b)
                .map(|run| (run[0].0 * BLOCK, run.iter().map(|(_, bytes)| *bytes).collect()))
                .collect();
            self.committed.disk.write_scattered(&runs).map_err(CommitError::Io)?;
        }
        progress(total, total);
        Ok(total)
    }

    fn take_before(&mut self, moving: &mut Moving) -> Result<Option<u64>, CommitError> {
        let taken = self.space.take_first(&self.committed.disk, moving.first_free, moving.limit)?;
        moving.first_free = taken.map_or(moving.limit, |block| block + 1);
        Ok(taken)
    }

    /// The tree with its nodes and pages where they are now.
    fn move_tree(
        &mut self,
        folding: &mut Folding,
        moving: &mut Moving,
        root: NodePointer,
    ) -> Result<NodePointer, CommitError> {
        if root.block == 0 {
            return Ok(root);
        }
        if let Some(done) = moving.nodes.get(&root.block) {
            return Ok(*done);
        }
        let node = self.reader().node(root)?;
        let (node, mut is_changed) = match &*node {
            Node::Leaf(entries) => {
                let mut is_changed = false;
                let entries = entries.iter().map(|(page, entry)| match moving.moved.get(&entry.block) {
                    Some(block) => {
                        is_changed = true;
                        (*page, PageEntry { block: *block, ..*entry })
                    }
                    None => (*page, *entry),
                });
                (Node::Leaf(entries.collect()), is_changed)
            }
            Node::Inner(level, children) => {
                let mut is_changed = false;
                let mut moved = Vec::with_capacity(children.len());
                for (page, child) in children {
                    let to = self.move_tree(folding, moving, *child)?;
                    is_changed |= to.block != child.block;
                    moved.push((*page, to));
                }
                (Node::Inner(*level, moved), is_changed)
            }
        };
        is_changed |= root.block >= moving.limit;
        let mut pointer = root;
        if is_changed {
            pointer.block = match self.take_before(moving)? {
                Some(block) => block,
                None => self.blocks().whole(1)?,
            };
            let block = node.encode();
            pointer.checksum = checksum(&block.0);
            folding.change.written.push((pointer.block, block));
            folding.released.push((root.block, 1));
            moving.moved.insert(root.block, pointer.block);
        }
        moving.nodes.insert(root.block, pointer);
        Ok(pointer)
    }

    /// A deadlist with its blocks where they are now.
    fn move_deadlist(
        &mut self,
        folding: &mut Folding,
        moving: &Moving,
        list: Vec<BlobPointer>,
    ) -> Result<Vec<BlobPointer>, CommitError> {
        let mut chunks = Vec::with_capacity(list.len());
        for chunk in list {
            let mut dead = self.read_dead(folding, chunk)?;
            let mut is_changed = chunk.block >= moving.limit;
            if !self.is_mutated(Mutation::MoveNoDead) {
                for (block, _) in &mut dead {
                    if let Some(to) = moving.moved.get(block) {
                        *block = *to;
                        is_changed = true;
                    }
                }
            }
            if is_changed {
                folding.released.push((chunk.block, chunk.blocks()));
                chunks.push(self.place(folding, encode_dead(&dead))?);
            } else {
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }

    /// Has both slots say where the file ends, and cuts the rest off. Gives its length.
    fn cut_end(&mut self) -> Result<u64, CommitError> {
        let end = self.space.end(&self.committed.disk)? + 2 * self.blob_blocks();
        if end < self.space.total {
            let before = self.space.total;
            let gone = self.space.shrink(end);
            let kept = gone.clone();
            self.space.rewind();
            let begun = self.begin_fold_with(|store, folding| {
                folding.released.extend(gone.iter().filter(|it| it.block != 0).map(|it| (it.block, 1)));
                Ok(store.log)
            });
            let work = match begun {
                Ok(work) => work,
                Err(error) => {
                    self.space.unshrink(before, kept);
                    return Err(error);
                }
            };
            if self.is_mutated(Mutation::CutEarly) {
                self.committed.disk.cut(self.space.total * BLOCK).map_err(CommitError::Io)?;
            }
            let written = work.write(&self.committed.disk, &mut || {});
            self.finish_fold(work, written)?;
            self.fold_as_it_is()?;
        }
        let length = self.space.total * BLOCK;
        let cut = self.committed.disk.cut(length).and_then(|()| self.committed.disk.sync());
        if let Err(error) = cut {
            self.poisoned = true;
            return Err(CommitError::Io(error));
        }
        Ok(length)
    }
}
