//! The authoritative map of a process's memory regions, kept by its home daemon.
//!
//! [`Regions::call`] takes a memory call of the program and answers with its result and the operations that
//! the home replica must perform. It decides addresses, so that every extent holds the mappings of one node
//! only, and it never touches memory itself. Each call has a file; `region_map` is the structure that they
//! change.
//!
//! Not here: who holds which page (`coherence`), and the other replicas, which learn a region when they fault
//! in it ([`Regions::lookup`]) and forget it when it shrinks ([`Effect::forget`]).

mod advise;
mod checks;
mod effect;
mod limits;
mod map;
#[cfg(test)]
mod model_tests;
mod program_break;
mod protect;
mod region_map;
mod remap;
#[cfg(test)]
mod tests;
mod unmap;

pub use effect::{Effect, Operation, Range};
pub use limits::Limits;
pub use region_map::{Backing, Copy, FileNumber, KernelMapping, Region};

use alloc::collections::BTreeMap;
use banyan_wire::address_space::{LARGE, POOL_BYTES, POOLS, PROGRAM_MEMORY, pool_start};
use banyan_wire::ids::{EXTENT_BYTES, PAGE_BYTES};
use banyan_wire::syscalls::MemoryCall;
use linux_raw_sys::errno::ENOSYS;
use linux_raw_sys::general::{PROT_EXEC, PROT_READ, PROT_WRITE};
use region_map::RegionMap;

const READ_WRITE: u32 = PROT_READ | PROT_WRITE;
/// Every access right that a region can have.
const RIGHTS: u32 = PROT_READ | PROT_WRITE | PROT_EXEC;

/// What a call comes to, or the error number that the program gets.
type Outcome = Result<Effect, u32>;

/// What stands behind a new mapping, as the stub found out by looking at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Zeroes.
    Zeroes,
    /// A file of this many bytes, of which the mapping is a private copy as far as the file goes.
    Copied {
        /// The file.
        file: FileNumber,
        /// Its bytes.
        size: u64,
    },
    /// The kernel maps it at home, and nobody else can.
    Kernel,
    /// As that; it is a System V segment.
    Segment,
}

/// What is known of a call beside its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The node on which the calling thread executes: new memory is placed there.
    pub node: u8,
    /// The limits of the process.
    pub limits: Limits,
    /// For `mmap`: what is mapped.
    pub source: Source,
}

/// The map.
#[derive(Clone, Debug)]
pub struct Regions {
    map: RegionMap,
    /// Where the next search for free addresses begins, by node.
    cursors: BTreeMap<u8, u64>,
    break_start: u64,
    break_end: u64,
    /// What the program has locked into memory, which changes nothing but what else it may lock.
    locked: RegionMap,
    /// Bytes that one writable mapping may ask for at most: what all nodes have.
    memory_total: u64,
}

impl Regions {
    /// An empty map for a cluster with `memory_total` bytes.
    #[must_use]
    pub fn new(memory_total: u64) -> Self {
        Self {
            map: RegionMap::default(),
            cursors: BTreeMap::new(),
            break_start: 0,
            break_end: 0,
            locked: RegionMap::default(),
            memory_total,
        }
    }

    /// Enters a region that the loader makes. Whole pages; overlapping regions are replaced.
    pub fn insert(&mut self, region: Region) {
        self.map.replace(region);
    }

    /// Sets where the heap of `brk` begins.
    pub fn set_break(&mut self, address: u64) {
        self.break_start = address;
        self.break_end = address;
    }

    /// Where the heap of `brk` is.
    #[must_use]
    pub fn heap(&self) -> core::ops::Range<u64> {
        self.break_start..self.break_end
    }

    /// Lets a node's mappings begin at `address`, above what the loader placed.
    pub fn start_mappings(&mut self, node: u8, address: u64) {
        self.cursors.insert(node, address);
    }

    /// The region at `address`.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<Region> {
        self.map.lookup(address)
    }

    /// All regions, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.map.iter()
    }

    /// The regions that begin at this address or above, by address.
    pub fn beginning_at(&self, address: u64) -> impl Iterator<Item = &Region> {
        self.map.beginning_at(address)
    }

    /// The cluster has this many bytes from now on.
    pub fn set_memory_total(&mut self, bytes: u64) {
        self.memory_total = bytes;
    }

    /// Free addresses for `length` bytes: in a node's pool, or where large reservations are if the pool has
    /// none, or else as far from the pools as it can be, where arenas and the pools of the last nodes are.
    pub fn place(&mut self, node: u8, length: u64) -> Option<u64> {
        let pooled = if length > POOL_BYTES / 2 { None } else { self.place_in_pool(node, length) };
        pooled
            .or_else(|| self.map.gap(LARGE.start, LARGE.end, length, EXTENT_BYTES))
            .or_else(|| self.map.gap(LARGE.start, PROGRAM_MEMORY.end, length, EXTENT_BYTES))
            .or_else(|| {
                let last = PROGRAM_MEMORY.end.checked_sub(length)? & !(EXTENT_BYTES - 1);
                self.map.gap(last.max(POOLS.start), PROGRAM_MEMORY.end, length, EXTENT_BYTES)
            })
    }

    fn place_in_pool(&mut self, node: u8, length: u64) -> Option<u64> {
        let (low, high) = (pool_start(node), pool_start(node) + POOL_BYTES);
        let align = if length >= EXTENT_BYTES { EXTENT_BYTES } else { PAGE_BYTES };
        let cursor = self.cursors.get(&node).copied().unwrap_or(low);
        let start =
            self.map.gap(cursor, high, length, align).or_else(|| self.map.gap(low, high, length, align))?;
        self.cursors.insert(node, start + length);
        Some(start)
    }

    /// The region at `address`, or the one that the kernel lets grow when `address` is touched.
    #[must_use]
    pub fn reach(&self, address: u64) -> Option<Region> {
        self.map.reach(address)
    }

    /// The files that regions refer to.
    pub fn files(&self) -> impl Iterator<Item = FileNumber> {
        self.map.files()
    }

    /// Performs a memory call.
    pub fn call(&mut self, call: MemoryCall, arguments: [u64; 6], caller: Caller) -> Effect {
        let outcome = match call {
            MemoryCall::Map => self.map(arguments, caller),
            // The stub makes it a call of `mmap`, for it knows what the segment is.
            MemoryCall::Attach => Err(ENOSYS),
            MemoryCall::Detach => self.detach(arguments),
            MemoryCall::Unmap => self.unmap(arguments),
            MemoryCall::Protect => self.protect(arguments, &caller.limits),
            MemoryCall::Break => self.move_break(arguments, &caller.limits),
            MemoryCall::Remap => self.remap(arguments, caller),
            MemoryCall::Advise => self.advise(arguments),
            MemoryCall::Synchronize => self.synchronize(arguments),
            MemoryCall::Residency => self.residency(arguments),
            MemoryCall::Lock => self.lock(arguments, &caller.limits),
            MemoryCall::Unlock => self.unlock(arguments),
            MemoryCall::LockAll => self.lock_all(arguments, &caller.limits),
            MemoryCall::UnlockAll => {
                self.locked = RegionMap::default();
                Ok(Effect::new(0))
            }
        };
        outcome.unwrap_or_else(Effect::failure)
    }
}

/// Whether any of these bits is set.
const fn has(flags: u64, bits: u32) -> bool {
    flags & bits as u64 != 0
}

const fn is_page_aligned(address: u64) -> bool {
    address.is_multiple_of(PAGE_BYTES)
}
