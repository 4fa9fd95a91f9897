//! `mprotect`.

use super::region_map::{Backing, Copy, copy_with};
use super::{Effect, Limits, Operation, Outcome, RIGHTS, Range, Region, Regions, is_page_aligned};
use alloc::vec::Vec;
use banyan_wire::address_space::{may_hold_code, page_up};
use linux_raw_sys::errno::{EACCES, EINVAL, ENOMEM};
use linux_raw_sys::general::{PROT_EXEC, PROT_WRITE};

impl Regions {
    pub(super) fn protect(&mut self, arguments: [u64; 6], limits: &Limits) -> Outcome {
        let [start, length, protection, ..] = arguments;
        if !is_page_aligned(start) || protection & !u64::from(RIGHTS) != 0 {
            return Err(EINVAL);
        }
        let protection = protection as u32;
        let length = page_up(length).ok_or(ENOMEM)?;
        let mut effect = Effect::new(0);
        if length == 0 {
            return Ok(effect);
        }
        let end = start.checked_add(length).filter(|&end| self.map.covers(start, end)).ok_or(ENOMEM)?;
        if protection & PROT_EXEC != 0 && !may_hold_code(start, length) {
            return Err(EACCES);
        }
        let newly_writable = self.map.pieces(start, end).filter(|piece| piece.protection & PROT_WRITE == 0);
        let more: u64 = newly_writable.map(|piece| piece.end - piece.start).sum();
        if protection & PROT_WRITE != 0 {
            self.check_limits(more, protection, &Limits { address_space: u64::MAX, ..*limits })?;
        }
        let range = Range { start, length };
        let pieces: Vec<Region> = self.map.pieces(start, end).collect();
        // A replica with too many rights must lose them now; one with too few asks again when it faults.
        if pieces.iter().any(|piece| piece.protection & !protection != 0) {
            effect.forget = Some(range);
        }
        self.map.cut(start, end);
        for piece in pieces {
            let backing = match piece.backing {
                Backing::File { file, offset, copy: Copy::Clean } => {
                    Backing::File { file, offset, copy: copy_with(protection) }
                }
                other => other,
            };
            self.map.join(Region { protection, backing, ..piece });
        }
        effect.push(Operation::Protect(range, protection));
        Ok(effect)
    }
}
