//! Memory for jam and cue, kept between them: the first touch of fresh memory would take a good part of their
//! time.

use super::cue::CueScratch;
use super::jam::JamScratch;
use crate::arena::Arena;
use crate::disk::Disk;

#[derive(Default)]
pub(super) struct Scratch {
    pub(super) jam: JamScratch,
    pub(super) cue: CueScratch,
}

/// What is larger than this after a noun is given back.
const KEPT_MAX: usize = 64 << 20;

impl Scratch {
    /// What an arena has kept, or a new one.
    pub(super) fn take<D: Disk>(arena: &mut Arena<D>) -> Box<Self> {
        arena.scratch.take().and_then(|kept| kept.downcast().ok()).unwrap_or_default()
    }

    /// Gives it to an arena for the next time, if it is not too large.
    pub(super) fn keep<D: Disk>(self: Box<Self>, arena: &mut Arena<D>) {
        if self.jam.bytes() + self.cue.bytes() <= KEPT_MAX {
            arena.scratch = Some(self);
        }
    }
}
