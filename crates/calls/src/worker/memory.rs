//! The caller's memory in the worker: pages come when they are touched, and what was changed goes back.
//!
//! Runs in the fault handler as well: it touches the thread's own state and the pages only.

use super::kept::Inside;
use super::{HAS_THREADS, LOWEST_PAGE, Thread};
use crate::shared::frame::{FrameWriter, Kind};
use crate::shared::layout::{
    CHANGED_LIST_OFFSET, CHANGES_OFFSET, CHANNEL_LIMITS, PAGE, PAGES_MAX, load_frame, store_frame,
};
use crate::shared::message::{FETCH_MAX, PAGE_END, Request, Touched};
use crate::shared::waiting::{post_reply, wait_request};
use crate::sys::memory::{Access, Guard, drop_pages, guard, map_private, protect, unmap};
use banyan_sys::raw::Errno;
use banyan_sys::userfaultfd::{Partial, Userfaultfd};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;

/// How the pages that a caller has copied are put in their places.
#[derive(Clone, Copy)]
pub(super) enum Placing<'a> {
    /// By a mapping: nothing is there.
    Mapped,
    /// Into the view, by its descriptor.
    InView(&'a Userfaultfd),
}

/// Set in the address of a fetched page that has a mapping of its own.
const MAPPED: u64 = 1;

impl Thread {
    /// Asks for the page of `address`, and more when the function reads on and on. Also called in the name of
    /// this thread by another, while this one waits for the page.
    pub(super) fn fetch(&self, address: u64, placing: Placing<'_>) -> bool {
        let page = address / PAGE;
        let first = self.granted.get();
        let Some(count) = self.ask(page) else { return false };
        self.granted.set(first + count as usize);
        self.next_page.set(page + count);
        let source = self.bulk() + first as u64 * PAGE;
        let tag = if matches!(placing, Placing::Mapped) { MAPPED } else { 0 };
        let note = |offset: u64, address: u64| self.fetched[first + offset as usize].set(address);
        let mut is_there = true;
        let mut offset = 0;
        while offset < count {
            let (from, to) = (source + offset * PAGE, (page + offset) * PAGE);
            // SAFETY: the source is the bulk area, which the caller does not touch while we hold control.
            let (placed, obstacle) = unsafe { place(placing, from, to, count - offset) };
            (0..placed).for_each(|index| note(offset + index, (to + index * PAGE) | tag));
            offset += placed;
            // Something of ours lies in the range, or a page that was fetched before.
            if let Some(obstacle) = obstacle {
                is_there &= offset > 0 || obstacle == Obstacle::FetchedBefore;
                note(offset, 0);
                offset += 1;
            }
        }
        is_there
    }

    /// Has the caller copy pages from `page` on; how many it has copied, behind those that it copied before.
    fn ask(&self, page: u64) -> Option<u64> {
        let granted = self.granted.get();
        if !(LOWEST_PAGE..PAGE_END).contains(&page) || granted >= PAGES_MAX {
            return None;
        }
        self.ahead.set(if page == self.next_page.get() {
            // A page more costs a tenth of asking once more.
            (self.ahead.get() * 4).min(FETCH_MAX)
        } else {
            1
        });
        let wanted = self.ahead.get().min((PAGES_MAX - granted) as u64);
        let mut frame = [0; 32];
        let mut writer = FrameWriter::new(&mut frame);
        let written =
            writer.kind(Kind::Fetch).and_then(|()| writer.number(page)).and_then(|()| writer.number(wanted));
        written.ok()?;
        let used = writer.used();
        let channel = self.channel();
        store_frame(&channel.reply_frame, &frame[..used]);
        post_reply(channel, self.sequence.get(), used);
        self.sequence.set(wait_request(channel, self.sequence.get(), self.ticks_per_us.get()));
        let length = (channel.request_length.load(Relaxed) & 0xffff) as usize;
        let request = Request::read(load_frame(&channel.request_frame, length, &mut frame), CHANNEL_LIMITS);
        let Ok(Request::Fetched(count)) = request else { return None };
        (1..=wanted).contains(&count).then_some(count)
    }

    /// Has accesses to a page fail until the call ends: the caller does not have it.
    pub(super) fn refuse(&self, page: u64) {
        let count = self.refused_count.get();
        let is_kept = self.refused.get(count).is_some_and(|place| {
            place.set(page);
            guard(page, PAGE, Guard::Set)
        });
        if is_kept {
            self.refused_count.set(count + 1);
        } else {
            // SAFETY: a page of the view that has not come.
            unsafe { unmap(page, PAGE) };
        }
    }

    /// Calls `then` with the marked address and the length of each run of fetched pages.
    fn each_run(&self, granted: usize, mut then: impl FnMut(u64, u64)) {
        let (mut start, mut end) = (0, 0);
        for address in self.fetched[..granted].iter().map(Cell::get).filter(|&address| address != 0) {
            if address != end {
                if end > start {
                    then(start, end - start);
                }
                start = address;
            }
            end = address + PAGE;
        }
        if end > start {
            then(start, end - start);
        }
    }

