//! Making configurations: always by asking a host, from outside or from inside an event alike.

use std::time::Duration;

use banyan_core::sponsors::SponsorId;

use crate::model::address::Address;
use crate::model::supervision::Directive;
use crate::system::mailboxes::WhenFull;

/// How long a failed actor waits for its supervisor's decision, if nothing else is said.
pub(super) const DECISION: Duration = Duration::from_secs(60);

/// What a configuration begins with.
pub struct Configuration {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) sponsor: SponsorId,
    pub(crate) host: Option<usize>,
    pub(crate) stays: bool,
    pub(crate) default_directive: Directive,
    pub(crate) overseer: Option<Address>,
    pub(crate) patience: Duration,
    pub(crate) mailbox: Option<(usize, WhenFull)>,
}

impl Configuration {
    /// A configuration of this name, for people; with weight 1, paid by the root sponsor, on a host that is
    /// not busy.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            sponsor: SponsorId::ROOT,
            host: None,
            stays: false,
            default_directive: Directive::Resume,
            overseer: None,
            patience: DECISION,
            mailbox: None,
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
    pub fn sponsor(mut self, sponsor: &crate::sponsors::sponsor::Sponsor) -> Self {
        self.sponsor = sponsor.id;
        self
    }

    /// Begin on this host. It may move from there: to an idle host, or to one whose configurations send to
    /// it.
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

    /// What is done about an actor that fails and has no supervisor. Else it goes on as it was before the
    /// event.
    #[must_use]
    pub fn default_directive(mut self, directive: Directive) -> Self {
        self.default_directive = directive;
        self
    }

    /// Who receives the failures that no supervisor in the configuration takes care of.
    #[must_use]
    pub fn overseer(
        mut self,
        overseer: &crate::model::address::Addr<crate::model::supervision::Failed>,
    ) -> Self {
        self.overseer = Some(overseer.address().clone());
        self
    }

    /// Take so many events of other configurations and of threads outside, and no more, from when they are
    /// sent until they are handled. What the configuration sends to itself does not count.
    #[must_use]
    pub fn mailbox(mut self, events_max: usize, when_full: WhenFull) -> Self {
        self.mailbox = Some((events_max, when_full));
        self
    }

    /// How long an actor that has failed waits for its supervisor's decision: a minute, if nothing else is
    /// said. After that its failure is escalated.
    #[must_use]
    pub fn decide_within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
