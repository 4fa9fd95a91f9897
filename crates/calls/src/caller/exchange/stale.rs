//! Arguments that point into the memory of a worker that has ended: what lies there now is something else.

use crate::caller::connection::{Connection, Current, is_inherited};
use crate::error::CallError;
use crate::shared::layout::{HEAP_OFFSET, SLOT_BYTES, WINDOW_BYTES, heap_offset};
use banyan_wire::address_space::CALL_WINDOWS;
use std::sync::atomic::Ordering::Relaxed;

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
}
