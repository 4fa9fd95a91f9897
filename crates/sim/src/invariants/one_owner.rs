//! At most one node takes itself for the owner of an extent.

use banyan_core::coherence::Conduct;
use banyan_core::ids::ExtentNumber;

use super::Violation;
use crate::world::World;

pub(super) fn check<C: Conduct>(world: &World<C>, extent: ExtentNumber) -> Result<(), Violation> {
    let owns = |site: &&std::rc::Rc<crate::world::Site<C>>| site.machine.owns(extent).is_some();
    let owners = world.sites.iter().filter(owns).count();
    if owners > 1 {
        let epochs: Vec<_> = world.sites.iter().map(|site| site.machine.owns(extent)).collect();
        return Err(Violation {
            invariant: "one_owner",
            found: format!("{extent:?} is owned at {epochs:?}"),
        });
    }
    Ok(())
}
