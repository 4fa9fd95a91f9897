//! `msync` and `mincore`, which change nothing here: they look at what is mapped, and the kernel does the
//! rest for its own mappings.

use super::region_map::Backing;
use super::{Effect, Operation, Outcome, Range, Regions, is_page_aligned};
use banyan_wire::address_space::page_up;
use linux_raw_sys::errno::{EBUSY, EINVAL, ENOMEM};
use linux_raw_sys::general::{MS_ASYNC, MS_INVALIDATE, MS_SYNC};

impl Regions {
    pub(super) fn synchronize(&self, arguments: [u64; 6]) -> Outcome {
        let [start, length, flags, ..] = arguments;
        let known = u64::from(MS_ASYNC | MS_INVALIDATE | MS_SYNC);
        let both = u64::from(MS_ASYNC | MS_SYNC);
        if flags & !known != 0 || flags & both == both || !is_page_aligned(start) {
            return Err(EINVAL);
        }
        // A length that has no whole pages in 64 bits counts as none (mm/msync.c).
        let end = start.checked_add(page_up(length).unwrap_or(0)).ok_or(ENOMEM)?;
        if flags & u64::from(MS_INVALIDATE) != 0 && self.locked.pieces(start, end).next().is_some() {
            return Err(EBUSY);
        }
        let mut effect = Effect::new(0);
        self.push_kernel_calls(&mut effect, start, end);
        self.or_hole(effect, start, end)
    }

    pub(super) fn residency(&self, arguments: [u64; 6]) -> Outcome {
        let [start, length, ..] = arguments;
        if !is_page_aligned(start) {
            return Err(EINVAL);
        }
        let end = page_up(length).and_then(|length| start.checked_add(length)).ok_or(ENOMEM)?;
        if self.map.covers(start, end) { Ok(Effect::new(0)) } else { Err(ENOMEM) }
    }

    /// Has the kernel make the call on its own mappings in a range.
    pub(super) fn push_kernel_calls(&self, effect: &mut Effect, start: u64, end: u64) {
        for piece in self.map.pieces(start, end) {
            if matches!(piece.backing, Backing::Kernel(_)) {
                effect.push(Operation::Call(Range { start: piece.start, length: piece.end - piece.start }));
            }
        }
    }

    /// The effect as it is; with the result `ENOMEM` if there is a hole in the range, as the kernel does what
    /// it can of such a call.
    pub(super) fn or_hole(&self, mut effect: Effect, start: u64, end: u64) -> Outcome {
        if !self.map.covers(start, end) {
            effect.result = -i64::from(ENOMEM);
        }
        Ok(effect)
    }
}
