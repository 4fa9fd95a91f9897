//! Sponsors: who pays for an event, and what becomes of an event that cannot be paid for.
//!
//! Every event has a sponsor, inherited from the event that caused it. A sponsor holds a [`Quota`] of memory, cycles and
//! events.

mod quota;

pub use quota::{Quota, Resource};

/// Names one sponsor; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SponsorId {
    /// Place in the ledger.
    pub index: u32,
    /// Which of those that had this place.
    pub generation: u32,
}
