//! Each machine's own tables agree with each other, and its queues are within their bounds.

use banyan_core::coherence::Conduct;

use super::Violation;
use crate::world::World;

pub(super) fn check<C: Conduct>(world: &World<C>, number: usize) -> Result<(), Violation> {
    world.sites[number].machine.check().map_err(|found| Violation {
        invariant: "machine_is_sound",
        found: format!("node {number}: {found}"),
    })
}
