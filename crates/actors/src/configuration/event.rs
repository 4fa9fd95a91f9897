//! [`Event`]: a message on its way to an actor of a configuration.

use banyan_core::sponsors::SponsorId;

use crate::model::message::Message;
use crate::model::timers::Due;

/// A message on its way to an actor of a configuration.
pub(crate) struct Event {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) sponsor: SponsorId,
    pub(crate) message: Message,
}

impl Event {
    /// The slot of events that are for the configuration itself; their message is a
    /// [`ControlOf`](crate::model::supervision::ControlOf), or a request to a durable configuration.
    pub(crate) const CONTROL: u32 = u32::MAX;
    /// In `generation`: the delivery was paid for in advance.
    pub(crate) const PREPAID: u32 = 1 << 31;
    /// In `generation`: it came from outside of any event, and its memory is not paid for yet.
    pub(crate) const UNPAID: u32 = 1 << 30;
    /// In `generation`: its message is a [`Due`], which a timer has sent.
    pub(crate) const DUE: u32 = 1 << 29;
    /// In `generation`: it counts in its configuration's mailbox.
    pub(crate) const COUNTED: u32 = 1 << 28;
    /// The generation proper.
    pub(crate) const GENERATION: u32 = Self::COUNTED - 1;

    /// What its timer has sent, if one has.
    pub(crate) fn due(&self) -> Option<&Due> {
        if self.generation & Self::DUE == 0 { None } else { self.message.downcast() }
    }

    /// What its actor gets.
    pub(crate) fn proper_message(&self) -> &Message {
        self.due().map_or(&self.message, |due| &due.message)
    }

    /// A request to the configuration itself.
    pub(crate) fn control(sponsor: SponsorId, message: Message) -> Self {
        Self { slot: Self::CONTROL, generation: 0, sponsor, message }
    }

    /// What an event from outside of any event costs when it is dispatched.
    pub(crate) fn delivery_cost(message: &Message) -> u64 {
        size_of::<Self>() as u64 + message.size()
    }
}
