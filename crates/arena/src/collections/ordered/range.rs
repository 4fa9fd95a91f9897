//! The entries of an ordered map from one key to another, from either end.

use std::marker::PhantomData;
use std::ops::Bound;

use super::stored::{OrderedKey, Stored};
use super::tree::{NodeRef, RecordRef, Tree};

/// A way down from the root: nodes, and in each the child that was taken, in the last one the entry.
#[derive(Clone, Debug, Default)]
struct Path(Vec<(NodeRef, usize)>);

impl Path {
    fn record(&self) -> Option<RecordRef> {
        self.0.last().map(|(node, at)| node.record(*at))
    }

    /// The first entry that is not before a bound; none if all are.
    fn first_from(tree: Tree, bound: Bound<&[u8]>) -> Self {
        let mut path = Path::default();
        let Some(mut node) = tree.root() else { return path };
        let key = match bound {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => {
                path.down_first(node);
                return path;
            }
        };
        loop {
            match node.search(key) {
                Ok(at) => {
                    path.0.push((node, at));
                    if matches!(bound, Bound::Excluded(_)) {
                        path.advance();
                    }
                    return path;
                }
                Err(at) => path.0.push((node, at)),
            }
            if node.is_leaf() {
                path.climb_forwards();
                return path;
            }
            node = node.child(path.0.last().map_or(0, |(_, at)| *at));
        }
    }

    /// The last entry that is not behind a bound; none if all are.
    fn last_until(tree: Tree, bound: Bound<&[u8]>) -> Self {
        let mut path = Path::default();
        let Some(mut node) = tree.root() else { return path };
        let key = match bound {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => {
                path.down_last(node);
                return path;
            }
        };
        loop {
            match node.search(key) {
                Ok(at) => {
                    path.0.push((node, at));
                    if matches!(bound, Bound::Excluded(_)) {
                        path.retreat();
                    }
                    return path;
                }
                Err(at) => path.0.push((node, at)),
            }
            if node.is_leaf() {
                path.climb_backwards();
                return path;
            }
            node = node.child(path.0.last().map_or(0, |(_, at)| *at));
        }
    }

    /// Goes on to the first entry under a node.
    fn down_first(&mut self, mut node: NodeRef) {
        while !node.is_leaf() {
            self.0.push((node, 0));
            node = node.child(0);
        }
        self.0.push((node, 0));
        // An empty tree has no root, so a leaf has an entry.
    }

    /// Goes on to the last entry under a node.
    fn down_last(&mut self, mut node: NodeRef) {
        while !node.is_leaf() {
            self.0.push((node, node.count()));
            node = node.child(node.count());
        }
        self.0.push((node, node.count() - 1));
    }

    /// The next entry; none behind the last.
    fn advance(&mut self) {
        let Some((node, at)) = self.0.last_mut() else { return };
        *at += 1;
        let (node, at) = (*node, *at);
        if node.is_leaf() {
            self.climb_forwards();
        } else {
            self.down_first(node.child(at));
        }
    }

    /// The entry before; none before the first.
    fn retreat(&mut self) {
        let Some((node, at)) = self.0.last().copied() else { return };
        if node.is_leaf() {
            self.climb_backwards();
        } else {
            self.down_last(node.child(at));
        }
    }

    /// From a place in the last node, which may be behind its entries, to the entry that is there or follows.
    fn climb_forwards(&mut self) {
        while self.0.pop_if(|(node, at)| *at >= node.count()).is_some() {}
    }

    /// From a place in the last node to the entry before it.
    fn climb_backwards(&mut self) {
        while self.0.pop_if(|(_, at)| *at == 0).is_some() {}
        if let Some((_, at)) = self.0.last_mut() {
            *at -= 1;
        }
    }
}

/// Entries in the order of their keys. See [`Entries::range`](super::Entries::range).
pub struct Range<'a, K: ?Sized, V: ?Sized> {
    /// The next entry from the front, and from the back; both empty when all were given.
    front: Path,
    back: Path,
    kind: PhantomData<(&'a K, &'a V)>,
}

impl<'a, K: OrderedKey + ?Sized, V: Stored + ?Sized> Range<'a, K, V> {
    pub(super) fn new(tree: Tree, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Self {
        let (front, back) = (Path::first_from(tree, start), Path::last_until(tree, end));
        let (front, back) = match (front.record(), back.record()) {
            (Some(first), Some(last)) if first.key() <= last.key() => (front, back),
            _ => Default::default(),
        };
        Self { front, back, kind: PhantomData }
    }

    fn give(&mut self, record: RecordRef) -> (K::View<'a>, V::View<'a>) {
        // SAFETY: a map holds what was encoded as its types, which are checked when it is opened.
        unsafe { (K::decode(record.key()), V::decode(record.value())) }
    }

    fn is_last(&self) -> bool {
        self.front.record() == self.back.record()
    }

    fn end(&mut self) {
        self.front.0.clear();
        self.back.0.clear();
    }
}

impl<'a, K: OrderedKey + ?Sized, V: Stored + ?Sized> Iterator for Range<'a, K, V> {
    type Item = (K::View<'a>, V::View<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        let record = self.front.record()?;
        if self.is_last() {
            self.end();
        } else {
            self.front.advance();
        }
        Some(self.give(record))
    }
}

impl<K: OrderedKey + ?Sized, V: Stored + ?Sized> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let record = self.back.record()?;
        if self.is_last() {
            self.end();
        } else {
            self.back.retreat();
        }
        Some(self.give(record))
    }
}
