//! An ordered map under a root: keys and values of any length, ranges, and maps in maps.
//!
//! It is a B-tree ([`tree`]) of byte strings whose order is that of the keys ([`stored`]). What is read
//! borrows the map; a change frees or moves what was read before, so it needs the map alone.

mod range;
pub(crate) mod stored;
pub(crate) mod tree;

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::NonNull;

pub use self::range::Range;
pub use self::stored::{Nested, OrderedKey, OrderedValue, Plain, Stored};
use self::tree::{RecordRef, Tree, Trunk, ValueKind};
use super::{Access, CollectionError, Head, Kinds, Root, Shown, View};
use crate::arena::{AllocateError, Arena};
use crate::disk::{Disk, FileDisk};

/// The entries of an ordered map, to be read.
pub struct Entries<K: ?Sized, V: ?Sized> {
    tree: Tree,
    kind: PhantomData<(Box<K>, Box<V>)>,
}

impl<K: OrderedKey + ?Sized, V: ?Sized> Entries<K, V> {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, kind: PhantomData }
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.trunk().length as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.tree.get(&key.encode()).is_some()
    }
}

impl<K: OrderedKey + ?Sized, V: Stored + ?Sized> Entries<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V::View<'_>> {
        let record = self.tree.get(&key.encode())?;
        // SAFETY: a map holds what was encoded as its types, which are checked when it is opened.
        Some(unsafe { V::decode(record.value()) })
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> Range<'_, K, V> {
        Range::new(self.tree, Bound::Unbounded, Bound::Unbounded)
    }

    /// The entries whose keys lie in a range, in order, from either end.
    pub fn range(&self, keys: impl RangeBounds<K>) -> Range<'_, K, V> {
        let encoded = |bound: Bound<&K>| bound.map(|key| key.encode().into_owned());
        let (start, end) = (encoded(keys.start_bound()), encoded(keys.end_bound()));
        Range::new(self.tree, start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice))
    }

    /// The entry with the least key.
    #[must_use]
    pub fn first(&self) -> Option<(K::View<'_>, V::View<'_>)> {
        self.iter().next()
    }

    /// The entry with the greatest key.
    #[must_use]
    pub fn last(&self) -> Option<(K::View<'_>, V::View<'_>)> {
        self.iter().next_back()
    }
}

impl<'a, K: OrderedKey + ?Sized, V: Stored + ?Sized> IntoIterator for &'a Entries<K, V> {
    type Item = (K::View<'a>, V::View<'a>);
    type IntoIter = Range<'a, K, V>;
    fn into_iter(self) -> Range<'a, K, V> {
        self.iter()
    }
}

impl<K: OrderedKey + ?Sized, K2: OrderedKey + ?Sized, V2: ?Sized> Entries<K, Nested<K2, V2>> {
    /// The entries of the map that is the value of a key.
    #[must_use]
    pub fn nested(&self, key: &K) -> Option<Shown<'_, Entries<K2, V2>>> {
        let tree = self.tree.get(&key.encode())?.tree()?;
        Some(Shown::new(Entries::new(Tree(tree))))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K::View<'_>> {
        Range::<K, [u8]>::new(self.tree, Bound::Unbounded, Bound::Unbounded).map(|(key, _)| key)
    }
}

/// An ordered map in an arena. What can be read of it is in [`Entries`].
pub struct AOrderedMap<'a, K: ?Sized, V: ?Sized, D: Disk = FileDisk> {
    arena: Access<'a, D>,
    entries: Entries<K, V>,
    /// Its root, unless it is the value of another map.
    root: Option<Root>,
}

impl<K: ?Sized, V: ?Sized, D: Disk> Deref for AOrderedMap<'_, K, V, D> {
    type Target = Entries<K, V>;
    fn deref(&self) -> &Entries<K, V> {
        &self.entries
    }
}

/// What a root leads to.
#[repr(C)]
pub(super) struct OrderedHead {
    head: Head,
    pub(super) trunk: Trunk,
}

fn trunk_of(head: NonNull<Head>) -> NonNull<Trunk> {
    let head = head.cast::<OrderedHead>();
    // SAFETY: the head of an ordered map is laid out so; no reference is made.
    unsafe { NonNull::new_unchecked(&raw mut (*head.as_ptr()).trunk) }
}

impl<'a, K: OrderedKey + ?Sized, V: OrderedValue + ?Sized, D: Disk> AOrderedMap<'a, K, V, D> {
    pub(super) fn kinds() -> Kinds {
        Kinds::of(&format!("AOrderedMap<{}, {}>", K::type_name(), V::value_type()))
    }

    pub(super) fn open(arena: Access<'a, D>, name: &str) -> Result<Self, CollectionError> {
        let layout = Layout::new::<OrderedHead>();
        let View { arena, root } = View::open(arena, name, &Self::kinds(), layout, |head| {
            // SAFETY: the object was just allocated with this layout.
            unsafe { trunk_of(head).write(Trunk::default()) };
        })?;
        Ok(Self { arena, entries: Entries::new(Tree(trunk_of(root.head))), root: Some(root) })
    }

    pub(super) fn look_up(arena: &'a Arena<D>, name: &str) -> Result<Option<Self>, CollectionError> {
        let found = View::look_up(arena, name, &Self::kinds(), Layout::new::<OrderedHead>())?;
        Ok(found.map(|View { arena, root }| Self {
            arena,
            entries: Entries::new(Tree(trunk_of(root.head))),
            root: Some(root),
        }))
    }

    pub(super) fn into_entries(self) -> Entries<K, V> {
        self.entries
    }

    /// Removes a key and its value, which may be a map; whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        let tree = self.entries.tree;
        self.arena.with(|arena| tree.remove(arena, &key.encode()))
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let tree = self.entries.tree;
        self.arena.with(|arena| tree.clear(arena));
    }

    /// Frees the map and removes its root. One that is the value of another map is only emptied; `remove` it
    /// there.
    pub fn delete(mut self) {
        self.clear();
        if let Some(root) = self.root {
            self.arena.with(|arena| root.delete(arena));
        }
    }
}

impl<K: OrderedKey + ?Sized, V: Stored + ?Sized, D: Disk> AOrderedMap<'_, K, V, D> {
    /// Sets the value of a key; whether the key is new.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full; the map then has what it had.
    pub fn insert(&mut self, key: &K, value: &V) -> Result<bool, AllocateError> {
        let tree = self.entries.tree;
        let (key, value) = (key.encode(), value.encode());
        self.arena.with(|arena| tree.insert(arena, &key, ValueKind::Bytes, &value))
    }
}

impl<K: OrderedKey + ?Sized, K2: OrderedKey + ?Sized, V2: OrderedValue + ?Sized, D: Disk>
    AOrderedMap<'_, K, Nested<K2, V2>, D>
{
    /// The map that is the value of a key, made if there is none.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn open_nested(&mut self, key: &K) -> Result<AOrderedMap<'_, K2, V2, D>, AllocateError> {
        let tree = self.entries.tree;
        let key = key.encode();
        let trunk = match tree.get(&key).and_then(RecordRef::tree) {
            Some(trunk) => trunk,
            None => self.arena.with(|arena| tree.insert_tree(arena, &key))?,
        };
        let entries = Entries::new(Tree(trunk));
        Ok(AOrderedMap { arena: self.arena.again(), entries, root: None })
    }
}
