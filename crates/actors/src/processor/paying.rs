//! What a processor has to do with sponsors: events that cannot be paid for, what completed events have asked
//! for, and leases.

use std::sync::atomic::Ordering;

use banyan_core::sponsors::{Resource, State, Verdict};

use super::Processor;
use crate::configuration::event::Event;
use crate::durable::StoreHealth;
use crate::durable::changes::LedgerChange;
use crate::durable::requests::Unpark;
use crate::model::message::Message;
use crate::mutation::{Mutation, makes};
use crate::system::directory::{Entry, Exclusive, Resident};
use crate::system::retry::Retry;

impl Processor {
    /// An event waits with its sponsor, unless that was started again meanwhile.
    #[cold]
    pub(super) fn wait_with_sponsor(&mut self, resident: &mut Resident, event: Event) {
        let mut accounts = self.system.facilities.accounts();
        match accounts.ledger.account(event.sponsor).map(|account| account.state) {
            Some(State::Running) => resident.exclusive.running.put_first([event]),
            Some(State::Ended { .. }) | None => resident.exclusive.running.consumed(&event),
            Some(_) => {
                let refused = accounts.park(resident.entry.number, kept_here(&mut resident.exclusive, event));
                drop(accounts);
                self.refuse(resident, refused);
            }
        }
    }

    /// Too much waits with a sponsor that nobody has paid for: this event does not.
    fn refuse(&self, resident: &mut Resident, event: Option<Event>) {
        if let Some(event) = event {
            resident.exclusive.running.consumed(&event);
            self.system.undelivered(event);
        }
    }

    /// An event cannot be paid for: it waits with its sponsor, unless another processor's lease, or the rest
    /// of the balance, can still pay for it.
    #[cold]
    pub(super) fn exhausted(&mut self, resident: &mut Resident, event: Event, resource: Resource, had: u64) {
        let sponsor = event.sponsor;
        let (mut freed, mut refused) = (Vec::new(), None);
        let mut accounts = self.system.facilities.accounts();
        self.leases.settle_one(sponsor, &mut accounts, &mut freed);
        let verdict = accounts.ledger.park(sponsor, resource, had);
        match verdict {
            Verdict::Release => {
                // There is more than this processor had leased: it takes all.
                self.leases.take_all(sponsor, &mut accounts);
                resident.exclusive.running.put_first([event]);
                accounts.carry_out(sponsor, verdict, &mut freed);
            }
            Verdict::Drop => resident.exclusive.running.consumed(&event),
            Verdict::Wait | Verdict::Signal(_) => {
                refused = accounts.park(resident.entry.number, kept_here(&mut resident.exclusive, event));
                accounts.carry_out(sponsor, verdict, &mut freed);
                if verdict == Verdict::Wait {
                    self.system.recall_leases();
                }
            }
        }
        accounts.keep();
        let complaints = std::mem::take(&mut accounts.complaints);
        drop(accounts);
        complaints.into_iter().for_each(|line| self.system.facilities.log(line));
        self.refuse(resident, refused);
        self.system.send_freed(freed);
    }

    /// Does what completed events have asked of the processor.
    pub(super) fn settle_effects(&mut self, resident: &mut Resident) {
        let effects = &mut resident.exclusive.running.effects;
        if !effects.transfers.is_empty() || !effects.ledger_changes.is_empty() {
            let changes: Vec<LedgerChange> = effects
                .ledger_changes
                .drain(..)
                .map(|change| self.system.facilities.with_stored(change))
                .collect();
            let mut accounts = self.system.facilities.accounts();
            let given = effects.transfers.drain(..).map(|(to, amount)| {
                let from = self.leases.set_aside(amount, &mut accounts);
                LedgerChange::Give { from, to, amount }
            });
            let changes: Vec<LedgerChange> = given.collect::<Vec<_>>().into_iter().chain(changes).collect();
            match &mut resident.exclusive.durability {
                // The ledger is changed after the commit.
                Some(durability) => durability.hold(changes),
                None => {
                    let mut freed = Vec::new();
                    let stops = changes.iter().any(LedgerChange::is_stop);
                    changes.into_iter().for_each(|change| accounts.carry_out_change(change, &mut freed));
                    let (freed, health) = accounts.keep_before(freed);
                    drop(accounts);
                    self.system.after_changes(freed, stops);
                    self.wait_for_budgets(&mut resident.exclusive, &resident.entry, health);
                }
            }
        }
        for line in resident.exclusive.running.effects.complaints.drain(..) {
            let name = &resident.entry.name;
            self.system.facilities.log_of(name, || format!("{name}: {line}"));
        }
        // What a durable configuration sends, or wants done, leaves after its commit.
        if resident.exclusive.durability.is_none() && resident.exclusive.unkept.is_none() {
            self.release_effects(resident);
        }
    }

    /// Has a configuration rest, with all that its events have to say, whose changes of the budgets are not
    /// kept. What others do on the account of a sponsor that has got something is not waited for: that is
    /// spent, and a crash gives it back.
    fn wait_for_budgets(&self, exclusive: &mut Exclusive, entry: &Entry, health: StoreHealth) {
        if health != StoreHealth::Well && !makes(Mutation::TellUnkept) {
            exclusive.unkept = Some((Retry::first(self.now), health));
            entry.note_health(health);
            let line = format!("{}: what it gives is not kept yet, and it rests until it is", entry.name);
            self.system.facilities.log(line);
        }
    }

    /// A configuration looks whether its changes of the budgets are kept, and goes on if they are.
    #[cold]
    pub(super) fn look_at_budgets(&mut self, resident: &mut Resident, retry: Retry) {
        let health = self.system.facilities.accounts().health;
        resident.entry.note_health(health);
        if health == StoreHealth::Well {
            resident.exclusive.unkept = None;
            self.system
                .facilities
                .log(format!("{}: what it gives is kept, and it goes on", resident.entry.name));
            self.release_effects(resident);
        } else {
            resident.exclusive.unkept = Some((retry.later(self.now), health));
        }
    }

    /// A configuration goes before its batch is committed: what the batch has set aside is its donors' again.
    pub(super) fn abandon_batch(&mut self, exclusive: &mut Exclusive) {
        if let Some(durability) = &mut exclusive.durability {
            durability.forget_held(&self.system.facilities, true);
            self.system.carry_out(durability.take_aftermath());
        }
    }

    pub(super) fn settle_leases(&mut self) {
        self.settled = self.now;
        let waits_for_disk = self.system.facilities.budgets_wait.load(Ordering::Relaxed);
        if self.leases.is_empty() && self.now < self.keep_budgets_at && !waits_for_disk {
            return;
        }
        let mut freed = Vec::new();
        let mut accounts = self.system.facilities.accounts();
        self.leases.settle_all(&mut accounts, &mut freed);
        self.keep_budgets_at = accounts.keep_again(self.now, &mut freed);
        let complaints = std::mem::take(&mut accounts.complaints);
        drop(accounts);
        complaints.into_iter().for_each(|line| self.system.facilities.log(line));
        self.system.send_freed(freed);
    }
}

/// What waits with the sponsor: the event itself, or what stands for it if its configuration keeps its
/// events.
fn kept_here(exclusive: &mut Exclusive, event: Event) -> Event {
    let Some(durability) = &mut exclusive.durability else { return event };
    let sponsor = event.sponsor;
    durability.parked.push(event);
    Event::control(sponsor, Message::internal(Unpark(sponsor)))
}
