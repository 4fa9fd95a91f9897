//! Sponsors at run time: the ledger with the events that wait, and the controllers that are told.
//!
//! A [`Sponsor`] is a capability: whoever holds it may give to it, start it, stop it, and send messages on its account.
//! A behaviour never gets hold of the sponsor of its own event.
//!
//! Lock: one, around the whole `Treasury`; no other lock is taken under it, but for what `signals` says. Hosts come here once
//! per lease.

pub(crate) mod lease;

use std::collections::BTreeMap;

use banyan_core::sponsors::{Grant, Ledger, Quota, Resource, SponsorId, State, Verdict};
use serde::{Deserialize, Serialize};

use crate::configuration::Event;
use crate::durable::StoredAddress;
use crate::durable::budgets::{Beside, KeepBudgetsError, KeptBudgets, StoredController};
use crate::durable::money::Told;
use crate::durable::signals::Signals;
use crate::model::address::{Address, GuestNumber, Place};
use crate::model::message::Message;
use crate::system::System;

/// The right to give to a sponsor, to start and stop it, and to send on its account. It cannot be serialised: bytes
/// would let anybody make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sponsor {
    pub(crate) id: SponsorId,
}

impl Sponsor {
    /// The sponsor's name in listings.
    #[must_use]
    pub fn id(&self) -> SponsorId {
        self.id
    }
}

/// The message to a sponsor's controller: a resource is exhausted, and the sponsor's events wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Which sponsor, as [`Sponsor::id`] says. It may have ended since, and is never taken for another.
    #[serde(with = "SponsorIdFields")]
    pub sponsor: SponsorId,
    /// What is exhausted.
    pub short: Short,
}

/// How an id is written: the crate of the ledger knows nothing of that.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SponsorId")]
struct SponsorIdFields {
    index: u32,
    generation: u32,
}

/// What a sponsor has run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Short {
    /// Bytes.
    Memory,
    /// Cycles.
    Cycles,
    /// Deliveries.
    Events,
}

impl From<Resource> for Short {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Memory => Self::Memory,
            Resource::Cycles => Self::Cycles,
            Resource::Events => Self::Events,
        }
    }
}

/// What is to be put on its way: an event, a message to a door, or the signals that are new.
pub(crate) enum Freed {
    Event(GuestNumber, Event),
    Message(Address, SponsorId, Message),
    Signals,
}

/// Who is told when a sponsor is exhausted.
pub(crate) struct Controller {
    pub(crate) address: Address,
    /// Who has paid for the signal.
    pub(crate) payer: SponsorId,
    /// The address as it is kept, if budgets are.
    pub(crate) stored: Option<StoredAddress>,
}

impl Controller {
    pub(crate) fn of_stored(kept: StoredController, system: &System) -> Self {
        let StoredController { address, payer: (index, generation) } = kept;
        let payer = SponsorId { index, generation };
        Self { address: address.clone().address(0, system), payer, stored: Some(address) }
    }

    /// As it is kept, if it is an actor of a durable configuration.
    pub(crate) fn durable(&self) -> Option<StoredController> {
        self.to_stored().filter(|stored| stored.address != StoredAddress::Gone)
    }

    /// As it is kept, if it can be.
    pub(crate) fn to_stored(&self) -> Option<StoredController> {
        let payer = (self.payer.index, self.payer.generation);
        Some(StoredController { address: self.stored.clone()?, payer })
    }
}

/// What was kept of a ledger.
pub(crate) struct Restored {
    pub(crate) ledger: Ledger,
    pub(crate) names: BTreeMap<SponsorId, String>,
    pub(crate) controllers: BTreeMap<SponsorId, Controller>,
    pub(crate) told: Vec<Told>,
    pub(crate) signals: Signals,
}

