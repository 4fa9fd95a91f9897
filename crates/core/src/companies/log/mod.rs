//! What a company agrees on: who owns which extent of its slots, at which epoch.
//!
//! Entries arrive in the order that consensus gave them, the same at every member, and [`Company::apply`]
//! says of each what it did or why it was refused; all members say the same. An entry may arrive twice, from
//! a node that had no answer.
//!
//! A node is named with its incarnation. Each start of a node is another one, with a higher number, and
//! what belonged to an incarnation ends with it: a node that was fenced, or that restarted, has nothing until
//! it has joined anew. It joins a company on a [footing], and may act only while it stands on those of
//! all companies that it has joined. So what one company says of an incarnation that is over is true for the
//! others.
//!
//! A slot moves in three entries: its company seals it, and nothing in it changes any more; the next one
//! adopts it with all that is in it; and when the root has assigned it, the first releases it. Before a slot
//! is sealed the owners in it join the next company.
//!
//! Not here: consensus; and what the pages of a dead owner's extents become (the heir's census finds them).
//!
//! [footing]: crate::support::Footing
//!
//! Invariant: an extent has one owner at an epoch, in all companies together and for ever.
//! Invariant: a fenced incarnation owns nothing in a slot that its company can still change.

mod apply;
mod entry;
mod snapshot;
mod table;

pub use apply::Company;
pub use entry::{Applied, Entry, Evidence, ExtentRun, Owner, Refusal};
pub use snapshot::SnapshotError;
pub use table::{Lease, SlotTable};

/// A deliberate mistake, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Extents that somebody owns are allocated again.
    AllocateTwice,
    /// A node frees what another one owns.
    FreeOfOthers,
    /// An extent keeps its epoch when its owner changes.
    KeepEpoch,
    /// An extent that was freed begins anew at the first epoch.
    ForgetEpochs,
    /// A node is fenced that may still act.
    FenceUnproved,
    /// What a fenced node owned stays its own.
    LeaveToFenced,
    /// A sealed slot is written to.
    WriteSealed,
    /// A slot is adopted a second time, as it was long ago.
    AdoptAgain,
    /// What an incarnation owned that is over, its next one owns.
    InheritOwn,
    /// A node joins as an incarnation that it was before.
    JoinAsBefore,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 10] = [
    Mutation::AllocateTwice,
    Mutation::FreeOfOthers,
    Mutation::KeepEpoch,
    Mutation::ForgetEpochs,
    Mutation::FenceUnproved,
    Mutation::LeaveToFenced,
    Mutation::WriteSealed,
    Mutation::AdoptAgain,
    Mutation::InheritOwn,
    Mutation::JoinAsBefore,
];
