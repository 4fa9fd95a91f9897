//! [`Probe`]: one behaviour after another by hand, without hosts or threads; for tests of behaviours, and for stepping.

use banyan_core::sponsors::{Quota, SponsorId};

use crate::address::Address;
use crate::behaviour::{Behaviour, Failure};
use crate::effects::Outgoing;
use crate::guest::{Event, Guest, Outcome};
use crate::message::Message;

/// A configuration that is dispatched one event at a time by its caller.
pub struct Probe {
    guest: Guest,
    sponsor: SponsorId,
    /// What is left to spend.
    pub left: Quota,
}

/// What one dispatch did.
#[derive(Debug)]
pub struct Step {
    /// Why the event failed, if it did.
    pub failure: Option<Failure>,
    /// Messages that left the configuration: to whom, and what.
    pub left_home: Vec<Message>,
}

impl Probe {
    /// An empty configuration that may spend so much.
    #[must_use]
    pub fn new(left: Quota) -> Self {
        Self { guest: Guest::new(0), sponsor: SponsorId { index: 0, generation: 0 }, left }
    }

    /// Puts an actor in.
    pub fn create(&mut self, behaviour: Box<dyn Behaviour>) -> Address {
        let slot = self.guest.occupy(behaviour);
        Address::local(self.guest.local_of(slot))
    }

    /// Puts a message at the end of the queue; messages to other places are dropped.
    pub fn send(&mut self, target: &Address, message: Message) {
        if let crate::address::Place::Local(local) = &target.0 {
            let (slot, generation) = (local.slot, local.generation);
            self.guest.queue.push_back(Event { slot, generation, sponsor: self.sponsor, message });
        }
    }

    /// Events in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.guest.queue.len()
    }

    /// Dispatches the first event; `None` if there is none. An event that could not be paid for is at the front again.
    pub fn step(&mut self) -> Option<Step> {
        let event = self.guest.queue.pop_front()?;
        let failure = match self.guest.dispatch(&event, &mut self.left) {
            Outcome::Completed | Outcome::Gone => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::Exhausted(exhausted) => {
                self.guest.queue.push_front(event);
                Some(Failure::Exhausted(exhausted))
            }
        };
        let left_home = self.guest.effects.outgoing.drain(..).map(|outgoing| match outgoing {
            Outgoing::Guest(_, event) => event.message,
            Outgoing::Beyond(_, _, message) => message,
        });
        Some(Step { failure, left_home: left_home.collect() })
    }
}
