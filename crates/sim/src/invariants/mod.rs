//! What must be true of a cluster, one file for each.

use std::fmt;

use banyan_core::address::PageNumber;
use banyan_core::coherence::Conduct;

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

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of its file.
    pub invariant: &'static str,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.found)
    }
}

impl std::error::Error for Violation {}

/// Checks everything that must hold after every step, for the given pages, and the node that made the step.
///
/// # Errors
/// The first invariant that is broken.
pub fn check<C: Conduct>(world: &World<C>, pages: &[PageNumber], acted: usize) -> Result<(), Violation> {
    for page in pages {
        single_writer::check(world, *page)?;
        readers_see_latest::check(world, *page)?;
        no_lost_write::check(world, *page)?;
        one_owner::check(world, page.extent())?;
    }
    machine_is_sound::check(world, acted)
}
