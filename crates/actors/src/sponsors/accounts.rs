//! [`Accounts`]: the ledger at run time, with the events that wait for it and the controllers that it
//! signals.
//!
//! Lock: one, around all of it; no other lock is taken under it, but for what `system::signalling` says.
//! Processors come here once per lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use banyan_core::sponsors::{Grant, Ledger, Quota, Resource, SponsorId, State, Verdict};

use crate::configuration::event::Event;
use crate::durable::StoreHealth;
use crate::durable::budgets::{Attributes, KeepBudgetsError, KeptBudgets};
use crate::durable::changes::Reported;
use crate::durable::identities::Identities;
use crate::durable::signals::Signals;
use crate::durable::stored::{StoredAddress, StoredController};
use crate::model::address::{Address, ConfigurationNumber, Place};
use crate::model::message::Message;
use crate::mutation::{Mutation, makes};
use crate::sponsors::sponsor::Signal;
use crate::system::retry::Retry;

/// Bytes of messages from outside of any event that may wait with a sponsor: they are paid for when they are
/// begun, so that these are not.
const UNPAID_MAX: u64 = 16 << 20;

/// What is to be put on its way: an event, a message to a door, or the signals that are new.
pub(crate) enum Freed {
    Event(ConfigurationNumber, Event),
    Message(Address, SponsorId, Message),
    Signals,
}

/// Who is signalled when a sponsor is exhausted.
pub(crate) struct Controller {
    pub(crate) address: Address,
    /// Who has paid for the signal.
    pub(crate) payer: SponsorId,
    /// The address as it is kept, if budgets are.
    pub(crate) stored: Option<StoredAddress>,
}

