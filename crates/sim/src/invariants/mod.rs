//! What must be true of a cluster, one file for each.

use banyan_core::coherence::Conduct;
use banyan_core::ids::PageNumber;

use crate::world::World;

pub mod copy_is_final;
pub mod directory_agrees;
pub mod machine_is_sound;
pub mod minimum_hold;
pub mod no_lost_write;
pub mod no_resurrection;
pub mod nothing_rejected;
pub mod one_owner;
pub mod progress;
pub mod readers_see_latest;
pub mod single_writer;
mod violation;

pub use violation::Violation;

/// Checks everything that must hold after every step: of the given pages those whose memory changed, of the
/// nodes the one that made the step.
///
/// # Errors
/// The first invariant that is broken.
pub fn check<C: Conduct>(world: &mut World<C>, pages: &[PageNumber], acted: usize) -> Result<(), Violation> {
    let touched = std::mem::take(&mut world.touched);
    for page in pages.iter().filter(|page| touched.iter().any(|run| run.contains(**page))) {
        single_writer::check(world, *page)?;
        readers_see_latest::check(world, *page)?;
        no_lost_write::check(world, *page)?;
    }
    let mut extents: Vec<_> = pages.iter().map(|page| page.extent()).collect();
    extents.dedup();
    for extent in extents {
        one_owner::check(world, extent)?;
    }
    machine_is_sound::check(world, acted)
}
