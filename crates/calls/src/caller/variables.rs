//! Variables that a library exports: the program's copy and the worker's are kept alike.
//!
//! A program reads an exported variable where its linker or the drop-in
//! put it; the library uses its own. Before a call, what the program changed goes over; after it,
//! and around call-backs, what the library changed comes back. What the program set outlives the
//! worker; what the library set ends with it. A library without such variables pays one test.
//! Threads that change the same variable race, as they would in one process. Allocates only when
//! it is set up; used on the path of calls. Not for variables of which each thread has its own.

use crate::shared::layout::{PAGE, SLOT_BYTES};
use crate::shared::service::{Segment, SegmentKind};
use crate::sys::maps;
use crate::sys::memory::{Access, protect};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};

/// A variable or a part of one, as the drop-in describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy {
    /// The program's.
    pub(crate) here: u64,
    /// What it held when the program started.
    pub(crate) first: u64,
    /// Where it begins in the variable.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Whether it may change; else it is copied to the program once.
    pub(crate) is_writable: bool,
    /// The address of a symbol: each side has its own, until one of them changes it.
    pub(crate) is_symbol: bool,
}

struct Kept {
    copy: Copy,
    /// Its offset in the slot of a worker.
    offset: u64,
    /// Where its bytes begin in `here` and `there`.
    shadow: usize,
    /// Whether the loader made the program's copy read-only: constants whose addresses it writes itself.
    is_sealed: bool,
    /// The program's value counts for new workers.
    is_ours: AtomicBool,
}

/// All variables of a library.
#[derive(Default)]
pub(crate) struct Variables {
    kept: Vec<Kept>,
    /// What the program's copies and the worker's held when we last looked.
    here: Vec<AtomicU8>,
    there: Vec<AtomicU8>,
    generation: AtomicU32,
}

impl Kept {
    /// Has `change` change the program's copy.
    fn unsealed(&self, change: impl FnOnce()) {
        if !self.is_sealed {
            return change();
        }
        let start = self.copy.here & !(PAGE - 1);
        let length = (self.copy.here + self.copy.bytes).next_multiple_of(PAGE) - start;
        // SAFETY: as the loader did when it wrote there; the rights that it left are put back.
        unsafe {
            if protect(start, length, Access::Write) {
                change();
                let _ = protect(start, length, Access::Read);
            }
        }
    }
}

/// # Safety
/// A byte must be mapped at `address`.
unsafe fn load(address: u64) -> u8 {
    // SAFETY: the caller's contract; volatile, as another thread or process may be writing.
    unsafe { (address as *const u8).read_volatile() }
}

impl Variables {
    /// # Safety
    /// Each copy must be the program's memory for as long as this lives.
    pub(crate) unsafe fn new(
        copies: impl Iterator<Item = Copy>,
        addresses: &[u64],
        segments: &[Segment],
    ) -> Self {
        let mut all = Self::default();
        if addresses.is_empty() {
            return all;
        }
        let sealed: Vec<_> = maps::list()
            .iter()
            .filter(|mapping| !mapping.writable)
            .map(|mapping| mapping.start..mapping.end)
            .collect();
        for (copy, &variable) in copies.zip(addresses) {
            let there = variable.wrapping_add(copy.offset);
            let found = segments.iter().find_map(|segment| match segment.kind {
                SegmentKind::Data { slot_offset }
                    if there >= segment.address
                        && there.saturating_add(copy.bytes) <= segment.address + segment.length =>
                {
                    Some(slot_offset + (there - segment.address))
                }
                _ => None,
            });
            let Some(offset) = found.filter(|offset| offset.saturating_add(copy.bytes) <= SLOT_BYTES) else {
                continue;
            };
            let shadow = all.here.len();
            let mut is_ours = false;
            for at in 0..copy.bytes {
                // SAFETY: the caller's contract.
                let (here, first) = unsafe { (load(copy.here + at), load(copy.first + at)) };
                is_ours |= here != first;
                all.here.push(AtomicU8::new(here));
                all.there.push(AtomicU8::new(here));
            }
            let end = copy.here + copy.bytes;
            let is_sealed = sealed.iter().any(|range| range.start < end && copy.here < range.end);
            all.kept.push(Kept {
                copy,
                is_sealed,
                offset,
                shadow,
                is_ours: AtomicBool::new(is_ours && copy.is_writable),
            });
        }
        all
    }

    fn range(kept: &Kept) -> std::ops::Range<usize> {
        kept.shadow..kept.shadow + kept.copy.bytes as usize
    }

    /// Copies memory at `from` to the shadow; returns whether it differed.
    fn refresh(shadow: &[AtomicU8], from: u64) -> bool {
        let mut differs = false;
        for (at, byte) in (from..).zip(shadow) {
            // SAFETY: both sides are mapped for as many bytes as the shadow has.
            let value = unsafe { load(at) };
            if value != byte.load(Relaxed) {
                byte.store(value, Relaxed);
                differs = true;
            }
        }
        differs
    }

    /// Makes `to` and its shadow like the shadow `from`.
    fn carry(from: &[AtomicU8], to: u64, shadow: &[AtomicU8]) {
        for ((at, byte), from) in (to..).zip(shadow).zip(from) {
            let value = from.load(Relaxed);
            byte.store(value, Relaxed);
            // SAFETY: mapped for that many bytes, and writable: the program's copy lies in the data
            // of the drop-in or its own, the worker's in a slot.
            unsafe { (at as *mut u8).write_volatile(value) };
        }
    }

    /// Before the worker with its slot at `slot` runs: what the program changed goes over. A worker that is
    /// new gives its values, but for those that the program has set.
    #[inline]
    pub(crate) fn push(&self, slot: u64, generation: u32) {
        if !self.kept.is_empty() {
            self.push_all(slot, generation);
        }
    }

    fn push_all(&self, slot: u64, generation: u32) {
        let is_new = self.generation.swap(generation, Relaxed) != generation;
        for kept in &self.kept {
            let (here, there) = (&self.here[Self::range(kept)], &self.there[Self::range(kept)]);
            let worker = slot + kept.offset;
            if kept.copy.is_writable && Self::refresh(here, kept.copy.here) {
                kept.is_ours.store(true, Relaxed);
                Self::carry(here, worker, there);
            } else if is_new && kept.is_ours.load(Relaxed) {
                Self::carry(here, worker, there);
            } else if is_new {
                Self::refresh(there, worker);
                let differs =
                    || here.iter().zip(there).any(|(here, there)| here.load(Relaxed) != there.load(Relaxed));
                if !kept.copy.is_symbol && differs() {
                    kept.unsealed(|| Self::carry(there, kept.copy.here, here));
                }
            }
        }
    }

    /// After the worker ran: what the library changed comes back.
    #[inline]
    pub(crate) fn pull(&self, slot: u64) {
        if !self.kept.is_empty() {
            self.pull_all(slot);
        }
    }

    fn pull_all(&self, slot: u64) {
        for kept in self.kept.iter().filter(|kept| kept.copy.is_writable) {
            let (here, there) = (&self.here[Self::range(kept)], &self.there[Self::range(kept)]);
            if Self::refresh(there, slot + kept.offset) {
                kept.is_ours.store(false, Relaxed);
                Self::carry(there, kept.copy.here, here);
            }
        }
    }
}
