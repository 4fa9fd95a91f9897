//! Whatever a thread could read without a fault is the page's newest contents.

use banyan_core::coherence::Conduct;
use banyan_core::ids::PageNumber;

use super::Violation;
use crate::world::World;

pub(super) fn check<C: Conduct>(world: &World<C>, page: PageNumber) -> Result<(), Violation> {
    for (number, site) in world.sites.iter().enumerate() {
        let value = site.replica.value(page);
        if site.replica.mapped(page).is_some() && !world.oracle.allows(page, value) {
            let newest = world.oracle.settled(page);
            return Err(Violation {
                invariant: "readers_see_latest",
                found: format!("node {number} can read {value} in {page:?}, where {newest:?} is right"),
            });
        }
    }
    Ok(())
}
