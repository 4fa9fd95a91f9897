//! Collections of a snapshot, read by copy: in any thread or process, at whatever address the heap was.
//!
//! What is read was written by this module in the commit that the snapshot retains, and its pages are checked
//! as they are read; a length is still held against the heap's before memory is had for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Bound, ControlFlow, RangeBounds};

use super::map::Slot;
use super::ordered::tree::{FULL, Inner, Node, Record, Trunk, prefix_of};
use super::ordered::{Nested, OrderedHead, OrderedKey, OrderedValue, Stored};
use super::{ABox, AMap, AOrderedMap, AVec, Head, Kinds, Persist, directory, string};
use crate::disk::{Disk, FileDisk};
use crate::reader::SnapshotReader;
use crate::store::ReadError;

/// Levels of a tree beyond which it is none: each has sixteen times the entries of the one above.
const HEIGHT_MAX: u32 = 20;

/// Why a collection of a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrozenError {
    /// The snapshot's pages could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It holds something else.
    #[error("{name:?} does not hold {wanted} in the snapshot; open it as what it was made as")]
    WrongType {
        /// The collection.
        name: String,
        /// What it was asked to hold.
        wanted: String,
    },
    /// A length or a depth that nothing in a heap of this size has.
    #[error(
        "a collection of the snapshot is not laid out as one; it was written by another version, or by hand"
    )]
    Foreign,
}

type Found<T> = Result<Option<T>, FrozenError>;

impl<D: Disk> SnapshotReader<D> {
    /// A named root, as the snapshot has it.
    #[must_use]
    pub fn root(&self, name: &str) -> Option<u64> {
        self.info().position.roots.get(name).copied()
    }

    /// A value of plain data.
    ///
    /// # Safety
    /// A value of this type was written there.
    unsafe fn value_at<T: Copy>(&self, address: u64) -> Result<T, ReadError> {
        let mut value = MaybeUninit::<T>::zeroed();
        // SAFETY: the buffer is the value's memory, initialised with zeroes.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
        self.read(address, bytes)?;
        // SAFETY: as the caller promises.
        Ok(unsafe { value.assume_init() })
    }

    /// Values of plain data, one behind another.
    ///
    /// # Safety
    /// As many values of this type were written there.
    unsafe fn values_at<T: Copy>(&self, address: u64, count: u64) -> Result<Vec<T>, FrozenError> {
        let bytes = count.checked_mul(size_of::<T>() as u64).filter(|bytes| *bytes <= self.reservation());
        let (Some(bytes), Ok(count)) = (bytes, usize::try_from(count)) else {
            return Err(FrozenError::Foreign);
        };
        let mut values: Vec<T> = Vec::with_capacity(count);
        if bytes == 0 {
            return Ok(values);
        }
        let start = values.as_mut_ptr().cast::<u8>();
        // SAFETY: the vector has room for that many bytes, which are initialised before they are lent.
        let buffer = unsafe {
            start.write_bytes(0, bytes as usize);
            std::slice::from_raw_parts_mut(start, bytes as usize)
        };
        self.read(address, buffer)?;
        // SAFETY: as the caller promises, they are values of this type.
        unsafe { values.set_len(count) };
        Ok(values)
    }

    /// The address of a collection's head, and the head.
    fn head(&self, name: &str, kinds: &Kinds) -> Found<(u64, Head)> {
        let address = match self.root(&directory::root_name(name)) {
            Some(address) => address,
            None => match self.in_directory(name)? {
                Some(address) => address,
                None => return Ok(None),
            },
        };
        // SAFETY: names lead to heads, which are numbers alone.
        let head: Head = unsafe { self.value_at(address) }?;
        if kinds.kinds.contains(&head.kind) {
            return Ok(Some((address, head)));
        }
        Err(FrozenError::WrongType { name: name.to_owned(), wanted: kinds.wanted.clone() })
    }

    fn in_directory(&self, name: &str) -> Found<u64> {
        let Some(trunk) = self.root(directory::DIRECTORY) else { return Ok(None) };
        let entries = FrozenEntries::<[u8], [u8], D>::at(self, trunk)?;
        let head =
            entries.get(name.as_bytes(), |head| <[u8; 8]>::try_from(head).ok().map(u64::from_le_bytes))?;
        Ok(head.flatten())
    }

