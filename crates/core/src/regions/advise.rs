//! `madvise`: discarding is done, hints do nothing.

use super::{Backing, Effect, Operation, Outcome, Range, Regions, is_page_aligned};
use banyan_wire::address_space::page_up;
use banyan_wire::stub::ACTIONS_MAX;
use linux_raw_sys::errno::{EINVAL, ENOMEM};
use linux_raw_sys::general::{MADV_COLLAPSE, MADV_DONTNEED, MADV_REMOVE};

/// The highest advice that is taken. Above it are simulated failures of memory and guard pages.
const ADVICE_MAX: u32 = MADV_COLLAPSE;

impl Regions {
    pub(super) fn advise(&self, arguments: [u64; 6]) -> Outcome {
        let [start, length, advice, ..] = arguments;
        let length = page_up(length).filter(|_| is_page_aligned(start)).ok_or(EINVAL)?;
        let advice = u32::try_from(advice).ok().filter(|&advice| advice <= ADVICE_MAX).ok_or(EINVAL)?;
        let mut effect = Effect::new(0);
        if length == 0 {
            return Ok(effect);
        }
        let end = start.checked_add(length).ok_or(EINVAL)?;
        if !self.map.covers(start, end) {
            return Err(ENOMEM);
        }
        if matches!(advice, MADV_DONTNEED | MADV_REMOVE) {
            // Pages of a file were copied when it was mapped and are as good as re-read ones.
            let anonymous = self.map.pieces(start, end).filter(|piece| piece.backing == Backing::Anonymous);
            for piece in anonymous.take(ACTIONS_MAX) {
                let range = Range { start: piece.start, length: piece.end - piece.start };
                effect.push(Operation::Discard(range));
            }
        }
        Ok(effect)
    }
}
