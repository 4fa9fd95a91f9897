//! Who is alive: one directed lease of support for each pair of nodes, on which everything else hangs.
//!
//! A node asks each node that matters to it for support. That one, the giver, promises not to declare the
//! asker dead for a while, and writes the promise down before it answers. The asker may act as long as
//! promises last, the giver keeps them longer than that, and what a giver takes back it takes back for good:
//! it raises the epoch of the pair, and support below it is never given again. So a node that was paused for
//! any time finds by its own clock that it may not act, and one that did not look is told by the epoch.
//! (The scheme is that of CockroachDB's store liveness; its clocks are synchronized, and here none is.)
//!
//! Clocks are monotonic, and two of them are never compared: the asker counts from when it asked, the giver
//! from when it heard, and [`Terms`] says by how much the speeds of two clocks may differ. A node whose disk
//! stands still can neither ask nor promise.
//!
//! Both ends are state machines: [`Giver`] and [`Asker`]. A driver carries their [`Effect`]s out in order and
//! says what has become durable; what depends on a write comes out when it has. On a majority of givers a
//! node stands by its [`Footing`]. Not here: what is lost with support (`crate::companies`), and sockets,
//! clocks and files.
//!
//! Invariant: what an asker takes for support is a promise that its giver keeps, wherever either was paused
//! or crashed and whatever became of messages.

mod asker;
mod footing;
mod giver;

pub use asker::{Asker, AskerRecord};
pub use footing::{Footing, OtherGivers};
pub use giver::{Giver, GiverRecord, Standing};

use banyan_wire::cluster::MemberId;
use banyan_wire::ids::Microseconds;

/// How often the support of one pair ended. Zero is before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct SupportEpoch(pub u64);

impl SupportEpoch {
    /// A foreign epoch beyond it is no epoch: so the next one can always be counted.
    const LAST: Self = Self(1 << 62);

    const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One start of a node: higher than that of every start before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Incarnation(pub u64);

/// What all nodes of a cluster keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long support lasts, by the asker's clock from when it asked.
    pub term: Microseconds,
    /// How often it is asked for.
    pub every: Microseconds,
    /// By how many thousandths a clock may be faster or slower than time.
    pub drift_permille: u64,
}

impl Default for Terms {
    /// Four of five questions may be lost. Clocks that are steered differ from time by half a thousandth.
    fn default() -> Self {
        Self { term: Microseconds(2_000_000), every: Microseconds(400_000), drift_permille: 5 }
    }
}

impl Terms {
    /// How long a giver keeps a promise by its own clock: longer than any asker counts on it.
    const fn kept(&self) -> u64 {
        (self.term.0 * (1000 + self.drift_permille)).div_ceil(1000 - self.drift_permille)
    }
}

/// What an asker and a giver say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SupportMessage {
    /// Support me.
    Ask {
        /// The asker's epoch with this giver.
        epoch: SupportEpoch,
        /// When it asked, by its own clock.
        asked_us: u64,
    },
    /// You have my support, a term long from when you asked.
    Given {
        /// The epoch of the question.
        epoch: SupportEpoch,
        /// The time in the question.
        asked_us: u64,
    },
    /// What you had at the epoch of the question is over. Ask at this one.
    Over {
        /// The giver's epoch.
        epoch: SupportEpoch,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<Record> {
    /// Make a record durable in place of what it replaces, after all writes before it, and say so with its
    /// number.
    Persist {
        /// Ascending.
        write: u64,
        /// What.
        record: Record,
    },
    /// Send it; it may get lost.
    Send {
        /// Where.
        to: MemberId,
        /// What.
        message: SupportMessage,
    },
    /// Support of this node for another below this epoch is over, for good: others may be told.
    Over {
        /// Whose support.
        asker: MemberId,
        /// The first epoch that may still be.
        below: SupportEpoch,
    },
}

/// A deliberate mistake, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A promise is sent before it is durable.
    PromiseBeforePersist,
    /// The end of support is told before it is durable.
    OverBeforePersist,
    /// A giver that restarts takes back at once what it promised before.
    ForgetPromises,
    /// Every clock is taken to be as fast as every other.
    IgnoreDrift,
    /// The end of support does not raise the epoch.
    KeepEpoch,
    /// Support is given at an epoch that is over.
    PromiseOldEpoch,
    /// The asker counts from when it heard.
    CountFromAnswer,
    /// An answer counts whatever its epoch.
    TakeAnyAnswer,
    /// An asker that restarts goes on at the epoch that it had.
    KeepAskingEpoch,
    /// A question leaves before anything is durable.
    AskBeforePersist,
    /// Support at another epoch is as good.
    StandOnAnyEpoch,
    /// One giver is enough.
    StandOnOne,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 12] = [
    Mutation::PromiseBeforePersist,
    Mutation::OverBeforePersist,
    Mutation::ForgetPromises,
    Mutation::IgnoreDrift,
    Mutation::KeepEpoch,
    Mutation::PromiseOldEpoch,
    Mutation::CountFromAnswer,
    Mutation::TakeAnyAnswer,
    Mutation::KeepAskingEpoch,
    Mutation::AskBeforePersist,
    Mutation::StandOnAnyEpoch,
    Mutation::StandOnOne,
];