    /// The value of a name.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn boxed<T: Persist>(&self, name: &str) -> Found<T> {
        let Some((address, _)) = self.head(name, &ABox::<T, D>::kinds())? else { return Ok(None) };
        // SAFETY: the kind says that such a value lies behind the head.
        Ok(Some(unsafe { self.value_at(address + ABox::<T, D>::value_offset()) }?))
    }

    /// The items of the vector of a name.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn vec<T: Persist>(&self, name: &str) -> Found<Vec<T>> {
        let Some((_, head)) = self.head(name, &AVec::<T, D>::kinds())? else { return Ok(None) };
        // SAFETY: the kind says that as many such items lie there.
        Ok(Some(unsafe { self.values_at(head.data, head.length) }?))
    }

    /// The text of a name.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn string(&self, name: &str) -> Found<String> {
        let Some((_, head)) = self.head(name, &string::kinds())? else { return Ok(None) };
        // SAFETY: the kind says that as many bytes lie there.
        let bytes = unsafe { self.values_at(head.data, head.length) }?;
        Ok(Some(String::from_utf8(bytes).map_err(|_| FrozenError::Foreign)?))
    }

    /// The entries of the map of a name, all of them, in one of the process's own.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn hash_map<K: Persist + Hash + Eq, V: Persist>(&self, name: &str) -> Found<HashMap<K, V>> {
        let Some((_, head)) = self.head(name, &AMap::<K, V, D>::kinds())? else { return Ok(None) };
        let size = size_of::<Slot<K, V>>() as u64;
        if head.capacity.checked_mul(size).is_none_or(|bytes| bytes > self.reservation()) {
            return Err(FrozenError::Foreign);
        }
        let mut map = HashMap::with_capacity(head.length.min(head.capacity) as usize);
        for at in 0..head.capacity {
            let address = head.data + at * size;
            // SAFETY: a slot begins with its hash; one that is not 0 holds an entry of the kind's types.
            if unsafe { self.value_at::<u64>(address) }? != 0 {
                // SAFETY: as above.
                let slot: Slot<K, V> = unsafe { self.value_at(address) }?;
                map.insert(slot.key, slot.value);
            }
        }
        Ok(Some(map))
    }

    /// The ordered map of a name.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn ordered<K: OrderedKey + ?Sized, V: OrderedValue + ?Sized>(
        &self,
        name: &str,
    ) -> Found<FrozenEntries<'_, K, V, D>> {
        let Some((address, _)) = self.head(name, &AOrderedMap::<K, V, D>::kinds())? else { return Ok(None) };
        let trunk = address + std::mem::offset_of!(OrderedHead, trunk) as u64;
        Ok(Some(FrozenEntries::at(self, trunk)?))
    }
}

/// The entries of an ordered map of a snapshot.
pub struct FrozenEntries<'a, K: ?Sized, V: ?Sized, D: Disk = FileDisk> {
    reader: &'a SnapshotReader<D>,
    trunk: Trunk,
    kind: PhantomData<(Box<K>, Box<V>)>,
}

/// A node, read; children only where it has some.
struct FrozenNode {
    node: Node,
    children: Option<[u64; FULL + 1]>,
}

/// A record, read.
struct FrozenRecord {
    header: Record,
    bytes: Vec<u8>,
}

impl FrozenRecord {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.header.key_length as usize]
    }
    fn value(&self) -> &[u8] {
        &self.bytes[self.header.key_length as usize..]
    }
}

impl<'a, K: OrderedKey + ?Sized, V: ?Sized, D: Disk> FrozenEntries<'a, K, V, D> {
    fn at(reader: &'a SnapshotReader<D>, trunk: u64) -> Result<Self, ReadError> {
        // SAFETY: the address is that of a trunk, which is numbers alone.
        let trunk = unsafe { reader.value_at(trunk) }?;
        Ok(Self { reader, trunk, kind: PhantomData })
    }

    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trunk.length as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn node(&self, address: u64) -> Result<FrozenNode, FrozenError> {
        // SAFETY: a tree leads to nodes, which are numbers alone.
        let node: Node = unsafe { self.reader.value_at(address) }?;
        if node.count as usize > FULL {
            return Err(FrozenError::Foreign);
        }
        // SAFETY: a node that is no leaf is followed by its children.
        let children =
            (node.leaf != 1).then(|| unsafe { self.reader.value_at::<Inner>(address) }).transpose()?;
        Ok(FrozenNode { node, children: children.map(|inner| inner.children) })
    }

    fn record(&self, address: u64) -> Result<FrozenRecord, FrozenError> {
        // SAFETY: an entry leads to a record: a header of numbers, and bytes.
        unsafe {
            let header: Record = self.reader.value_at(address)?;
            let length = u64::from(header.key_length).saturating_add(header.value_length);
            let bytes = self.reader.values_at(address + size_of::<Record>() as u64, length)?;
            Ok(FrozenRecord { header, bytes })
        }
    }

