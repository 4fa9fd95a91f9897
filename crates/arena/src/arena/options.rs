//! What may be chosen for an arena.

use crate::heap::Tracking;
use crate::store::StoreOptions;
use banyan_wire::address_space::ARENA_HEAPS;

/// Default address of the heap: in no range that the kernel or a C library chooses by itself, nor in one that
/// another part of Banyan uses.
pub const DEFAULT_BASE: u64 = ARENA_HEAPS.start;
/// Default bytes of address space.
pub const DEFAULT_RESERVATION: u64 = 1 << 40;

/// When the committed pages come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    /// Lazily, if the arena is large and this machine has the means, else eagerly.
    #[default]
    Auto,
    /// All of them, checked, when the arena is opened: damage is an error of the open.
    Eager,
    /// Each when it is touched: opening takes the same time whatever the arena's size, and it may be larger
    /// than memory. A page that turns out to be damaged, or cannot be read, is named on standard error, and
    /// the access to it ends in `SIGBUS`; [`Arena::load_range`](crate::Arena::load_range) finds out
    /// beforehand.
    Lazy,
}

/// What may be chosen for an arena. The defaults suit one arena in a process.
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// Address of the heap, for a new arena; an existing one has its own.
    pub base: u64,
    /// Bytes of address space of a new arena, at most 16 TiB. Costs nothing until used.
    pub reservation: u64,
    /// How written pages are found.
    pub tracking: Tracking,
    /// When committed pages come into memory.
    pub loading: Loading,
    /// Bytes of heap that may stay in memory, at least 4 MiB; beyond that clean pages are dropped, and come
    /// back when they are touched. Pages written since the last commit always stay. Implies lazy loading.
    pub memory_budget: Option<usize>,
    /// Options of the page store.
    pub store: StoreOptions,
}

impl Default for ArenaOptions {
    fn default() -> Self {
        Self {
            base: DEFAULT_BASE,
            reservation: DEFAULT_RESERVATION,
            tracking: Tracking::Probe,
            loading: Loading::Auto,
            memory_budget: None,
            store: StoreOptions::default(),
        }
    }
}
