//! A page that one node can write, no other node can even read.

use banyan_core::coherence::Conduct;
use banyan_core::ids::{Access, PageNumber};

use super::Violation;
use crate::world::World;

pub(super) fn check<C: Conduct>(world: &World<C>, page: PageNumber) -> Result<(), Violation> {
    let able = |access| {
        world
            .sites
            .iter()
            .filter(move |site| site.replica.mapped(page).is_some_and(|mapped| mapped >= access))
            .count()
    };
    if able(Access::Write) > 0 && able(Access::Read) > 1 {
        let mapped: Vec<_> = world.sites.iter().map(|site| site.replica.mapped(page)).collect();
        return Err(Violation {
            invariant: "single_writer",
            found: format!("{page:?} is mapped {mapped:?}"),
        });
    }
    Ok(())
}
