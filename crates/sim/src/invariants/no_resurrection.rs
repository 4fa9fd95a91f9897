//! When a discard is complete, nothing that was written before it is in any node's memory.

use banyan_core::coherence::Conduct;
use banyan_core::ids::Run;

use super::Violation;
use crate::page::Value;
use crate::world::World;

/// Checks a run just discarded; `floor` is the last write before the discard began.
///
/// # Errors
/// When something is left.
pub fn check<C: Conduct>(world: &World<C>, run: Run, floor: Value) -> Result<(), Violation> {
    for (number, site) in world.sites.iter().enumerate() {
        for (page, slot) in site.replica.slots.range(run.first..run.end()) {
            if slot.value != 0 && slot.value <= floor {
                return Err(Violation {
                    invariant: "no_resurrection",
                    found: format!("node {number} still has write {} in {page:?}", slot.value),
                });
            }
        }
    }
    Ok(())
}
