//! Applying entries.

use super::Mutation;
use super::entry::{Applied, Entry, Evidence, ExtentRun, Owner, Refusal};
use super::table::{Lease, SlotTable};
use crate::companies::{CompanyId, SLOTS, Slot};
use crate::support::{Footing, Incarnation, SupportEpoch};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::cluster::MemberId;
use banyan_wire::ids::Epoch;
use serde::{Deserialize, Serialize};

/// What a company has agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Company {
    /// Every node that ever took part.
    pub(super) nodes: BTreeMap<MemberId, Node>,
    /// Every slot that ever was here.
    pub(super) slots: BTreeMap<Slot, SlotState>,
    #[serde(skip)]
    mutation: Option<Mutation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    /// The last that took part.
    incarnation: Incarnation,
    part: Part,
}

/// Whether a node takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    /// It does, and stands on this.
    Live(Footing),
    /// It went, and may act elsewhere.
    Left,
    /// Its incarnation is over.
    Fenced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SlotState {
    /// It is here.
    Open(SlotTable),
    /// It is on its way.
    Sealed(SlotTable, CompanyId),
    /// It is elsewhere; with the number of its moves when it was last here.
    Gone(u64),
}

impl Company {
    /// One that has no slots yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first one, which has all.
    #[must_use]
    pub fn root() -> Self {
        let slots = (0..SLOTS).map(|slot| (Slot(slot), SlotState::Open(SlotTable::default())));
        Self { slots: slots.collect(), ..Self::default() }
    }

    /// The same, but wrong from now on.
    #[must_use]
    pub fn mutant(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }

    /// The incarnation as which a node takes part.
    #[must_use]
    pub fn live(&self, node: MemberId) -> Option<Incarnation> {
        let node = self.nodes.get(&node)?;
        matches!(node.part, Part::Live(_)).then_some(node.incarnation)
    }

    /// A slot that is here, on its way or not.
    #[must_use]
    pub fn table(&self, slot: Slot) -> Option<&SlotTable> {
        match self.slots.get(&slot)? {
            SlotState::Open(table) | SlotState::Sealed(table, _) => Some(table),
            SlotState::Gone(_) => None,
        }
    }

    /// Where a slot goes, if it is sealed.
    #[must_use]
    pub fn sealed(&self, slot: Slot) -> Option<CompanyId> {
        match self.slots.get(&slot)? {
            SlotState::Sealed(_, to) => Some(*to),
            _ => None,
        }
    }

