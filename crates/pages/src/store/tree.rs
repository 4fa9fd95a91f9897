//! The page directory: a copy-on-write B+ tree from page number to block, birth and checksum.
//!
//! A node is one block and is never written twice: an update writes new nodes along the path and
//! names the old ones dead. Each pointer carries its node's checksum, so the root vouches for all.
//! Nodes are cached; the cache's mutex is a leaf lock, held for no I/O.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;

use super::codec::{Reader, Writer, checksum};
use super::error::{Damage, ReadError};
use super::format::NodePointer;
use crate::disk::{BLOCK_SIZE, Block, Disk};

/// Entries in a leaf: 20 bytes each after a header of 16.
pub(crate) const LEAF_ENTRIES: usize = (BLOCK_SIZE - 16) / 20;
/// Entries in an inner node: 24 bytes each.
pub(crate) const INNER_ENTRIES: usize = (BLOCK_SIZE - 16) / 24;
const NODE_MAGIC: u32 = 0x4e42_4e59;
/// No tree of 2^32 pages is taller, even with one entry in a node where two would fit.
const HEIGHT_MAX: u16 = 8;
/// Nodes kept in memory: 64 MiB of them.
const CACHE_NODES_MAX: usize = 16_384;

/// Where a page lies, since which commit, and what it must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// Block of the file.
    pub block: u64,
    /// Number of the commit that wrote it.
    pub birth: u64,
    /// CRC-32C of the page.
    pub checksum: u32,
}

#[derive(Debug)]
pub(crate) enum Node {
    Leaf(Vec<(u32, PageEntry)>),
    Inner(u16, Vec<(u32, NodePointer)>),
}

impl Node {
    fn level(&self) -> u16 {
        match self {
            Node::Leaf(_) => 0,
            Node::Inner(level, _) => *level,
        }
    }

    pub(super) fn encode(&self) -> Block {
        let mut writer = Writer::default();
        writer.u32(NODE_MAGIC);
        writer.u16(self.level());
        let count = match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(_, entries) => entries.len(),
        };
        writer.u16(count as u16);
        writer.u64(0);
        match self {
            Node::Leaf(entries) => {
                for (page, entry) in entries {
                    writer.u32(*page);
                    writer.u48(entry.block);
                    writer.u48(entry.birth);
                    writer.u32(entry.checksum);
                }
            }
            Node::Inner(_, entries) => {
                for (page, pointer) in entries {
                    writer.u32(*page);
                    writer.u48(pointer.block);
                    writer.u48(pointer.birth);
                    writer.u64(pointer.checksum);
                }
            }
        }
        let mut block = Block::ZERO;
        block.0[..writer.bytes.len()].copy_from_slice(&writer.bytes);
        block
    }

    /// `None` for bytes that are no node: wrong magic, too many entries, keys out of order.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Node> {
        let mut reader = Reader { bytes };
        if reader.u32()? != NODE_MAGIC {
            return None;
        }
        let (level, count) = (reader.u16()?, usize::from(reader.u16()?));
        reader.u64()?;
        let mut last = None;
        let mut ascending = |page: u32| {
            let fine = last.is_none_or(|before| before < page);
            last = Some(page);
            fine.then_some(page)
        };
        if level == 0 {
            let mut entries = Vec::with_capacity(count.min(LEAF_ENTRIES));
            for _ in 0..count {
                let page = ascending(reader.u32()?)?;
                let entry = PageEntry { block: reader.u48()?, birth: reader.u48()?, checksum: reader.u32()? };
                entries.push((page, entry));
            }
            Some(Node::Leaf(entries))
        } else {
            if level > HEIGHT_MAX {
                return None;
            }
            let mut entries = Vec::with_capacity(count.min(INNER_ENTRIES));
            for _ in 0..count {
                let page = ascending(reader.u32()?)?;
                let pointer =
                    NodePointer { block: reader.u48()?, birth: reader.u48()?, checksum: reader.u64()? };
                entries.push((page, pointer));
            }
            Some(Node::Inner(level, entries))
        }
    }
}

/// Nodes read or written lately, by block; the checksum tells a reused block's node from the old one.
#[derive(Default)]
pub(crate) struct NodeCache {
    nodes: Mutex<HashMap<u64, (u64, Arc<Node>)>>,
}