/// The ledger, and what belongs to its sponsors.
pub(crate) struct Treasury {
    pub(crate) ledger: Ledger,
    waiting: BTreeMap<SponsorId, Vec<(GuestNumber, Event)>>,
    /// Of an exhausted sponsor: who has been told.
    controllers: BTreeMap<SponsorId, Controller>,
    names: BTreeMap<SponsorId, String>,
    /// What the root gets each time that it is exhausted.
    pub(crate) refill: Option<Quota>,
    /// For the log: sponsors without a controller that are exhausted.
    pub(crate) complaints: Vec<String>,
    pub(crate) kept: Option<KeptBudgets>,
    /// What durable configurations have told it.
    pub(crate) told: Vec<Told>,
    /// What it has told durable controllers.
    pub(crate) signals: Signals,
    /// Something has changed that must be kept before anybody is told.
    pub(crate) changed: bool,
}

impl Treasury {
    pub(crate) fn new(grant: Quota, refill: Option<Quota>) -> Self {
        Self {
            ledger: Ledger::new(grant),
            waiting: BTreeMap::new(),
            controllers: BTreeMap::new(),
            names: BTreeMap::new(),
            refill,
            complaints: Vec::new(),
            kept: None,
            told: Vec::new(),
            signals: Signals::default(),
            changed: false,
        }
    }

    /// Goes on with a ledger that was kept, and keeps it.
    pub(crate) fn restore(
        &mut self,
        kept: KeptBudgets,
        found: Option<Restored>,
    ) -> Result<(), KeepBudgetsError> {
        if let Some(Restored { ledger, names, controllers, told, signals }) = found {
            (self.ledger, self.names, self.controllers) = (ledger, names, controllers);
            (self.told, self.signals) = (told, signals);
        }
        self.kept = Some(kept);
        self.write(false)
    }

    fn write(&mut self, last: bool) -> Result<(), KeepBudgetsError> {
        self.changed = false;
        let Some(mut kept) = self.kept.take() else { return Ok(()) };
        let beside = |id| Beside {
            name: self.names.get(&id).cloned().unwrap_or_default(),
            controller: self.controllers.get(&id).and_then(Controller::to_stored),
        };
        let written = kept.write(&self.ledger, &self.told, &self.signals, last, beside);
        if written.is_ok() {
            self.kept = Some(kept);
        }
        written
    }

    /// Writes what must be kept before anybody is told of it.
    pub(crate) fn keep(&mut self) {
        if self.changed && self.kept.is_some() {
            self.keep_now(false);
        }
    }

    fn keep_now(&mut self, last: bool) {
        if let Err(error) = self.write(last) {
            self.complaints.push(format!(
                "budgets are not kept any more, and a crash would give back what is spent: {error}"
            ));
        }
    }

    /// A clean end: what was really spent is kept.
    pub(crate) fn close(&mut self) {
        if self.kept.is_some() {
            self.keep_now(true);
            self.kept = None;
        }
    }

    /// A lease for a host; what it may spend is counted in what is kept before this returns.
    pub(crate) fn lease(&mut self, id: SponsorId, all: bool) -> Grant {
        let grant = self.ledger.lease(id, all);
        if let (Some(kept), Grant::Leased(_), Some(account)) = (&self.kept, grant, self.ledger.account(id))
            && !kept.covers(id, account)
        {
            self.keep_now(false);
        }
        grant
    }

    /// The sponsor of a name, if there is one: the first that was made.
    pub(crate) fn find(&self, name: &str) -> Option<SponsorId> {
        let named = |(id, _): &(SponsorId, _)| self.name_of(*id) == Some(name);
        self.ledger.accounts().find(named).map(|(id, _)| id)
    }

    pub(crate) fn name(&mut self, id: SponsorId, name: String) {
        self.changed = true;
        self.names.insert(id, name);
    }

    pub(crate) fn name_of(&self, id: SponsorId) -> Option<&str> {
        if id == SponsorId::ROOT { Some("root") } else { self.names.get(&id).map(String::as_str) }
    }

    /// Who is told, or was told, that a sponsor is exhausted.
    pub(crate) fn controller(&self, id: SponsorId) -> Option<&Controller> {
        self.controllers.get(&id)
    }

