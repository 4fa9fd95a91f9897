//! What events of a durable configuration ask of the ledger: held until the commit, kept with it if budgets
//! are kept, and carried out then; after a restart once more, as far as the ledger has not done it.

use banyan_core::sponsors::{Quota, SponsorId};
use serde::{Deserialize, Serialize};

use super::changes::LedgerChange;
use super::error::CommitFailed;
use super::health::StoreHealth;
use super::keys::LEDGER;
use super::state::Durability;
use super::stored::{StoredController, encode};
use crate::model::durable_address::Token;
use crate::mutation::{Mutation, makes};
use crate::sponsors::accounts::Controller;
use crate::system::facilities::Facilities;

/// A change to the ledger, until the ledger has it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredLedgerChange {
    /// Names the ledger: in another one the same numbers are another sponsor's.
    pub(super) ledger: u64,
    /// Who has asked for it: not a copy of it.
    pub(super) who: Token,
    pub(super) change: StoredChange,
}

/// Sponsors are index and generation.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredChange {
    Made((u32, u32)),
    Give { from: (u32, u32), to: (u32, u32), amount: [u64; 3] },
    Start { sponsor: (u32, u32), controller: StoredController },
    Stop { sponsor: (u32, u32), heir: (u32, u32) },
}

fn pair(id: SponsorId) -> (u32, u32) {
    (id.index, id.generation)
}

fn id((index, generation): (u32, u32)) -> SponsorId {
    SponsorId { index, generation }
}

impl StoredChange {
    fn of(change: &LedgerChange) -> Option<Self> {
        Some(match change {
            LedgerChange::Made(made) => Self::Made(pair(*made)),
            LedgerChange::Give { from, to, amount } | LedgerChange::GiveConsumed { from, to, amount } => {
                let amount = [amount.memory, amount.cycles, amount.events];
                Self::Give { from: pair(*from), to: pair(*to), amount }
            }
            LedgerChange::Start(sponsor, controller) => {
                Self::Start { sponsor: pair(*sponsor), controller: controller.to_stored()? }
            }
            LedgerChange::Stop(sponsor, heir) => Self::Stop { sponsor: pair(*sponsor), heir: pair(*heir) },
        })
    }

    fn restored(self, facilities: &Facilities) -> LedgerChange {
        match self {
            Self::Made(made) => LedgerChange::Made(id(made)),
            Self::Give { from, to, amount: [memory, cycles, events] } => {
                let amount = Quota { memory, cycles, events };
                LedgerChange::GiveConsumed { from: id(from), to: id(to), amount }
            }
            Self::Start { sponsor, controller } => {
                LedgerChange::Start(id(sponsor), Controller::of_stored(controller, &facilities.identities))
            }
            Self::Stop { sponsor, heir } => LedgerChange::Stop(id(sponsor), id(heir)),
        }
    }
}

impl Durability {
    /// Who it is to the ledger.
    pub(crate) fn who(&self) -> Token {
        self.this.identity.configuration
    }

    /// Keeps changes back until the commit.
    pub(crate) fn hold(&mut self, changes: impl IntoIterator<Item = LedgerChange>) {
        for change in changes {
            self.last_change += 1;
            self.held.push((self.last_change, change));
        }
    }

    /// Stores what was held, if the ledger outlives the process. What the batch names must be in the ledger's
    /// store before: a sponsor that this does not know is gone after a crash, and its name may be another's.
    /// So a batch that changes the ledger waits for that store. Who made a sponsor waits, too, before it is
    /// told of, so that no other batch names one which is not kept.
    pub(super) fn write_held(&mut self, facilities: &Facilities) -> Result<(), CommitFailed> {
        let Some(ledger) = facilities.kept_ledger() else { return Ok(()) };
        let mut accounts = facilities.accounts();
        accounts.keep();
        let health = accounts.health;
        drop(accounts);
        if self.held.is_empty() {
            return Ok(());
        }
        if health != StoreHealth::Well && !makes(Mutation::TellUnkept) {
            return Err(CommitFailed::Budgets(health));
        }
        let who = self.who();
        for (sequence, change) in &self.held {
            if let Some(change) = StoredChange::of(change) {
                self.records.write(LEDGER | sequence, &encode(&StoredLedgerChange { ledger, who, change })?);
            }
        }
        self.kill_point("made");
        Ok(())
    }

