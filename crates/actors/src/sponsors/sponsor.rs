//! [`Sponsor`]: the right to a budget, and [`Signal`]: the message that one is exhausted.
//!
//! A [`Sponsor`] is a capability: who holds it may give to it, start it, stop it, and send messages on its
//! account. A behaviour never gets hold of the sponsor of its own event.

use banyan_core::sponsors::{Resource, SponsorId};
use serde::{Deserialize, Serialize};

/// The right to give to a sponsor, to start and stop it, and to send on its account. It cannot be serialised:
/// bytes would let anybody make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sponsor {
    pub(crate) id: SponsorId,
}

impl Sponsor {
    /// The sponsor's name in listings.
    #[must_use]
    pub fn id(&self) -> SponsorId {
        self.id
    }
}

/// The message to a sponsor's controller: a resource is exhausted, and the sponsor's events wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Which sponsor, as [`Sponsor::id`] says. It may have ended since, and is never taken for another.
    pub sponsor: SponsorId,
    /// What is exhausted.
    pub resource: Resource,
}
