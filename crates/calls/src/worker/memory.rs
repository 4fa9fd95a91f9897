//! The caller's memory in the worker: pages come when they are touched, and what was changed goes back.
//!
//! Runs in the fault handler as well: it touches the thread's own state and the pages only.

use super::{FETCH_MAX, LOWEST_PAGE, Thread};
use crate::shared::frame::{FrameWriter, Kind};
use crate::shared::layout::{
    CHANGED_LIST_OFFSET, CHANGES_OFFSET, CHANNEL_LIMITS, PAGE, PAGES_MAX, load_frame, store_frame,
};
use crate::shared::message::Request;
use crate::shared::waiting::{post_reply, wait_request};
use crate::sys::memory::{Access, map_private, unmap};
use std::sync::atomic::Ordering::Relaxed;

impl Thread {
    /// Asks for the page of `address`, and more when the function reads on and on.
    pub(super) fn fetch(&self, address: u64) -> bool {
        let page = address / PAGE;
        let granted = self.granted.get();
        if !(LOWEST_PAGE..1 << 35).contains(&page) || granted >= PAGES_MAX {
            return false;
        }
        self.ahead.set(if page == self.next_page.get() {
            (self.ahead.get() * 2).clamp(2, FETCH_MAX)
        } else {
            1
        });
        let wanted = self.ahead.get().min((PAGES_MAX - granted) as u64);
        let mut frame = [0; 32];
        let mut writer = FrameWriter::new(&mut frame);
        let written =
            writer.kind(Kind::Fetch).and_then(|()| writer.number(page)).and_then(|()| writer.number(wanted));
        if written.is_err() {
            return false;
        }
        let used = writer.used();
        let channel = self.channel();
        store_frame(&channel.reply_frame, &frame[..used]);
        post_reply(channel, self.sequence.get(), used);
        self.sequence.set(wait_request(channel, self.sequence.get(), self.ticks_per_us.get()));
        let length = (channel.request_length.load(Relaxed) & 0xffff) as usize;
        let request = Request::read(load_frame(&channel.request_frame, length, &mut frame), CHANNEL_LIMITS);
        let Ok(Request::Fetched(count)) = request else { return false };
        if count == 0 || count > wanted {
            return false;
        }
        let source = self.bulk() + granted as u64 * PAGE;
        if map_private(page * PAGE, count * PAGE, Access::Write).is_ok() {
            for offset in 0..count {
                self.fetched[granted + offset as usize].set((page + offset) * PAGE);
            }
            // SAFETY: the source is the bulk area, the target was mapped a line ago.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    source as *const u8,
                    (page * PAGE) as *mut u8,
                    (count * PAGE) as usize,
                );
            };
        } else {
            // Something of ours lies in the range: take the pages that are free.
            for offset in 0..count {
                let to = (page + offset) * PAGE;
                let free = map_private(to, PAGE, Access::Write).is_ok();
                self.fetched[granted + offset as usize].set(if free { to } else { 0 });
                if free {
                    // SAFETY: as above.
                    unsafe {
                        std::ptr::copy_nonoverlapping(
                            (source + offset * PAGE) as *const u8,
                            to as *mut u8,
                            PAGE as usize,
                        );
                    }
                } else if offset == 0 {
                    self.granted.set(granted + count as usize);
                    return false;
                }
            }
        }
        self.granted.set(granted + count as usize);
        self.next_page.set(page + count);
        true
    }

    /// Lists what was changed in fetched pages for the caller, and forgets the pages. Returns how many.
    pub(super) fn flush(&self) -> u64 {
        let (bulk, mut changed) = (self.bulk(), 0_u64);
        let (mut start, mut end) = (0, 0);
        for number in 0..self.granted.take() {
            let address = self.fetched[number].get();
            if address == 0 {
                continue;
            }
            let copy = bulk + number as u64 * PAGE;
            // SAFETY: the page was mapped by `fetch` and is ours; the copy and its map lie in the
            // bulk area, which the caller does not touch while we hold control.
            let differs = unsafe { compare(address, copy, bulk + CHANGES_OFFSET + number as u64 * 512) };
            if differs {
                // SAFETY: the list has an entry for each page.
                unsafe {
                    ((bulk + CHANGED_LIST_OFFSET + changed * 4) as *mut u32).write_volatile(number as u32);
                };
                changed += 1;
            }
            if address != end {
                // SAFETY: pages mapped by `fetch`, whose contents have been saved.
                unsafe { unmap(start, end - start) };
                start = address;
            }
            end = address + PAGE;
        }
        if end > start {
            // SAFETY: as above.
            unsafe { unmap(start, end - start) };
        }
        self.next_page.set(0);
        changed
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
