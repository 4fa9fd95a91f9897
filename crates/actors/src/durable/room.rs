//! A full or a faulty disk: what could not be written waits in memory, and is tried again by itself.
//!
//! A commit that finds no room has written nothing, so that the same commit can be tried until it succeeds.
//! After a failed write or sync it is not known what is on the disk; so the store is opened again, which is
//! then at that commit or at the one before, and the same pages are written once more. Nothing of the batch
//! has left meanwhile, and nothing new is begun: what comes waits outside of the queue, of which part is in
//! the batch. A batch that cannot be written as bytes, and a store that is damaged, are for good.

use super::error::CommitFailed;
use super::health::StoreHealth;
use super::state::Durability;
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::mutation::{Mutation, makes};
use crate::system::facilities::Facilities;
use crate::system::retry::Retry;

/// What the next commit of a store depends on.
pub(super) enum Writing {
    Well,
    /// The batch waits for the disk, which is as is said, and what has come since waits for the batch.
    Waits(Retry, Vec<Event>, StoreHealth),
    Failed,
}

impl Durability {
    pub(crate) fn health(&self) -> StoreHealth {
        match self.writing {
            Writing::Well => StoreHealth::Well,
            Writing::Waits(.., health) => health,
            Writing::Failed => StoreHealth::Failed,
        }
    }

    /// When the batch that waits for room is tried again.
    pub(crate) fn retry_at(&self) -> Option<u64> {
        match &self.writing {
            Writing::Waits(..) if makes(Mutation::RestForEver) => Some(u64::MAX),
            Writing::Waits(retry, ..) => Some(retry.at),
            Writing::Well | Writing::Failed => None,
        }
    }

    /// The batch could not be written, since the disk is as is said.
    pub(super) fn wait_for_disk(&mut self, now: u64, health: StoreHealth) {
        let (retry, came) = match std::mem::replace(&mut self.writing, Writing::Failed) {
            Writing::Waits(retry, came, _) => (retry.later(now), came),
            Writing::Well | Writing::Failed => (Retry::first(now), Vec::new()),
        };
        self.writing = Writing::Waits(retry, came, health);
    }

    /// Commits the batch that waits, if it can be; then comes what has come since.
    pub(crate) fn commit_again(
        &mut self,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        self.commit_written(running, facilities)
    }

    /// The batch is committed: what has waited for it comes.
    pub(super) fn go_on(&mut self, running: &mut RunningConfiguration, facilities: &Facilities) {
        if let Writing::Waits(_, came, _) = std::mem::replace(&mut self.writing, Writing::Well) {
            came.into_iter().for_each(|event| self.admit(event, &mut running.queue, facilities));
        }
    }
}
