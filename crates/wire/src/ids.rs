//! What an address, a page, an extent and a node are, for every crate.
//!
//! Plain numbers with names; no tables and no policy.

use core::fmt;

/// Bytes in a page.
pub const PAGE_BYTES: u64 = 4096;
/// Pages in an extent, the unit of allocation and ownership.
pub const EXTENT_PAGES: u32 = 512;
/// Bytes in an extent: 2 MiB.
pub const EXTENT_BYTES: u64 = PAGE_BYTES * EXTENT_PAGES as u64;
/// Nodes in one cluster; a [`NodeSet`] has one bit for each.
pub const NODES_MAX: u8 = 64;
/// The first page number beyond the 47-bit user address space: no page has this number or a higher one.
pub const PAGES_END: u64 = 1 << (47 - 12);

/// A node of the cluster, less than [`NODES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "control",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "u8", into = "u8")
)]
pub struct NodeId(u8);

/// A number that is no node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node number {0} is too high")]
pub struct NoSuchNode(pub u8);

impl TryFrom<u8> for NodeId {
    type Error = NoSuchNode;

    fn try_from(number: u8) -> Result<Self, NoSuchNode> {
        Self::new(number).ok_or(NoSuchNode(number))
    }
}

impl From<NodeId> for u8 {
    fn from(node: NodeId) -> Self {
        node.0
    }
}

impl NodeId {
    /// The node where a process started, whose daemon holds its map of regions.
    pub const HOME: Self = Self(0);

    /// The node with this number, if there can be one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < NODES_MAX { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// One run on the nodes that take part in it. Its home chooses it at random, so that no two homes need to
/// agree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "j{:08x}", self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {:08x}", self.0)
    }
}

/// A set of nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSet(pub u64);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self(0);

    /// Only this node.
    #[must_use]
    pub const fn only(node: NodeId) -> Self {
        Self(1 << node.0)
    }

    /// Is this node in it?
    #[must_use]
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & (1 << node.0) != 0
    }

    /// The set with this node.
    #[must_use]
    pub const fn with(self, node: NodeId) -> Self {
        Self(self.0 | (1 << node.0))
    }

    /// The set without this node.
    #[must_use]
    pub const fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node.0))
    }

    /// Is no node in it?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many nodes.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The lowest node.
    #[must_use]
    pub const fn first(self) -> Option<NodeId> {
        NodeId::new(self.0.trailing_zeros() as u8)
    }

    /// Every node, lowest first.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let node = rest.first()?;
            rest = rest.without(node);
            Some(node)
        })
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// An address divided by [`PAGE_BYTES`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNumber(pub u64);

impl PageNumber {
    /// The page that holds this address.
    #[must_use]
    pub const fn of_address(address: u64) -> Self {
        Self(address / PAGE_BYTES)
    }

    /// The address of its first byte.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0 * PAGE_BYTES
    }

    /// The extent that it is in.
    #[must_use]
    pub const fn extent(self) -> ExtentNumber {
        ExtentNumber(self.0 / EXTENT_PAGES as u64)
    }

    /// Its place within its extent, less than [`EXTENT_PAGES`].
    #[must_use]
    pub const fn index(self) -> usize {
        (self.0 % EXTENT_PAGES as u64) as usize
    }

    /// The page `pages` further on.
    #[must_use]
    pub const fn plus(self, pages: u32) -> Self {
        Self(self.0 + pages as u64)
    }
}

impl fmt::Debug for PageNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:#x}", self.0)
    }
}

/// An address divided by the bytes of an extent.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtentNumber(pub u64);

impl ExtentNumber {
    /// The extent that holds this address.
    #[must_use]
    pub const fn of_address(address: u64) -> Self {
        PageNumber::of_address(address).extent()
    }

    /// Its first page.
    #[must_use]
    pub const fn first_page(self) -> PageNumber {
        PageNumber(self.0 * EXTENT_PAGES as u64)
    }

    /// All its pages.
    #[must_use]
    pub const fn run(self) -> Run {
        Run { first: self.first_page(), count: EXTENT_PAGES }
    }
}

impl fmt::Debug for ExtentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{:#x}", self.0)
    }
}

/// Consecutive pages. In a message it is never empty and never crosses an extent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The lowest page.
    pub first: PageNumber,
    /// How many pages.
    pub count: u32,
}

impl Run {
    /// One page.
    #[must_use]
    pub const fn one(page: PageNumber) -> Self {
        Self { first: page, count: 1 }
    }

    /// The page after the last.
    #[must_use]
    pub const fn end(self) -> PageNumber {
        self.first.plus(self.count)
    }

    /// Does it hold this page?
    #[must_use]
    pub const fn contains(self, page: PageNumber) -> bool {
        self.first.0 <= page.0 && page.0 < self.end().0
    }

    /// Do the two have a page in common?
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first.0 < other.end().0 && other.first.0 < self.end().0
    }

    /// Is it not empty, inside one extent, and inside the user address space?
    #[must_use]
    pub const fn is_within_extent(self) -> bool {
        self.count > 0
            && self.count <= EXTENT_PAGES
            && self.first.0 < PAGES_END
            && self.first.index() + self.count as usize <= EXTENT_PAGES as usize
    }

    /// Every page, lowest first.
    pub fn pages(self) -> impl DoubleEndedIterator<Item = PageNumber> + ExactSizeIterator {
        (0..self.count).map(move |offset| self.first.plus(offset))
    }

    /// The same pages, cut where extents end.
    pub fn by_extent(self) -> impl Iterator<Item = Self> {
        let mut rest = self;
        core::iter::from_fn(move || {
            if rest.count == 0 {
                return None;
            }
            let room = EXTENT_PAGES - rest.first.index() as u32;
            let piece = Self { first: rest.first, count: rest.count.min(room) };
            rest = Self { first: piece.end(), count: rest.count - piece.count };
            Some(piece)
        })
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}+{}", self.first, self.count)
    }
}

/// What a thread wants to do with a page, or may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Load.
    Read,
    /// Load and store.
    Write,
}

/// How often the ownership of an extent has changed hands. A message about an extent that carries a lower
/// epoch than the receiver knows was sent by, or on behalf of, a node that had not yet heard of the new
/// owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The number of one change of one extent's directory; an owner hands them out in ascending order and a
/// hand-over carries the count along, so of two transactions of an extent the higher one is the later. Zero
/// is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(pub u64);

/// The number of one request of one node, ascending. Zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u64);

/// A time or a span on the clock of one node; clocks of two nodes are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Microseconds(pub u64);

impl Microseconds {
    /// For ever.
    pub const MAX: Self = Self(u64::MAX);

    /// This time and `span` more.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_at_extents() {
        let run = Run { first: PageNumber(510), count: 516 };
        let pieces: [Run; 3] = {
            let mut pieces = run.by_extent();
            core::array::from_fn(|_| pieces.next().unwrap())
        };
        assert_eq!(pieces.map(|piece| piece.count), [2, 512, 2]);
        assert!(pieces.iter().all(|piece| piece.is_within_extent()));
        assert!(!run.is_within_extent());
    }

    #[test]
    fn a_set_lists_its_nodes_in_order() {
        let set = NodeSet::only(NodeId(63)).with(NodeId(0)).with(NodeId(7)).without(NodeId(7));
        assert!(set.iter().eq([NodeId(0), NodeId(63)]));
        assert_eq!(NodeSet::EMPTY.first(), None);
        assert_eq!(NodeId::new(64), None);
    }
}
