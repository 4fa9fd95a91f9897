//! Making configurations: always by asking a host, from outside or from inside an event alike.

use banyan_core::sponsors::SponsorId;

use crate::model::actor::{Actor, native};
use crate::model::address::Address;
use crate::model::behaviour::Behaviour;
use crate::model::supervision::Directive;

/// What a configuration begins with.
pub struct Configuration {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) sponsor: SponsorId,
    pub(crate) host: Option<usize>,
    pub(crate) stays: bool,
    pub(crate) default_directive: Directive,
    pub(crate) overseer: Option<Address>,
}

impl Configuration {
    /// A configuration of this name, for people; with weight 1, paid by the root sponsor, on a host that is not busy.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            sponsor: SponsorId::ROOT,
            host: None,
            stays: false,
            default_directive: Directive::Resume,
            overseer: None,
        }
    }

    /// Events per turn: the configuration's share of its host, against the others'. At least 1.
    #[must_use]
    pub fn weight(mut self, events_per_turn: u32) -> Self {
        self.weight = events_per_turn.max(1);
        self
    }

    /// Who pays for events from outside of any event, and for what the configuration itself does.
    #[must_use]
    pub fn sponsor(mut self, sponsor: &crate::sponsors::Sponsor) -> Self {
        self.sponsor = sponsor.id;
        self
    }

    /// Begin on this host. It may move from there: to an idle host, or to one whose configurations send to it.
    #[must_use]
    pub fn on_host(mut self, host: usize) -> Self {
        self.host = Some(host);
        self
    }

    /// Begin on this host and stay there.
    #[must_use]
    pub fn stay_on_host(mut self, host: usize) -> Self {
        self.host = Some(host);
        self.stays = true;
        self
    }

    /// What becomes of an actor that fails and has no supervisor. Else it goes on as it was before the event.
    #[must_use]
    pub fn default_directive(mut self, directive: Directive) -> Self {
        self.default_directive = directive;
        self
    }

    /// Who is told of failures that nobody in the configuration takes care of.
    #[must_use]
    pub fn overseer(
        mut self,
        overseer: &crate::model::address::Addr<crate::model::supervision::Failed>,
    ) -> Self {
        self.overseer = Some(overseer.address().clone());
        self
    }

    /// With its first actor: what a host is asked to make.
    pub fn with_actor<A: Actor>(self, first: A) -> Seed {
        self.with_behaviour(native(first))
    }

    /// With its first actor.
    #[must_use]
    pub fn with_behaviour(self, first: Box<dyn Behaviour>) -> Seed {
        Seed { configuration: self, first, number: 0 }
    }
}

/// A configuration that a host is asked to make.
pub struct Seed {
    pub(crate) configuration: Configuration,
    pub(crate) first: Box<dyn Behaviour>,
    pub(crate) number: u32,
}

impl Seed {
    /// The first actor of a new configuration has its first slot.
    pub(crate) fn first_local(&self) -> crate::model::address::Local {
        crate::model::address::Local { guest: self.number, slot: 0, generation: 0 }
    }
}
