//! `munmap`.

use super::region_map::{Backing, KernelMapping};
use super::{Effect, Outcome, Range, Region, Regions, is_page_aligned};
use alloc::vec::Vec;
use banyan_wire::address_space::{may_map, page_up};
use linux_raw_sys::errno::EINVAL;

impl Regions {
    pub(super) fn unmap(&mut self, arguments: [u64; 6]) -> Outcome {
        let [start, length, ..] = arguments;
        let length = page_up(length).filter(|&l| l != 0 && is_page_aligned(start)).ok_or(EINVAL)?;
        let end = start.checked_add(length).ok_or(EINVAL)?;
        let mut effect = Effect::new(0);
        // Nothing of the program lies outside its memory, and unmapping nothing is no error.
        if may_map(start, length) && self.map.overlaps(start, end) {
            self.remove(&mut effect, Range { start, length });
        }
        Ok(effect)
    }

    /// `shmdt`: unmaps what is left of the segment that was attached at an address.
    pub(super) fn detach(&mut self, arguments: [u64; 6]) -> Outcome {
        let segment = Backing::Kernel(KernelMapping::Segment(arguments[0]));
        let left: Vec<Region> = self.map.iter().filter(|region| region.backing == segment).copied().collect();
        if left.is_empty() {
            return Err(EINVAL);
        }
        let mut effect = Effect::new(0);
        for region in left {
            self.remove(&mut effect, Range { start: region.start, length: region.end - region.start });
        }
        Ok(effect)
    }

    /// Unmaps a range on all nodes.
    pub(super) fn remove(&mut self, effect: &mut Effect, range: Range) {
        effect.forget = Some(range);
        effect.remove(range);
        self.map.cut(range.start, range.start + range.length);
        self.locked.cut(range.start, range.start + range.length);
    }
}
