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

/// The way back to an actor that waits for an answer.
pub(super) struct Answer {
    pub(super) system: Weak<System>,
    pub(super) waiting: Local,
    /// Who has paid for the notice that the question was dropped.
    pub(super) payer: SponsorId,
    pub(super) answered: AtomicBool,
}

impl Door for Answer {
    fn deliver(&self, message: Message, sponsor: SponsorId) {
        self.answered.store(true, Ordering::Relaxed);
        if let Some(system) = self.system.upgrade() {
            system.route(&Address::local(self.waiting), sponsor, message);
        }
    }

    fn describe(&self) -> String {
        format!("the answer to {:?}", Address::local(self.waiting))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Of the threads that had a copy, the last one drops this, and sees what the others have done.
        if !*self.answered.get_mut()
            && let Some(system) = self.system.upgrade()
        {
            let Local { configuration, slot, generation } = self.waiting;
            let (generation, message) = (generation | Event::PREPAID, Message::internal(Dropped));
            system.route_event(configuration, Event { slot, generation, sponsor: self.payer, message });
        }
    }
}