impl NodeCache {
    fn get(&self, pointer: NodePointer) -> Option<Arc<Node>> {
        let nodes = self.nodes.lock();
        let (sum, node) = nodes.get(&pointer.block)?;
        (*sum == pointer.checksum).then(|| Arc::clone(node))
    }
    fn insert(&self, pointer: NodePointer, node: Arc<Node>) {
        let mut nodes = self.nodes.lock();
        nodes.insert(pointer.block, (pointer.checksum, node));
    }
    /// Forgets everything once too much is kept. Never called while written nodes are not on disk yet.
    pub(crate) fn trim(&self) {
        let mut nodes = self.nodes.lock();
        if nodes.len() > CACHE_NODES_MAX {
            nodes.clear();
        }
    }
    /// Forgets everything, for a verification that must see the disk.
    pub(crate) fn clear(&self) {
        self.nodes.lock().clear();
    }
}

/// Reads trees from a disk through the cache.
pub(crate) struct TreeReader<'a, D> {
    pub(crate) disk: &'a D,
    pub(crate) cache: &'a NodeCache,
}

impl<D: Disk> TreeReader<'_, D> {
    pub(crate) fn node(&self, pointer: NodePointer) -> Result<Arc<Node>, ReadError> {
        if let Some(node) = self.cache.get(pointer) {
            return Ok(node);
        }
        let mut block = Block::ZERO;
        let offset = pointer.block * BLOCK_SIZE as u64;
        self.disk.read_at(offset, &mut block.0)?;
        let damaged = || {
            let what = "page directory node".to_owned();
            ReadError::Damaged(Damage { offset, length: BLOCK_SIZE as u64, what })
        };
        if checksum(&block.0) != pointer.checksum {
            return Err(damaged());
        }
        let node = Arc::new(Node::decode(&block.0).ok_or_else(damaged)?);
        self.cache.insert(pointer, Arc::clone(&node));
        Ok(node)
    }

    pub(crate) fn lookup(&self, root: NodePointer, page: u32) -> Result<Option<PageEntry>, ReadError> {
        let mut pointer = root;
        // Each step goes down one level, and decode() bounds the levels.
        for _ in 0..=HEIGHT_MAX {
            if pointer.block == 0 {
                return Ok(None);
            }
            match &*self.node(pointer)? {
                Node::Leaf(entries) => {
                    let found = entries.binary_search_by_key(&page, |(key, _)| *key);
                    return Ok(found.ok().map(|at| entries[at].1));
                }
                Node::Inner(_, entries) => {
                    let at = entries.partition_point(|(key, _)| *key <= page);
                    let Some(at) = at.checked_sub(1) else { return Ok(None) };
                    pointer = entries[at].1;
                }
            }
        }
        Ok(None)
    }

    /// Calls `visit` for each entry with a page in the range, ascending. Costs the nodes over the range.
    pub(crate) fn range(
        &self,
        root: NodePointer,
        pages: RangeInclusive<u32>,
        visit: &mut dyn FnMut(u32, PageEntry),
    ) -> Result<(), ReadError> {
        self.range_below(root, &pages, HEIGHT_MAX, visit)
    }

    fn range_below(
        &self,
        pointer: NodePointer,
        pages: &RangeInclusive<u32>,
        height: u16,
        visit: &mut dyn FnMut(u32, PageEntry),
    ) -> Result<(), ReadError> {
        if pointer.block == 0 {
            return Ok(());
        }
        match &*self.node(pointer)? {
            Node::Leaf(entries) => {
                let first = entries.partition_point(|(page, _)| page < pages.start());
                let inside = entries[first..].iter().take_while(|(page, _)| page <= pages.end());
                inside.for_each(|(page, entry)| visit(*page, *entry));
            }
            Node::Inner(_, children) if height > 0 => {
                let first = children.partition_point(|(page, _)| page <= pages.start()).saturating_sub(1);
                for (_, child) in children[first..].iter().take_while(|(page, _)| page <= pages.end()) {
                    self.range_below(*child, pages, height - 1, visit)?;
                }
            }
            Node::Inner(..) => {}
        }
        Ok(())
    }

    /// The largest page number of a tree.
    pub(crate) fn last_page(&self, root: NodePointer) -> Result<Option<u32>, ReadError> {
        let mut pointer = root;
        for _ in 0..=HEIGHT_MAX {
            if pointer.block == 0 {
                return Ok(None);
            }
            match &*self.node(pointer)? {
                Node::Leaf(entries) => return Ok(entries.last().map(|(page, _)| *page)),
                Node::Inner(_, children) => match children.last() {
                    Some((_, child)) => pointer = *child,
                    None => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    /// Calls `visit_node` for each node and `visit_page` for each entry, in order. `visit_node` answers
    /// whether to go below.
    pub(crate) fn walk(
        &self,
        root: NodePointer,
        visit_node: &mut dyn FnMut(NodePointer) -> bool,
        visit_page: &mut dyn FnMut(u32, PageEntry),
    ) -> Result<(), ReadError> {
        if root.block == 0 || !visit_node(root) {
            return Ok(());
        }
        match &*self.node(root)? {
            Node::Leaf(entries) => entries.iter().for_each(|(page, entry)| visit_page(*page, *entry)),
            Node::Inner(_, entries) => {
                for (_, pointer) in entries {
                    self.walk(*pointer, visit_node, visit_page)?;
                }
            }
        }
        Ok(())
    }

    /// Page numbers that differ between two trees, ascending, with the entry in `new` (`None`: gone).
    /// Costs the nodes that the trees do not share.
    pub(crate) fn diff(
        &self,
        old: NodePointer,
        new: NodePointer,
    ) -> Result<Vec<(u32, Option<PageEntry>)>, ReadError> {
        let start = |root: NodePointer| if root.block == 0 { vec![] } else { vec![root] };
        let mut sides = [start(old), start(new)];
        let mut entries = [Vec::new(), Vec::new()];
        for _ in 0..=HEIGHT_MAX {
            let shared: HashSet<NodePointerKey> = sides[0].iter().map(key).collect();
            let both: HashSet<NodePointerKey> =
                sides[1].iter().map(key).filter(|pointer| shared.contains(pointer)).collect();
            let mut levels = [Vec::new(), Vec::new()];
            for (side, list) in sides.iter().enumerate() {
                for pointer in list.iter().filter(|pointer| !both.contains(&key(pointer))) {
                    levels[side].push((*pointer, self.node(*pointer)?));
                }
            }
            // The taller side is opened first, so that both meet at one level and sharing shows.
            let top = levels.iter().flatten().map(|(_, node)| node.level()).max().unwrap_or(0);
            sides = [Vec::new(), Vec::new()];
            for (side, list) in levels.into_iter().enumerate() {
                for (pointer, node) in list {
                    match &*node {
                        Node::Leaf(leaf) if top == 0 => entries[side].extend_from_slice(leaf),
                        Node::Inner(level, children) if *level == top => {
                            sides[side].extend(children.iter().map(|(_, child)| *child));
                        }
                        _ => sides[side].push(pointer),
                    }
                }
            }
            if sides.iter().all(Vec::is_empty) {
                break;
            }
        }
        let before: HashMap<u32, PageEntry> = entries[0].iter().copied().collect();
        let after: HashSet<u32> = entries[1].iter().map(|(page, _)| *page).collect();
        let mut changed: Vec<_> = entries[1]
            .iter()
            .filter(|(page, entry)| before.get(page) != Some(entry))
            .map(|(page, entry)| (*page, Some(*entry)))
            .collect();
        changed.extend(before.keys().filter(|page| !after.contains(page)).map(|page| (*page, None)));
        changed.sort_unstable_by_key(|(page, _)| *page);
        Ok(changed)
    }
}

type NodePointerKey = (u64, u64);
fn key(pointer: &NodePointer) -> NodePointerKey {
    (pointer.block, pointer.checksum)
}

/// Where an update takes new blocks from.
pub(crate) trait NodeAllocator {
    type Error: From<ReadError>;
    fn allocate(&mut self) -> Result<u64, Self::Error>;
}

/// What an update of the tree produces: nodes to write, blocks that died with their births.
#[derive(Default)]
pub(crate) struct TreeChange {
    pub(crate) written: Vec<(u64, Block)>,
    pub(crate) dead: Vec<(u64, u64)>,
}

pub(crate) struct TreeUpdate<'a, D, A> {
    pub(crate) reader: TreeReader<'a, D>,
    pub(crate) allocator: &'a mut A,
    /// Birth of every node that the update writes.
    pub(crate) birth: u64,
    pub(crate) change: &'a mut TreeChange,
}

impl<D: Disk, A: NodeAllocator> TreeUpdate<'_, D, A> {
    /// Applies `changes` (ascending; `None` removes) and gives the new root.
    pub(crate) fn apply(
        &mut self,
        root: NodePointer,
        changes: &[(u32, Option<PageEntry>)],
    ) -> Result<NodePointer, A::Error> {
        if changes.is_empty() {
            return Ok(root);
        }
        let mut level = 0;
        let mut top = if root.block == 0 {
            self.merge_leaf(&[], changes)?
        } else {
            level = self.reader.node(root)?.level();
            self.apply_below(root, changes)?
        };
        while top.len() > 1 {
            level += 1;
            top = self.write_inner(level, top)?;
        }
        let Some((_, mut pointer)) = top.first().copied() else { return Ok(NodePointer::default()) };
        // A root with one child is no use: its child becomes the root.
        for _ in 0..HEIGHT_MAX {
            let node = self.reader.node(pointer)?;
            let Node::Inner(_, children) = &*node else { break };
            let [(_, only)] = children.as_slice() else { break };
            self.change.dead.push((pointer.block, pointer.birth));
            pointer = *only;
        }
        Ok(pointer)
    }

    fn apply_below(
        &mut self,
        pointer: NodePointer,
        changes: &[(u32, Option<PageEntry>)],
    ) -> Result<Vec<(u32, NodePointer)>, A::Error> {
        let node = self.reader.node(pointer)?;
        self.change.dead.push((pointer.block, pointer.birth));
        match &*node {
            Node::Leaf(entries) => self.merge_leaf(entries, changes),
            Node::Inner(level, children) => {
                let mut merged = Vec::with_capacity(children.len() + 1);
                let mut rest = changes;
                for (at, (first, child)) in children.iter().enumerate() {
                    // The leftmost child also takes what is smaller than every key.
                    let until = children
                        .get(at + 1)
                        .map_or(rest.len(), |(next, _)| rest.partition_point(|(page, _)| page < next));
                    let (here, after) = rest.split_at(until);
                    rest = after;
                    if here.is_empty() {
                        merged.push((*first, *child));
                    } else {
                        merged.extend(self.apply_below(*child, here)?);
                    }
                }
                self.write_inner(*level, merged)
            }
        }
    }

    fn merge_leaf(
        &mut self,
        entries: &[(u32, PageEntry)],
        changes: &[(u32, Option<PageEntry>)],
    ) -> Result<Vec<(u32, NodePointer)>, A::Error> {
        let mut merged = Vec::with_capacity(entries.len() + changes.len());
        let mut old = entries.iter().copied().peekable();
        for (page, change) in changes {
            while let Some(entry) = old.next_if(|(key, _)| key < page) {
                merged.push(entry);
            }
            if let Some((_, entry)) = old.next_if(|(key, _)| key == page) {
                self.change.dead.push((entry.block, entry.birth));
            }
            if let Some(entry) = change {
                merged.push((*page, *entry));
            }
        }
        merged.extend(old);
        let appended = entries.last().is_none_or(|(last, _)| changes.first().is_some_and(|c| c.0 > *last));
        let mut pointers = Vec::new();
        for part in split(merged, LEAF_ENTRIES, appended) {
            let first = part[0].0;
            pointers.push((first, self.write(Node::Leaf(part))?));
        }
        Ok(pointers)
    }

    fn write_inner(
        &mut self,
        level: u16,
        children: Vec<(u32, NodePointer)>,
    ) -> Result<Vec<(u32, NodePointer)>, A::Error> {
        let mut pointers = Vec::new();
        for part in split(children, INNER_ENTRIES, false) {
            let first = part[0].0;
            pointers.push((first, self.write(Node::Inner(level, part))?));
        }
        Ok(pointers)
    }

    fn write(&mut self, node: Node) -> Result<NodePointer, A::Error> {
        let block = node.encode();
        let pointer = NodePointer {
            block: self.allocator.allocate()?,
            birth: self.birth,
            checksum: checksum(&block.0),
        };
        self.reader.cache.insert(pointer, Arc::new(node));
        self.change.written.push((pointer.block, block));
        Ok(pointer)
    }
}

/// Splits into parts of at most `most` entries: full ones when a run was appended (pages are mostly
/// handed out in order), even ones otherwise, which leaves each room to grow.
fn split<T>(entries: Vec<T>, most: usize, appended: bool) -> Vec<Vec<T>> {
    let count = entries.len().div_ceil(most);
    let mut rest = entries.into_iter();
    let mut parts = Vec::with_capacity(count);
    for left in (1..=count).rev() {
        let size = if appended { most } else { rest.len().div_ceil(left) };
        // A part of its own size: taken off a large vector it would keep the room of all that followed.
        parts.push(rest.by_ref().take(size).collect());
    }
    parts
}
