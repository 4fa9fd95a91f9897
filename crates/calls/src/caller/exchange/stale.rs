//! Handles of workers that have ended: pointers into memory where something else lies now.
//!
//! Arguments that are such pointers are refused as they come. A structure of the program may hold one, too,
//! as a `z_stream` does, and cannot be refused for it: the function may be the one that makes it anew. So the
//! first call that follows such a pointer ends its worker, and the caller remembers of which function it was,
//! and where the pointer lay; from then on that function is not called while the pointer lies there. Entries
//! are few and get lost in turn. No lock, no allocation: two threads that write one entry spoil that entry.

use crate::caller::connection::{Connection, Current, is_inherited};
use crate::error::CallError;
use crate::shared::frame::Registers;
use crate::shared::layout::{HEAP_OFFSET, PAGE, SLOT_BYTES, WINDOW_BYTES, heap_offset};
use crate::sys::channel::copy_checked;
use banyan_wire::address_space::CALL_WINDOWS;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Handles that are remembered.
const ENTRIES: usize = 32;
/// Pages of the program that are searched for a pointer.
const SEARCHED_MAX: usize = 64;
/// How far behind the address that it holds a pointer may be followed.
const REACH: u64 = 1 << 20;

/// Where structures of the program hold pointers that a function has followed into the memory of an ended
/// worker.
#[derive(Debug, Default)]
pub(crate) struct KnownStale {
    count: AtomicU32,
    entries: [Entry; ENTRIES],
}

#[derive(Debug, Default)]
struct Entry {
    function: AtomicU64,
    /// The argument by which the function reached the pointer: its number, and what it was.
    argument: AtomicU32,
    value: AtomicU64,
    /// Where the pointer lay.
    word: AtomicU64,
    /// The pointer; 0 for an entry that is not whole.
    pointer: AtomicU64,
}

/// The word of the program at `address`, if it is mapped.
fn read_word(address: u64) -> Option<u64> {
    let mut word = 0_u64;
    // SAFETY: the target is a local word.
    let read = unsafe { copy_checked(address, (&raw mut word) as u64, 8) };
    (read == 8).then_some(word)
}

impl Connection {
    /// Refuses arguments that point into the memory of workers that have ended.
    #[inline]
    pub(super) fn check_generations(&self, arguments: &[u64], current: Current) -> Result<(), CallError> {
        for &value in arguments {
            if CALL_WINDOWS.contains(value) {
                self.check_generation(value, current)?;
            }
        }
        Ok(())
    }

    fn check_generation(&self, value: u64, current: Current) -> Result<(), CallError> {
        let offset = value.wrapping_sub(self.window);
        if offset >= WINDOW_BYTES {
            // Memory of another library's worker is like any other, unless the process was forked since.
            return if is_inherited(value) { Err(CallError::StaleHandle { of: 0 }) } else { Ok(()) };
        }
        let (slot, in_slot) = ((offset / SLOT_BYTES) as usize, offset % SLOT_BYTES);
        let heap = heap_offset(self.control().slots[current.slot()].heap_steps.load(Relaxed));
        let is_earlier = slot == current.slot() && (HEAP_OFFSET..heap).contains(&in_slot);
        if slot != 0 && slot != current.slot() || is_earlier {
            return Err(CallError::StaleHandle { of: slot as u32 });
        }
        Ok(())
    }

    /// Refuses a call that would follow a pointer which it has followed before, to the end of its worker.
    #[inline]
    pub(super) fn check_known_stale(
        &self,
        function: u64,
        registers: &Registers,
        current: Current,
    ) -> Result<(), CallError> {
        match self.known_stale.count.load(Relaxed) {
            0 => Ok(()),
            count => self.check_entries(count, function, registers, current),
        }
    }

    #[cold]
    fn check_entries(
        &self,
        count: u32,
        function: u64,
        registers: &Registers,
        current: Current,
    ) -> Result<(), CallError> {
        for entry in self.known_stale.entries.iter().take(count as usize) {
            let pointer = entry.pointer.load(Acquire);
            let argument = entry.argument.load(Relaxed) as usize;
            if pointer != 0
                && entry.function.load(Relaxed) == function
                && registers.general.get(argument) == Some(&entry.value.load(Relaxed))
                && read_word(entry.word.load(Relaxed)) == Some(pointer)
            {
                self.check_generation(pointer, current)?;
            }
        }
        Ok(())
    }

    /// Looks, when the worker asks for a page of an ended one, for the pointer that it followed there.
    pub(super) fn look_for_stale(&self, index: usize, current: Current, page: u64) {
        let address = page * PAGE;
        if !CALL_WINDOWS.contains(address) || self.check_generation(address, current).is_ok() {
            return;
        }
        let client = &self.state().channels[index];
        let granted = (client.granted.load(Relaxed) as usize).min(SEARCHED_MAX);
        let mut nearest = 0;
        for page in &self.state().grants[index][..granted] {
            let page = page.load(Relaxed);
            let mut words = [0_u64; 64];
            for piece in (page..page + PAGE).step_by(size_of_val(&words)) {
                let into = words.as_mut_ptr() as u64;
                // SAFETY: the target is the local array.
                if unsafe { copy_checked(piece, into, size_of_val(&words)) } != size_of_val(&words) {
                    break;
                }
                for (place, &word) in words.iter().enumerate() {
                    if (nearest.max(1)..address + PAGE).contains(&word)
                        && address.saturating_sub(word) < REACH
                    {
                        nearest = word;
                        client.stale_word.store(piece + place as u64 * 8, Relaxed);
                    }
                }
            }
        }
    }

    /// Remembers what [`Self::look_for_stale`] found, now that the call has failed.
    #[cold]
    pub(super) fn note_stale(&self, index: usize, function: u64, registers: &Registers, named: usize) {
        let place = self.state().channels[index].stale_word.swap(0, Relaxed);
        let Some(pointer) = (place != 0).then(|| read_word(place)).flatten() else { return };
        // The structure is most likely the argument's; if none is near, one that leads there.
        let distance = |&argument: &usize| place.wrapping_sub(registers.general[argument]);
        let Some(argument) = (0..named.min(registers.general.len())).min_by_key(distance) else { return };
        let count = self.known_stale.count.fetch_add(1, Relaxed);
        let entry = &self.known_stale.entries[count as usize % ENTRIES];
        entry.pointer.store(0, Release);
        entry.function.store(function, Relaxed);
        entry.argument.store(argument as u32, Relaxed);
        entry.value.store(registers.general[argument], Relaxed);
        entry.word.store(place, Relaxed);
        entry.pointer.store(pointer, Release);
    }
}
