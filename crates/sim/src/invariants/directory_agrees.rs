//! When nothing is under way, the owner's directory says who holds what; it may list a reader too many (whose
//! grant came too late), never one too few.

use banyan_core::coherence::{Conduct, Held};
use banyan_core::ids::PageNumber;
use banyan_wire::coherence::Holders;

use super::Violation;
use crate::world::World;

/// Checks a page of a cluster that is at rest.
///
/// # Errors
/// When the directory is wrong.
pub fn check<C: Conduct>(world: &World<C>, page: PageNumber) -> Result<(), Violation> {
    let Some(owner) = world.sites.iter().find(|site| site.machine.owns(page.extent()).is_some()) else {
        return Err(Violation { invariant: "directory_agrees", found: format!("no node owns {page:?}") });
    };
    let directory = owner.machine.directory(page).map(|(holders, _)| holders);
    for (number, site) in world.sites.iter().enumerate() {
        let Some(node) = banyan_core::ids::NodeId::new(number as u8) else { continue };
        let held = site.machine.held(page);
        let agrees = match directory {
            Some(Holders::Writer(writer)) if writer == node => held == Held::Exclusive,
            Some(Holders::Readers { sure, .. }) if sure == node => held == Held::Shared,
            Some(Holders::Readers { nodes, .. }) if nodes.contains(node) => held != Held::Exclusive,
            None if owner.machine.owner(page.extent()) == node => held == Held::Exclusive,
            Some(_) | None => held == Held::Absent,
        };
        if !agrees {
            return Err(Violation {
                invariant: "directory_agrees",
                found: format!("{page:?} is {held:?} at node {number}, the directory says {directory:?}"),
            });
        }
    }
    Ok(())
}
