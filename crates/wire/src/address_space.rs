//! Where everything lies in an address space: the one table of ranges, the same on every node and in every
//! process of Banyan's.
//!
//! Program code lies where the kernel chooses nothing by itself: position-independent programs land at
//! 0x5555.., libraries, stacks and the vDSO at 0x7f... So the seccomp filters can tell the program's code
//! from everything else by the instruction pointer alone, and an executed child outside Banyan is never
//! trapped. Persistent heaps, shared heaps and the windows of isolated calls have ranges outside the
//! program's own, so that none of them takes the place of another, whichever of them meet in one process.
//!
//! Not for what lies inside a range: each crate lays out its own.
//!
//! Invariant: the offset in a replica's memory file equals the virtual address.
//! Invariant: the ranges of [`TABLE`] are ordered and have no address in common; the compiler checks it.

use crate::ids::{EXTENT_BYTES, NODES_MAX, PAGE_BYTES};

/// Addresses from `start` up to `end`, which is not one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
}

impl AddressRange {
    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.end - self.start
    }

    /// Does it hold this address?
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Does it hold all of `[address, address + length)`?
    #[must_use]
    pub const fn holds(self, address: u64, length: u64) -> bool {
        match address.checked_add(length) {
            Some(end) => self.start <= address && end <= self.end,
            None => false,
        }
    }
}

const TIB: u64 = 1 << 40;

const fn tebibytes(start: u64, end: u64) -> AddressRange {
    AddressRange { start: start * TIB, end: end * TIB }
}

/// Programs linked at a fixed address (non-PIE), from the kernel's `mmap_min_addr` on. The kernel never
/// places anything below its end by its own choice.
pub const LOW: AddressRange = AddressRange { start: 0x1_0000, end: 0x8000_0000 };
/// What programs map at fixed addresses of their own choice, such as the shadow of AddressSanitizer, which
/// goes on to the first 2 GiB of [`POOLS`]. Nothing is placed there.
pub const CHOSEN: AddressRange = AddressRange { start: LOW.end, end: CALL_WINDOWS.start };
/// What the caller of an isolated call shares with the worker: 16 windows of 512 GiB.
pub const CALL_WINDOWS: AddressRange = tebibytes(8, 16);
/// The pools from which each node's mappings are taken, so that an extent belongs to one node.
pub const POOLS: AddressRange = tebibytes(16, 48);
/// Reservations that are too large for a pool. They belong to the home node.
pub const LARGE: AddressRange = tebibytes(48, 80);
/// Where an arena's pager looks at pages before it drops them. The kernel's position-independent programs and
/// their break end below it.
pub const ARENA_STAGINGS: AddressRange = tebibytes(87, 88);
/// Heaps of arenas, unless their file says another address.
pub const ARENA_HEAPS: AddressRange = tebibytes(88, 104);
/// Explicit heaps: memory that processes share by name, unless the heap was made at another address.
pub const EXPLICIT_HEAPS: AddressRange = tebibytes(104, 112);
/// The stub's image, in which the vDSO lies that the program sees.
pub const STUB: AddressRange = AddressRange { start: 112 * TIB, end: 112 * TIB + (16 << 20) };

/// Every range, by address, with its name.
pub const TABLE: [(&str, AddressRange); 9] = [
    ("low", LOW),
    ("chosen", CHOSEN),
    ("call windows", CALL_WINDOWS),
    ("pools", POOLS),
    ("large", LARGE),
    ("arena stagings", ARENA_STAGINGS),
    ("arena heaps", ARENA_HEAPS),
    ("explicit heaps", EXPLICIT_HEAPS),
    ("stub", STUB),
];

const _: () = {
    let mut number = 0;
    while number < TABLE.len() {
        let range = TABLE[number].1;
        assert!(
            range.start < range.end
                && range.start.is_multiple_of(PAGE_BYTES)
                && range.end.is_multiple_of(PAGE_BYTES)
        );
        assert!(number == 0 || TABLE[number - 1].1.end <= range.start);
        number += 1;
    }
    assert!(POOLS.bytes() == POOL_BYTES * NODES_MAX as u64 && POOL_BYTES.is_multiple_of(EXTENT_BYTES));
    assert!(POOLS.end == LARGE.start && EXPLICIT_HEAPS.end == STUB.start);
};

