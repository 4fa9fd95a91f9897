//! [`Kinds`]: how kept actors become behaviours again.

use std::collections::BTreeMap;

use crate::model::behaviour::Behaviour;
use crate::model::message::{CodecError, Packet};

pub(super) type Maker = Box<dyn Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send>;

/// How to rebuild behaviours, by the names under which they were saved.
#[derive(Default)]
pub struct Kinds(BTreeMap<String, Maker>);

impl Kinds {
    /// The maker for a kind.
    pub(super) fn maker(&self, kind: &str) -> Option<&Maker> {
        self.0.get(kind)
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
    pub fn with<A: crate::model::actor::DurableActor>(self) -> Self {
        self.with_maker(A::KIND, crate::model::actor::rebuild::<A>)
    }

    /// And whatever this makes from states that were saved under a name.
    #[must_use]
    pub fn with_maker(
        mut self,
        kind: &str,
        make: impl Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send + 'static,
    ) -> Self {
        self.0.insert(kind.to_owned(), Box::new(make));
        self
    }
}