    /// Does what an entry says. One that is refused changes nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, Refusal> {
        match entry {
            Entry::Join { owner, footing } => self.join(*owner, footing),
            Entry::Renew { owner, footing } => self.renew(*owner, footing),
            Entry::Leave { owner } => self.leave(*owner),
            Entry::Allocate { owner, extents } => self.allocate(*owner, *extents),
            Entry::Free { owner, extents } => self.free(*owner, *extents),
            Entry::Lease { owner, extents, to } => self.lease(*owner, *extents, *to),
            Entry::Fence { owner, evidence, heir } => self.fence(*owner, evidence, *heir),
            Entry::Seal { slot, to } => self.seal(*slot, *to),
            Entry::Adopt { slot, table, heir } => self.adopt(*slot, table, *heir),
            Entry::Release { slot } => self.release(*slot),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn join(&mut self, owner: Owner, footing: &Footing) -> Result<Applied, Refusal> {
        if self.live(owner.node).is_some() {
            return Err(Refusal::StillLive(owner.node));
        }
        let was = |node: &Node| match node.part {
            Part::Left => owner.incarnation < node.incarnation,
            Part::Live(_) | Part::Fenced => owner.incarnation <= node.incarnation,
        };
        if self.nodes.get(&owner.node).is_some_and(was) && !self.is(Mutation::JoinAsBefore) {
            return Err(Refusal::OldIncarnation(owner.node));
        }
        if !footing.can_hold() {
            return Err(Refusal::NoFooting(owner.node));
        }
        let node = Node { incarnation: owner.incarnation, part: Part::Live(footing.clone()) };
        self.nodes.insert(owner.node, node);
        Ok(Applied::Done)
    }

    fn footing(&mut self, owner: Owner) -> Result<&mut Footing, Refusal> {
        match self.nodes.get_mut(&owner.node) {
            Some(Node { incarnation, part: Part::Live(footing) }) if *incarnation == owner.incarnation => {
                Ok(footing)
            }
            _ => Err(Refusal::NotLive(owner.node)),
        }
    }

    fn renew(&mut self, owner: Owner, footing: &Footing) -> Result<Applied, Refusal> {
        let renewed = self.footing(owner)?.renew(footing);
        renewed.map(|()| Applied::Done).map_err(|_| Refusal::OtherGivers(owner.node))
    }

    fn leave(&mut self, owner: Owner) -> Result<Applied, Refusal> {
        self.footing(owner)?;
        let mut tables = self.slots.keys().filter_map(|slot| self.table(*slot));
        if tables.any(|table| table.leases().any(|lease| lease.owner == owner)) {
            return Err(Refusal::StillOwns(owner.node));
        }
        self.end(owner.node, Part::Left);
        Ok(Applied::Done)
    }

    fn end(&mut self, node: MemberId, part: Part) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.part = part;
        }
    }

    /// The table of extents, if a live node may change it.
    fn open(&mut self, owner: Owner, extents: ExtentRun) -> Result<&mut SlotTable, Refusal> {
        self.footing(owner)?;
        if !extents.is_sound() {
            return Err(Refusal::Extents);
        }
        let (slot, may_write) = (extents.slot(), self.is(Mutation::WriteSealed));
        match self.slots.get_mut(&slot) {
            Some(SlotState::Open(table)) => Ok(table),
            Some(SlotState::Sealed(table, _)) if may_write => Ok(table),
            Some(SlotState::Sealed(_, to)) => Err(Refusal::Sealed(slot, *to)),
            Some(SlotState::Gone(_)) | None => Err(Refusal::NotHere(slot)),
        }
    }

    fn allocate(&mut self, owner: Owner, extents: ExtentRun) -> Result<Applied, Refusal> {
        let twice = self.is(Mutation::AllocateTwice);
        let table = self.open(owner, extents)?;
        if let Some(lease) = table.over(extents).first() {
            if !twice {
                return Err(Refusal::Taken(lease.owner));
            }
            table.remove(extents);
        }
        let epoch = table.free_since;
        table.insert(Lease { extents, owner, epoch });
        Ok(Applied::Owned(epoch))
    }

    fn free(&mut self, owner: Owner, extents: ExtentRun) -> Result<Applied, Refusal> {
        let (any, forgets) = (self.is(Mutation::FreeOfOthers), self.is(Mutation::ForgetEpochs));
        let table = self.open(owner, extents)?;
        let held = table.owned_by(owner, extents);
        let epoch = held.or(any.then_some(Epoch(0))).ok_or(Refusal::NotOwned)?;
        table.remove(extents);
        if !forgets {
            table.free_since = table.free_since.max(Epoch(epoch.0 + 1));
        }
        Ok(Applied::Done)
    }

    fn lease(&mut self, owner: Owner, extents: ExtentRun, to: Owner) -> Result<Applied, Refusal> {
        self.footing(to)?;
        let keeps = self.is(Mutation::KeepEpoch);
        let table = self.open(owner, extents)?;
        let held = table.owned_by(owner, extents).ok_or(Refusal::NotOwned)?;
        let epoch = if keeps { held } else { Epoch(held.0 + 1) };
        table.remove(extents);
        table.insert(Lease { extents, owner: to, epoch });
        Ok(Applied::Owned(epoch))
    }

    fn fence(&mut self, owner: Owner, evidence: &Evidence, heir: Owner) -> Result<Applied, Refusal> {
        let unproved = self.is(Mutation::FenceUnproved);
        let footing = self.footing(owner)?;
        let is_over = match evidence {
            Evidence::Over(below) => {
                footing.is_over(|giver| below.get(&giver).copied().unwrap_or(SupportEpoch(0)))
            }
            Evidence::Restarted(next) => *next > owner.incarnation,
        };
        if !is_over && !unproved {
            return Err(Refusal::MayAct(owner.node));
        }
        // Nobody inherits from itself.
        if heir == owner {
            return Err(Refusal::NotLive(heir.node));
        }
        self.footing(heir)?;
        self.end(owner.node, Part::Fenced);
        let mut inherited = 0;
        if !self.is(Mutation::LeaveToFenced) {
            for state in self.slots.values_mut() {
                // What is on its way goes to its heir where it arrives.
                if let SlotState::Open(table) = state {
                    inherited += inherit(table, heir, |other| other == owner);
                }
            }
        }
        Ok(Applied::Inherited(inherited))
    }

    fn seal(&mut self, slot: Slot, to: CompanyId) -> Result<Applied, Refusal> {
        let state = self.slots.get_mut(&slot).ok_or(Refusal::NotHere(slot))?;
        match state {
            SlotState::Open(table) => {
                let mut table = core::mem::take(table);
                table.moves += 1;
                *state = SlotState::Sealed(table, to);
                Ok(Applied::Done)
            }
            SlotState::Sealed(_, to) => Err(Refusal::Sealed(slot, *to)),
            SlotState::Gone(_) => Err(Refusal::NotHere(slot)),
        }
    }

    fn adopt(&mut self, slot: Slot, table: &SlotTable, heir: Owner) -> Result<Applied, Refusal> {
        self.footing(heir)?;
        let again = self.is(Mutation::AdoptAgain);
        match self.slots.get(&slot) {
            None => {}
            Some(SlotState::Gone(moves)) if *moves < table.moves || again => {}
            // It went on from where it was sealed for, and comes back before it was released.
            Some(SlotState::Sealed(old, _)) if old.moves < table.moves => {}
            Some(_) => return Err(Refusal::Adopted(slot)),
        }
        if slot.0 >= SLOTS || !table.is_sound() || table.leases().any(|lease| lease.extents.slot() != slot) {
            return Err(Refusal::Extents);
        }
        // An owner that is unknown here may act: it stands on nothing that this company could see end.
        let is_known = |owner: &Owner| {
            self.nodes.get(&owner.node).is_some_and(|node| {
                let same = node.incarnation == owner.incarnation;
                node.incarnation > owner.incarnation || same && node.part != Part::Left
            })
        };
        if let Some(lease) = table.leases().find(|lease| !is_known(&lease.owner)) {
            return Err(Refusal::NotLive(lease.owner.node));
        }
        let mut table = table.clone();
        let inherits_own = self.is(Mutation::InheritOwn);
        let is_dead = |owner: Owner| {
            let live = self.live(owner.node);
            if inherits_own { live.is_none() } else { live != Some(owner.incarnation) }
        };
        let inherited = inherit(&mut table, heir, is_dead);
        self.slots.insert(slot, SlotState::Open(table));
        Ok(Applied::Inherited(inherited))
    }

    fn release(&mut self, slot: Slot) -> Result<Applied, Refusal> {
        let state = self.slots.get_mut(&slot).ok_or(Refusal::NotHere(slot))?;
        let SlotState::Sealed(table, _) = state else { return Err(Refusal::NotSealed(slot)) };
        *state = SlotState::Gone(table.moves);
        Ok(Applied::Done)
    }
}

/// Gives the heir what dead owners have. Gives how many extents those were.
fn inherit(table: &mut SlotTable, heir: Owner, is_dead: impl Fn(Owner) -> bool) -> u64 {
    let dead: Vec<Lease> = table.leases().filter(|lease| is_dead(lease.owner)).collect();
    let mut count = 0;
    for lease in dead {
        count += u64::from(lease.extents.count);
        table.remove(lease.extents);
        table.insert(Lease { owner: heir, epoch: Epoch(lease.epoch.0 + 1), ..lease });
    }
    count
}
