//! A page of the simulated memory: one number stands for its contents.

use banyan_core::ids::{Access, PageNumber};

/// What a page holds: zero, or the number of a write.
pub type Value = u32;

/// A page in the memory of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its contents.
    pub value: Value,
    /// What threads can do without a fault.
    pub mapped: Option<Access>,
    /// When the step began that last granted write access; zero if none did. Only the simulation, which has a
    /// clock, fills this in.
    pub granted: u64,
}

/// Pages with what is in them.
pub type Pages = Vec<(PageNumber, Value)>;
