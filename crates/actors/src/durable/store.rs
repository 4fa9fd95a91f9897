//! [`DurableStore`]: a durable configuration before it runs, or a state of long ago that is looked at.

use std::path::Path;

use banyan_pages::store::SnapshotInfo;

use super::error::OpenDurableError;
use super::kinds::Kinds;
use super::state::{Durability, KillPoint};
use crate::configuration::effects::Seed;
use crate::configuration::settings::Configuration;
use crate::model::behaviour::Behaviour;

/// A store that a durable configuration lives in.
pub struct DurableStore(Box<Durability>);

impl DurableStore {
    /// Opens the arena of a durable configuration at its last commit; makes it if there is none.
    ///
    /// # Errors
    /// [`OpenDurableError`].
    pub fn open(path: &Path, kinds: Kinds) -> Result<Self, OpenDurableError> {
        Ok(Self(Box::new(Durability::open(path, kinds, None)?)))
    }

    /// The snapshots that the store retains.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.0.records.snapshots()
    }

    /// Events that were committed.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.events
    }

    /// Stops the process at a point, for tests of crashes.
    #[must_use]
    pub fn kill_at(mut self, kill: KillPoint) -> Self {
        self.0.kill = Some(kill);
        self
    }

    /// Lets so many commits fail, some of them after they are durable, for tests of faulty disks.
    #[doc(hidden)]
    #[must_use]
    pub fn with_faults(mut self, commits: u32) -> Self {
        self.0.records.faults = commits;
        self
    }

    /// Lets so many commits find no room, for tests of full disks.
    #[doc(hidden)]
    #[must_use]
    pub fn without_room(mut self, commits: u32) -> Self {
        self.0.records.without_room = commits;
        self
    }
}

/// A durable configuration that is to be opened, with [`Handle::open`](crate::Handle::open): from outside
/// only, as an event cannot ask for one.
pub struct DurableSeed {
    pub(crate) seed: Seed,
    pub(crate) durability: Box<Durability>,
}

impl Configuration {
    /// A durable configuration: what the store holds, or this first actor if it is new.
    pub fn durable<A: crate::model::actor::DurableActor>(self, store: DurableStore, first: A) -> DurableSeed {
        self.durable_behaviour(store, crate::model::actor::kept(first))
    }

    /// The same with a behaviour of another kind, as of a module: one that can be saved.
    #[must_use]
    pub fn durable_behaviour(self, store: DurableStore, first: Box<dyn Behaviour>) -> DurableSeed {
        DurableSeed { seed: self.with_behaviour(first), durability: store.0 }
    }

    /// What a retained snapshot held, for looking at it: a configuration that is not durable.
    ///
    /// # Errors
    /// [`OpenDurableError`], also if there is no such snapshot.
    pub fn at_snapshot(
        self,
        path: &Path,
        kinds: Kinds,
        snapshot: &str,
    ) -> Result<DurableSeed, OpenDurableError> {
        let durability = Durability::open(path, kinds, Some(snapshot))?;
        let first = crate::model::actor::closure((), |(), (): &(), _: &mut crate::Context<'_>| Ok(()));
        Ok(DurableSeed { seed: self.with_behaviour(first), durability: Box::new(durability.for_looking()) })
    }
}

impl Durability {
    fn for_looking(mut self) -> Self {
        self.looking = true;
        self
    }
}
