//! What a host has to do with sponsors: events that cannot be paid for, what completed events have asked for, and leases.

use std::sync::atomic::Ordering;

use banyan_core::sponsors::{Resource, State, Verdict};

use super::{Host, Resident};
use crate::configuration::effects::Request;
use crate::configuration::{Event, Guest};
use crate::durable::money::Money;
use crate::model::message::Message;
use crate::processor::pool::Job;

impl Host {
    /// An event waits with its sponsor, unless that was started again meanwhile.
    #[cold]
    pub(super) fn wait_with_sponsor(&mut self, resident: &mut Resident, event: Event) {
        let mut treasury = self.system.treasury();
        match treasury.ledger.account(event.sponsor).map(|account| account.state) {
            Some(State::Running) => put_back(&mut resident.guest, event),
            Some(State::Ended { .. }) | None => {}
            Some(_) => treasury.park(resident.shared.number, kept_here(&mut resident.guest, event)),
        }
    }

    /// An event cannot be paid for: it waits with its sponsor, unless another host's lease, or the rest of the balance,
    /// can still pay for it.
    #[cold]
    pub(super) fn exhausted(&mut self, resident: &mut Resident, event: Event, resource: Resource, had: u64) {
        let sponsor = event.sponsor;
        let mut freed = Vec::new();
        let mut treasury = self.system.treasury();
        self.leases.settle_one(sponsor, &mut treasury, &mut freed);
        let verdict = treasury.ledger.park(sponsor, resource, had);
        match verdict {
            Verdict::Release => {
                // There is more than this host had leased: it takes all.
                self.leases.take_all(sponsor, &mut treasury);
                put_back(&mut resident.guest, event);
                treasury.carry_out(sponsor, verdict, &mut freed);
            }
            Verdict::Drop => {}
            Verdict::Wait | Verdict::Signal(_) => {
                treasury.park(resident.shared.number, kept_here(&mut resident.guest, event));
                treasury.carry_out(sponsor, verdict, &mut freed);
                if verdict == Verdict::Wait {
                    self.system.recalls.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        treasury.keep();
        let complaints = std::mem::take(&mut treasury.complaints);
        drop(treasury);
        complaints.into_iter().for_each(|line| self.system.log(line));
        self.system.send_freed(freed);
    }

    /// Does what completed events have asked of the host.
    pub(super) fn settle_effects(&mut self, resident: &mut Resident) {
        let effects = &mut resident.guest.effects;
        if !effects.transfers.is_empty() || !effects.money.is_empty() {
            let changes: Vec<Money> =
                effects.money.drain(..).map(|money| self.system.with_stored(money)).collect();
            let mut treasury = self.system.treasury();
            let given = effects.transfers.drain(..).map(|(to, amount)| {
                let from = self.leases.set_aside(amount, &mut treasury);
                Money::Give { from, to, amount }
            });
            let changes: Vec<Money> = given.collect::<Vec<_>>().into_iter().chain(changes).collect();
            match &mut resident.guest.durable {
                // The ledger is told after the commit.
                Some(durability) => durability.hold(changes),
                None => {
                    let mut freed = Vec::new();
                    let stops = changes.iter().any(Money::is_stop);
                    changes.into_iter().for_each(|money| treasury.carry_out_money(money, &mut freed));
                    treasury.keep();
                    drop(treasury);
                    self.system.after_money(freed, stops);
                }
            }
        }
        for line in effects.complaints.drain(..) {
            self.system.log(format!("{}: {line}", resident.shared.name));
        }
        // What a durable configuration sends, or wants done, leaves after its commit.
        if resident.guest.durable.is_none() {
            self.let_out(resident);
        }
    }

    /// What goes out of a configuration: its requests to the host, and its messages.
    pub(super) fn let_out(&mut self, resident: &mut Resident) {
        for (sponsor, request) in resident.guest.effects.requests.drain(..) {
            match request {
                Request::Configuration(seed) => drop(self.system.plant(seed)),
                Request::Blocking(work, reply_to) => self.system.submit(Job { work, reply_to, sponsor }),
            }
        }
        self.send_outgoing(resident);
    }

    /// A configuration goes before its batch is committed: what the batch has set aside is its donors' again.
    pub(super) fn let_go(&mut self, guest: &mut Guest) {
        if let Some(durability) = &mut guest.durable {
            durability.forget_held(&self.system, true);
        }
    }

    pub(super) fn settle_leases(&mut self) {
        self.settled = self.now;
        if self.leases.is_empty() {
            return;
        }
        let mut freed = Vec::new();
        let mut treasury = self.system.treasury();
        self.leases.settle_all(&mut treasury, &mut freed);
        let complaints = std::mem::take(&mut treasury.complaints);
        drop(treasury);
        complaints.into_iter().for_each(|line| self.system.log(line));
        self.system.send_freed(freed);
    }
}

/// An event is to be tried again at once.
fn put_back(guest: &mut Guest, event: Event) {
    guest.queue.push_front(event);
    if let Some(durability) = &mut guest.durable {
        durability.reordered();
    }
}

/// What waits with the sponsor: the event itself, or what stands for it if its configuration keeps its events.
fn kept_here(guest: &mut Guest, event: Event) -> Event {
    let Some(durability) = &mut guest.durable else { return event };
    let sponsor = event.sponsor;
    durability.parked.push(event);
    let message = Message::internal(crate::durable::Unpark(sponsor));
    Event { slot: Event::CONTROL, generation: 0, sponsor, message }
}
