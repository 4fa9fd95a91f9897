//! The start of a worker: a thread for each channel of its caller.
//!
//! The first channel is served by the thread that the fork came with, on the channel's own stack: a caller
//! may be waiting, and starting another thread would take a third of the time. Behind it stands a thread
//! that serves no caller, and starts those of further channels when the caller asks. Not for what a thread
//! does once it serves; that is the module above.

use super::{Host, Next, THREAD, Thread, handle, serve, view};
use crate::shared::frame::{FRAME_MAX, FrameWriter, Kind, NULL_FUNCTION, Registers};
use crate::shared::layout::{
    CHANNELS, INTERRUPTS, PAGE, STACK_STRIDE, STACKS_OFFSET, SlotHead, load_frame, store_frame,
};
use crate::shared::waiting::expect_request;
use crate::sys::channel::{futex_wait, futex_wake, join_robust_list, thread_id};
use crate::sys::memory::{Access, at, map_anywhere, populate, protect};
use crate::sys::process::kill_self;
use crate::sys::registers::on_stack;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// Bytes of a thread's stack for signals.
const SIGNAL_STACK: u64 = 64 << 10;
/// Bytes of it, and of a thread's stack, that are in place before they are needed.
const WARM_SIGNAL_STACK: u64 = 12 << 10;
const WARM_STACK: u64 = 16 << 10;

/// What a thread is started with.
#[derive(Clone, Copy)]
struct Start {
    host: &'static Host,
    slot: u64,
    index: usize,
}

/// What the first thread is started with beside that.
struct First {
    start: Start,
    generation: u32,
    /// Threads that the caller wants from the beginning.
    wanted: u32,
    /// A caller waits for this worker, and will call at once.
    is_awaited: bool,
}

/// Runs the worker in the calling process, whose only thread this is; never returns.
pub(crate) fn run(host: &'static Host, slot: u64, generation: u32, channels: u32, is_awaited: bool) -> ! {
    // SAFETY: the slot is mapped for the life of this process.
    let head: &SlotHead = unsafe { at(slot) };
    let wanted = head.wanted.fetch_max(channels.max(1), AcqRel).max(channels.max(1));
    let start = Start { host, slot, index: 0 };
    let mut first = First { start, generation, wanted, is_awaited };
    let stack = if host.shared_stacks { Some(shared_stack(start)) } else { private_stack(host) };
    let Some((bottom, bytes)) = stack else { kill_self() };
    // SAFETY: the stack was made a moment ago, and this one, where `first` lies, stays.
    unsafe { on_stack(bottom + bytes, first_main, (&raw mut first).cast()) }
}

const fn stack_bytes(host: &Host) -> u64 {
    let bytes = host.stack_bytes & !(PAGE - 1);
    if bytes < 64 << 10 {
        64 << 10
    } else if bytes > STACK_STRIDE - PAGE {
        STACK_STRIDE - PAGE
    } else {
        bytes
    }
}

/// The channel's stack in the slot, with a guard below: where it begins, and its length.
fn shared_stack(start: Start) -> (u64, u64) {
    let bytes = stack_bytes(start.host);
    let bottom = start.slot + STACKS_OFFSET + (start.index as u64 + 1) * STACK_STRIDE - bytes;
    // SAFETY: the page below the stack is unused.
    let _ = unsafe { protect(bottom - PAGE, PAGE, Access::None) };
    populate(bottom + bytes - WARM_STACK, WARM_STACK, Access::Write);
    (bottom, bytes)
}

/// A stack that the caller does not see.
fn private_stack(host: &Host) -> Option<(u64, u64)> {
    let bytes = stack_bytes(host);
    let guard = map_anywhere(bytes + PAGE).ok()?;
    // SAFETY: the mapping is new, and ours.
    let _ = unsafe { protect(guard, PAGE, Access::None) };
    populate(guard + PAGE + bytes - WARM_STACK, WARM_STACK, Access::Write);
    Some((guard + PAGE, bytes))
}

#[expect(clippy::cast_ptr_alignment, reason = "the pointer was a `First`'s before it was cast to bytes")]
extern "C" fn first_main(first: *mut u8) -> ! {
    // SAFETY: `run` passes its own, on a stack that stays.
    let First { start, generation, wanted, is_awaited } = unsafe { first.cast::<First>().read() };
    // SAFETY: the slot is mapped for the life of this process.
    let head: &SlotHead = unsafe { at(start.slot) };
    let thread = begin(start);
    thread.starts_others.set(true);
    if wanted > 1 || !is_awaited {
        start_starter(thread);
    }
    head.ready.store(generation, Release);
    futex_wake(&head.ready, u32::MAX >> 1);
    // Where others must wait for the first caller's call anyway, it need not wait for their thread. But the
    // caller that waits for this worker may be one of the others.
    let one_at_a_time = start.host.serial || !start.host.shared_stacks;
    let is_asked = is_awaited && expect_request(thread.channel(), thread.ticks_per_us.get());
    if !(is_asked && one_at_a_time) {
        start_starter(thread);
    }
    serve(thread, &mut Registers::default());
    kill_self()
}

