//! The entries of an ordered map from one key to another, from either end.

use std::marker::PhantomData;
use std::ops::Bound;

use super::stored::{OrderedKey, Stored};
use super::tree::{NodeRef, RecordRef, Tree};

/// Which way an iterator goes.
#[derive(Clone, Copy)]
enum Direction {
    Forwards,
    Backwards,
}

use Direction::{Backwards, Forwards};

/// A way down from the root: nodes, and in each the child that was taken, in the last one the entry.
#[derive(Clone, Debug, Default)]
struct Path(Vec<(NodeRef, usize)>);

impl Path {
    fn record(&self) -> Option<RecordRef> {
        self.0.last().map(|(node, at)| node.record(*at))
    }

    /// The entry within a bound that is nearest to it: the first behind a start for one who goes forwards,
    /// the last before an end for one who goes backwards. Empty if there is none.
    fn nearest(tree: Tree, bound: Bound<&[u8]>, direction: Direction) -> Self {
        let mut path = Path::default();
        let Some(mut node) = tree.root() else { return path };
        let (Bound::Included(key) | Bound::Excluded(key)) = bound else {
            path.down(node, direction);
            return path;
        };
        loop {
            match node.search(key) {
                Ok(at) => {
                    path.0.push((node, at));
                    if matches!(bound, Bound::Excluded(_)) {
                        path.step(direction);
                    }
                    return path;
                }
                Err(at) => {
                    path.0.push((node, at));
                    if node.is_leaf() {
                        path.climb(direction);
                        return path;
                    }
                    node = node.child(at);
                }
            }
        }
    }

    /// Goes on to the entry under a node that comes first that way.
    fn down(&mut self, mut node: NodeRef, direction: Direction) {
        let end = |node: NodeRef| match direction {
            Forwards => 0,
            Backwards => node.count(),
        };
        while !node.is_leaf() {
            self.0.push((node, end(node)));
            node = node.child(end(node));
        }
        self.0.push((node, end(node)));
        self.climb(direction);
    }

    /// The next entry that way; none behind the end.
    fn step(&mut self, direction: Direction) {
        let Some((node, at)) = self.0.last_mut() else { return };
        if matches!(direction, Forwards) {
            *at += 1;
        }
        let (node, at) = (*node, *at);
        if node.is_leaf() {
            self.climb(direction);
        } else {
            self.down(node.child(at), direction);
        }
    }

    /// From a place between the entries of the last node to the entry that follows that way, which may be one
    /// of a node above.
    fn climb(&mut self, direction: Direction) {
        match direction {
            Forwards => while self.0.pop_if(|(node, at)| *at >= node.count()).is_some() {},
            Backwards => {
                while self.0.pop_if(|(_, at)| *at == 0).is_some() {}
                if let Some((_, at)) = self.0.last_mut() {
                    *at -= 1;
                }
            }
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
        let (front, back) = (Path::nearest(tree, start, Forwards), Path::nearest(tree, end, Backwards));
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
            self.front.step(Forwards);
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
            self.back.step(Backwards);
        }
        Some(self.give(record))
    }
}
