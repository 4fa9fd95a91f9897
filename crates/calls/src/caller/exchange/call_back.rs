//! A call-back: code of this program, run while the call that it belongs to waits.
//!
//! Only what the kernel says is code is jumped to, whatever the worker names. The call-back may call the
//! library again, one level deeper, and may lose the worker so.

use super::{Failure, errno};
use crate::caller::connection::{CALLED_BACK, Connection, WAITING};
use crate::error::{CallError, Ran};
use crate::shared::frame::Registers;
use crate::shared::layout::{DEPTH_MAX, PAGE, STACK_STRIDE, STACKS_OFFSET};
use crate::shared::waiting::Ended;
use crate::sys::channel::stack_pointer;
use crate::sys::registers::invoke;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// Adds to the `count` arguments on the stack that came with a call-back those that may follow, from the
/// stack at `stack` of the thread that serves channel `index`; gives how many there are now.
pub(super) fn more_words(slot: u64, index: usize, stack: u64, words: &mut [u64], count: usize) -> usize {
    let start = slot + STACKS_OFFSET + index as u64 * STACK_STRIDE;
    let from = stack.wrapping_add(8 * count as u64);
    if !stack.is_multiple_of(8) || !(start..start + STACK_STRIDE).contains(&from) {
        return count;
    }
    let there = (start + STACK_STRIDE - from) / 8;
    let more = words[count..].iter_mut().take(there as usize);
    let mut count = count;
    for (address, word) in (from..).step_by(8).zip(more) {
        // SAFETY: a word of the slot, which this process has mapped; volatile, as the worker may be writing.
        *word = unsafe { (address as *const u64).read_volatile() };
        count += 1;
    }
    count
}

impl Connection {
    /// Runs `target`, code of this program, for the worker that waits; gives the `errno` that it leaves.
    pub(super) fn run_call_back(
        &self,
        index: usize,
        target: u64,
        arguments: &mut Registers,
        words: &[u64],
    ) -> Result<u32, Failure> {
        if !self.is_code(target) {
            return Err(Failure::Call(CallError::Crashed {
                signal: libc::SIGSEGV,
                address: target,
                instruction: target,
                ran: Ran::Maybe,
            }));
        }
        let client = &self.state().channels[index];
        let depth = client.depth.load(Relaxed);
        if depth as usize >= DEPTH_MAX - 1 {
            return Err(Failure::Call(CallError::TooMany));
        }
        let of = client.of.load(Relaxed);
        client.call_back_stack[depth as usize].store(stack_pointer(), Relaxed);
        client.depth.store(depth + 1, Relaxed);
        client.state.store(CALLED_BACK, Relaxed);
        self.statistics.call_backs.fetch_add(1, Relaxed);
        // SAFETY: the target is code of this program, and the library that the program chose calls
        // it, as it would in the same process; that it is the right function is the library's word.
        unsafe { invoke(target, arguments, words) };
        client.state.store(WAITING, Relaxed);
        if client.of.load(Relaxed) != of {
            // A nested call lost the worker, and with it the frame that waits for this answer.
            return Err(Failure::Wait(Ended::Died));
        }
        client.depth.store(depth, Relaxed);
        Ok(errno())
    }

    /// Whether an address is executable in this program, by the kernel's account.
    fn is_code(&self, address: u64) -> bool {
        let page = address / PAGE;
        let slot = &self.state().code[page as usize % 256];
        if slot.load(Acquire) == page {
            return true;
        }
        let found = crate::sys::maps::is_executable(address);
        if found {
            slot.store(page, Relaxed);
        }
        found
    }
}
