//! A hash table under a root: open addressing, linear probing, and no tombstones: what follows a removed
//! entry is moved back. The hash is the same in every process and build; each map has its own seed.

use std::alloc::Layout;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{Access, CollectionError, Head, Kinds, Persist, View};
use crate::arena::{AllocateError, Arena};
use crate::disk::{Disk, FileDisk};

/// A place of the table. Whether it is taken is said by a word, so that a page holds entries and their state.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Slot<K, V> {
    /// 0 is empty, else the hash with its highest bit set.
    hash: u64,
    pub(super) key: K,
    pub(super) value: V,
}

const TAKEN: u64 = 1 << 63;
const LEAST: usize = 16;

/// A map in an arena. Insertion doubles the table when it is four fifths full, which copies it.
pub struct AMap<'a, K: Persist + Hash + Eq, V: Persist, D: Disk = FileDisk> {
    view: View<'a, D>,
    kind: PhantomData<(K, V)>,
}

struct StableHasher(u64);

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word) ^ (part.len() as u64) << 56);
        }
    }
    fn write_u64(&mut self, value: u64) {
        const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let product = u128::from(self.0 ^ value).wrapping_mul(FACTOR);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

impl<'a, K: Persist + Hash + Eq, V: Persist, D: Disk> AMap<'a, K, V, D> {
    pub(super) fn kinds() -> Kinds {
        let named = format!("AMap<{}, {}>", K::type_name(), V::type_name());
        Kinds::with_name(format!("AMap<{}, {}>", K::description(), V::description()), &named)
    }

    pub(super) fn open(arena: Access<'a, D>, name: &str) -> Result<Self, CollectionError> {
        let view = View::open(arena, name, &Self::kinds(), Layout::new::<Head>(), |_| {})?;
        Ok(Self { view, kind: PhantomData })
    }

    pub(super) fn look_up(arena: &'a Arena<D>, name: &str) -> Result<Option<Self>, CollectionError> {
        let view = View::look_up(arena, name, &Self::kinds(), Layout::new::<Head>())?;
        Ok(view.map(|view| Self { view, kind: PhantomData }))
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.head().length as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> NonNull<Slot<K, V>> {
        self.view.data()
    }

    fn hash(&self, key: &K) -> u64 {
        let mut hasher = StableHasher(self.view.head().seed);
        key.hash(&mut hasher);
        // Once more, so that the low bits depend on all of the key.
        hasher.write_u64(0);
        hasher.finish() | TAKEN
    }

    fn mask(&self) -> usize {
        (self.view.head().capacity as usize).wrapping_sub(1)
    }

    fn hash_at(&self, at: usize) -> u64 {
        debug_assert!(at <= self.mask(), "a place is inside the table");
        // SAFETY: the place is masked to the table, and the hash of every slot is initialised.
        unsafe { (*self.table().add(at).as_ptr()).hash }
    }

    /// The place of a key, or else the empty place where it belongs.
    fn find(&self, key: &K, hash: u64) -> Result<usize, usize> {
        let mask = self.mask();
        let mut at = hash as usize & mask;
        loop {
            match self.hash_at(at) {
                0 => return Err(at),
                // SAFETY: a slot with a hash holds an entry.
                found if found == hash && unsafe { (*self.table().add(at).as_ptr()).key } == *key => {
                    return Ok(at);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn place_of(&self, key: &K) -> Option<NonNull<Slot<K, V>>> {
        if self.is_empty() {
            return None;
        }
        let at = self.find(key, self.hash(key)).ok()?;
        // SAFETY: the place is inside the table.
        Some(unsafe { self.table().add(at) })
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        // SAFETY: the slot holds an entry, and the arena is borrowed.
        Some(unsafe { &(*self.place_of(key)?.as_ptr()).value })
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // SAFETY: as above, and the borrow is exclusive.
        Some(unsafe { &mut (*self.place_of(key)?.as_ptr()).value })
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.place_of(key).is_some()
    }

    /// Sets the value of a key; gives the one that it had.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full; the map is then as it was.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, AllocateError> {
        let head = self.view.head();
        if (head.length + 1) * 5 > head.capacity * 4 {
            self.grow()?;
        }
        let hash = self.hash(&key);
        match self.find(&key, hash) {
            Ok(at) => {
                // SAFETY: the slot is inside the table and holds an entry, and this map is borrowed
                // exclusively.
                let place = unsafe { &mut (*self.table().add(at).as_ptr()).value };
                Ok(Some(std::mem::replace(place, value)))
            }
            Err(at) => {
                // SAFETY: the slot is inside the table.
                unsafe { self.table().add(at).write(Slot { hash, key, value }) };
                self.view.head_mut().length += 1;
                Ok(None)
            }
        }
    }

    /// The value of a key, which is set first if there is none.
    ///
    /// # Errors
    /// [`AllocateError`] if the arena is full.
    pub fn get_or_insert(&mut self, key: K, value: V) -> Result<&mut V, AllocateError> {
        if !self.contains_key(&key) {
            self.insert(key, value)?;
        }
        self.get_mut(&key).ok_or(AllocateError::Full { size: 0, alignment: 1 })
    }

    /// Removes a key; gives the value that it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        if self.is_empty() {
            return None;
        }
        let mut hole = self.find(key, self.hash(key)).ok()?;
        let mask = self.mask();
        // SAFETY: all places are masked to the table; slots with a hash hold entries.
        unsafe {
            let removed = (*self.table().add(hole).as_ptr()).value;
            let mut at = (hole + 1) & mask;
            // Whatever was pushed beyond the hole comes back into it, up to the next empty place.
            while self.hash_at(at) != 0 {
                let home = self.hash_at(at) as usize & mask;
                if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                    self.table().add(hole).copy_from_nonoverlapping(self.table().add(at), 1);
                    hole = at;
                }
                at = (at + 1) & mask;
            }
            (*self.table().add(hole).as_ptr()).hash = 0;
            self.view.head_mut().length -= 1;
            Some(removed)
        }
    }

    /// The entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let taken = (0..self.view.head().capacity as usize).filter(|at| self.hash_at(*at) != 0);
        taken.map(|at| {
            // SAFETY: the place is inside the table, and a slot with a hash holds an entry.
            let slot = unsafe { self.table().add(at).as_ref() };
            (&slot.key, &slot.value)
        })
    }

    /// Frees the map and removes its root.
    pub fn delete(self) {
        self.view.delete::<Slot<K, V>>();
    }

    fn grow(&mut self) -> Result<(), AllocateError> {
        let error = AllocateError::Full { size: usize::MAX, alignment: align_of::<Slot<K, V>>() };
        let old = self.view.head().capacity as usize;
        let capacity = old.checked_mul(2).ok_or(error)?.max(LEAST);
        let layout = super::layout_of::<Slot<K, V>>(capacity)?;
        let table = self.view.arena.with(|arena| arena.allocate(layout))?.cast::<Slot<K, V>>();
        // SAFETY: the table was just allocated with this size. Zeroes are empty slots.
        unsafe { table.cast::<u8>().write_bytes(0, layout.size()) };
        let before = self.table();
        let head = self.view.head_mut();
        (head.data, head.capacity) = (table.as_ptr() as u64, capacity as u64);
        let mask = self.mask();
        for at in 0..old {
            // SAFETY: `before` is the old table, of `old` slots, alive until it is freed below; places in the
            // new one are masked to it, and it has room.
            unsafe {
                let slot = before.add(at);
                let hash = (*slot.as_ptr()).hash;
                if hash != 0 {
                    let mut place = hash as usize & mask;
                    while self.hash_at(place) != 0 {
                        place = (place + 1) & mask;
                    }
                    self.table().add(place).copy_from_nonoverlapping(slot, 1);
                }
            }
        }
        if old > 0 {
            let layout = super::layout_of::<Slot<K, V>>(old)?;
            // SAFETY: the old table was allocated with this layout, and nothing leads to it any more.
            self.view.arena.with(|arena| unsafe { arena.free(before.cast(), layout) });
        }
        Ok(())
    }
}
