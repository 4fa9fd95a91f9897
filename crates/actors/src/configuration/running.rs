//! [`RunningConfiguration`]: the actors of a configuration in a slab, and its events in one queue.
//!
//! One processor at a time has it, and runs one event at a time; nothing here is shared. The queue is first
//! in, first out, so messages between two actors keep their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use banyan_core::sponsors::{Quota, Resource, SponsorId};

use super::changed::Changed;
use super::effects::{Deferred, Effects, Outgoing, Seed};
use super::event::Event;
use super::settings::DECISION;
use crate::containment::{Foreign, contain, words_of};
use crate::durable::changes::LedgerChange;
use crate::model::address::{Address, ConfigurationNumber, Local};
use crate::model::behaviour::{Behaviour, Exhausted, Factory, Failure};
use crate::model::context::Context;
use crate::model::message::Message;
use crate::model::supervision::{Control, Directive, End, Watch};
use crate::model::timers::{Timer, Timers};
use crate::mutation::{Mutation, makes};
use crate::sponsors::accounts::Controller;
use crate::system::facilities::Facilities;

pub(crate) struct Slot {
    /// Counts the actors that had this slot, in the bits of [`Event::GENERATION`].
    pub(crate) generation: u32,
    /// Its behaviour charges its own cycles; the clock must not charge them once more.
    pub(crate) meters_itself: bool,
    pub(crate) behaviour: Foreign<Box<dyn Behaviour>>,
    /// What few actors have.
    pub(crate) extras: Option<Box<Extras>>,
}

impl Slot {
    pub(crate) fn put(&mut self, behaviour: Box<dyn Behaviour>) {
        // Outside of an event its code is contained.
        self.meters_itself = contain(|| behaviour.meters_itself()).unwrap_or(false);
        self.behaviour.put(behaviour);
    }
}

/// What few actors have, so that the others are small.
#[derive(Default)]
pub(crate) struct Extras {
    /// Events that wait for the supervisor's decision, or for the first event.
    pub(crate) held: Option<VecDeque<Event>>,
    /// Its first event has not completed.
    pub(super) is_new: bool,
    /// Events whose messages it has put aside.
    pub(super) stashed: VecDeque<Event>,
    pub(crate) supervisor: Option<Address>,
    /// The actor that may decide about it like its supervisor: the one that made it.
    pub(crate) maker: Option<Local>,
    pub(crate) factory: Foreign<Factory>,
    pub(crate) watchers: Vec<Watch>,
    /// Actors that end when it fails.
    pub(crate) links: Vec<Local>,
    /// Actors that end with it, whichever way.
    pub(crate) belongings: BTreeSet<Local>,
    pub(crate) last_failure: String,
    /// Until when the supervisor may decide about it, if events are held; or from when on its decision holds.
    pub(crate) decide_by: u64,
    /// What it has decided already.
    pub(crate) decision: Option<Directive>,
    /// The configuration for whose room the events that are held wait.
    pub(crate) room_at: Option<ConfigurationNumber>,
}

/// How an event ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its effects are applied.
    Completed,
    /// The actor is no more; the message is dropped.
    Gone,
    /// The event is in the actor's own inbox, until its supervisor has decided.
    Held,
    /// Its timer was cancelled.
    Cancelled,
    /// The event is undone, and in the actor's own inbox until there is room in the mailbox of this
    /// configuration.
    NoRoom(ConfigurationNumber),
    /// Its sponsor's events wait; it was not begun.
    Parked,
    /// The event is undone; the processor parks it with its sponsor.
    Exhausted {
        /// What was short.
        resource: Resource,
        /// How much of it did not suffice.
        had: u64,
    },
    /// The event is undone and consumed.
    Failed(Failure),
}

