//! What an event has asked for, until it completes; and what completed events have asked of the processor,
//! until it is done.
//!
//! Messages to actors of the same configuration are not here: they are at the end of the configuration's
//! queue already, and are cut off again if the event fails. Nothing else is added to that queue during an
//! event.

use std::collections::VecDeque;
use std::sync::Arc;

use banyan_core::sponsors::{Quota, SponsorId};

use super::event::Event;
use super::settings::Configuration;
use crate::containment::Foreign;
use crate::durable::changes::LedgerChange;
use crate::model::address::{Address, ConfigurationNumber, Local, Place, Proxy};
use crate::model::behaviour::{Behaviour, Factory};
use crate::model::message::Message;
use crate::model::supervision::Control;
use crate::model::timers::TimerId;

/// A message that leaves the configuration.
pub(crate) enum Outgoing {
    /// To another configuration of this process.
    Configuration(ConfigurationNumber, Event),
    /// To what is beyond the process.
    Beyond(Arc<Proxy>, SponsorId, Message),
}

/// A configuration that a processor is asked to make.
pub struct Seed {
    pub(crate) configuration: Configuration,
    pub(crate) first: Foreign<Box<dyn Behaviour>>,
    pub(crate) number: u32,
}

impl Seed {
    /// The first actor of a new configuration has its first slot.
    pub(crate) fn first_local(&self) -> Local {
        Local { configuration: self.number, slot: 0, generation: 0 }
    }
}

impl Configuration {
    /// With its first actor.
    #[must_use]
    pub fn with_behaviour(self, first: Box<dyn Behaviour>) -> Seed {
        Seed { configuration: self, first: Foreign::new(first), number: 0 }
    }
}

/// Work that may block.
pub(crate) type Work = Box<dyn FnOnce() -> Message + Send>;

/// What is asked of the processor.
pub(crate) enum Request {
    /// A new configuration.
    Configuration(Seed),
    /// Work that may block, and who receives its result.
    Blocking(Foreign<Work>, Address),
}

/// What an event has asked for and gets when it completes.
pub(crate) enum Deferred {
    /// Made already; unmade if the event fails.
    NewSponsor(SponsorId),
    /// Taken already; given back if the event fails.
    Name(String),
    Transfer(SponsorId, Quota),
    Start(SponsorId, Address),
    StopSponsor(SponsorId),
    Timer {
        id: TimerId,
        due: u64,
        target: Address,
        message: Message,
    },
    CancelTimer(TimerId),
    /// What the actor has put aside comes next.
    Unstash,
    Supervise {
        slot: u32,
        supervisor: Address,
        factory: Foreign<Factory>,
    },
    /// An actor that this event has created ends with the event's.
    Belong(u32),
    Control(Local, Control),
    Outside(Request),
}

/// Effects of the event under way, and what completed events have left for the processor.
#[derive(Default)]
pub(crate) struct Effects {
    /// Slots of actors created by this event.
    pub(crate) created: Vec<u32>,
    /// What the actor becomes.
    pub(crate) next: Foreign<Box<dyn Behaviour>>,
    /// Whether the actor ends.
    pub(crate) stop: bool,
    /// Whether the actor wants the message of the event later.
    pub(crate) stash: bool,
    /// Whatever else the event has asked for.
    pub(crate) deferred: Vec<Deferred>,
    /// Whether the event changed its actor in place.
    pub(crate) changed: bool,
    /// Deliveries that the event has paid for in advance.
    pub(crate) prepaid: u64,

    /// For the processor: cycles that the event used when nothing was left to pay for them.
    pub(crate) overdrawn: u64,
    /// For the processor: messages that leave the configuration.
    pub(crate) outgoing: Vec<Outgoing>,
    /// For the processor: from the lease of the event's sponsor to another sponsor.
    pub(crate) transfers: Vec<(SponsorId, Quota)>,
    /// For the processor, after the transfers.
    pub(crate) ledger_changes: Vec<LedgerChange>,
    /// For the processor, and who pays.
    pub(crate) requests: Vec<(SponsorId, Request)>,
    /// For the processor's log.
    pub(crate) complaints: Vec<String>,
}

impl Effects {
    /// Whether an event has asked for nothing but messages.
    #[inline]
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.created.is_empty()
            && self.deferred.is_empty()
            && !self.next.is_some()
            && !self.stop
            && !self.stash
            && !std::mem::take(&mut self.changed)
    }

    /// Whether the processor has anything to do.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.outgoing.is_empty()
            && self.transfers.is_empty()
            && self.ledger_changes.is_empty()
            && self.requests.is_empty()
            && self.complaints.is_empty()
    }

    /// Puts a message on its way.
    #[inline]
    pub(crate) fn route(
        &mut self,
        here: ConfigurationNumber,
        queue: &mut VecDeque<Event>,
        target: &Address,
        sponsor: SponsorId,
        message: Message,
    ) {
        match &target.0 {
            Place::Local(local) => {
                let event = Event { slot: local.slot, generation: local.generation, sponsor, message };
                if local.configuration == here {
                    queue.push_back(event);
                } else {
                    self.outgoing.push(Outgoing::Configuration(local.configuration, event));
                }
            }
            Place::Beyond(proxy) => self.outgoing.push(Outgoing::Beyond(proxy.clone(), sponsor, message)),
        }
    }
}
