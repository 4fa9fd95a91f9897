//! [`Answer`]: the address for the answer to an actor's question. When its last copy goes without an answer,
//! the actor hears that the question was dropped.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

use banyan_core::sponsors::SponsorId;

use super::System;
use crate::configuration::event::Event;
use crate::model::address::{Address, Door, Local};
use crate::model::ask::Dropped;
use crate::model::message::Message;
use crate::mutation::{Mutation, makes};

/// The way back to an actor that waits for an answer.
pub(super) struct Answer {
    pub(super) system: Weak<System>,
    pub(super) waiting: Local,
    /// Who has paid for one delivery: of the answer, or of the notice that the question was dropped.
    pub(super) payer: SponsorId,
    pub(super) answered: AtomicBool,
}

impl Answer {
    /// `mark` says what is not paid for of the message.
    fn send(&self, message: Message, sponsor: SponsorId, mark: u32) {
        let prepaid = if self.answered.swap(true, Ordering::Relaxed) { 0 } else { Event::PREPAID };
        if let Some(system) = self.system.upgrade() {
            let Local { configuration, slot, generation } = self.waiting;
            let generation = generation | mark | prepaid;
            system.route_event(configuration, Event { slot, generation, sponsor, message });
        }
    }
}

impl Door for Answer {
    fn deliver(&self, message: Message, sponsor: SponsorId) {
        self.send(message, sponsor, Event::UNPAID);
    }

    fn deliver_paid(&self, message: Message, sponsor: SponsorId) {
        self.send(message, sponsor, if makes(Mutation::PayAnswerTwice) { Event::UNPAID } else { 0 });
    }

    fn describe(&self) -> String {
        format!("the answer to {:?}", Address::local(self.waiting))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Of the threads that had a copy, the last one drops this, and sees what the others have done.
        if !*self.answered.get_mut() && !makes(Mutation::ForgetDropped) {
            self.send(Message::internal(Dropped), self.payer, 0);
        }
    }
}