/// Room for events and slots that a configuration keeps without need.
const EVENTS_KEPT: usize = 1024;
const SLOTS_KEPT: usize = 1024;
/// Free slots after which the allocator is asked for what it keeps.
const SLOTS_TRIMMED: usize = 1 << 16;
/// About what a behaviour, and what it had, took for each of them.
const BYTES_TRIMMED: usize = 128;

/// Pays for an event with a mark, whose delivery was paid for in advance, or whose memory was not.
#[cold]
fn pay_marked(event: &Event, left: &mut Quota) -> Result<(), Exhausted> {
    if event.generation & Event::PREPAID == 0 {
        left.events = left.events.checked_sub(1).ok_or(Exhausted(Resource::Events))?;
    }
    if event.generation & Event::UNPAID != 0 && !makes(Mutation::ForgetPayment) {
        let cost = Event::delivery_cost(&event.message);
        left.memory = left.memory.checked_sub(cost).ok_or(Exhausted(Resource::Memory))?;
    }
    Ok(())
}

/// A configuration of actors.
pub(crate) struct RunningConfiguration {
    pub(super) number: ConfigurationNumber,
    /// For people.
    pub(crate) name: Arc<str>,
    /// Who pays for what the configuration itself does, such as reports to supervisors.
    pub(crate) sponsor: SponsorId,
    pub(crate) slots: Vec<Slot>,
    pub(crate) free: Vec<u32>,
    pub(crate) queue: VecDeque<Event>,
    pub(crate) effects: Effects,
    pub(crate) timers: Timers,
    /// Actors that are held, by the slots of the supervisors that have not decided about them.
    pub(super) undecided: BTreeMap<u32, BTreeSet<u32>>,
    /// Until when they wait for that, in nanoseconds of the system's clock.
    pub(super) deadlines: BTreeSet<(u64, u32)>,
    /// How long they wait.
    pub(super) patience: u64,
    /// Actors that are to end, while one ends.
    pub(super) ending: Vec<(Local, End)>,
    pub(super) is_ending: bool,
    /// Slots that have had as many actors as there are generations.
    pub(crate) retired: usize,
    /// The generation of new slots: those that were given back had lower ones.
    generation: u32,
    /// Events that count no more in the mailbox, which does not know yet.
    pub(crate) uncounted: usize,
    /// What is done about an actor that fails and has no supervisor.
    pub(crate) default_directive: Directive,
    /// Receives the failures that no supervisor in the configuration took care of.
    pub(crate) overseer: Option<Address>,
    /// If it is durable.
    pub(crate) changed: Option<Box<Changed>>,
}

impl RunningConfiguration {
    /// What an actor costs beside its behaviour.
    pub(crate) const ACTOR_BYTES: u64 = size_of::<Slot>() as u64;

    pub(crate) fn new(number: ConfigurationNumber, sponsor: SponsorId) -> Self {
        Self {
            number,
            name: Arc::default(),
            sponsor,
            slots: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            effects: Effects::default(),
            timers: Timers::default(),
            undecided: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            patience: DECISION.as_nanos() as u64,
            ending: Vec::new(),
            is_ending: false,
            retired: 0,
            generation: 0,
            uncounted: 0,
            default_directive: Directive::Resume,
            overseer: None,
            changed: None,
        }
    }

    /// As a configuration that is to be made wants it.
    pub(crate) fn of(seed: &Seed) -> Self {
        let settings = &seed.configuration;
        let (default_directive, overseer) = (settings.default_directive.clone(), settings.overseer.clone());
        let patience = u64::try_from(settings.patience.as_nanos()).unwrap_or(u64::MAX);
        let name = Arc::from(settings.name.as_str());
        Self { name, default_directive, overseer, patience, ..Self::new(seed.number, settings.sponsor) }
    }

    pub(crate) fn number(&self) -> ConfigurationNumber {
        self.number
    }

    /// Actors that live.
    pub(crate) fn population(&self) -> usize {
        self.slots.len() - self.free.len() - self.retired
    }

