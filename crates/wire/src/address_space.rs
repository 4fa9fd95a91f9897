//! Where everything lies in the address space of a replica, identical on every node.
//!
//! Program memory lies where the kernel chooses nothing by itself: position-independent programs land at
//! 0x5555.., libraries, stacks and the vDSO at 0x7f... So the seccomp filters can tell the program's code from
//! everything else by the instruction pointer alone, and an executed child outside Banyan is never trapped.
//!
//! Invariant: the offset in a replica's memory file equals the virtual address.

/// First byte of program memory.
pub const PROGRAM_START: u64 = 0x1000_0000_0000;
/// First byte after program memory.
pub const PROGRAM_END: u64 = 0x5000_0000_0000;
/// First byte of the range where programs linked at a fixed address (non-PIE) live; the kernel's `mmap_min_addr`.
pub const LOW_START: u64 = 0x1_0000;
/// First byte after the low range. The kernel never places anything below it by its own choice.
pub const LOW_END: u64 = 0x8000_0000;
/// Where the stub is linked.
pub const STUB_START: u64 = 0x7000_0000_0000;
/// First byte after the space reserved for the stub's image.
pub const STUB_END: u64 = 0x7000_0100_0000;
/// Bytes of address space from which each node's mappings are taken, so that an extent belongs to one node.
pub const POOL_SIZE: u64 = 0x80_0000_0000;
/// Nodes that one process can be spread over.
pub const NODES_MAX: usize = 64;
/// First byte after the pools: reservations that are too large for a pool. They belong to the home node.
pub const LARGE_START: u64 = PROGRAM_START + POOL_SIZE * NODES_MAX as u64;
/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes of an extent, the unit of ownership.
pub const EXTENT_SIZE: u64 = 2 << 20;
/// Size of the memory file: it must reach the last program address. It is sparse.
pub const MEMORY_FILE_SIZE: u64 = PROGRAM_END;

const _: () = assert!(LARGE_START < PROGRAM_END);

/// Whether `address` belongs to program memory (high or low range).
#[must_use]
pub const fn in_program(address: u64) -> bool {
    (address >= PROGRAM_START && address < PROGRAM_END) || (address >= LOW_START && address < LOW_END)
}

/// Whether `[address, address + length)` lies wholly in one range of program memory.
#[must_use]
pub const fn range_in_program(address: u64, length: u64) -> bool {
    let Some(end) = address.checked_add(length) else { return false };
    (address >= PROGRAM_START && end <= PROGRAM_END) || (address >= LOW_START && end <= LOW_END)
}

/// The node whose pool `address` lies in; everything outside the pools belongs to the home node. This is the
/// first owner of the extent.
#[must_use]
pub const fn pool_node(address: u64) -> u8 {
    if address < PROGRAM_START || address >= LARGE_START {
        return 0;
    }
    ((address - PROGRAM_START) / POOL_SIZE) as u8
}

/// First address of a node's pool.
#[must_use]
pub const fn pool_start(node: u8) -> u64 {
    PROGRAM_START + POOL_SIZE * node as u64
}

/// Rounds up to a whole page; `None` past the end of the address space.
#[must_use]
pub const fn page_up(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(v) => Some(v & !(PAGE_SIZE - 1)),
        None => None,
    }
}

/// Rounds down to a whole page.
#[must_use]
pub const fn page_down(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// Descriptors that a stub may need: its own few and one for each remote thread.
pub const HIDDEN_DESCRIPTORS: u64 = 4096;

/// The lowest number of the descriptors that a stub hides, given the soft and hard limit of open files. Above the
/// soft limit if the hard one leaves room, for there the program gets no descriptor by itself; else the last numbers
/// below it, which a program reaches only when it has nearly all the files open that it may have.
#[must_use]
pub const fn descriptor_floor(soft: u64, hard: u64) -> u64 {
    if hard >= soft.saturating_add(HIDDEN_DESCRIPTORS) {
        soft
    } else if soft / 4 < HIDDEN_DESCRIPTORS {
        soft - soft / 4
    } else {
        soft - HIDDEN_DESCRIPTORS
    }
}

/// The soft limit that lets hidden descriptors be made.
#[must_use]
pub const fn raised_limit(soft: u64, hard: u64) -> u64 {
    if hard >= soft.saturating_add(HIDDEN_DESCRIPTORS) { soft + HIDDEN_DESCRIPTORS } else { soft }
}
