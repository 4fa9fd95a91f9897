//! A full disk: what could not be written waits in memory until there is room, and is tried again by itself.
//!
//! A commit that finds no room has written nothing, so that the same commit can be tried until it succeeds.
//! Nothing of the batch has left meanwhile, and nothing new is begun: what comes waits outside of the queue,
//! of which part is in the batch. Any other failure of a store is for good: whether what was written is on
//! the disk is not known before it is opened again.

use super::error::CommitFailed;
use super::state::Durability;
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::mutation::{Mutation, makes};
use crate::system::facilities::Facilities;
use crate::system::retry::Retry;

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum StoreHealth {
    /// It is written.
    #[default]
    Well,
    /// There is no room: its configuration handles nothing until there is some, and goes on by itself then.
    Full,
    /// It failed: its configuration handles nothing until it is opened again.
    Failed,
}

/// What the next commit of a store depends on.
pub(super) enum Writing {
    Well,
    /// The batch waits for room, and what has come since waits for the batch.
    Waits(Retry, Vec<Event>),
    Failed,
}

impl Durability {
    pub(crate) fn health(&self) -> StoreHealth {
        match self.writing {
            Writing::Well => StoreHealth::Well,
            Writing::Waits(..) => StoreHealth::Full,
            Writing::Failed => StoreHealth::Failed,
        }
    }

    /// When the batch that waits for room is tried again.
    pub(crate) fn retry_at(&self) -> Option<u64> {
        match &self.writing {
            Writing::Waits(..) if makes(Mutation::RestForEver) => Some(u64::MAX),
            Writing::Waits(retry, _) => Some(retry.at),
            Writing::Well | Writing::Failed => None,
        }
    }

    /// The batch has found no room.
    pub(super) fn wait_for_room(&mut self, now: u64) {
        let (retry, came) = match std::mem::replace(&mut self.writing, Writing::Failed) {
            Writing::Waits(retry, came) => (retry.later(now), came),
            Writing::Well | Writing::Failed => (Retry::first(now), Vec::new()),
        };
        self.writing = Writing::Waits(retry, came);
    }

    /// Commits the batch that waits, if there is room; then comes what has come since.
    pub(crate) fn commit_again(
        &mut self,
        running: &mut RunningConfiguration,
        facilities: &Facilities,
    ) -> Result<(), CommitFailed> {
        self.commit_written(running, facilities)
    }

    /// The batch is committed: what has waited for it comes.
    pub(super) fn go_on(&mut self, running: &mut RunningConfiguration, facilities: &Facilities) {
        if let Writing::Waits(_, came) = std::mem::replace(&mut self.writing, Writing::Well) {
            came.into_iter().for_each(|event| self.admit(event, &mut running.queue, facilities));
        }
    }
}
