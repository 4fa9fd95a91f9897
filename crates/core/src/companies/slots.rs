//! Which extent belongs to which company.
//!
//! Consecutive extents of a job make a stretch, and a stretch belongs to a company as a whole: one `mmap` of
//! many extents is then one entry in one log. Stretches fall into slots by a hash that never changes, and the
//! root's log says which company has a slot, so that the number of companies can change and little moves.

use super::{CompanyId, Mutation};
use alloc::vec;
use alloc::vec::Vec;
use banyan_wire::ids::{EXTENT_BYTES, ExtentNumber, JobId};

/// Slots of a cluster.
pub const SLOTS: u16 = 1024;
/// Bytes of a stretch.
pub const STRETCH_BYTES: u64 = 1 << 30;
pub(super) const STRETCH_EXTENTS: u64 = STRETCH_BYTES / EXTENT_BYTES;

/// A slot, less than [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot of an extent, for ever and on every node. Jobs have the same addresses, and are spread.
    #[must_use]
    pub const fn of(job: JobId, extent: ExtentNumber) -> Self {
        let stretch = extent.0 / STRETCH_EXTENTS;
        // splitmix64, from a point for each job.
        let mut bits = stretch.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((job.0 as u64) << 32);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(((bits ^ (bits >> 31)) % SLOTS as u64) as u16)
    }
}

/// Which company has which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    companies: Vec<CompanyId>,
    mutation: Option<Mutation>,
}

/// A slot that should go from one company to another: the first seals it, the second adopts it, and then the
/// root assigns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMove {
    /// Which.
    pub slot: Slot,
    /// Who has it.
    pub from: CompanyId,
    /// Who is to have it.
    pub to: CompanyId,
}

impl Default for Slots {
    /// All at the root.
    fn default() -> Self {
        Self { companies: vec![CompanyId::ROOT; usize::from(SLOTS)], mutation: None }
    }
}

impl Slots {
    /// As the default, but wrong.
    #[must_use]
    pub fn mutant(mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..Self::default() }
    }

    /// Who has a slot.
    #[must_use]
    pub fn company(&self, slot: Slot) -> CompanyId {
        self.companies[usize::from(slot.0 % SLOTS)]
    }

    /// A move is complete.
    pub fn assign(&mut self, done: SlotMove) {
        self.companies[usize::from(done.slot.0 % SLOTS)] = done.to;
    }

    /// The next moves until each of the companies has as many slots as any other, or one more; none, if
    /// they have. Between two companies one moves at a time: ask again when it is assigned.
    #[must_use]
    pub fn moves(&self, companies: u8) -> Vec<SlotMove> {
        let mut surplus = self.surplus(companies.max(1));
        let mut moves: Vec<SlotMove> = Vec::new();
        for (slot, &from) in (0..SLOTS).map(Slot).zip(&self.companies) {
            if surplus[from.index()] <= 0 {
                continue;
            }
            let is_free = |to: &CompanyId| {
                let together = self.mutation == Some(Mutation::MoveTogether);
                together || !moves.iter().any(|other| (other.from, other.to) == (from, *to))
            };
            let needy = (0..companies.max(1)).map(CompanyId).filter(|to| surplus[to.index()] < 0);
            if let Some(to) = needy.filter(is_free).min_by_key(|to| surplus[to.index()]) {
                moves.push(SlotMove { slot, from, to });
                surplus[from.index()] -= 1;
                surplus[to.index()] += 1;
            }
        }
        moves
    }

    /// How many slots each company has above its part. Those that have most keep what cannot be divided.
    fn surplus(&self, companies: u8) -> Vec<i32> {
        let mut surplus = vec![0; 256];
        self.companies.iter().for_each(|company| surplus[company.index()] += 1);
        if self.mutation == Some(Mutation::DealAllSlots) {
            // As if none had any, in the order of the slots.
            surplus[0] = i32::from(SLOTS);
            surplus[1..].fill(0);
        }
        let count = match self.mutation {
            Some(Mutation::ForgetNewest) if companies > 1 => companies - 1,
            _ => companies,
        };
        let (part, rest) = (i32::from(SLOTS / u16::from(count)), usize::from(SLOTS % u16::from(count)));
        let mut by_slots: Vec<usize> = (0..usize::from(count)).collect();
        by_slots.sort_by_key(|&company| core::cmp::Reverse(surplus[company]));
        for (place, company) in by_slots.into_iter().enumerate() {
            surplus[company] -= part + i32::from(place < rest);
        }
        surplus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_has_one_slot_and_neighbours_have_others() {
        let first = ExtentNumber::of_address(16 << 40);
        let slot = |extent| Slot::of(JobId(7), ExtentNumber(first.0 + extent));
        assert!((0..512).all(|extent| slot(extent) == slot(0)));
        assert_ne!(slot(512), slot(511));
        assert_ne!(Slot::of(JobId(8), first), slot(0));
        // What is written to logs by it must be found by it: it never changes.
        assert_eq!([slot(0), slot(512), slot(1024)], [Slot(883), Slot(830), Slot(138)]);
    }

    #[test]
    fn stretches_and_jobs_spread_over_all_slots() {
        let mut counts = vec![0; usize::from(SLOTS)];
        for job in 0..64 {
            for stretch in 0..1024 {
                let extent = ExtentNumber::of_address((16 << 40) + stretch * STRETCH_BYTES);
                counts[usize::from(Slot::of(JobId(job), extent).0)] += 1;
            }
        }
        // 64 each are expected; five deviations of a Poisson distribution are 40.
        assert!(counts.iter().all(|count| (24..=104).contains(count)), "{counts:?}");
    }
}
