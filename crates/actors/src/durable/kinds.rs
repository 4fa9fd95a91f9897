//! [`Kinds`]: how kept actors become behaviours again, those of earlier versions too.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::model::actor::{DurableActor, kept, rebuild};
use crate::model::behaviour::Behaviour;
use crate::model::message::{CodecError, Packet};

pub(super) type Maker = Box<dyn Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send>;

/// Whether what was saved under a name is saved under that again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Present,
    Earlier,
}

/// How to rebuild behaviours, by the names under which they were saved.
#[derive(Default)]
pub struct Kinds(BTreeMap<String, (Version, Maker)>);

impl Kinds {
    /// The maker for a kind.
    pub(super) fn maker(&self, kind: &str) -> Option<&Maker> {
        self.0.get(kind).map(|(_, maker)| maker)
    }

    /// Whether a kind is an earlier version, whose actors are to be written as what they are now.
    pub(super) fn is_earlier(&self, kind: &str) -> bool {
        self.0.get(kind).is_some_and(|(version, _)| *version == Version::Earlier)
    }

    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is a maker for a kind.
    #[must_use]
    pub fn knows(&self, kind: &str) -> bool {
        self.0.contains_key(kind)
    }

    /// And this native type.
    #[must_use]
    pub fn with<A: DurableActor>(self) -> Self {
        self.with_maker(A::KIND, rebuild::<A>)
    }

    /// And actors that an earlier version of this native type has kept: their kind, their state as it was,
    /// and what they are now. They are kept as that from the first commit on. Messages that waited for them
    /// are as they were: a new version takes those of the one before.
    #[must_use]
    pub fn with_earlier<S: DeserializeOwned, A: DurableActor>(
        self,
        kind: &str,
        migrate: impl Fn(S) -> A + Send + 'static,
    ) -> Self {
        let make = move |state: &Packet| Ok(kept(migrate(state.decode_own::<S>()?)));
        self.and(kind, Version::Earlier, Box::new(make))
    }

    /// And whatever this makes from states that were saved under a name.
    #[must_use]
    pub fn with_maker(
        self,
        kind: &str,
        make: impl Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send + 'static,
    ) -> Self {
        self.and(kind, Version::Present, Box::new(make))
    }

    fn and(mut self, kind: &str, version: Version, maker: Maker) -> Self {
        self.0.insert(kind.to_owned(), (version, maker));
        self
    }
}
