//! A call-back: code of this program, run while the call that it belongs to waits.
//!
//! Only what the kernel says is code is jumped to, whatever the worker names. The call-back may call the
//! library again, one level deeper, and may lose the worker so.

use super::{Failure, errno};
use crate::caller::connection::{CALLED_BACK, Connection, WAITING};
use crate::error::{CallError, Ran};
use crate::shared::frame::{FrameError, Registers};
use crate::shared::layout::{DEPTH_MAX, PAGE, STACK_STRIDE, STACKS_OFFSET};
use crate::shared::waiting::Ended;
use crate::sys::channel::stack_pointer;
use crate::sys::registers::{Context, checkpoint, invoke, resume};
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

/// A call-back to run.
struct Job<'a> {
    target: u64,
    arguments: &'a mut Registers,
    words: &'a [u64],
}

#[expect(clippy::cast_ptr_alignment, reason = "the pointer was a job's before it was cast to bytes")]
extern "C" fn run(job: *mut u8) {
    // SAFETY: `run_call_back` passes its own. The target is code of this program, and the library that the
    // program chose calls it, as it would in the same process; that it is the right function is the library's
    // word.
    unsafe {
        let Job { target, arguments, words } = &mut *job.cast::<Job<'_>>();
        invoke(*target, arguments, words);
    }
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
        let mut context = Context::default();
        client.call_back_context[depth as usize].store(&raw mut context as u64, Relaxed);
        let mut job = Job { target, arguments, words };
        // SAFETY: `run` gets a job; the context is known by its depth, for as long as that is reached. If the
        // library jumps over it, to the call that it serves, the frames of calls between hold nothing to drop
        // but their hold on this channel, which is taken back here.
        unsafe { checkpoint(&raw mut context, run, (&raw mut job).cast()) };
        client.state.store(WAITING, Relaxed);
        if client.of.load(Relaxed) != of {
            // A nested call lost the worker, and with it the frame that waits for this answer.
            return Err(Failure::Wait(Ended::Died));
        }
        client.depth.store(depth, Relaxed);
        Ok(errno())
    }

    /// Goes back to the call-back of the call at `depth`, as if it had returned; if there is none, the worker
    /// broke the protocol.
    pub(super) fn unwind(&self, index: usize, depth: usize) -> Failure {
        let client = &self.state().channels[index];
        if depth < client.depth.load(Relaxed) as usize {
            let context = client.call_back_context[depth].load(Relaxed) as *const Context;
            // SAFETY: the call-back at that depth has not returned, by the count of depths, and so its
            // context is there.
            unsafe { resume(context) }
        }
        Failure::Frame(FrameError::Range)
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