/// Starts the thread that starts others, once; on other threads than the first, nothing.
#[inline]
pub(super) fn start_starter(thread: &Thread) {
    if thread.starts_others.replace(false) {
        let start = Start { host: thread.host.get(), slot: thread.slot.get(), index: 0 };
        // SAFETY: null attributes are the default ones.
        unsafe { create(starter_main, start, std::ptr::null()) };
    }
}

/// The same after an answer: its caller may have been woken on this very processor, and goes first.
#[inline]
pub(super) fn start_starter_behind(thread: &Thread) {
    if thread.starts_others.get() {
        std::thread::yield_now();
        start_starter(thread);
    }
}

extern "C" fn starter_main(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `create` gave us the box.
    let start = *unsafe { Box::from_raw(start.cast::<Start>()) };
    // SAFETY: the slot is mapped for the life of this process.
    let head: &SlotHead = unsafe { at(start.slot) };
    let mut started = 1;
    loop {
        let wanted = head.wanted.load(Acquire);
        while started < (wanted as usize).min(CHANNELS) {
            start_thread(Start { index: started, ..start });
            started += 1;
        }
        futex_wait(&head.wanted, wanted, 3_600_000_000_000);
    }
}

fn start_thread(start: Start) {
    // SAFETY: the attributes are local; a shared stack is a part of the slot that is this channel's alone.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        if start.host.shared_stacks {
            let (bottom, bytes) = shared_stack(start);
            libc::pthread_attr_setstack(&raw mut attributes, bottom as *mut libc::c_void, bytes as usize);
        } else {
            libc::pthread_attr_setstacksize(&raw mut attributes, stack_bytes(start.host) as usize);
        }
        create(thread_main, start, &raw const attributes);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
}

/// Starts a thread in `main`, which gets a box. One that cannot be started is missed by its caller, which
/// ends the worker for it.
///
/// # Safety
/// The attributes must be null, or initialised and name a stack that is unused.
unsafe fn create(
    main: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    start: Start,
    attributes: *const libc::pthread_attr_t,
) {
    let start = Box::into_raw(Box::new(start));
    // SAFETY: the caller's contract; the box is taken by the thread, or back here.
    unsafe {
        let mut thread = std::mem::zeroed();
        if libc::pthread_create(&raw mut thread, attributes, main, start.cast()) != 0 {
            drop(Box::from_raw(start));
        }
    }
}

extern "C" fn thread_main(start: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `create` gave us the box.
    let start = *unsafe { Box::from_raw(start.cast::<Start>()) };
    serve(begin(start), &mut Registers::default());
    std::ptr::null_mut()
}

/// Makes the calling thread the one that serves a channel; the caller learns that it does.
fn begin(Start { host, slot, index }: Start) -> &'static Thread {
    // Private memory of the kernel's choice: not in the heap that callees overrun.
    let length = (size_of::<Thread>() as u64).next_multiple_of(PAGE) + SIGNAL_STACK;
    let Ok(address) = map_anywhere(length) else { kill_self() };
    let end = address + length;
    // SAFETY: the mapping is large enough, zeroed, ours alone, and never removed. The signal stack
    // lies behind the thread's state.
    let thread = unsafe {
        let pointer = address as *mut Thread;
        populate(address, 2 * PAGE, Access::Write);
        (&raw mut (*pointer).host).write(std::cell::Cell::new(host));
        populate(end - WARM_SIGNAL_STACK, WARM_SIGNAL_STACK, Access::Write);
        let stack = libc::stack_t {
            ss_sp: (end - SIGNAL_STACK) as *mut libc::c_void,
            ss_flags: 0,
            ss_size: SIGNAL_STACK as usize,
        };
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
        &*pointer
    };
    thread.slot.set(slot);
    thread.index.set(index);
    thread.identity.store(thread_id(), Relaxed);
    view::announce(thread);
    thread.ticks_per_us.set(crate::sys::channel::ticks_per_us());
    THREAD.set(Some(thread));
    let channel = thread.channel();
    channel.reply.word.store(0, Relaxed);
    // SAFETY: the channel stays mapped for the life of the process, and is this thread's alone.
    if !unsafe { join_robust_list(&[&channel.alive, &channel.reply]) } {
        kill_self();
    }
    warm_up(thread);
    channel.alive.word.store(thread.identity.load(Relaxed), Release);
    futex_wake(&channel.alive.word, u32::MAX >> 1);
    thread
}

/// Goes once through what the first call will need, null calls of both kinds, so that it finds code and
/// heap in memory: a page that is touched first costs as much as a call.
fn warm_up(thread: &Thread) {
    let channel = thread.channel();
    for kind in [Kind::Call, Kind::CallBytes] {
        let mut writer = FrameWriter::new(thread.frame());
        let written = writer.kind(kind).and_then(|()| writer.number(NULL_FUNCTION)).and_then(|()| {
            // Depth, nothing kept, errno and five counts, of a call that does not wait for others; or depth,
            // and no bytes.
            writer.bytes(if kind == Kind::Call { &[INTERRUPTS, 0, 0, 0, 0, 0, 0, 0] } else { &[0; 2] })
        });
        let used = writer.used();
        load_frame(&channel.request_frame, FRAME_MAX, &mut [0; 64]);
        if written.is_ok()
            && let Ok(Next::Reply(used)) = handle(thread, used, 0, &mut Registers::default())
        {
            store_frame(&channel.reply_frame, &thread.frame()[..used]);
        }
    }
}