impl Controller {
    pub(crate) fn of_stored(kept: StoredController, identities: &Identities) -> Self {
        let StoredController { address, payer: (index, generation) } = kept;
        let payer = SponsorId { index, generation };
        Self { address: address.clone().address(0, identities), payer, stored: Some(address) }
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
    pub(crate) reported: Vec<Reported>,
    pub(crate) signals: Signals,
}

/// Events that wait with a sponsor.
#[derive(Default)]
struct Waiting {
    events: Vec<(ConfigurationNumber, Event)>,
    /// Bytes of those that are not paid for.
    unpaid: u64,
}

/// The ledger, and what belongs to its sponsors.
pub(crate) struct Accounts {
    pub(crate) ledger: Ledger,
    waiting: BTreeMap<SponsorId, Waiting>,
    /// Of an exhausted sponsor: who has been told.
    controllers: BTreeMap<SponsorId, Controller>,
    names: BTreeMap<SponsorId, String>,
    /// What the root gets each time that it is exhausted.
    pub(crate) refill: Option<Quota>,
    /// For the log: sponsors without a controller that are exhausted.
    pub(crate) complaints: Vec<String>,
    pub(crate) kept: Option<KeptBudgets>,
    /// When it is tried to keep them again, which the disk would not take.
    pub(crate) unkept: Option<Retry>,
    /// How their store is. Unless it is well, nothing that tells of a change leaves.
    pub(crate) health: StoreHealth,
    /// What leaves when it is well again.
    held: Vec<Freed>,
    /// Whether there is such a time: it is looked at without the lock.
    waits_for_disk: Arc<AtomicBool>,
    /// What durable configurations have told it.
    pub(crate) reported: Vec<Reported>,
    /// What it has told durable controllers.
    pub(crate) signals: Signals,
    /// Something has changed that must be kept before it is reported.
    pub(crate) changed: bool,
}

impl Accounts {
    /// `waits_for_disk` is set as long as budgets wait to be kept.
    pub(crate) fn new(grant: Quota, refill: Option<Quota>, waits_for_disk: Arc<AtomicBool>) -> Self {
        Self {
            ledger: Ledger::new(grant),
            waiting: BTreeMap::new(),
            controllers: BTreeMap::new(),
            names: BTreeMap::new(),
            refill,
            complaints: Vec::new(),
            kept: None,
            unkept: None,
            health: StoreHealth::Well,
            held: Vec::new(),
            waits_for_disk,
            reported: Vec::new(),
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
        if let Some(Restored { ledger, names, controllers, reported, signals }) = found {
            (self.ledger, self.names, self.controllers) = (ledger, names, controllers);
            (self.reported, self.signals) = (reported, signals);
        }
        self.kept = Some(kept);
        self.write(false)
    }

    fn write(&mut self, last: bool) -> Result<(), KeepBudgetsError> {
        self.changed = false;
        let Some(mut kept) = self.kept.take() else { return Ok(()) };
        let attributes = |id| Attributes {
            name: self.names.get(&id).cloned().unwrap_or_default(),
            controller: self.controllers.get(&id).and_then(Controller::to_stored),
        };
        let written = kept.write(&self.ledger, &self.reported, &self.signals, last, attributes);
        if written.as_ref().err().is_none_or(|error| error.disk().is_some()) {
            self.kept = Some(kept);
        }
        written
    }

    /// Writes what must be kept before it is reported.
    pub(crate) fn keep(&mut self) {
        if self.changed && self.kept.is_some() && self.unkept.is_none() {
            self.keep_now(false);
        }
    }

    /// The same, and gives what may leave now, and how their store is. What may not is held.
    pub(crate) fn keep_before(&mut self, mut freed: Vec<Freed>) -> (Vec<Freed>, StoreHealth) {
        self.keep();
        if self.health != StoreHealth::Well && !makes(Mutation::TellUnkept) {
            self.held.append(&mut freed);
        }
        (freed, self.health)
    }

    /// Tries again to keep what the disk would not take, and frees what has waited for that; gives when to
    /// try once more.
    pub(crate) fn keep_again(&mut self, now: u64, freed: &mut Vec<Freed>) -> u64 {
        if let Some(retry) = self.unkept.filter(|retry| retry.at <= now) {
            self.unkept = Some(retry.later(now));
            self.keep_now(false);
            if self.is_kept() {
                freed.append(&mut self.held);
                freed.push(Freed::Signals);
            }
        }
        self.unkept.map_or(u64::MAX, |retry| retry.at)
    }

    fn keep_now(&mut self, last: bool) {
        let written = self.write(last);
        self.health = match &written {
            Ok(()) => StoreHealth::Well,
            Err(error) => error.disk().unwrap_or(StoreHealth::Failed),
        };
        match (written.as_ref().err().map(|error| (error, error.disk())), self.unkept) {
            (None, None) | (Some((_, Some(_))), Some(_)) => {}
            (None, Some(_)) => {
                self.unkept = None;
                self.complaints.push("budgets are kept again".to_owned());
            }
            (Some((error, Some(health))), None) => {
                self.unkept = Some(Retry::first(0));
                let until = match health {
                    StoreHealth::Full => "there is room",
                    _ => "their store can be written again",
                };
                self.complaints.push(format!(
                    "budgets are not kept until {until}; a crash would give back what is spent meanwhile, and who gives waits: {error}"
                ));
            }
            (Some((error, None)), _) => {
                self.unkept = None;
                self.complaints.push(format!(
                    "budgets are not kept any more; a crash would give back what is spent, and who gives rests: {error}"
                ));
            }
        }
        self.waits_for_disk.store(self.unkept.is_some(), Ordering::Relaxed);
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
            && self.unkept.is_none()
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

    /// Who is, or was, signalled that a sponsor is exhausted.
    pub(crate) fn controller(&self, id: SponsorId) -> Option<&Controller> {
        self.controllers.get(&id)
    }

    /// The sponsor directly below the root that one comes from; the root's is itself.
    pub(crate) fn below_root(&self, id: SponsorId) -> SponsorId {
        let mut below = id;
        while let Some(above) = self.ledger.account(below).and_then(|account| account.parent)
            && above != SponsorId::ROOT
        {
            below = above;
        }
        below
    }

    pub(crate) fn waiting_for(&self, id: SponsorId) -> usize {
        self.waiting.get(&id).map_or(0, |waiting| waiting.events.len())
    }

    /// Unmakes a sponsor that an undone event has made.
    pub(crate) fn discard(&mut self, id: SponsorId) {
        let parent = self.ledger.account(id).and_then(|account| account.parent).unwrap_or(SponsorId::ROOT);
        self.ledger.stop(id, parent);
        self.names.remove(&id);
        self.reported.iter_mut().for_each(|reported| reported.confirm(id));
    }

    /// An event waits with its sponsor; it is given back if nobody has paid for it, and too many of that kind
    /// wait.
    pub(crate) fn park(&mut self, number: ConfigurationNumber, event: Event) -> Option<Event> {
        if makes(Mutation::LoseParked) {
            return None;
        }
        let waiting = self.waiting.entry(event.sponsor).or_default();
        if event.slot != Event::CONTROL && event.generation & Event::UNPAID != 0 {
            let unpaid = waiting.unpaid + Event::delivery_cost(&event.message);
            if unpaid > UNPAID_MAX && waiting.unpaid > 0 {
                return Some(event);
            }
            waiting.unpaid = unpaid;
        }
        waiting.events.push((number, event));
        None
    }

    /// Does what the ledger has decided.
    pub(crate) fn carry_out(&mut self, id: SponsorId, verdict: Verdict, freed: &mut Vec<Freed>) {
        match verdict {
            Verdict::Wait => {}
            Verdict::Release => {
                let events = self.waiting.remove(&id).unwrap_or_default().events;
                freed.extend(events.into_iter().map(|(number, event)| Freed::Event(number, event)));
            }
            Verdict::Drop => {
                // What stands for the events of a durable configuration goes back, so that they are met and
                // dropped; and so do those of timers, and those that count in a mailbox.
                let waiting = self.waiting.remove(&id).unwrap_or_default().events;
                let is_noted = |event: &Event| {
                    event.slot == Event::CONTROL || event.generation & (Event::DUE | Event::COUNTED) != 0
                };
                let noted = waiting.into_iter().filter(|(_, event)| is_noted(event));
                freed.extend(noted.map(|(number, event)| Freed::Event(number, event)));
                self.controllers.remove(&id);
                self.names.remove(&id);
            }
            Verdict::Signal(resource) => self.signal(id, resource, freed),
        }
    }

    fn signal(&mut self, id: SponsorId, resource: Resource, freed: &mut Vec<Freed>) {
        self.changed = true;
        if let Some(controller) = self.controllers.get(&id) {
            let signal = Signal { sponsor: id, resource };
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
                    Freed::Event(local.configuration, event)
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

    /// Ends a sponsor and all below it, which have what they have from it: their events are dropped when they
    /// are met. What is left goes to the heir, or upwards if that ends too.
    pub(crate) fn stop(&mut self, id: SponsorId, heir: SponsorId, freed: &mut Vec<Freed>) {
        let below = self.below(id);
        let parent = self.ledger.account(id).and_then(|account| account.parent);
        let heir = if below.contains(&heir) { parent.unwrap_or(SponsorId::ROOT) } else { heir };
        // The ledger may refuse to end it; those below live on then.
        if self.stop_one(id, heir, freed) {
            for one in below.into_iter().rev().filter(|_| !makes(Mutation::KeepBelow)) {
                self.stop_one(one, heir, freed);
            }
        }
    }

    /// The sponsors below one, parents first.
    fn below(&self, id: SponsorId) -> Vec<SponsorId> {
        let mut found = vec![id];
        let mut looked = 0;
        while let Some(above) = found.get(looked).copied() {
            let all = self.ledger.accounts();
            found.extend(all.filter(|(_, account)| account.parent == Some(above)).map(|(below, _)| below));
            looked += 1;
        }
        found.remove(0);
        found
    }

    fn stop_one(&mut self, id: SponsorId, heir: SponsorId, freed: &mut Vec<Freed>) -> bool {
        let is_ended = self.ledger.stop(id, heir);
        if is_ended {
            self.changed = true;
            self.carry_out(id, Verdict::Drop, freed);
        }
        is_ended
    }
}
