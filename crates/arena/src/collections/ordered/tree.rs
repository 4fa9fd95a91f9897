//! A B-tree of byte strings in the heap: what lies under an ordered map. Keys are ordered as bytes are.
//!
//! An entry is the first bytes of its key, which decide most comparisons, and the address of a record that
//! holds the whole key and the value. Nodes are full up to half at least, but for the root; both ways down
//! mend nodes before they are entered, so no node is visited twice.
//!
//! Not for types: `stored` says what the bytes mean.

use std::alloc::Layout;
use std::cmp::Ordering;
use std::ptr::NonNull;

use crate::arena::{AllocateError, Arena};
use crate::disk::Disk;

/// Least entries of a node that is not the root, and one more.
const HALF: usize = 16;
/// Most entries of a node.
pub(crate) const FULL: usize = 2 * HALF - 1;

/// An entry of a node.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Entry {
    /// The first eight bytes of the key, the first one highest; zeroes behind a shorter key.
    pub(crate) prefix: u64,
    /// Address of the record.
    pub(crate) record: u64,
}

/// A node without children.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) count: u32,
    /// 1 if it has no children.
    pub(crate) leaf: u32,
    pub(crate) entries: [Entry; FULL],
}

/// A node with children: one before each entry, and one behind the last.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Inner {
    pub(crate) node: Node,
    pub(crate) children: [u64; FULL + 1],
}

/// What a record's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// Bytes that the map's type gives a meaning.
    Bytes,
    /// The address of another tree's root field, whose tree is freed with the record.
    Tree,
}

/// The start of a record; the key follows, and then the value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Record {
    pub(crate) key_length: u32,
    /// 1 if the value is a tree.
    pub(crate) kind: u32,
    pub(crate) value_length: u64,
}

/// What leads to a tree: the root's address, 0 if it is empty, and how many entries there are.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Trunk {
    pub(crate) length: u64,
    pub(crate) root: u64,
}

pub(crate) fn prefix_of(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let count = key.len().min(8);
    first[..count].copy_from_slice(&key[..count]);
    u64::from_be_bytes(first)
}

/// A node of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeRef(NonNull<Inner>);

/// A record of the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef(NonNull<Record>);