/// High addresses at which the program's code may lie: what the seccomp filters trap, beside [`LOW`].
pub const PROGRAM_CODE: AddressRange = AddressRange { start: POOLS.start, end: LARGE.end };
/// What the program may map: everything below the stub, also where the kernel puts position-independent
/// programs, for it puts none into a replica. All of it is coherent memory.
pub const PROGRAM_MEMORY: AddressRange = AddressRange { start: LOW.start, end: STUB.start };
/// Bytes of a node's pool.
pub const POOL_BYTES: u64 = 512 << 30;
/// Bytes of the memory file: it must reach the last address of program memory. It is sparse.
pub const MEMORY_FILE_BYTES: u64 = PROGRAM_MEMORY.end;

/// Whether an instruction at `address` is the program's own.
#[must_use]
pub const fn is_program_code(address: u64) -> bool {
    may_hold_code(address, 1)
}

/// Whether code of the program may lie in `[address, address + length)`. Elsewhere its calls would not be
/// trapped.
#[must_use]
pub const fn may_hold_code(address: u64, length: u64) -> bool {
    PROGRAM_CODE.holds(address, length) || LOW.holds(address, length)
}

/// Whether `address` is one at which the program may have memory.
#[must_use]
pub const fn is_program_memory(address: u64) -> bool {
    may_map(address, 1)
}

/// Whether the program may map `[address, address + length)`.
#[must_use]
pub const fn may_map(address: u64, length: u64) -> bool {
    PROGRAM_MEMORY.holds(address, length)
}

/// The node whose pool `address` lies in; everything outside the pools belongs to the home node. This is the
/// first owner of the extent.
#[must_use]
pub const fn pool_node(address: u64) -> u8 {
    if !POOLS.contains(address) {
        return 0;
    }
    ((address - POOLS.start) / POOL_BYTES) as u8
}

/// First address of a node's pool.
#[must_use]
pub const fn pool_start(node: u8) -> u64 {
    POOLS.start + POOL_BYTES * node as u64
}

/// Rounds up to a whole page; `None` past the end of the address space.
#[must_use]
pub const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_BYTES - 1) {
        Some(v) => Some(v & !(PAGE_BYTES - 1)),
        None => None,
    }
}

/// Rounds down to a whole page.
#[must_use]
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE_BYTES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_memory_is_every_range_but_the_stubs() {
        for (name, range) in TABLE {
            assert_eq!(may_map(range.start, range.bytes()), name != "stub", "{name}");
            assert_eq!(is_program_memory(range.end - 1), name != "stub", "{name}");
        }
        assert!(!is_program_memory(LOW.start - 1));
        assert!(is_program_memory(0x5555_5555_4000), "where the kernel puts no program of a replica");
        assert!(may_map(LARGE.end - PAGE_BYTES, 2 * PAGE_BYTES), "over the end of a range");
        assert!(!may_map(STUB.start - PAGE_BYTES, 2 * PAGE_BYTES), "into the stub");
        assert!(!may_map(LOW.start, u64::MAX), "around the end of all addresses");
    }

    #[test]
    fn code_is_in_the_programs_own_ranges_only() {
        for (name, range) in TABLE {
            assert_eq!(is_program_code(range.start), ["low", "pools", "large"].contains(&name), "{name}");
        }
    }

    #[test]
    fn pools_belong_to_their_nodes_and_the_rest_to_home() {
        assert_eq!(pool_node(pool_start(63)), 63);
        assert_eq!(pool_node(pool_start(1) - 1), 0);
        assert_eq!(pool_node(pool_start(1) + POOL_BYTES - 1), 1);
        for range in [LOW, CALL_WINDOWS, LARGE, ARENA_HEAPS, EXPLICIT_HEAPS] {
            assert_eq!(pool_node(range.start), 0);
        }
    }
}