    /// After the commit: the ledger is changed, and what it has for good need not be kept here.
    pub(super) fn report(&mut self, facilities: &Facilities) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let numbers: Vec<u64> = held.iter().map(|(sequence, _)| *sequence).collect();
        if self.report_all(held, false, facilities) {
            numbers.into_iter().for_each(|sequence| self.records.remove(LEDGER | sequence));
        }
        self.kill_point("told");
    }

    /// After the store was opened: the ledger gets what it may lack.
    pub(crate) fn report_again(&mut self, facilities: &Facilities) {
        let unfinished = std::mem::take(&mut self.unfinished);
        if self.looking {
            return;
        }
        let (who, ledger) = (self.who(), facilities.kept_ledger());
        let (mut changes, mut done) = (Vec::new(), Vec::new());
        for (sequence, stored) in unfinished {
            self.last_change = self.last_change.max(sequence);
            if stored.who != who {
                // The store was copied: what is in it is the original's to tell.
                done.push(sequence);
            } else if Some(stored.ledger) == ledger {
                changes.push((sequence, stored.change.restored(facilities)));
                done.push(sequence);
            }
        }
        self.last_change = self.last_change.max(facilities.accounts().last_reported(&who));
        if self.report_all(changes, true, facilities) {
            done.into_iter().for_each(|sequence| self.records.remove(LEDGER | sequence));
        }
    }

    /// Whether the ledger has it for good.
    fn report_all(
        &mut self,
        changes: Vec<(u64, LedgerChange)>,
        opened: bool,
        facilities: &Facilities,
    ) -> bool {
        let who = self.who();
        let mut freed = Vec::new();
        let stops = changes.iter().any(|(_, change)| change.is_stop());
        let mut accounts = facilities.accounts();
        accounts.tell(&who, changes, &mut freed);
        if opened {
            accounts.unmake(&who);
        }
        accounts.keep();
        let is_well = accounts.health == StoreHealth::Well;
        drop(accounts);
        self.aftermath.freed.append(&mut freed);
        self.aftermath.stops |= stops;
        is_well
    }

    /// What was held is not to be done. It is given back, unless its commit may have succeeded although it
    /// failed.
    pub(crate) fn forget_held(&mut self, facilities: &Facilities, give_back: bool) {
        if self.held.is_empty() {
            return;
        }
        let mut freed = Vec::new();
        let mut accounts = facilities.accounts();
        for (_, change) in self.held.drain(..) {
            accounts.drop_change(&change, give_back, &mut freed);
        }
        accounts.keep();
        drop(accounts);
        self.aftermath.freed.append(&mut freed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use banyan_core::sponsors::Grant;

    use super::{
        Durability, LEDGER, Quota, SponsorId, StoredChange, StoredLedgerChange, Token, encode, pair,
    };
    use crate::durable::StoreHealth;
    use crate::durable::kinds::Kinds;
    use crate::system::System;
    use crate::system::clock::Clock;

    const GRANT: Quota = Quota { memory: 1 << 40, cycles: 1 << 40, events: 1 << 40 };

    fn events(events: u64) -> Quota {
        Quota { events, ..Quota::ZERO }
    }

    fn system(directory: &std::path::Path) -> Arc<System> {
        let system = System::new(1, Clock::simulated(), GRANT, None);
        system.facilities.keep_budgets(&directory.join("budgets.arena")).unwrap();
        system
    }

    fn consumed(system: &System) -> u64 {
        system.facilities.accounts().ledger.account(SponsorId::ROOT).unwrap().consumed.events
    }

    /// Budgets that the disk does not take, since it is full or has failed, are kept as soon as it does, also
    /// if nothing else happens, and the log says both once. A commit that has failed may be durable.
    #[test]
    fn budgets_wait_for_the_disk() {
        let kinds = [
            (StoreHealth::Full, "budgets are not kept until there is room"),
            (StoreHealth::Faulty, "budgets are not kept until their store can be written again"),
        ];
        for ((health, words), (commits, busy)) in kinds
            .into_iter()
            .flat_map(|kind| [(4, true), (4, false), (3, false), (1, true)].map(|how| (kind, how)))
        {
            let directory = tempfile::tempdir().unwrap();
            let budgets = directory.path().join("budgets.arena");
            let mut simulation = crate::Simulation::kept(1, 2, GRANT, &budgets).unwrap();
            let at_first = {
                let mut accounts = simulation.system.facilities.accounts();
                accounts.kept.as_mut().unwrap().spoil(health, commits);
                accounts.is_kept()
            };
            assert!(at_first);
            let root = simulation.root_sponsor();
            assert_eq!(simulation.grant(&root, events(5)), crate::handle::Granted::NotYetKept);
            {
                let accounts = simulation.system.facilities.accounts();
                assert_eq!(
                    (accounts.kept.as_ref().unwrap().spoilt(), accounts.is_kept()),
                    (commits - 1, false)
                );
            }
            if busy {
                let actor = crate::closure((), |(), (): &(), _: &mut crate::Context<'_>| Ok(()));
                let actor = simulation.create(crate::Configuration::new("actor").with_behaviour(actor));
                simulation.send(&actor.typed(), ());
            }
            simulation.run(100_000);
            {
                let accounts = simulation.system.facilities.accounts();
                assert_eq!((accounts.kept.as_ref().unwrap().spoilt(), accounts.is_kept()), (0, true));
            }
            let said =
                |words: &str| simulation.log_lines().iter().filter(|line| line.contains(words)).count();
            assert_eq!((said(words), said("budgets are kept again")), (1, 1), "{:?}", simulation.log_lines());
            drop(simulation);
            let again = system(directory.path());
            let accounts = again.facilities.accounts();
            assert_eq!(accounts.ledger.granted().events, GRANT.events + 5);
        }
    }

    /// Of what a store holds, its own configuration's changes to this ledger are made, once; those to another
    /// ledger wait for that, and those of the store that this one is a copy of are dropped.
    #[test]
    fn what_is_found_in_a_store_is_told_to_its_ledger_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = system(directory.path());
        let receiver = crate::system::handle::make_sponsor(&first, "receiver", events(1)).unwrap().id;
        assert!(matches!(first.facilities.accounts().lease(SponsorId::ROOT, false), Grant::Leased(_)));
        // A crash: what was leased counts as consumed.
        drop(first);
        let second = system(directory.path());
        let before = consumed(&second);
        let mut durability =
            Durability::open(&directory.path().join("till.arena"), Kinds::new(), None).unwrap();
        let (ledger, who): (u64, Token) = (second.facilities.kept_ledger().unwrap(), durability.who());
        let found = [(ledger, who, 1), (ledger, [7; 16], 10), (ledger ^ 1, who, 100), (ledger, who, 1000)];
        let find = |durability: &mut Durability| {
            for (sequence, (ledger, who, amount)) in (1..).zip(found) {
                let (from, to) = (pair(SponsorId::ROOT), pair(receiver));
                let change = StoredChange::Give { from, to, amount: [0, 0, amount] };
                let stored = StoredLedgerChange { ledger, who, change };
                durability.records.write(LEDGER | sequence, &encode(&stored).unwrap());
                durability.unfinished.push((sequence, stored));
            }
        };
        let kept = |durability: &Durability| -> Vec<u64> {
            durability.records.keys().filter(|key| key & LEDGER == LEDGER).map(|key| key & !LEDGER).collect()
        };
        let left =
            |system: &System| system.facilities.accounts().ledger.account(receiver).unwrap().balance.events;
        for _ in 0..2 {
            find(&mut durability);
            durability.report_again(&second.facilities);
            assert_eq!((left(&second), kept(&durability)), (1002, vec![3]));
            assert_eq!(durability.last_change, 4, "no number is used twice");
        }
        assert_eq!(consumed(&second), before - 1001);
        drop(second);
        let third = system(directory.path());
        assert_eq!(left(&third), 1002);
        assert_eq!(consumed(&third), before - 1001, "the donor has given it once");
        find(&mut durability);
        durability.looking = true;
        durability.report_again(&third.facilities);
        assert_eq!((left(&third), kept(&durability)), (1002, vec![1, 2, 3, 4]), "who looks tells nothing");
    }
}