impl RecordRef {
    /// # Safety
    /// The address is that of a record of a live tree.
    unsafe fn at(address: u64) -> Self {
        let pointer = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: no record lies at address 0.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    fn header(self) -> Record {
        // SAFETY: records are written whole when they are made, and live as long as the entry that leads
        // here.
        unsafe { self.0.read() }
    }

    /// The key, for as long as the record lives: callers give it the lifetime of the map's borrow.
    pub(crate) fn key<'a>(self) -> &'a [u8] {
        let Record { key_length, .. } = self.header();
        // SAFETY: that many bytes behind the header were written when the record was made.
        unsafe { std::slice::from_raw_parts(self.0.add(1).cast().as_ptr(), key_length as usize) }
    }

    /// The value, as the key.
    pub(crate) fn value<'a>(self) -> &'a [u8] {
        let Record { key_length, value_length, .. } = self.header();
        // SAFETY: as for the key, behind it.
        unsafe {
            let start = self.0.add(1).cast::<u8>().add(key_length as usize);
            std::slice::from_raw_parts(start.as_ptr(), value_length as usize)
        }
    }

    /// The trunk of the tree that is the value.
    pub(crate) fn tree(self) -> Option<NonNull<Trunk>> {
        let bytes = self.value().try_into().ok().filter(|_| self.header().kind == 1)?;
        NonNull::new(std::ptr::with_exposed_provenance_mut(u64::from_le_bytes(bytes) as usize))
    }

    fn layout(self) -> Layout {
        let Record { key_length, value_length, .. } = self.header();
        // The same size was laid out when the record was made.
        layout_of_record(key_length as usize, value_length as usize).unwrap_or(Layout::new::<Record>())
    }
}

fn layout_of_record(key: usize, value: usize) -> Result<Layout, AllocateError> {
    let error = AllocateError::Full { size: key.saturating_add(value), alignment: 8 };
    if u32::try_from(key).is_err() {
        return Err(error);
    }
    let size = key.checked_add(value).and_then(|size| size.checked_add(size_of::<Record>())).ok_or(error)?;
    Layout::from_size_align(size, align_of::<Record>()).map_err(|_| error)
}

impl NodeRef {
    /// The node at an address; `None` for 0.
    ///
    /// # Safety
    /// The address is 0 or that of a node of a live tree.
    pub(crate) unsafe fn at(address: u64) -> Option<Self> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(address as usize)).map(Self)
    }

    fn address(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    fn node(self) -> *mut Node {
        self.0.as_ptr().cast()
    }

    pub(crate) fn count(self) -> usize {
        // SAFETY: a node of a live tree; single words are read, no reference is made.
        unsafe { (*self.node()).count as usize }
    }

    pub(crate) fn is_leaf(self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.node()).leaf == 1 }
    }

    fn is_full(self) -> bool {
        self.count() == FULL
    }

    fn entry(self, at: usize) -> Entry {
        debug_assert!(at < FULL);
        // SAFETY: as above; the place is inside the node.
        unsafe { (*self.node()).entries[at] }
    }

    pub(crate) fn record(self, at: usize) -> RecordRef {
        // SAFETY: the first `count` entries lead to records.
        unsafe { RecordRef::at(self.entry(at).record) }
    }

    pub(crate) fn child(self, at: usize) -> NodeRef {
        debug_assert!(!self.is_leaf() && at <= self.count());
        // SAFETY: a node that is no leaf has one child more than entries, none of them 0.
        unsafe {
            NodeRef(NonNull::new_unchecked(std::ptr::with_exposed_provenance_mut(
                (*self.0.as_ptr()).children[at] as usize,
            )))
        }
    }

    fn set_entry(self, at: usize, entry: Entry) {
        // SAFETY: as above; what changes the tree has it borrowed exclusively.
        unsafe { (*self.node()).entries[at] = entry };
    }

    fn set_child(self, at: usize, child: NodeRef) {
        debug_assert!(!self.is_leaf());
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).children[at] = child.address() };
    }

    fn set_count(self, count: usize) {
        // SAFETY: as above.
        unsafe { (*self.node()).count = count as u32 };
    }

    /// Makes room for an entry, and in an inner node for the child behind it.
    fn open_gap(self, at: usize) {
        let count = self.count();
        for place in (at..count).rev() {
            self.set_entry(place + 1, self.entry(place));
        }
        if !self.is_leaf() {
            for place in (at + 1..=count).rev() {
                let child = self.child(place);
                // SAFETY: as in `set_child`; the count is raised below.
                unsafe { (*self.0.as_ptr()).children[place + 1] = child.address() };
            }
        }
        self.set_count(count + 1);
    }

    /// Takes an entry out, and in an inner node the child behind it.
    fn close_gap(self, at: usize) -> Entry {
        let (count, taken) = (self.count(), self.entry(at));
        for place in at..count - 1 {
            self.set_entry(place, self.entry(place + 1));
        }
        if !self.is_leaf() {
            for place in at + 1..count {
                self.set_child(place, self.child(place + 1));
            }
        }
        self.set_count(count - 1);
        taken
    }

    /// The place of a key, or else the first entry behind it.
    pub(crate) fn search(self, key: &[u8]) -> Result<usize, usize> {
        let prefix = prefix_of(key);
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.entry(middle);
            let order = entry.prefix.cmp(&prefix).then_with(|| self.record(middle).key().cmp(key));
            match order {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

/// A tree, by its trunk. The trunk lies in the heap and lives as long as the map; a change of the tree needs
/// the map, or the arena, borrowed exclusively.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree(pub(crate) NonNull<Trunk>);

impl Tree {
    pub(crate) fn trunk(self) -> Trunk {
        // SAFETY: the trunk lives as long as the map, see above.
        unsafe { self.0.read() }
    }

    fn set_trunk(self, trunk: Trunk) {
        // SAFETY: as above, and what changes it has it alone.
        unsafe { self.0.write(trunk) };
    }

    pub(crate) fn root(self) -> Option<NodeRef> {
        // SAFETY: the trunk leads to the root of its tree.
        unsafe { NodeRef::at(self.trunk().root) }
    }

    fn set_root(self, root: Option<NodeRef>) {
        self.set_trunk(Trunk { root: root.map_or(0, NodeRef::address), ..self.trunk() });
    }

    /// The node and the place in it of a key.
    fn find(self, key: &[u8]) -> Option<(NodeRef, usize)> {
        let mut node = self.root()?;
        loop {
            match node.search(key) {
                Ok(at) => return Some((node, at)),
                Err(_) if node.is_leaf() => return None,
                Err(at) => node = node.child(at),
            }
        }
    }

    pub(crate) fn get(self, key: &[u8]) -> Option<RecordRef> {
        self.find(key).map(|(node, at)| node.record(at))
    }

    /// Sets the value of a key; whether the key is new.
    ///
    /// # Errors
    /// [`AllocateError`]; the tree then has what it had.
    pub(crate) fn insert<D: Disk>(
        self,
        arena: &mut Arena<D>,
        key: &[u8],
        kind: ValueKind,
        value: &[u8],
    ) -> Result<bool, AllocateError> {
        let found = self.find(key);
        if let Some((node, at)) = found
            && kind == ValueKind::Bytes
            && node.record(at).header().kind == 0
            && node.record(at).value().len() == value.len()
        {
            let record = node.record(at);
            // Unchanged bytes are not written, so that their page stays clean.
            if record.value() != value {
                // SAFETY: the record has room for as many bytes; the tree is borrowed exclusively.
                unsafe {
                    let target = record.0.add(1).cast::<u8>().add(key.len());
                    target.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
                }
            }
            return Ok(false);
        }
        let record = new_record(arena, key, kind, value)?;
        let entry = Entry { prefix: prefix_of(key), record: record.0.as_ptr().expose_provenance() as u64 };
        if let Some((node, at)) = found {
            let before = node.record(at);
            node.set_entry(at, entry);
            free_record(arena, before);
            return Ok(false);
        }
        if let Err(error) = self.insert_new(arena, key, entry) {
            // SAFETY: the record was just made and nothing leads to it.
            unsafe { arena.free(record.0.cast(), record.layout()) };
            return Err(error);
        }
        let trunk = self.trunk();
        self.set_trunk(Trunk { length: trunk.length + 1, ..trunk });
        Ok(true)
    }

    /// Gives a key, which is not there, an empty tree as its value.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub(crate) fn insert_tree<D: Disk>(
        self,
        arena: &mut Arena<D>,
        key: &[u8],
    ) -> Result<NonNull<Trunk>, AllocateError> {
        let trunk = new_trunk(arena)?;
        let address = trunk.as_ptr().expose_provenance() as u64;
        match self.insert(arena, key, ValueKind::Tree, &address.to_le_bytes()) {
            Ok(_) => Ok(trunk),
            Err(error) => {
                // SAFETY: it was just allocated, and nothing leads to it.
                unsafe { arena.free(trunk.cast(), Layout::new::<Trunk>()) };
                Err(error)
            }
        }
    }

    fn insert_new<D: Disk>(
        self,
        arena: &mut Arena<D>,
        key: &[u8],
        entry: Entry,
    ) -> Result<(), AllocateError> {
        let mut node = match self.root() {
            None => {
                let root = new_node(arena, true)?;
                self.set_root(Some(root));
                root
            }
            Some(root) if root.is_full() => {
                let above = new_node(arena, false)?;
                above.set_child(0, root);
                if let Err(error) = split_child(arena, above, 0) {
                    free_node(arena, above);
                    return Err(error);
                }
                self.set_root(Some(above));
                above
            }
            Some(root) => root,
        };
        loop {
            let mut at = node.search(key).unwrap_or_else(|at| at);
            if node.is_leaf() {
                node.open_gap(at);
                node.set_entry(at, entry);
                return Ok(());
            }
            if node.child(at).is_full() {
                split_child(arena, node, at)?;
                if node.record(at).key() < key {
                    at += 1;
                }
            }
            node = node.child(at);
        }
    }

    /// Removes a key and frees its record; whether it was there.
    pub(crate) fn remove<D: Disk>(self, arena: &mut Arena<D>, key: &[u8]) -> bool {
        let (Some(root), Some(_)) = (self.root(), self.find(key)) else { return false };
        let taken = take(arena, root, key);
        if root.count() == 0 {
            self.set_root((!root.is_leaf()).then(|| root.child(0)));
            free_node(arena, root);
        }
        let trunk = self.trunk();
        self.set_trunk(Trunk { length: trunk.length - 1, ..trunk });
        // SAFETY: the entry was just taken out, and led to its record.
        free_record(arena, unsafe { RecordRef::at(taken.record) });
        true
    }

    /// Frees all that it has.
    pub(crate) fn clear<D: Disk>(self, arena: &mut Arena<D>) {
        let mut nodes: Vec<NodeRef> = self.root().into_iter().collect();
        self.set_trunk(Trunk::default());
        // Trees in trees add their nodes, so that none is too deep.
        while let Some(node) = nodes.pop() {
            for at in 0..node.count() {
                let record = node.record(at);
                if let Some(tree) = record.tree() {
                    nodes.extend(Tree(tree).root());
                    // SAFETY: the trunk was allocated for this record, which goes.
                    unsafe { arena.free(tree.cast(), Layout::new::<Trunk>()) };
                }
                // SAFETY: nothing leads to the record any more.
                unsafe { arena.free(record.0.cast(), record.layout()) };
            }
            if !node.is_leaf() {
                nodes.extend((0..=node.count()).map(|at| node.child(at)));
            }
            free_node(arena, node);
        }
    }
}

/// The trunk of an empty tree.
///
/// # Errors
/// [`AllocateError`].
pub(crate) fn new_trunk<D: Disk>(arena: &mut Arena<D>) -> Result<NonNull<Trunk>, AllocateError> {
    let trunk = arena.allocate(Layout::new::<Trunk>())?.cast::<Trunk>();
    // SAFETY: the object was just allocated with this layout.
    unsafe { trunk.write(Trunk::default()) };
    Ok(trunk)
}

fn new_record<D: Disk>(
    arena: &mut Arena<D>,
    key: &[u8],
    kind: ValueKind,
    value: &[u8],
) -> Result<RecordRef, AllocateError> {
    let record = arena.allocate(layout_of_record(key.len(), value.len())?)?.cast::<Record>();
    let header = Record {
        key_length: key.len() as u32,
        kind: u32::from(kind == ValueKind::Tree),
        value_length: value.len() as u64,
    };
    // SAFETY: the object was just allocated with room for header, key and value.
    unsafe {
        record.write(header);
        let bytes = record.add(1).cast::<u8>();
        bytes.copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
        bytes.add(key.len()).copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
    }
    Ok(RecordRef(record))
}

/// Frees a record that no entry leads to any more, and the tree that its value may be.
fn free_record<D: Disk>(arena: &mut Arena<D>, record: RecordRef) {
    if let Some(tree) = record.tree() {
        Tree(tree).clear(arena);
        // SAFETY: the trunk was allocated for this record.
        unsafe { arena.free(tree.cast(), Layout::new::<Trunk>()) };
    }
    // SAFETY: it was allocated with this layout, and nothing leads to it.
    unsafe { arena.free(record.0.cast(), record.layout()) };
}

fn node_layout(leaf: bool) -> Layout {
    if leaf { Layout::new::<Node>() } else { Layout::new::<Inner>() }
}

fn new_node<D: Disk>(arena: &mut Arena<D>, leaf: bool) -> Result<NodeRef, AllocateError> {
    let node = arena.allocate(node_layout(leaf))?.cast::<Node>();
    let empty = Node { count: 0, leaf: u32::from(leaf), entries: [Entry::default(); FULL] };
    // SAFETY: the object was just allocated with room for it; children are set by the caller.
    unsafe { node.write(empty) };
    Ok(NodeRef(node.cast()))
}

fn free_node<D: Disk>(arena: &mut Arena<D>, node: NodeRef) {
    // SAFETY: it was allocated with this layout, and nothing leads to it any more.
    unsafe { arena.free(node.0.cast(), node_layout(node.is_leaf())) };
}

/// Cuts a full child in two; the entry between them goes up.
fn split_child<D: Disk>(arena: &mut Arena<D>, parent: NodeRef, at: usize) -> Result<(), AllocateError> {
    let left = parent.child(at);
    let right = new_node(arena, left.is_leaf())?;
    for place in 0..HALF - 1 {
        right.set_entry(place, left.entry(HALF + place));
    }
    if !left.is_leaf() {
        for place in 0..HALF {
            right.set_child(place, left.child(HALF + place));
        }
    }
    right.set_count(HALF - 1);
    left.set_count(HALF - 1);
    let middle = left.entry(HALF - 1);
    parent.open_gap(at);
    parent.set_entry(at, middle);
    parent.set_child(at + 1, right);
    Ok(())
}

/// Joins the children on both sides of an entry, and the entry, in the left one.
fn join_children<D: Disk>(arena: &mut Arena<D>, parent: NodeRef, at: usize) -> NodeRef {
    let (left, right) = (parent.child(at), parent.child(at + 1));
    let (before, more) = (left.count(), right.count());
    left.set_entry(before, parent.entry(at));
    for place in 0..more {
        left.set_entry(before + 1 + place, right.entry(place));
    }
    left.set_count(before + 1 + more);
    if !left.is_leaf() {
        for place in 0..=more {
            left.set_child(before + 1 + place, right.child(place));
        }
    }
    parent.close_gap(at);
    free_node(arena, right);
    left
}

/// A child with an entry to spare, at a place or where that has gone: one is borrowed from a neighbour, or
/// the child is joined with one.
fn with_spare<D: Disk>(arena: &mut Arena<D>, parent: NodeRef, at: usize) -> NodeRef {
    let child = parent.child(at);
    if child.count() >= HALF {
        return child;
    }
    if at > 0 && parent.child(at - 1).count() >= HALF {
        let left = parent.child(at - 1);
        let last = left.count() - 1;
        let grandchild = (!left.is_leaf()).then(|| left.child(last + 1));
        child.open_gap(0);
        if let Some(grandchild) = grandchild {
            child.set_child(1, child.child(0));
            child.set_child(0, grandchild);
        }
        child.set_entry(0, parent.entry(at - 1));
        parent.set_entry(at - 1, left.entry(last));
        left.set_count(last);
        return child;
    }
    if at < parent.count() && parent.child(at + 1).count() >= HALF {
        let right = parent.child(at + 1);
        let (count, first) = (child.count(), right.entry(0));
        let grandchild = (!right.is_leaf()).then(|| right.child(0));
        child.set_entry(count, parent.entry(at));
        child.set_count(count + 1);
        parent.set_entry(at, first);
        if let Some(grandchild) = grandchild {
            child.set_child(count + 1, grandchild);
            right.set_child(0, right.child(1));
        }
        right.close_gap(0);
        return child;
    }
    join_children(arena, parent, if at < parent.count() { at } else { at - 1 })
}

/// Takes the entry of a key out of a tree that has it. The node has an entry to spare, or is the root.
fn take<D: Disk>(arena: &mut Arena<D>, mut node: NodeRef, key: &[u8]) -> Entry {
    loop {
        match node.search(key) {
            Ok(at) if node.is_leaf() => return node.close_gap(at),
            Ok(at) => {
                let (left, right) = (node.child(at), node.child(at + 1));
                let taken = node.entry(at);
                if left.count() >= HALF {
                    node.set_entry(at, take_end(arena, left, NodeRef::count));
                } else if right.count() >= HALF {
                    node.set_entry(at, take_end(arena, right, |_| 0));
                } else {
                    node = join_children(arena, node, at);
                    continue;
                }
                return taken;
            }
            Err(at) => node = with_spare(arena, node, at),
        }
    }
}

/// Takes the first or last entry out of a subtree: the one on the side of the child that `side` names.
fn take_end<D: Disk>(arena: &mut Arena<D>, mut node: NodeRef, side: fn(NodeRef) -> usize) -> Entry {
    while !node.is_leaf() {
        node = with_spare(arena, node, side(node));
    }
    node.close_gap(side(node).saturating_sub(1))
}
