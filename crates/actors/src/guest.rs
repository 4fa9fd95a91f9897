//! [`Guest`]: a configuration, its actors in a slab and its events in one queue.
//!
//! One host at a time has it, and runs one event at a time; nothing here is shared. The queue is first in, first out, so
//! messages between two actors keep their order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use banyan_core::sponsors::{Quota, Resource, SponsorId};

use crate::address::{GuestNumber, Local};
use crate::behaviour::{Behaviour, Exhausted, Failure};
use crate::context::Context;
use crate::effects::Effects;
use crate::message::Message;

/// A message on its way to an actor of a configuration.
pub(crate) struct Event {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) sponsor: SponsorId,
    pub(crate) message: Message,
}

struct Slot {
    generation: u32,
    behaviour: Option<Box<dyn Behaviour>>,
}

/// How an event ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its effects are applied.
    Completed,
    /// The actor is no more; the message is dropped.
    Gone,
    /// The event is undone; the host parks it with its sponsor.
    Exhausted(Exhausted),
    /// The event is undone and consumed.
    Failed(Failure),
}

/// A configuration of actors.
pub(crate) struct Guest {
    number: GuestNumber,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(crate) queue: VecDeque<Event>,
    pub(crate) effects: Effects,
}

impl Guest {
    /// What an actor costs beside its behaviour.
    pub(crate) const ACTOR_BYTES: u64 = size_of::<Slot>() as u64;

    pub(crate) fn new(number: GuestNumber) -> Self {
        let (slots, free, queue) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { number, slots, free, queue, effects: Effects::default() }
    }

    pub(crate) fn number(&self) -> GuestNumber {
        self.number
    }

    pub(crate) fn local_of(&self, slot: u32) -> Local {
        Local { guest: self.number, slot, generation: self.slots[slot as usize].generation }
    }

    /// Gives a behaviour a slot.
    pub(crate) fn occupy(&mut self, behaviour: Box<dyn Behaviour>) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].behaviour = Some(behaviour);
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("a configuration has fewer than 2^32 actors");
        self.slots.push(Slot { generation: 0, behaviour: Some(behaviour) });
        slot
    }

    /// Frees a slot; addresses of its actor lead nowhere from here.
    pub(crate) fn vacate(&mut self, slot: u32) -> Option<Box<dyn Behaviour>> {
        let entry = &mut self.slots[slot as usize];
        entry.generation += 1;
        self.free.push(slot);
        entry.behaviour.take()
    }

    /// Runs one event to its end, or leaves nothing of it.
    pub(crate) fn dispatch(&mut self, event: &Event, left: &mut Quota) -> Outcome {
        let Some(entry) = self.slots.get_mut(event.slot as usize) else { return Outcome::Gone };
        if entry.generation != event.generation {
            return Outcome::Gone;
        }
        let Some(mut behaviour) = entry.behaviour.take() else { return Outcome::Gone };
        let before = *left;
        let Some(events) = left.events.checked_sub(1) else {
            self.slots[event.slot as usize].behaviour = Some(behaviour);
            return Outcome::Exhausted(Exhausted(Resource::Events));
        };
        left.events = events;
        let queued = self.queue.len();
        let outgoing = self.effects.outgoing.len();
        let result = {
            let mut context = Context { guest: self, left, slot: event.slot, sponsor: event.sponsor };
            catch_unwind(AssertUnwindSafe(|| behaviour.receive(&event.message, &mut context)))
        };
        if let Ok(Ok(())) = result {
            self.apply(event.slot, behaviour);
            return Outcome::Completed;
        }
        self.slots[event.slot as usize].behaviour = Some(behaviour);
        self.queue.truncate(queued);
        self.effects.outgoing.truncate(outgoing);
        self.effects.next = None;
        self.effects.stop = false;
        while let Some(slot) = self.effects.created.pop() {
            self.vacate(slot);
        }
        left.memory = before.memory;
        match result {
            Ok(Err(Failure::Exhausted(exhausted))) => {
                left.events = before.events;
                Outcome::Exhausted(exhausted)
            }
            Ok(Err(failure)) => Outcome::Failed(failure),
            Err(payload) => match payload.downcast::<Exhausted>() {
                Ok(exhausted) => {
                    left.events = before.events;
                    Outcome::Exhausted(*exhausted)
                }
                Err(payload) => Outcome::Failed(Failure::Panicked(words_of(&*payload))),
            },
            Ok(Ok(())) => Outcome::Completed,
        }
    }

    #[inline]
    fn apply(&mut self, slot: u32, behaviour: Box<dyn Behaviour>) {
        let next = self.effects.next.take().unwrap_or(behaviour);
        self.slots[slot as usize].behaviour = Some(next);
        self.effects.created.clear();
        if self.effects.stop {
            self.effects.stop = false;
            self.vacate(slot);
        }
    }
}

/// What a panic said.
fn words_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}
