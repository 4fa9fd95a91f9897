//! The program's memory for a call: copies of the pages that the callee touches, and what it changed.
//!
//! All that a worker says about pages is checked against what this side has granted. No allocation, no lock.

use super::Failure;
use crate::caller::connection::{Connection, Current, is_inherited};
use crate::error::{CallError, Ran};
use crate::shared::frame::FrameError;
use crate::shared::layout::{
    CHANGED_LIST_OFFSET, CHANGES_OFFSET, PAGE, PAGES_MAX, WINDOW_BYTES, bulk_address, slot_address,
};
use crate::shared::message::Touched;
use crate::sys::channel::{copy_checked, write_checked};
use crate::sys::memory::load_bytes;
use std::sync::atomic::Ordering::Relaxed;

impl Connection {
    /// Copies up to `wanted` pages for the worker; returns how many it got.
    pub(super) fn grant(&self, index: usize, current: Current, page: u64, wanted: u64) -> u64 {
        let client = &self.state().channels[index];
        let granted = client.granted.load(Relaxed) as usize;
        let wanted = (wanted as usize).min(PAGES_MAX - granted);
        let address = page * PAGE;
        // Shared memory needs no copying, and that of a dead generation must not come back to life, nor that
        // of the workers of the process that this one was forked from.
        if wanted == 0 || address.wrapping_sub(self.window) < WINDOW_BYTES || is_inherited(address) {
            return 0;
        }
        let wanted = self.not_kept(index, address, wanted);
        let bulk = bulk_address(slot_address(self.window, current.slot()), index) + granted as u64 * PAGE;
        // SAFETY: the target is the bulk area, which holds PAGES_MAX pages.
        let pages = unsafe { copy_checked(address, bulk, wanted * PAGE as usize) } / PAGE as usize;
        for offset in 0..pages {
            self.state().grants[index][granted + offset].store(address + offset as u64 * PAGE, Relaxed);
        }
        client.granted.store((granted + pages) as u32, Relaxed);
        self.note_brought(index, granted, address, pages);
        self.statistics.pages.fetch_add(pages as u64, Relaxed);
        pages as u64
    }

    /// Writes the bytes that the callee changed in granted pages over the originals, and forgets the pages,
    /// if it does not keep them.
    #[inline]
    pub(super) fn write_back(&self, index: usize, current: Current, touched: Touched) -> Result<(), Failure> {
        let client = &self.state().channels[index];
        let granted = client.granted.load(Relaxed);
        if granted == 0 && touched.changed == 0 {
            return Ok(());
        }
        self.settle_kept(client, index, touched);
        if touched.changed == 0 {
            return Ok(());
        }
        self.write_back_pages(index, current, touched.changed, granted)
    }

    fn write_back_pages(
        &self,
        index: usize,
        current: Current,
        changed: u64,
        granted: u32,
    ) -> Result<(), Failure> {
        if changed > u64::from(granted) {
            return Err(Failure::Frame(FrameError::Range));
        }
        let bulk = bulk_address(slot_address(self.window, current.slot()), index);
        let mut pieces = [(0_u64, 0_u64, 0_u64); 64];
        let mut count = 0;
        for entry in 0..changed {
            let mut word = [0; 4];
            // SAFETY: the list lies in the bulk area and has PAGES_MAX entries.
            word.copy_from_slice(&unsafe { read_word(bulk + CHANGED_LIST_OFFSET + entry * 4) });
            let number = u32::from_le_bytes(word);
            if number >= granted {
                return Err(Failure::Frame(FrameError::Range));
            }
            let original = self.state().grants[index][number as usize].load(Relaxed);
            if original == 0 {
                return Err(Failure::Frame(FrameError::Range));
            }
            self.note_changed(index, number as usize);
            let copy = bulk + u64::from(number) * PAGE;
            let mut map = [0_u8; 512];
            // SAFETY: the change maps lie in the bulk area, 512 bytes for each of PAGES_MAX pages.
            unsafe { load_bytes(bulk + CHANGES_OFFSET + u64::from(number) * 512, &mut map) };
            let bit = |at: usize| map[at / 8] >> (at % 8) & 1 == 1;
            let mut position = 0;
            while position < PAGE as usize {
                if position % 8 == 0 && map[position / 8] == 0 {
                    position += 8;
                    continue;
                }
                if !bit(position) {
                    position += 1;
                    continue;
                }
                let start = position;
                while position < PAGE as usize
                    && (position % 8 == 0 && map[position / 8] == 0xff || bit(position))
                {
                    position += if position % 8 == 0 && map[position / 8] == 0xff { 8 } else { 1 };
                }
                pieces[count] = (copy + start as u64, original + start as u64, (position - start) as u64);
                count += 1;
                if count == pieces.len() {
                    write_pieces(&pieces)?;
                    count = 0;
                }
            }
        }
        write_pieces(&pieces[..count])
    }
}

/// # Safety
/// Four bytes must be mapped at `address`, a multiple of four.
unsafe fn read_word(address: u64) -> [u8; 4] {
    // SAFETY: the caller's contract; volatile, as the worker may be writing.
    unsafe { std::ptr::read_volatile(address as *const u32) }.to_le_bytes()
}

fn write_pieces(pieces: &[(u64, u64, u64)]) -> Result<(), Failure> {
    if pieces.is_empty() {
        return Ok(());
    }
    let total: u64 = pieces.iter().map(|piece| piece.2).sum();
    // SAFETY: the targets lie in pages that this caller granted for this call: the callee changed
    // them, as it would have in the same process. The kernel refuses those that are read-only.
    let written = unsafe { write_checked(pieces) } as u64;
    if written == total {
        return Ok(());
    }
    let address = pieces[0].1;
    Err(Failure::Call(CallError::Crashed { signal: libc::SIGSEGV, address, instruction: 0, ran: Ran::Maybe }))
}
