//! Buffers that caller and callee share at the same address, instead of copying them.
//!
//! A constant blob is read-only to the callee by the kernel's enforcement. Blobs belong to the
//! caller: they survive the worker. The seam is [`BlobStore`]; on a cluster another store gives
//! coherent memory. Allocating takes a lock and is not part of a call; passing a blob is free.

use crate::caller::connection::Connection;
use crate::shared::layout::{BLOBS_OFFSET, CONSTANT_BLOBS_OFFSET, LOADING_HEAP_OFFSET};
use std::collections::BTreeMap;
use std::marker::PhantomData;

use parking_lot::Mutex;

/// Who may change a blob, beside the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The caller alone: the callee reads.
    Constant,
    /// The callee.
    Writable,
}

/// A place that blobs come from.
pub trait BlobStore {
    /// Memory of `bytes` bytes at a multiple of 64; `None` when there is no more.
    fn allocate(&self, bytes: u64, sharing: Sharing) -> Option<u64>;
    /// Takes memory back.
    fn free(&self, address: u64);
    /// How long the memory at `address` is; 0 if it is none of this store.
    fn len(&self, address: u64) -> u64;
    /// Whether no memory is handed out.
    fn is_empty(&self) -> bool;
}

#[derive(Debug, Default)]
struct Area {
    next: u64,
    end: u64,
    used: BTreeMap<u64, u64>,
    free: BTreeMap<u64, Vec<u64>>,
}

impl Area {
    fn allocate(&mut self, bytes: u64) -> Option<u64> {
        // Powers of two from a page on: freed memory fits what comes later, and blobs share no page.
        let bytes = bytes.max(4096).checked_next_power_of_two()?;
        let address = match self.free.get_mut(&bytes).and_then(Vec::pop) {
            Some(address) => address,
            None => {
                let address = self.next;
                if bytes > self.end - address {
                    return None;
                }
                self.next += bytes;
                address
            }
        };
        self.used.insert(address, bytes);
        Some(address)
    }
}

/// The blobs of one connection.
#[derive(Debug)]
pub struct Blobs<'a> {
    areas: Mutex<[Area; 2]>,
    connection: PhantomData<&'a Connection>,
}

impl<'a> Blobs<'a> {
    /// The blobs of `connection`. Make one store for each connection: two would hand out the same memory.
    #[must_use]
    pub fn new(connection: &'a Connection) -> Self {
        let area = |from: u64, to: u64| Area {
            next: connection.window + from,
            end: connection.window + to,
            ..Area::default()
        };
        Self {
            areas: Mutex::new([
                area(CONSTANT_BLOBS_OFFSET, BLOBS_OFFSET),
                area(BLOBS_OFFSET, LOADING_HEAP_OFFSET),
            ]),
            connection: PhantomData,
        }
    }
}

impl BlobStore for Blobs<'_> {
    fn allocate(&self, bytes: u64, sharing: Sharing) -> Option<u64> {
        self.areas.lock()[usize::from(sharing == Sharing::Writable)].allocate(bytes)
    }

    fn free(&self, address: u64) {
        for area in self.areas.lock().iter_mut() {
            if let Some(bytes) = area.used.remove(&address) {
                area.free.entry(bytes).or_default().push(address);
            }
        }
    }

    fn len(&self, address: u64) -> u64 {
        let areas = self.areas.lock();
        areas.iter().find_map(|area| area.used.get(&address).copied()).unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.areas.lock().iter().all(|area| area.used.is_empty())
    }
}

/// An array of `T` in a store. `T` is plain data: any bytes make a valid value.
#[derive(Debug)]
pub struct Blob<'a, T: zerocopy::FromBytes + zerocopy::IntoBytes + Copy, S: BlobStore> {
    store: &'a S,
    address: u64,
    count: usize,
    kind: PhantomData<T>,
}

impl<'a, T: zerocopy::FromBytes + zerocopy::IntoBytes + Copy, S: BlobStore> Blob<'a, T, S> {
    /// `count` values of zero bytes; `None` when the store has no more memory.
    pub fn new(store: &'a S, count: usize, sharing: Sharing) -> Option<Self> {
        let bytes = (count as u64).checked_mul(size_of::<T>() as u64)?;
        let address = store.allocate(bytes, sharing)?;
        // SAFETY: the store hands out memory of that length to us alone.
        unsafe { std::ptr::write_bytes(address as *mut u8, 0, bytes as usize) };
        Some(Self { store, address, count, kind: PhantomData })
    }

    /// The address, the same for the callee: pass it as an argument.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// How many values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Copies a value out.
    ///
    /// # Panics
    /// When `index` is out of range.
    #[must_use]
    pub fn get(&self, index: usize) -> T {
        assert!(index < self.count, "blob index {index} of {}", self.count);
        // SAFETY: in range; volatile, as a callee may be writing, and any bytes make a `T`.
        unsafe { (self.address as *const T).add(index).read_volatile() }
    }

    /// Changes a value.
    ///
    /// # Panics
    /// When `index` is out of range.
    pub fn set(&mut self, index: usize, value: T) {
        assert!(index < self.count, "blob index {index} of {}", self.count);
        // SAFETY: in range.
        unsafe { (self.address as *mut T).add(index).write_volatile(value) }
    }
}

impl<T: zerocopy::FromBytes + zerocopy::IntoBytes + Copy, S: BlobStore> Drop for Blob<'_, T, S> {
    fn drop(&mut self) {
        self.store.free(self.address);
    }
}
