//! Deliberate mistakes, so that the simulator and the explorer can show that they would notice them.
//!
//! A real machine is `Machine<Faithful>`, for which every question here is the constant `false`, so the
//! mistakes are not in its code.

use core::fmt::Debug;
use core::hash::Hash;

/// A mistake to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Grant a write without telling the readers.
    SkipInvalidate,
    /// Tell the readers, but grant the write before they answer.
    GrantBeforeAcknowledge,
    /// Read a page out before write-protecting it.
    CopyBeforeProtect,
    /// Keep the page after giving it away.
    KeepGivenPage,
    /// Let the grant of a write leave before the page is dropped.
    GrantBeforeDrop,
    /// Do not keep the bytes that were given away until they are known to have arrived.
    ForgetRetention,
    /// Carry out a grant that is older than what was last done to the page.
    AcceptStaleGrant,
    /// Adopt a directory whatever its epoch.
    SkipEpochCheck,
    /// Go on granting after handing the directory over.
    ServeAfterHandOver,
    /// Do not look at the queue when a transfer is complete.
    SkipQueue,
    /// Believe that a reader in the directory has the bytes, although its grant was never confirmed.
    TrustDirectoryCopy,
    /// Discard only at the owner.
    DiscardOnlyHere,
    /// Carry out a repeated discard again.
    RepeatDiscard,
    /// Carry out a repeated sweep again.
    RepeatSweep,
    /// Sweep extents that other nodes have pages of.
    SweepShared,
    /// Take any answer for that to the sweep under way.
    BelieveOldSwept,
    /// Do not go on with a sweep behind the first extent that it left out.
    ForgetSweepRest,
    /// Let a node keep its turn for ever.
    EndlessTurn,
    /// Grant a page while another transfer of it is under way.
    IgnoreBusy,
    /// Never ask again.
    NeverRetry,
    /// Take a page away from its new writer at once.
    IgnoreHold,
    /// Let threads go on between registering an extent and knowing whether it is empty.
    WakeWhileSharing,
    /// Do not ask for the pages that a partial grant left out.
    ForgetRest,
    /// Go on owning what becomes known while this node retires.
    OwnWhileRetiring,
    /// Take only the pages from a node that retires that it writes.
    ForgetRetiringReaders,
    /// Fall silent while others still want something.
    CloseAtOnce,
    /// Go on asking a node that has left.
    RememberRetired,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 27] = [
    Mutation::SkipInvalidate,
    Mutation::GrantBeforeAcknowledge,
    Mutation::CopyBeforeProtect,
    Mutation::KeepGivenPage,
    Mutation::GrantBeforeDrop,
    Mutation::ForgetRetention,
    Mutation::AcceptStaleGrant,
    Mutation::SkipEpochCheck,
    Mutation::ServeAfterHandOver,
    Mutation::SkipQueue,
    Mutation::TrustDirectoryCopy,
    Mutation::DiscardOnlyHere,
    Mutation::RepeatDiscard,
    Mutation::RepeatSweep,
    Mutation::SweepShared,
    Mutation::BelieveOldSwept,
    Mutation::ForgetSweepRest,
    Mutation::EndlessTurn,
    Mutation::IgnoreBusy,
    Mutation::NeverRetry,
    Mutation::IgnoreHold,
    Mutation::WakeWhileSharing,
    Mutation::ForgetRest,
    Mutation::OwnWhileRetiring,
    Mutation::ForgetRetiringReaders,
    Mutation::CloseAtOnce,
    Mutation::RememberRetired,
];

/// Which mistakes a node makes.
pub trait Conduct: Clone + Debug + PartialEq + Eq + Hash {
    /// Does it make this one?
    fn makes(&self, mutation: Mutation) -> bool;
}

/// No mistakes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Faithful;

impl Conduct for Faithful {
    #[inline(always)]
    fn makes(&self, _: Mutation) -> bool {
        false
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mutant(pub Mutation);

impl Conduct for Mutant {
    fn makes(&self, mutation: Mutation) -> bool {
        self.0 == mutation
    }
}