    /// The place of a key in a node and its record, or else the place of the first entry behind it.
    fn search(&self, node: &Node, key: &[u8]) -> Result<Result<(usize, FrozenRecord), usize>, FrozenError> {
        let prefix = prefix_of(key);
        let (mut low, mut high) = (0, node.count as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = node.entries[middle];
            let order = match entry.prefix.cmp(&prefix) {
                std::cmp::Ordering::Equal => {
                    let record = self.record(entry.record)?;
                    match record.key().cmp(key) {
                        std::cmp::Ordering::Equal => return Ok(Ok((middle, record))),
                        order => order,
                    }
                }
                order => order,
            };
            if order.is_lt() { low = middle + 1 } else { high = middle }
        }
        Ok(Err(low))
    }

    fn find(&self, key: &[u8]) -> Result<Option<FrozenRecord>, FrozenError> {
        let mut address = self.trunk.root;
        for _ in 0..HEIGHT_MAX {
            if address == 0 {
                return Ok(None);
            }
            let FrozenNode { node, children } = self.node(address)?;
            address = match (self.search(&node, key)?, children) {
                (Ok((_, record)), _) => return Ok(Some(record)),
                (Err(at), Some(children)) => children[at],
                (Err(_), None) => return Ok(None),
            };
        }
        Err(FrozenError::Foreign)
    }
}

impl<K: OrderedKey + ?Sized, V: Stored + ?Sized, D: Disk> FrozenEntries<'_, K, V, D> {
    /// Hands the value of a key to `found`, if there is one.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn get<T>(&self, key: &K, found: impl FnOnce(V::View<'_>) -> T) -> Found<T> {
        let record = self.find(&key.encode())?;
        // SAFETY: a map holds what was encoded as its types, which were checked when it was opened.
        Ok(record.map(|record| found(unsafe { V::decode(record.value()) })))
    }

    /// Visits the entries whose keys lie in a range, in order, until the visit breaks off.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn visit(
        &self,
        keys: impl RangeBounds<K>,
        mut visit: impl FnMut(K::View<'_>, V::View<'_>) -> ControlFlow<()>,
    ) -> Result<(), FrozenError> {
        let encoded = |bound: Bound<&K>| bound.map(|key| key.encode().into_owned());
        let (start, end) = (encoded(keys.start_bound()), encoded(keys.end_bound()));
        let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let mut give = |record: &FrozenRecord| {
            // SAFETY: as in `get`.
            unsafe { visit(K::decode(record.key()), V::decode(record.value())) }
        };
        self.visit_under(self.trunk.root, bounds, HEIGHT_MAX, &mut give).map(drop)
    }

    fn visit_under(
        &self,
        address: u64,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        levels: u32,
        give: &mut dyn FnMut(&FrozenRecord) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, FrozenError> {
        if address == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let below = levels.checked_sub(1).ok_or(FrozenError::Foreign)?;
        let FrozenNode { node, children } = self.node(address)?;
        let first = match bounds.0 {
            Bound::Included(key) | Bound::Excluded(key) => {
                self.search(&node, key)?.map_or_else(|at| at, |(at, _)| at)
            }
            Bound::Unbounded => 0,
        };
        for at in first..=node.count as usize {
            if let Some(children) = children
                && self.visit_under(children[at], bounds, below, give)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if at == node.count as usize {
                break;
            }
            let record = self.record(node.entries[at].record)?;
            if !RangeBounds::<[u8]>::contains(&(Bound::Unbounded, bounds.1), record.key()) {
                return Ok(ControlFlow::Break(()));
            }
            let begins = RangeBounds::<[u8]>::contains(&(bounds.0, Bound::Unbounded), record.key());
            if begins && give(&record).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<'a, K: OrderedKey + ?Sized, K2: OrderedKey + ?Sized, V2: ?Sized, D: Disk>
    FrozenEntries<'a, K, Nested<K2, V2>, D>
{
    /// The entries of the map that is the value of a key.
    ///
    /// # Errors
    /// [`FrozenError`].
    pub fn nested(&self, key: &K) -> Found<FrozenEntries<'a, K2, V2, D>> {
        let Some(record) = self.find(&key.encode())?.filter(|record| record.header.kind == 1) else {
            return Ok(None);
        };
        let trunk = <[u8; 8]>::try_from(record.value()).map_err(|_| FrozenError::Foreign)?;
        Ok(Some(FrozenEntries::at(self.reader, u64::from_le_bytes(trunk))?))
    }
}