    #[inline]
    pub(crate) fn local_of(&self, slot: u32) -> Local {
        Local { configuration: self.number, slot, generation: self.slots[slot as usize].generation }
    }

    /// Gives a behaviour a slot.
    #[inline]
    pub(crate) fn occupy(&mut self, behaviour: Box<dyn Behaviour>) -> u32 {
        let meters_itself = behaviour.meters_itself();
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].put(behaviour);
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(Event::CONTROL);
        assert!(slot < Event::CONTROL, "a configuration has fewer than 2^32 - 1 actors");
        self.slots.push(Slot {
            generation: self.generation,
            meters_itself,
            behaviour: Foreign::new(behaviour),
            extras: None,
        });
        slot
    }

    /// Frees a slot; addresses of its actor lead nowhere from here.
    pub(super) fn vacate(&mut self, slot: u32) -> Option<Box<Extras>> {
        let entry = &mut self.slots[slot as usize];
        entry.behaviour.clear();
        let extras = entry.extras.take();
        if entry.generation == Event::GENERATION {
            // One more actor here would have the address of the first.
            self.retired += 1;
        } else {
            entry.generation += u32::from(!makes(Mutation::ReuseAddress));
            self.free.push(slot);
        }
        extras
    }

    /// Gives memory back that was needed for more actors and events than there are. What is returned is about
    /// how many bytes the allocator keeps of it, in small pieces, if they are many.
    pub(crate) fn give_back(&mut self) -> Option<usize> {
        if self.queue.capacity() > EVENTS_KEPT && self.queue.len() < self.queue.capacity() / 4 {
            self.queue.shrink_to(EVENTS_KEPT.max(2 * self.queue.len()));
        }
        if self.effects.outgoing.capacity() > EVENTS_KEPT {
            self.effects.outgoing.shrink_to(EVENTS_KEPT);
        }
        let is_written = self.changed.as_ref().is_none_or(|changed| changed.slots.is_empty());
        if self.slots.capacity() > SLOTS_KEPT && self.population() < self.slots.capacity() / 4 && is_written {
            return self.drop_free_slots();
        }
        None
    }

    /// Drops the free slots behind the last one that is not. None that is retired: no generation is above
    /// its.
    fn drop_free_slots(&mut self) -> Option<usize> {
        let is_needed = |slot: &Slot| slot.behaviour.is_some() || slot.generation == Event::GENERATION;
        let needed = self.slots.iter().rposition(is_needed).map_or(0, |last| last + 1);
        if needed > self.slots.capacity() / 4 {
            return None;
        }
        let highest = self.slots[needed..].iter().map(|slot| slot.generation).max().unwrap_or(0);
        self.generation = self.generation.max(highest);
        let dropped = self.slots.len() - needed;
        self.slots.truncate(needed);
        self.slots.shrink_to(SLOTS_KEPT);
        self.free.retain(|slot| (*slot as usize) < needed);
        self.free.shrink_to(SLOTS_KEPT);
        (dropped > SLOTS_TRIMMED).then_some(dropped * BYTES_TRIMMED)
    }

    pub(crate) fn is_live(&self, slot: u32, generation: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|entry| {
            entry.generation == generation & Event::GENERATION && entry.behaviour.is_some()
        })
    }

    /// Whether the actor of a slot charges its own cycles.
    #[inline]
    pub(crate) fn meters_itself(&self, slot: u32) -> bool {
        self.slots.get(slot as usize).is_some_and(|entry| entry.meters_itself)
    }

    pub(crate) fn extras(&mut self, slot: u32) -> &mut Extras {
        self.slots[slot as usize].extras.get_or_insert_default()
    }

    /// Runs one event to its end, or leaves nothing of it. The message stays with the caller.
    #[inline]
    pub(crate) fn dispatch(
        &mut self,
        event: &mut Event,
        left: &mut Quota,
        facilities: &Facilities,
    ) -> Outcome {
        let slot = event.slot as usize;
        let Some(entry) = self.slots.get_mut(slot) else { return self.dispatch_control(event) };
        // The usual event has no mark, and one branch sees that.
        let is_plain = entry.generation == event.generation;
        if !is_plain && entry.generation != event.generation & Event::GENERATION {
            return Outcome::Gone;
        }
        let mut is_start = false;
        if let Some(extras) = &entry.extras {
            is_start = extras.is_start(event);
            if extras.held.is_some() && !is_start && !makes(Mutation::RunHeld) {
                return self.hold(event);
            }
        }
        let before = *left;
        let message = if is_plain {
            let Some(events) = left.events.checked_sub(1) else {
                return Outcome::Exhausted { resource: Resource::Events, had: 0 };
            };
            left.events = events;
            &event.message
        } else {
            if let Some(due) = event.due()
                && !self.timers.is_wanted(due.id)
                && !makes(Mutation::TakeCancelled)
            {
                return Outcome::Cancelled;
            }
            if let Err(Exhausted(resource)) = pay_marked(event, left) {
                *left = before;
                return Outcome::Exhausted { resource, had: before.get(resource) };
            }
            event.proper_message()
        };
        if left.cycles == 0 {
            *left = before;
            return Outcome::Exhausted { resource: Resource::Cycles, had: 0 };
        }
        let Some(mut behaviour) = entry.behaviour.take() else { return Outcome::Gone };
        let queued = self.queue.len();
        let outgoing = self.effects.outgoing.len();
        let result = {
            let mut context =
                Context { running: self, left, facilities, slot: event.slot, sponsor: event.sponsor };
            catch_unwind(AssertUnwindSafe(|| behaviour.receive(message, &mut context)))
        };
        if matches!(result, Ok(Ok(()))) {
            if !is_plain && !self.effects.stash {
                self.consumed(event);
            }
            self.apply(event, behaviour, facilities);
            if is_start {
                self.started(event);
            }
            return Outcome::Completed;
        }
        self.slots[slot].behaviour.put(behaviour);
        self.undo(queued, outgoing, before, left, facilities);
        let failure = match result {
            Ok(Err(failure)) => failure,
            Err(payload) => match payload.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(payload) => Failure::Panicked(words_of(payload)),
            },
            Ok(Ok(())) => return Outcome::Completed,
        };
        match failure {
            Failure::Exhausted(Exhausted(resource)) => {
                left.events = before.events;
                Outcome::Exhausted { resource, had: before.get(resource) }
            }
            Failure::Full(number) if facilities.mailboxes.makes_wait(number) => {
                left.events = before.events;
                self.wait_for_room(event, number)
            }
            failure => {
                self.consumed(event);
                self.report(event, &failure, facilities.clock.now());
                Outcome::Failed(failure)
            }
        }
    }

    #[inline]
    fn apply(&mut self, event: &mut Event, behaviour: Box<dyn Behaviour>, facilities: &Facilities) {
        let entry = &mut self.slots[event.slot as usize];
        entry.behaviour.put(behaviour);
        if self.effects.is_quiet() {
            return;
        }
        self.apply_all(event, facilities);
    }

    /// What an event has asked for beside messages.
    fn apply_all(&mut self, event: &mut Event, facilities: &Facilities) {
        let entry = &mut self.slots[event.slot as usize];
        if let Some(next) = self.effects.next.take() {
            entry.put(next);
        }
        if let Some(changed) = &mut self.changed {
            changed.slots.insert(event.slot);
            changed.slots.extend(&self.effects.created);
        }
        self.effects.created.clear();
        self.effects.prepaid = 0;
        let mut deferred = std::mem::take(&mut self.effects.deferred);
        for action in deferred.drain(..) {
            self.carry_out(action, event, facilities);
        }
        self.effects.deferred = deferred;
        // It may have been ended by a link to an actor that is gone.
        if std::mem::take(&mut self.effects.stop) && self.is_live(event.slot, event.generation) {
            self.end(event.slot, &End::Stopped);
        }
        if std::mem::take(&mut self.effects.stash) {
            self.put_aside(event);
        }
    }

    /// What a failed event has put on its way does not go, and what it counted in mailboxes does not count.
    pub(crate) fn take_back(&mut self, outgoing: usize, facilities: &Facilities) {
        let mut waiting = Vec::new();
        for sent in self.effects.outgoing.drain(outgoing..) {
            if let Outgoing::Configuration(number, event) = &sent
                && event.generation & Event::COUNTED != 0
                && let Some(mailbox) = facilities.mailboxes.find(*number)
            {
                waiting.extend(mailbox.release(1).into_iter().map(|actor| (*number, actor)));
            }
        }
        for (number, actor) in waiting {
            self.control_at(actor, Control::Room(number));
        }
    }

    #[cold]
    fn undo(
        &mut self,
        queued: usize,
        outgoing: usize,
        before: Quota,
        left: &mut Quota,
        facilities: &Facilities,
    ) {
        if !makes(Mutation::KeepMessages) {
            self.queue.truncate(queued);
            self.take_back(outgoing, facilities);
        }
        if !makes(Mutation::KeepNext) {
            self.effects.next.clear();
        }
        self.effects.stop &= makes(Mutation::KeepStop);
        self.effects.stash = false;
        while let Some(slot) = self.effects.created.pop() {
            if !makes(Mutation::KeepCreated) {
                self.vacate(slot);
            }
        }
        if !makes(Mutation::KeepSpent) {
            left.memory = before.memory;
        }
        left.events += std::mem::take(&mut self.effects.prepaid);
        for action in std::mem::take(&mut self.effects.deferred) {
            match action {
                // What was set aside for another sponsor is the event's again.
                Deferred::Transfer(_, amount) if !makes(Mutation::LoseTransfer) => {
                    left.cycles += amount.cycles;
                    left.events += amount.events;
                }
                Deferred::NewSponsor(made) => facilities.accounts().discard(made),
                Deferred::Name(name) if !makes(Mutation::KeepName) => facilities.names.release(&name),
                _ => {}
            }
        }
    }

    /// The actor of the event may have been ended by an action before this one: its slot is not looked at.
    #[cold]
    fn carry_out(&mut self, action: Deferred, event: &Event, facilities: &Facilities) {
        let generation = event.generation & Event::GENERATION;
        let actor = Local { configuration: self.number, slot: event.slot, generation };
        match action {
            Deferred::NewSponsor(made) => {
                self.effects.ledger_changes.push(LedgerChange::Made(made));
            }
            Deferred::Name(name) => facilities.names.confirm(&name),
            Deferred::Transfer(to, amount) => self.effects.transfers.push((to, amount)),
            Deferred::Start(sponsor, controller) => {
                let controller = Controller { address: controller, payer: event.sponsor, stored: None };
                self.effects.ledger_changes.push(LedgerChange::Start(sponsor, controller));
            }
            Deferred::StopSponsor(sponsor) => {
                self.effects.ledger_changes.push(LedgerChange::Stop(sponsor, event.sponsor));
            }
            Deferred::Timer { id, due, target, message } => {
                let sponsor = event.sponsor;
                self.timers.set(id, Timer { due, target, sponsor, message, owner: Some(actor) });
                self.timer_changed(id);
            }
            Deferred::CancelTimer(id) => self.cancel_timer(id, actor),
            Deferred::Unstash if self.is_live(event.slot, event.generation) => self.put_back(event.slot),
            Deferred::Unstash => {}
            Deferred::Supervise { slot, supervisor, factory } => {
                let extras = self.extras(slot);
                extras.supervisor = Some(supervisor);
                extras.factory = factory;
                extras.maker = Some(actor);
            }
            Deferred::Belong(slot) => {
                if !self.is_live(event.slot, event.generation) {
                    self.end(slot, &End::Stopped);
                    return;
                }
                let belonging = self.local_of(slot);
                self.extras(slot).maker = Some(actor);
                self.extras(event.slot).belongings.insert(belonging);
            }
            Deferred::Control(local, control) => self.control_at(local, control),
            Deferred::Outside(request) => self.effects.requests.push((event.sponsor, request)),
        }
    }

    /// A message from the configuration itself.
    pub(crate) fn tell(&mut self, target: &Address, message: Message) {
        let sponsor = self.sponsor;
        self.effects.route(self.number, &mut self.queue, target, sponsor, message);
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::sponsors::SponsorId;

    use super::{Event, RunningConfiguration};
    use crate::model::actor::closure;
    use crate::model::address::Address;
    use crate::model::supervision::{Control, End, Watch};

    fn actor() -> Box<dyn crate::model::behaviour::Behaviour> {
        closure((), |(), (): &(), _| Ok(()))
    }

    /// What is given back and needed again has no address that was there before.
    #[test]
    fn slots_that_are_given_back_keep_their_addresses_dead() {
        let mut running = RunningConfiguration::new(1, SponsorId::ROOT);
        let first = running.occupy(actor());
        let many: Vec<_> = (0..100_000).map(|_| running.occupy(actor())).collect();
        let before: Vec<_> = many.iter().map(|slot| running.local_of(*slot)).collect();
        many.iter().for_each(|slot| running.end(*slot, &End::Stopped));
        running.queue.reserve(100_000);
        running.give_back();
        assert!(running.slots.capacity() <= 1024 && running.queue.capacity() <= 2048);
        assert_eq!(running.population(), 1);
        assert!(
            running.is_live(first, 0) && before.iter().all(|one| !running.is_live(one.slot, one.generation))
        );
        for one in before {
            assert_eq!(running.occupy(actor()), one.slot);
            assert!(!running.is_live(one.slot, one.generation));
        }
        assert_eq!(running.population(), 100_001);
    }

    /// An actor that makes adapters again and again, or is watched, is as large as before when they have
    /// ended.
    #[test]
    fn what_has_ended_is_not_remembered() {
        let mut running = RunningConfiguration::new(1, SponsorId::ROOT);
        let owner = running.occupy(actor());
        for _ in 0..1000 {
            let one = running.occupy(actor());
            let (maker, belonging) = (running.local_of(owner), running.local_of(one));
            running.extras(one).maker = Some(maker);
            running.extras(owner).belongings.insert(belonging);
            let watch = Watch { watcher: Address::local(belonging), by: None };
            running.control_at(maker, Control::Monitor(watch));
            running.control_at(maker, Control::Link(belonging));
            running.end(one, &End::Stopped);
        }
        let extras = running.extras(owner);
        assert_eq!(extras.belongings.len(), 0);
        assert!(extras.watchers.len() < 100 && extras.links.len() < 100);
    }

    /// No address of an actor is ever another's: a slot that has no generations left is used no more.
    #[test]
    fn a_slot_with_its_last_generation_is_used_no_more() {
        let mut running = RunningConfiguration::new(1, SponsorId::ROOT);
        let slot = running.occupy(actor());
        running.slots[slot as usize].generation = Event::GENERATION - 1;
        running.end(slot, &End::Stopped);
        assert_eq!(running.occupy(actor()), slot);
        let last = running.local_of(slot);
        running.end(slot, &End::Stopped);
        assert!(!running.is_live(last.slot, last.generation));
        assert_eq!((running.population(), running.occupy(actor()), running.population()), (0, slot + 1, 1));
        // The same when it was put back from a store.
        let mut running = RunningConfiguration::new(1, SponsorId::ROOT);
        running.restore(0, Event::GENERATION, None);
        running.restore(2, 7, Some(actor()));
        assert_eq!((running.population(), running.occupy(actor()), running.occupy(actor())), (1, 1, 3));
    }
}
