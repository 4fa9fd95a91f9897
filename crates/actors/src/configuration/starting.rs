//! The first event of an actor that wants one: it comes before any message, also when it has to wait, and
//! again when the actor begins anew.
//!
//! Until it has completed, what else comes for the actor is held.

use banyan_core::sponsors::SponsorId;

use super::event::Event;
use super::running::{Extras, RunningConfiguration};
use crate::containment::contain;
use crate::model::address::Local;
use crate::model::behaviour::Behaviour;
use crate::model::message::Message;
use crate::model::start::Start;
use crate::mutation::{Mutation, makes};

impl RunningConfiguration {
    /// The first event of the actor of a slot, if it wants one; `mark` says how it is paid for.
    pub(crate) fn start(&mut self, slot: u32, sponsor: SponsorId, mark: u32) -> Option<Event> {
        let behaviour = self.slots[slot as usize].behaviour.as_ref()?;
        if !contain(|| behaviour.has_start()).unwrap_or(false) || makes(Mutation::NoStart) {
            return None;
        }
        let Local { generation, .. } = self.local_of(slot);
        self.await_start(slot);
        let message = Message::internal(Start::NEW);
        Some(Event { slot, generation: generation | mark, sponsor, message })
    }

    /// Gives the first actor its slot.
    pub(crate) fn begin(&mut self, behaviour: Box<dyn Behaviour>) -> u32 {
        let slot = self.occupy(behaviour);
        let first = self.start(slot, self.sponsor, Event::UNPAID);
        self.queue.extend(first);
        slot
    }

    /// The actor of a slot takes its first event before any other.
    pub(crate) fn await_start(&mut self, slot: u32) {
        let extras = self.extras(slot);
        extras.is_new = !makes(Mutation::StartLate);
        if extras.is_new {
            extras.held.get_or_insert_default();
        }
    }

    /// The first event has come to its end.
    #[cold]
    pub(super) fn started(&mut self, event: &Event) {
        if self.is_live(event.slot, event.generation) && std::mem::take(&mut self.extras(event.slot).is_new) {
            self.release(event.slot);
        }
    }
}

impl Extras {
    /// Whether this is the event that the actor waits for.
    pub(super) fn is_start(&self, event: &Event) -> bool {
        self.is_new && event.message.is_internal::<Start>()
    }
}
