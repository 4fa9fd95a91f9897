//! [`Probe`]: one event after another by hand, without processors or threads; for tests of behaviours, and
//! for stepping.

use std::sync::Arc;

use banyan_core::sponsors::{Quota, SponsorId};

use crate::configuration::effects::Outgoing;
use crate::configuration::event::Event;
use crate::configuration::running::{Outcome, RunningConfiguration};
use crate::model::address::{Address, Place};
use crate::model::behaviour::{Behaviour, Exhausted, Failure};
use crate::model::message::Message;
use crate::system::System;
use crate::system::clock::Clock;

/// A configuration that is dispatched one event at a time by its caller.
pub struct Probe {
    running: RunningConfiguration,
    system: Arc<System>,
    /// What is left to spend.
    pub left: Quota,
}

/// What one dispatch did.
#[derive(Debug)]
pub struct Step {
    /// Why the event failed, if it did.
    pub failure: Option<Failure>,
    /// Messages that left the configuration.
    pub sent: Vec<Message>,
}

impl Probe {
    /// An empty configuration that may spend so much.
    #[must_use]
    pub fn new(left: Quota) -> Self {
        let system = System::new(1, Clock::simulated(), Quota::AMPLE, None);
        let number = system.facilities.numbers().fresh();
        Self { running: RunningConfiguration::new(number, SponsorId::ROOT), system, left }
    }

    /// Puts an actor in.
    pub fn create(&mut self, behaviour: Box<dyn Behaviour>) -> Address {
        let slot = self.running.begin(behaviour);
        Address::local(self.running.local_of(slot))
    }

    /// Puts a message at the end of the queue; messages to other places are dropped.
    pub fn send(&mut self, target: &Address, message: Message) {
        if let Place::Local(local) = &target.0 {
            let (slot, generation) = (local.slot, local.generation);
            self.running.queue.push_back(Event { slot, generation, sponsor: SponsorId::ROOT, message });
        }
    }

    /// Events in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.running.queue.len()
    }

    /// Actors that live.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.running.population()
    }

    /// Dispatches the first event; `None` if there is none. An event that could not be paid for is at the
    /// front again.
    pub fn step(&mut self) -> Option<Step> {
        let mut event = self.running.queue.pop_front()?;
        let failure = match self.running.dispatch(&mut event, &mut self.left, &self.system.facilities) {
            Outcome::Completed
            | Outcome::Gone
            | Outcome::Held
            | Outcome::Cancelled
            | Outcome::NoRoom(_)
            | Outcome::Parked => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::Exhausted { resource, .. } => {
                self.running.queue.push_front(event);
                Some(Failure::Exhausted(Exhausted(resource)))
            }
        };
        let sent = self.running.effects.outgoing.drain(..).map(|outgoing| match outgoing {
            Outgoing::Configuration(_, event) => event.message,
            Outgoing::Beyond(_, _, message) => message,
        });
        Some(Step { failure, sent: sent.collect() })
    }
}
