//! Messages that an actor has put aside until it can handle them, in their order.
//!
//! They take room in the configuration's mailbox as before. Put back, each is an event like any other, and
//! its delivery is paid for once more.

use super::event::Event;
use super::running::RunningConfiguration;
use crate::model::message::Message;
use crate::model::start::Start;
use crate::mutation::{Mutation, makes};

impl RunningConfiguration {
    /// The event has completed, and its actor wants its message later.
    #[cold]
    pub(super) fn put_aside(&mut self, event: &mut Event) {
        if !self.is_live(event.slot, event.generation) || event.message.is_internal::<Start>() {
            self.consumed(event);
            return;
        }
        let message = std::mem::replace(&mut event.message, Message::internal(()));
        let generation = event.generation & !(Event::PREPAID | Event::UNPAID);
        let event = Event { slot: event.slot, generation, sponsor: event.sponsor, message };
        self.extras(event.slot).stashed.push_back(event);
    }

    /// What an actor has put aside comes next.
    #[cold]
    pub(super) fn put_back(&mut self, slot: u32) {
        let stashed = std::mem::take(&mut self.extras(slot).stashed);
        if makes(Mutation::UnstashLast) {
            self.queue.extend(stashed);
        } else {
            self.put_first(stashed);
        }
    }

    /// Puts events before all that wait, in their order.
    pub(crate) fn put_first(
        &mut self,
        events: impl IntoIterator<Item = Event, IntoIter: DoubleEndedIterator>,
    ) {
        events.into_iter().rev().for_each(|event| self.queue.push_front(event));
        self.reorder();
    }
}
