//! A fork by the library, in a call: its child gets copies of what a worker shares with its caller.
//!
//! Stack, heap and data of a library lie in shared memory, so that parent and child would write the same
//! pages: the child's first return from a function would be the parent's. So the fork happens on a stack that
//! is private, and before the child does anything else it puts copies in the places of the shared pages;
//! until it has, its parent waits. The child is in no call: it has no memory of the caller and asks it for
//! nothing.
//!
//! Threads: one thread of the library's forks at a time. Not for children that begin as another program,
//! which the C library starts without a fork.

use super::gate::Gate;
use super::{THREAD, Thread, heap};
use crate::shared::layout::{CHANNELS, PAGE, SLOT_BYTES, STACK_STRIDE, STACKS_OFFSET, shared_bytes};
use crate::sys::channel::{futex_wait, futex_wake, stack_pointer, thread_pointer};
use crate::sys::memory::{at, map_anywhere, map_shared_anywhere, move_over, replace_by_private, unmap};
use crate::sys::process::{end_now, has_ended, on_fork};
use crate::sys::registers::on_other_stack;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32};

const STACK_BYTES: u64 = 256 << 10;
/// Below a stack pointer a function that calls none may have something.
const RED_ZONE: u64 = 128;
/// How often a parent looks whether its child still lives.
const LOOK_NS: u64 = 20_000_000;

/// C's `fork`.
pub(crate) type Fork = unsafe extern "C" fn() -> i32;

struct Plan {
    fork: Fork,
    thread: &'static Thread,
    /// The used part of the stack that the library is on.
    stack: Range<u64>,
    /// A word that parent and child share: 1 when the child has its copies.
    is_copied: u64,
    result: i32,
}

/// The plan of the fork that happens now, for the child.
static PLAN: AtomicPtr<Plan> = AtomicPtr::new(std::ptr::null_mut());
static ONE_AT_A_TIME: Gate = Gate::new();

/// Has children be looked after, before any library can have the same done.
pub(crate) fn prepare() {
    on_fork(in_child);
}

/// Forks, for the library; `fork` is the C library's.
pub(crate) fn fork(fork: Fork) -> i32 {
    let thread = THREAD.try_with(Cell::get).ok().flatten().filter(|thread| thread.in_call.load(Relaxed));
    let Some(thread) = thread.filter(|thread| thread.host.get().shared_stacks) else {
        // SAFETY: the C library's fork, outside of a call.
        return unsafe { fork() };
    };
    let (Ok(word), Ok(stack)) = (map_shared_anywhere(PAGE), map_anywhere(STACK_BYTES)) else { return -1 };
    let top = thread.slot.get() + STACKS_OFFSET + (thread.index.get() as u64 + 1) * STACK_STRIDE;
    let used = (stack_pointer() - RED_ZONE) & !(PAGE - 1)..top;
    let mut plan = Plan { fork, thread, stack: used, is_copied: word, result: -1 };
    ONE_AT_A_TIME.enter();
    // SAFETY: the stack is new, and `on_private_stack` gets the plan that it expects, which outlives it.
    unsafe { on_other_stack(stack + STACK_BYTES, on_private_stack, (&raw mut plan).cast()) };
    ONE_AT_A_TIME.leave();
    // SAFETY: made above, and used no more.
    unsafe {
        unmap(word, PAGE);
        unmap(stack, STACK_BYTES);
    }
    plan.result
}

#[expect(clippy::cast_ptr_alignment, reason = "the pointer was a plan's before it was cast to bytes")]
extern "C" fn on_private_stack(plan: *mut u8) -> u64 {
    let plan = plan.cast::<Plan>();
    // SAFETY: `fork` passes its own. A thread that was started on a stack in the slot has the block that
    // describes it there, too: what the child's start writes into it is undone.
    unsafe {
        let block = thread_pointer();
        let is_shared = (*plan).stack.contains(&block);
        let length = if is_shared { ((*plan).stack.end - block) as usize } else { 0 };
        let before = std::slice::from_raw_parts(block as *const u8, length).to_vec();
        let is_copied: &AtomicU32 = at((*plan).is_copied);
        PLAN.store(plan, Release);
        let result = ((*plan).fork)();
        if result > 0 {
            while is_copied.load(Acquire) == 0 && !has_ended(result) {
                futex_wait(is_copied, 0, LOOK_NS);
            }
            std::ptr::copy_nonoverlapping(before.as_ptr(), block as *mut u8, length);
        }
        PLAN.store(std::ptr::null_mut(), Release);
        (*plan).result = result;
    }
    0
}

/// In any child, before handlers of the library's run there.
extern "C" fn in_child() {
    let plan = PLAN.swap(std::ptr::null_mut(), Acquire);
    if plan.is_null() {
        return;
    }
    // SAFETY: the plan of the fork that this process comes from, on a stack that is copied below.
    let (thread, stack, word) = unsafe { ((*plan).thread, (*plan).stack.clone(), (*plan).is_copied) };
    let slot = thread.slot.get();
    let (heap, channels) = (heap::used(), slot..slot + shared_bytes(CHANNELS as u32));
    // No allocation here: the heap is still the parent's too.
    let parts =
        || thread.host.get().data.iter().cloned().chain([channels.clone(), stack.clone(), heap.clone()]);
    let length = |part: &Range<u64>| part.end - part.start;
    thread.in_call.store(false, Relaxed);
    let Ok(copies) = map_anywhere(parts().map(|part| length(&part)).sum()) else { end_now(127) };
    let mut next = copies;
    for part in parts() {
        // SAFETY: mapped for reading; the target is new and as long as all of them.
        unsafe {
            std::ptr::copy_nonoverlapping(part.start as *const u8, next as *mut u8, length(&part) as usize);
        }
        next += length(&part);
    }
    next = copies;
    // SAFETY: this thread is alone in the process and on a private stack; what lies in the ranges is there
    // again, at the same addresses, before anything uses it.
    let is_done = unsafe { replace_by_private(slot, SLOT_BYTES) }.is_ok()
        && parts().all(|part| {
            let from = next;
            next += length(&part);
            // SAFETY: as above.
            unsafe { move_over(from, length(&part), part.start) }.is_ok()
        });
    if !is_done {
        end_now(127);
    }
    // SAFETY: the parent unmaps it only after it has read it; the word is in a mapping of this process.
    let is_copied: &AtomicU32 = unsafe { at(word) };
    is_copied.store(1, Release);
    futex_wake(is_copied, 1);
}
