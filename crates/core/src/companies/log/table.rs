//! Who owns the extents of one slot: as few runs as can be.

use super::entry::{EpochNumber, ExtentRun, JobNumber, Number, Owner};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::ids::{Epoch, ExtentNumber, JobId};
use serde::{Deserialize, Serialize};

/// A foreign number beyond it is none: so the next one can always be counted.
const COUNT_MAX: Epoch = Epoch(1 << 62);

/// Extents with their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Which.
    pub extents: ExtentRun,
    /// Who.
    pub owner: Owner,
    /// Since when: it rises with every owner.
    #[serde(with = "EpochNumber")]
    pub epoch: Epoch,
}

/// The extents of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTable {
    pub(super) moves: u64,
    /// No extent that has no owner had one at a higher epoch.
    #[serde(with = "EpochNumber")]
    pub(super) free_since: Epoch,
    leases: BTreeMap<Key, Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key(#[serde(with = "JobNumber")] JobId, #[serde(with = "Number")] ExtentNumber);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Rest {
    count: u32,
    owner: Owner,
    #[serde(with = "EpochNumber")]
    epoch: Epoch,
}

impl SlotTable {
    /// How often the slot went to another company: of two tables of a slot the one with more is newer.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Every lease, in order.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.leases.iter().map(|(&Key(job, first), rest)| Lease {
            extents: ExtentRun { job, first, count: rest.count },
            owner: rest.owner,
            epoch: rest.epoch,
        })
    }

    /// The leases that have an extent of these, in order.
    pub(super) fn over(&self, extents: ExtentRun) -> Vec<Lease> {
        // A run that began before may reach in.
        let from = self.leases.range(..=Key(extents.job, extents.first)).next_back();
        let from = from.map_or(Key(extents.job, extents.first), |(key, _)| *key);
        let end = Key(extents.job, ExtentNumber(extents.end()));
        let near = self.leases.range(from..end);
        near.map(|(&Key(job, first), rest)| Lease {
            extents: ExtentRun { job, first, count: rest.count },
            owner: rest.owner,
            epoch: rest.epoch,
        })
        .filter(|lease| lease.extents.job == extents.job && lease.extents.end() > extents.first.0)
        .collect()
    }

    /// Whether one node owns all of these. Gives the highest of their epochs.
    pub(super) fn owned_by(&self, owner: Owner, extents: ExtentRun) -> Option<Epoch> {
        let over = self.over(extents);
        let mut next = extents.first.0;
        for lease in &over {
            if lease.owner != owner || lease.extents.first.0 > next {
                return None;
            }
            next = lease.extents.end();
        }
        (next >= extents.end()).then(|| over.iter().map(|lease| lease.epoch).max())?
    }

    /// Takes these out, of any owner; what was beside them stays.
    pub(super) fn remove(&mut self, extents: ExtentRun) {
        for lease in self.over(extents) {
            let whole = lease.extents;
            self.leases.remove(&Key(whole.job, whole.first));
            let before = extents.first.0.saturating_sub(whole.first.0) as u32;
            let after = whole.end().saturating_sub(extents.end()) as u32;
            self.put(Lease { extents: ExtentRun { count: before, ..whole }, ..lease });
            let first = ExtentNumber(whole.end() - u64::from(after));
            self.put(Lease { extents: ExtentRun { first, count: after, ..whole }, ..lease });
        }
    }

    /// Puts these in, of which none is there; they become one with those beside them that are alike.
    pub(super) fn insert(&mut self, mut lease: Lease) {
        let ExtentRun { job, first, .. } = lease.extents;
        if let Some((&Key(other, at), rest)) = self.leases.range(..Key(job, first)).next_back()
            && (other, at.0 + u64::from(rest.count)) == (job, first.0)
            && (rest.owner, rest.epoch) == (lease.owner, lease.epoch)
            && is_one_stretch(at, lease.extents.end())
        {
            lease.extents = ExtentRun { job, first: at, count: rest.count + lease.extents.count };
        }
        let end = Key(job, ExtentNumber(lease.extents.end()));
        if let Some(rest) = self.leases.get(&end).copied()
            && (rest.owner, rest.epoch) == (lease.owner, lease.epoch)
            && is_one_stretch(lease.extents.first, end.1.0 + u64::from(rest.count))
        {
            self.leases.remove(&end);
            lease.extents.count += rest.count;
        }
        self.put(lease);
    }

    fn put(&mut self, lease: Lease) {
        let Lease { extents: ExtentRun { job, first, count }, owner, epoch } = lease;
        if count > 0 {
            self.leases.insert(Key(job, first), Rest { count, owner, epoch });
        }
    }

    /// Whether it is one that entries could have made.
    pub(super) fn is_sound(&self) -> bool {
        let mut end = Key(JobId(0), ExtentNumber(0));
        self.leases().all(|lease| {
            let follows = Key(lease.extents.job, lease.extents.first) >= end && lease.extents.is_sound();
            let next = lease.extents.first.0.saturating_add(u64::from(lease.extents.count));
            end = Key(lease.extents.job, ExtentNumber(next));
            follows && lease.epoch <= COUNT_MAX
        }) && self.free_since <= COUNT_MAX
            && self.moves <= COUNT_MAX.0
    }
}

fn is_one_stretch(first: ExtentNumber, end: u64) -> bool {
    ExtentRun { job: JobId(0), first, count: (end - first.0) as u32 }.is_sound()
}
