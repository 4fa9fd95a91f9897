//! What a node stands on: a majority of givers, each at the epoch at which it began.
//!
//! A majority supports it now, or a majority has taken back for good what it had then: never both, because
//! the two would share a giver. So a company that fences a node by its footing fences one that acts no more.
//! Support that was taken back and given anew is another footing, and the company must be told of it before
//! it counts: until then the node stands on what is left of the old one.

use super::{Asker, Mutation, SupportEpoch};
use alloc::collections::BTreeMap;
use banyan_wire::cluster::MemberId;
use banyan_wire::ids::Microseconds;

/// Givers, with the epoch at which each supported the node when it took its footing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Footing {
    /// None for those that did not. All members of the company are here.
    givers: BTreeMap<MemberId, Option<SupportEpoch>>,
}

/// Majorities of other givers need not have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a footing among other givers")]
pub struct OtherGivers;

impl Footing {
    /// The footing that a node has among the members of a company, if it has one.
    #[must_use]
    pub fn new(asker: &Asker, members: &[MemberId], now: Microseconds) -> Option<Self> {
        let givers = members.iter().map(|member| (*member, asker.supported(*member, now)));
        let footing = Self { givers: givers.collect() };
        footing.holds(asker, now).then_some(footing)
    }

    /// Whether the node may act on it now. Ask after every wait, and before every act.
    #[must_use]
    pub fn holds(&self, asker: &Asker, now: Microseconds) -> bool {
        let any = asker.mutation == Some(Mutation::StandOnAnyEpoch);
        let supports = |(giver, epoch): &(&MemberId, &Option<SupportEpoch>)| {
            let support = asker.supported(**giver, now);
            support.is_some() && (support == **epoch || any)
        };
        let count = self.givers.iter().filter(supports).count();
        if asker.mutation == Some(Mutation::StandOnOne) {
            return count > 0;
        }
        self.is_majority(count)
    }

    /// Whether the node can never act on it again. `below` is what a giver last said of the node: support
    /// below that epoch is over.
    #[must_use]
    pub fn is_over(&self, below: impl Fn(MemberId) -> SupportEpoch) -> bool {
        let is_over = |(giver, epoch): &(&MemberId, &Option<SupportEpoch>)| {
            epoch.is_none_or(|epoch| epoch < below(**giver))
        };
        self.is_majority(self.givers.iter().filter(is_over).count())
    }

    /// Whether it is one at all: a majority supported the node when it took it.
    #[must_use]
    pub fn can_hold(&self) -> bool {
        self.is_majority(self.givers.values().flatten().count())
    }

    /// Takes a newer footing of the same node among the same members: what each giver gives now, and what it
    /// gave before where it gives nothing. So the node may go on on the old one until it knows of this:
    /// where this is over, that is.
    ///
    /// # Errors
    /// [`OtherGivers`].
    pub fn renew(&mut self, newer: &Self) -> Result<(), OtherGivers> {
        if !self.givers.keys().eq(newer.givers.keys()) {
            return Err(OtherGivers);
        }
        for (giver, epoch) in &mut self.givers {
            *epoch = newer.givers.get(giver).copied().flatten().max(*epoch);
        }
        Ok(())
    }

    fn is_majority(&self, count: usize) -> bool {
        2 * count > self.givers.len()
    }
}

impl Footing {
    /// On these givers, at the first epoch of each: for tests and fuzzers, which have asked nobody.
    #[doc(hidden)]
    #[must_use]
    pub fn on(givers: &[MemberId]) -> Self {
        Self { givers: givers.iter().map(|giver| (*giver, Some(SupportEpoch(1)))).collect() }
    }
}
