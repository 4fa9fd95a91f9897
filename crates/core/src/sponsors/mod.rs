//! Sponsors: who pays for an event, and what becomes of an event that cannot be paid for.
//!
//! Every event has a sponsor, inherited from the event that caused it; an actor has none. A sponsor holds a
//! [`Quota`] of memory, cycles and events. Hosts do not come here for each event: they take a **lease** on a
//! part of a sponsor's quota, spend from it on their own, and **settle** it after a while. So that nobody is
//! called exhausted while another host still holds what is missing, an event that cannot be paid for waits
//! until all leases are settled, and only then is the sponsor exhausted. The rules are those of uFork's
//! sponsors, with leases added.
//!
//! Invariant: over all sponsors, balance + leased + consumed + retired = granted.
//!
//! Not here: the events that wait, and the messages to controllers; they are the runtime's.

mod ledger;
mod quota;
#[cfg(test)]
mod tests;

pub use ledger::{Account, Grant, Ledger, State, TransferError, Verdict};
pub use quota::{Quota, Resource};

/// Names one sponsor; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SponsorId {
    /// Place in the ledger.
    pub index: u32,
    /// Which of those that had this place.
    pub generation: u32,
}

impl SponsorId {
    /// The sponsor at the root of every ledger.
    pub const ROOT: Self = Self { index: 0, generation: 0 };
}
