//! What an event has asked for, until it completes.
//!
//! Messages to actors of the same configuration are not here: they are at the end of the configuration's queue already,
//! and are cut off again if the event fails. Nobody else adds to that queue during an event.

use std::sync::Arc;

use banyan_core::sponsors::SponsorId;

use crate::address::{GuestNumber, Proxy};
use crate::behaviour::Behaviour;
use crate::guest::Event;
use crate::message::Message;

/// A message that leaves the configuration.
pub(crate) enum Outgoing {
    /// To another configuration of this process.
    Guest(GuestNumber, Event),
    /// To what is beyond the process.
    Beyond(Arc<Proxy>, SponsorId, Message),
}

/// Provisional effects of the event under way, or of completed events that have not been sent yet.
#[derive(Default)]
pub(crate) struct Effects {
    /// Slots of actors created by this event.
    pub(crate) created: Vec<u32>,
    /// Messages that leave the configuration.
    pub(crate) outgoing: Vec<Outgoing>,
    /// What the actor becomes.
    pub(crate) next: Option<Box<dyn Behaviour>>,
    /// Whether the actor ends.
    pub(crate) stop: bool,
}