    /// Lists what was changed in fetched pages for the caller, and forgets the pages, if they may not stay
    /// when a call that is `inside` so leaves.
    pub(super) fn flush(&self, inside: Inside) -> Touched {
        let (bulk, mut changed) = (self.bulk(), 0_u64);
        let granted = self.granted.get();
        if granted == 0 {
            return Touched { changed: 0, keeps: false };
        }
        // Other threads may be writing: they wait until the pages are fetched anew.
        let is_shared = HAS_THREADS.load(Relaxed);
        if is_shared {
            self.each_run(granted, |start, length| {
                // SAFETY: who writes there meanwhile tries again (`faults`).
                let _ = unsafe { protect(start & !MAPPED, length, Access::Read) };
            });
        }
        for number in 0..granted {
            let address = self.fetched[number].get();
            if address == 0 {
                continue;
            }
            let copy = bulk + number as u64 * PAGE;
            // SAFETY: the page was placed by `fetch` and is ours; the copy and its map lie in the
            // bulk area, which the caller does not touch while we hold control.
            let differs =
                unsafe { compare(address & !MAPPED, copy, bulk + CHANGES_OFFSET + number as u64 * 512) };
            if differs {
                // SAFETY: the list has an entry for each page.
                unsafe {
                    ((bulk + CHANGED_LIST_OFFSET + changed * 4) as *mut u32).write_volatile(number as u32);
                };
                changed += 1;
            }
        }
        let keeps = self.keeps(inside);
        if !keeps {
            self.granted.set(0);
            self.each_run(granted, |start, length| {
                remove(start, length);
                if is_shared && start & MAPPED == 0 {
                    // SAFETY: gives back what was taken above.
                    let _ = unsafe { protect(start, length, Access::Write) };
                }
            });
        }
        for place in &self.refused[..self.refused_count.take()] {
            guard(place.get(), PAGE, Guard::Lifted);
        }
        self.next_page.set(0);
        Touched { changed, keeps }
    }
}

/// Why a page cannot be placed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    FetchedBefore,
    /// Something of the worker's own is there.
    Occupied,
}

/// Puts `count` pages in their places up to the first that cannot be placed; how many it has placed, and why
/// not the next.
///
/// # Safety
/// All of these pages must be mapped at `from`, and nothing else may write them.
unsafe fn place(placing: Placing<'_>, from: u64, to: u64, count: u64) -> (u64, Option<Obstacle>) {
    match placing {
        Placing::Mapped => {
            // All at once, or page by page.
            for pages in [count, 1] {
                if map_private(to, pages * PAGE, Access::Write).is_ok() {
                    let bytes = (pages * PAGE) as usize;
                    // SAFETY: the target was mapped a line ago; the source is the caller's word.
                    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
                    return (pages, None);
                }
            }
            (0, Some(Obstacle::Occupied))
        }
        Placing::InView(descriptor) => {
            // SAFETY: the caller's contract.
            let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, (count * PAGE) as usize) };
            match descriptor.copy(to, bytes, banyan_sys::userfaultfd::Access::Write) {
                Ok(()) => (count, None),
                Err(Partial { error, done }) => {
                    let is_before = error == Errno::EEXIST;
                    // The kernel says how much it did, or else what stopped it.
                    let obstacle = if is_before { Obstacle::FetchedBefore } else { Obstacle::Occupied };
                    (done / PAGE, (done == 0).then_some(obstacle))
                }
            }
        }
    }
}

/// Removes fetched pages that follow each other; the address has its mark.
pub(super) fn remove(start: u64, length: u64) {
    // SAFETY: pages placed by `fetch`, whose contents have been saved.
    unsafe {
        if start & MAPPED != 0 {
            unmap(start & !MAPPED, length);
        } else {
            drop_pages(start, length);
        }
    }
}

/// Compares a page with its pristine copy; where they differ, updates the copy and sets bits in the map.
///
/// # Safety
/// Both pages and the 512 bytes of the map must be mapped, and nothing else may write them.
unsafe fn compare(page: u64, copy: u64, map: u64) -> bool {
    // SAFETY: the caller's contract.
    let (new, old) = unsafe { (&*(page as *const [u64; 512]), &mut *(copy as *mut [u64; 512])) };
    if new == old {
        return false;
    }
    for (index, (new, old)) in new.iter().zip(old.iter_mut()).enumerate() {
        let mut bits = 0_u8;
        if new != old {
            for (byte, (new, old)) in new.to_le_bytes().iter().zip(old.to_le_bytes()).enumerate() {
                bits |= u8::from(*new != old) << byte;
            }
            *old = *new;
        }
        // SAFETY: one of 512 bytes.
        unsafe { ((map + index as u64) as *mut u8).write_volatile(bits) };
    }
    true
}
