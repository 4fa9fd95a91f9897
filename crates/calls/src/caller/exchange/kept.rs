//! Pages that a worker keeps from one time that it runs to the next, so that it need not ask for them again.
//!
//! A worker is told before it runs again what of them this program has changed meanwhile: all are read anew
//! and compared with what the worker has. That the worker reads a page is not seen; that it writes one is,
//! and so is an argument that points there.
//!
//! Not for the first time that a page is needed; that is `pages`. Not for how long pages are kept; that is
//! `keeping`. No allocation, no lock.

use crate::caller::connection::{ClientChannel, Connection, Current};
use crate::caller::keeping::PAUSE;
use crate::shared::keeping;
use crate::shared::layout::{KEPT_MAX, KEPT_OFFSET, Kept, LINE, PAGE, bulk_address, slot_address};
use crate::shared::message::{Keeping, Touched};
use crate::sys::channel::copy_pages_checked;
use crate::sys::memory::{at, differing_lines};
use std::sync::atomic::Ordering::Relaxed;

/// The numbers whose bits are set.
fn numbers(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (number < KEPT_MAX).then_some(number)
    })
}

impl Connection {
    /// How many of `wanted` pages from `address` on are none that the worker has kept. If the first is, it
    /// has lost them.
    pub(super) fn not_kept(&self, index: usize, address: u64, wanted: usize) -> usize {
        let kept = &self.state().kept[index];
        let before = (kept.before.load(Relaxed) as usize).min(KEPT_MAX);
        let pages = self.state().grants[index][..before].iter().map(|page| page.load(Relaxed));
        let bring = keeping::to_bring(address, wanted, pages);
        if bring.has_lost {
            kept.paused.store(PAUSE, Relaxed);
        }
        bring.pages
    }

    /// Pages were copied for the worker, from number `first` on.
    pub(super) fn note_brought(&self, index: usize, first: usize, address: u64, pages: usize) {
        for offset in 0..pages.min(KEPT_MAX.saturating_sub(first)) {
            self.state().kept[index].note_brought(first + offset, address + offset as u64 * PAGE, offset);
        }
    }

    /// The worker has changed a page.
    pub(super) fn note_changed(&self, index: usize, number: usize) {
        if number < KEPT_MAX {
            self.state().kept[index].note_used(number);
        }
    }

    /// The worker has given control back. Whether its pages are kept is for both to want.
    pub(super) fn settle_kept(&self, client: &ClientChannel, index: usize, touched: Touched) {
        let paused = &self.state().kept[index].paused;
        let left = paused.load(Relaxed);
        if left > 0 {
            paused.store(left - 1, Relaxed);
        }
        let granted = keeping::settled(touched, left, client.granted.load(Relaxed));
        client.granted.store(granted, Relaxed);
    }

    /// Before the worker runs: brings up to date what it has kept.
    #[inline]
    pub(super) fn refresh(&self, index: usize, current: Current, arguments: &[u64]) -> Keeping {
        let granted = self.state().channels[index].granted.load(Relaxed) as usize;
        self.state().kept[index].before.store(granted as u32, Relaxed);
        if granted == 0 { Keeping::None } else { self.refresh_kept(index, current, arguments, granted) }
    }

    fn refresh_kept(&self, index: usize, current: Current, arguments: &[u64], granted: usize) -> Keeping {
        let state = self.state();
        let (kept, grants) = (&state.kept[index], &state.grants[index][..granted.min(KEPT_MAX)]);
        let now = kept.clock.load(Relaxed).wrapping_add(1);
        kept.clock.store(now, Relaxed);
        let mut addresses = [0_u64; KEPT_MAX];
        let (mut all, mut keep) = (0_u64, 0_u64);
        for (number, page) in grants.iter().enumerate() {
            let address = page.load(Relaxed);
            if address == 0 {
                continue;
            }
            all |= 1 << number;
            if arguments.iter().any(|argument| argument & !(PAGE - 1) == address) {
                kept.note_used(number);
            }
            if kept.is_over(number, now) {
                kept.give_up(number, address);
            } else {
                addresses[number] = address;
                keep |= 1 << number;
            }
        }
        let scratch = state.scratch[index].as_ptr() as u64;
        // SAFETY: the target is this channel's room, as long as that many pages.
        keep &= unsafe { copy_pages_checked(&addresses, keep, scratch) };
        let bulk = bulk_address(slot_address(self.window, current.slot()), index);
        // SAFETY: it lies in the bulk area, which is mapped, and is all atomics.
        let told: &Kept = unsafe { at(bulk + KEPT_OFFSET) };
        let mut changed = 0;
        for (nth, number) in numbers(keep).enumerate() {
            let (new, old) = (scratch + nth as u64 * PAGE, bulk + number as u64 * PAGE);
            // SAFETY: both are pages, of this channel's room and of the bulk area, which the worker leaves
            // alone now; should it not, it spoils what it gets itself.
            let lines = unsafe { differing_lines(new, old) };
            if lines != 0 {
                changed |= 1 << number;
                told.lines[number].store(lines, Relaxed);
                for line in numbers(lines) {
                    let (from, to) = (new + line as u64 * LINE, old + line as u64 * LINE);
                    // SAFETY: as above, and lines of one page.
                    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, LINE as usize) };
                }
            }
        }
        for number in numbers(all & !keep) {
            grants[number].store(0, Relaxed);
        }
        let granted = keeping::taken(keep) as u32;
        state.channels[index].granted.store(granted, Relaxed);
        kept.before.store(granted, Relaxed);
        let keeping = keeping::told(all, keep, changed);
        if keeping == Keeping::Told {
            told.kept.store(keep, Relaxed);
            told.changed.store(changed, Relaxed);
        }
        keeping
    }
}