    pub(crate) fn waiting_for(&self, id: SponsorId) -> usize {
        self.waiting.get(&id).map_or(0, Vec::len)
    }

    /// Unmakes a sponsor that an undone event has made.
    pub(crate) fn discard(&mut self, id: SponsorId) {
        let parent = self.ledger.account(id).and_then(|account| account.parent).unwrap_or(SponsorId::ROOT);
        self.ledger.stop(id, parent);
        self.names.remove(&id);
        self.told.iter_mut().for_each(|told| told.confirm(id));
    }

    /// An event waits with its sponsor.
    pub(crate) fn park(&mut self, guest: GuestNumber, event: Event) {
        self.waiting.entry(event.sponsor).or_default().push((guest, event));
    }

    /// Does what the ledger has decided.
    pub(crate) fn carry_out(&mut self, id: SponsorId, verdict: Verdict, freed: &mut Vec<Freed>) {
        match verdict {
            Verdict::Wait => {}
            Verdict::Release => {
                let events = self.waiting.remove(&id).unwrap_or_default();
                freed.extend(events.into_iter().map(|(guest, event)| Freed::Event(guest, event)));
            }
            Verdict::Drop => {
                // What stands for the events of a durable configuration goes back, so that they are met and dropped.
                let waiting = self.waiting.remove(&id).unwrap_or_default();
                let controls = waiting.into_iter().filter(|(_, event)| event.slot == Event::CONTROL);
                freed.extend(controls.map(|(guest, event)| Freed::Event(guest, event)));
                self.controllers.remove(&id);
                self.names.remove(&id);
            }
            Verdict::Signal(resource) => self.signal(id, resource, freed),
        }
    }

    fn signal(&mut self, id: SponsorId, resource: Resource, freed: &mut Vec<Freed>) {
        self.changed = true;
        if let Some(controller) = self.controllers.get(&id) {
            let signal = Signal { sponsor: id, short: resource.into() };
            if let Some(stored) = controller.durable().filter(|_| self.kept.is_some()) {
                self.signals.add(stored, signal);
                freed.push(Freed::Signals);
                return;
            }
            let message = Message::new(signal);
            freed.push(match controller.address.0 {
                Place::Local(local) => {
                    let generation = local.generation | Event::PREPAID;
                    let event = Event { slot: local.slot, generation, sponsor: controller.payer, message };
                    Freed::Event(local.guest, event)
                }
                Place::Beyond(_) => Freed::Message(controller.address.clone(), controller.payer, message),
            });
            return;
        }
        if id == SponsorId::ROOT
            && let Some(refill) = self.refill
            && self.ledger.grant(id, refill)
        {
            let verdict = self.ledger.start(id);
            self.carry_out(id, verdict, freed);
            return;
        }
        let name = self.name_of(id).unwrap_or("unnamed");
        self.complaints
            .push(format!("sponsor {name} has no {resource} left and no controller: its events wait"));
    }

    /// Starts a sponsor; the controller's event has been paid for.
    pub(crate) fn start(&mut self, id: SponsorId, controller: Option<Controller>, freed: &mut Vec<Freed>) {
        self.changed = true;
        let state = self.ledger.account(id).map(|account| account.state);
        if matches!(state, Some(State::Exhausted(_))) {
            // It was told, which was paid for once.
            self.controllers.remove(&id);
        }
        let verdict = self.ledger.start(id);
        if verdict != Verdict::Drop
            && let Some(controller) = controller
        {
            self.controllers.insert(id, controller);
        }
        self.carry_out(id, verdict, freed);
    }

    /// Ends a sponsor: its events are dropped when they are met.
    pub(crate) fn stop(&mut self, id: SponsorId, heir: SponsorId, freed: &mut Vec<Freed>) {
        if self.ledger.stop(id, heir) {
            self.changed = true;
            self.carry_out(id, Verdict::Drop, freed);
        }
    }
}
