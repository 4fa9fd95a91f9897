//! The limits of the process (`setrlimit`) that memory calls meet, and `mlock`, which is nothing but them
//! here: memory that other nodes use cannot stay where it is.

use super::region_map::{Backing, Region};
use super::{Effect, Outcome, READ_WRITE, Regions};
use banyan_wire::address_space::{page_down, page_up};
use linux_raw_sys::errno::{EINVAL, ENOMEM, EPERM};
use linux_raw_sys::general::{MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, PROT_WRITE};

/// Soft limits in bytes; `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_MEMLOCK`; none for a process that may lock what it likes.
    pub locked: u64,
}

impl Limits {
    /// A process without limits.
    pub const NONE: Self = Self { address_space: u64::MAX, data: u64::MAX, locked: u64::MAX };
}

/// Whether the kernel counts a region as data.
const fn is_data(region: &Region) -> bool {
    region.protection & PROT_WRITE != 0 && !matches!(region.backing, Backing::Kernel(_))
}

impl Regions {
    /// `ENOMEM` if `more` bytes with these rights are more than the process may have.
    pub(super) fn check_limits(&self, more: u64, protection: u32, limits: &Limits) -> Result<(), u32> {
        let above = |limit: u64, counts: fn(&Region) -> bool| {
            let bytes =
                || self.map.iter().filter(|region| counts(region)).map(|r| r.end - r.start).sum::<u64>();
            limit != u64::MAX && bytes().saturating_add(more) > limit
        };
        let writable = protection & PROT_WRITE != 0;
        if above(limits.address_space, |_| true) || (writable && above(limits.data, is_data)) {
            return Err(ENOMEM);
        }
        Ok(())
    }

    /// `mlock` and `mlock2`.
    pub(super) fn lock(&mut self, arguments: [u64; 6], limits: &Limits) -> Outcome {
        let (start, end) = whole_pages(arguments)?;
        self.may_lock(limits)?;
        let locked: u64 = self.locked.iter().map(|region| region.end - region.start).sum();
        let already: u64 = self.locked.pieces(start, end).map(|piece| piece.end - piece.start).sum();
        if (locked - already).saturating_add(end - start) > limits.locked || !self.map.covers(start, end) {
            return Err(ENOMEM);
        }
        if end > start {
            self.locked.replace(Region { start, end, protection: READ_WRITE, backing: Backing::Anonymous });
        }
        Ok(Effect::new(0))
    }

    /// `munlock`.
    pub(super) fn unlock(&mut self, arguments: [u64; 6]) -> Outcome {
        let (start, end) = whole_pages(arguments)?;
        if !self.map.covers(start, end) {
            return Err(ENOMEM);
        }
        self.locked.cut(start, end);
        Ok(Effect::new(0))
    }

    /// `mlockall`.
    pub(super) fn lock_all(&mut self, arguments: [u64; 6], limits: &Limits) -> Outcome {
        let flags = arguments[0];
        let known = u64::from(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
        if flags == 0 || flags & !known != 0 || flags == u64::from(MCL_ONFAULT) {
            return Err(EINVAL);
        }
        self.may_lock(limits)?;
        let mapped: u64 = self.map.iter().map(|region| region.end - region.start).sum();
        if flags & u64::from(MCL_CURRENT) != 0 && mapped > limits.locked {
            return Err(ENOMEM);
        }
        Ok(Effect::new(0))
    }

    fn may_lock(&self, limits: &Limits) -> Result<(), u32> {
        if limits.locked == 0 { Err(EPERM) } else { Ok(()) }
    }
}

/// The pages that a range touches.
fn whole_pages(arguments: [u64; 6]) -> Result<(u64, u64), u32> {
    let [start, length, ..] = arguments;
    let end = start.checked_add(length).and_then(page_up).ok_or(EINVAL)?;
    Ok((page_down(start), end))
}
