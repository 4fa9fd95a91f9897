//! The callee's end: a process forked by the babysitter, with a thread for each channel.
//!
//! A thread runs the functions asked for. Memory of the caller that a function touches is not
//! there: the fault asks the caller for copies of the pages, at the same addresses, and what was
//! changed goes back when control does. A jump to the caller's code is a call-back. Nothing of
//! this needs to know a function's signature. Lock order: the gate, which a thread holds while it is in the
//! library, so that threads do not see each other's copies; it is let go in call-backs. Then the loan of a
//! channel to a thread of the library's. Then a thread's turn.

mod call_back;
mod faults;
pub(crate) mod fork;
mod gate;
pub mod heap;
mod kept;
pub(crate) mod locale;
mod memory;
mod start;
pub(crate) mod view;

pub(crate) use faults::catch_faults;
pub(crate) use start::run;

use gate::Gate;
use kept::Inside;
use view::View;

use crate::shared::frame::{
    BY_ADDRESS, FIXED_WORDS_MAX, FRAME_MAX, FrameError, FrameWriter, Kind, NULL_FUNCTION, Registers,
    STACK_WORDS_MAX, read_arguments, read_results, read_words, write_results,
};
use crate::shared::layout::{
    BULK_BYTES_MAX, CHANNEL_LIMITS, Channel, DEPTH_MAX, FRAME_WORDS, INTERRUPTS, PAGES_MAX, bulk_address,
    channel_address, load_frame, store_frame,
};
use crate::shared::message::{Keeping, Payload, Request};
use crate::shared::waiting::{post_reply, wait_request};
use crate::sys::memory::{at, load_bytes};
use crate::sys::process::kill_self;
use crate::sys::registers::{Context, checkpoint, invoke, resume};
use banyan_wire::address_space::CALL_WINDOWS;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

/// Pages of address space below which nothing is ever fetched: null pointers and their fields.
const LOWEST_PAGE: u64 = 16;
/// Stack words shown to a call-back.
const CALL_BACK_WORDS: usize = 8;

/// A function on bytes.
pub(crate) type BytesFunction = fn(&[u8], &mut Vec<u8>) -> Result<(), String>;

/// What a worker runs.
pub(crate) struct Host {
    /// Addresses by number, 0 where missing.
    pub(crate) functions: Vec<u64>,
    /// Finds a function on bytes.
    pub(crate) find: fn(u64) -> Option<BytesFunction>,
    pub(crate) serial: bool,
    /// Where the caller's memory appears.
    pub(crate) view: View,
    /// Where the library's data are, which the caller sees.
    pub(crate) data: Vec<Range<u64>>,
    /// All of the library's memory that the caller sees.
    pub(crate) seen: Vec<Range<u64>>,
    /// Whether the sandbox lets the library open files.
    pub(crate) opens_files: bool,
    /// Stacks in shared memory, so that call-backs can look at the library's locals.
    pub(crate) shared_stacks: bool,
    pub(crate) stack_bytes: u64,
}

/// All cells: the fault handler uses them too, while code below it holds a reference. Of the pages another
/// thread keeps the account while this one waits for a page, or is in a call and that one has the turn.
struct Thread {
    host: Cell<&'static Host>,
    slot: Cell<u64>,
    index: Cell<usize>,
    sequence: Cell<u32>,
    /// A request is there that has not been looked at.
    pending: Cell<bool>,
    level: Cell<usize>,
    contexts: UnsafeCell<[Context; DEPTH_MAX]>,
    /// In a function of the library, while the caller waits; left only by who has the turn.
    in_call: AtomicBool,
    /// The right to ask the caller for something on this channel during a call.
    turn: Gate,
    /// The right to talk to the caller on this channel otherwise: a thread of the library's has it for the
    /// time of a call-back, and the call does not end before.
    lent: Gate,
    /// How the call under way is inside of the library, when it is not in a call-back.
    inside: Cell<Inside>,
    /// What the caller said of the kept pages when a call-back returned.
    keeping: Cell<Keeping>,
    /// The thread's id.
    identity: AtomicU32,
    granted: Cell<usize>,
    next_page: Cell<u64>,
    ahead: Cell<u64>,
    ticks_per_us: Cell<u64>,
    /// The thread that starts those of further channels is still to be started, by this one.
    starts_others: Cell<bool>,
    frame: UnsafeCell<[u8; FRAME_MAX]>,
    /// Addresses of the pages that the caller has copied, 0 for one that had no place.
    fetched: [Cell<u64>; PAGES_MAX],
    /// Pages that the caller does not have.
    refused: [Cell<u64>; 16],
    refused_count: Cell<usize>,
}

thread_local! {
    static THREAD: Cell<Option<&'static Thread>> = const { Cell::new(None) };
    /// Whether that is one that another thread serves.
    static IS_LENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is in a function that the caller asked for, or is the library's own while the
/// caller waits for one: it can call back.
pub(crate) fn is_in_call() -> bool {
    match THREAD.try_with(Cell::get).ok().flatten() {
        Some(thread) => thread.in_call.load(Relaxed),
        None => HAS_THREADS.load(Relaxed) && view::any_in_call().is_some(),
    }
}

/// Whether the caller finds the same at an address of this process as a thread in a call.
pub(crate) fn is_seen(address: u64) -> bool {
    CALL_WINDOWS.contains(address)
        || THREAD.try_with(Cell::get).ok().flatten().or_else(view::any_in_call).is_some_and(|thread| {
            let host = thread.host.get();
            view::contains(address) || host.seen.iter().any(|range| range.contains(&address))
        })
}

/// Whether an address is memory of the caller's, which comes to a thread in a call only.
pub(crate) fn is_callers_memory(address: u64) -> bool {
    let host = || THREAD.try_with(Cell::get).ok().flatten().map(|thread| thread.host.get());
    let is_own = || host().is_some_and(|host| host.data.iter().any(|range| range.contains(&address)));
    address != 0
        && !CALL_WINDOWS.contains(address)
        && (view::contains(address) || host().is_none_or(|host| host.view.bytes() == 0) && !is_own())
}

/// Runs `wait` outside of the library, if the calling thread is the one inside: others may enter.
pub(crate) fn outside<T>(wait: impl FnOnce() -> T) -> T {
    let thread = THREAD.try_with(Cell::get).ok().flatten();
    let inside = thread.filter(|thread| {
        thread.in_call.load(Relaxed) && thread.inside.get() == Inside::Alone && !IS_LENT.get()
    });
    let Some(thread) = inside else { return wait() };
    let before = errno().load(Relaxed);
    call_back::pause(thread);
    errno().store(before, Relaxed);
    let result = wait();
    let after = errno().load(Relaxed);
    // Not while a thread of the library's calls back in the name of this call, which is outside.
    thread.lent.enter();
    Inside::Alone.enter(thread);
    thread.inside.set(Inside::Alone);
    thread.lent.leave();
    errno().store(after, Relaxed);
    result
}

/// Whose frame a stack pointer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The library's, in the call under way.
    Own,
    /// The library's, in the call at that depth, which waits for a call-back.
    Below(usize),
    /// None of this stack's.
    Other,
}

impl Frame {
    /// Finds out, from a frame further down the stack.
    #[must_use]
    pub fn of(stack_pointer: u64) -> Self {
        let here = crate::sys::channel::stack_pointer();
        let Some(thread) = THREAD.try_with(Cell::get).ok().flatten() else {
            return if stack_pointer > here { Self::Own } else { Self::Other };
        };
        if stack_pointer < here {
            return Self::Other;
        }
        let level = thread.level.get();
        // SAFETY: of this thread, which is in calls at these levels.
        let calls = unsafe { &*thread.contexts.get() };
        match calls[..=level].iter().rposition(|call| stack_pointer < call.stack_pointer()) {
            Some(depth) if depth == level => Self::Own,
            Some(depth) if !IS_LENT.get() => Self::Below(depth),
            _ => Self::Other,
        }
    }
}

/// Has the caller give up the call-backs above the call at `depth`, to a frame of which the library jumps.
pub fn unwind(depth: usize) {
    let Some(thread) = THREAD.try_with(Cell::get).ok().flatten() else { return };
    let before = errno().load(Relaxed);
    thread.leave_call();
    let touched = thread.flush(Inside::Outside);
    let mut writer = FrameWriter::new(thread.frame());
    let written = writer
        .kind(Kind::Unwind)
        .and_then(|()| writer.number(touched.number()))
        .and_then(|()| writer.number(depth as u64));
    if written.is_err() {
        kill_self();
    }
    let used = writer.used();
    thread.reply(used);
    let length = thread.request();
    let request = Request::read(&thread.frame()[..length.min(FRAME_MAX)], CHANNEL_LIMITS);
    if !matches!(request, Ok(Request::CallBackReturned { .. })) {
        kill_self();
    }
    thread.level.set(depth);
    thread.enter_call();
    errno().store(before, Relaxed);
}

/// Whether the library has started threads of its own in a call.
static HAS_THREADS: AtomicBool = AtomicBool::new(false);

/// The library starts a thread.
pub(crate) fn note_thread() {
    HAS_THREADS.store(true, Relaxed);
}

fn errno() -> &'static AtomicU32 {
    // SAFETY: errno lives as long as its thread, and only that thread uses the reference, at once.
    unsafe { AtomicU32::from_ptr(libc::__errno_location().cast()) }
}

extern "C" fn null_function() {}

impl Thread {
    /// From now on threads of the library are served, too.
    fn enter_call(&self) {
        self.in_call.store(true, Relaxed);
        if HAS_THREADS.load(Relaxed) {
            view::serve_early();
        }
    }

    /// From now on nothing is asked on this channel in the name of the call.
    fn leave_call(&self) {
        let may_be_lent = HAS_THREADS.load(Relaxed) && !IS_LENT.get();
        if may_be_lent {
            self.lent.enter();
        }
        self.turn.enter();
        self.in_call.store(false, Relaxed);
        self.turn.leave();
        if may_be_lent {
            self.lent.leave();
        }
    }

    fn channel(&self) -> &'static Channel {
        // SAFETY: the slot stays mapped for the life of the process; a channel is all atomics.
        unsafe { at(channel_address(self.slot.get(), self.index.get())) }
    }

    fn bulk(&self) -> u64 {
        bulk_address(self.slot.get(), self.index.get())
    }

    /// The frame; there may be no other reference to it.
    #[expect(clippy::mut_from_ref, reason = "one user at a time, by the order of a conversation")]
    fn frame(&self) -> &mut [u8; FRAME_MAX] {
        // SAFETY: this thread only; requests are read before the reply is written, and the fault
        // handler does not use it.
        unsafe { &mut *self.frame.get() }
    }

    fn reply(&self, used: usize) {
        let channel = self.channel();
        store_frame(&channel.reply_frame, &self.frame()[..used]);
        post_reply(channel, self.sequence.get(), used);
    }

    /// Waits for the next request, unless one is pending; returns its length, in `frame`.
    fn request(&self) -> usize {
        let channel = self.channel();
        if !self.pending.take() {
            self.sequence.set(wait_request(channel, self.sequence.get(), self.ticks_per_us.get()));
        }
        let length = (channel.request_length.load(Relaxed) & 0xffff) as usize;
        load_frame(&channel.request_frame, length, self.frame()).len()
    }
}

struct Job<'a> {
    address: u64,
    registers: Registers,
    words: &'a [u64],
}

#[expect(clippy::cast_ptr_alignment, reason = "the pointer was a job's before it was cast to bytes")]
extern "C" fn run_job(job: *mut u8) {
    // SAFETY: `serve` passes its own job, which outlives the call.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    // SAFETY: the address is one of the library's functions; the arguments are the caller's, who
    // would have passed them to it in its own process. If they are wrong, this process pays.
    unsafe { invoke(job.address, &mut job.registers, job.words) };
}

/// Serves requests until a call-back returns, whose results go to `results`.
fn serve(thread: &Thread, results: &mut Registers) {
    loop {
        let level = thread.level.get();
        let length = thread.request();
        match handle(thread, length, level, results) {
            Ok(Next::Reply(used)) => {
                thread.reply(used);
                start::start_starter_behind(thread);
            }
            Ok(Next::Again) => {}
            Ok(Next::Return) => return,
            // The caller is trusted; a request that does not decode is a defect, and ends us.
            Err(_) => kill_self(),
        }
    }
}

enum Next {
    Reply(usize),
    Again,
    Return,
}

fn handle(thread: &Thread, length: usize, level: usize, results: &mut Registers) -> Result<Next, FrameError> {
    // SAFETY: the frame is read before it is overwritten with the reply; separate from the borrow
    // of the thread so that it need not be copied.
    let frame: &[u8] =
        unsafe { std::slice::from_raw_parts(thread.frame.get().cast(), length.min(FRAME_MAX)) };
    match Request::read(frame, CHANNEL_LIMITS)? {
        Request::Call { function, depth: flags, keeping, errno: before, arguments: mut reader } => {
            let depth = usize::from(flags & !INTERRUPTS).min(DEPTH_MAX - 1);
            if depth < level {
                if IS_LENT.get() {
                    // The frames to go back to are on another thread's stack.
                    kill_self();
                }
                // The caller jumped out of call-backs; their frames on this side go the same way.
                thread.pending.set(true);
                thread.level.set(depth);
                // SAFETY: the checkpoint of that depth is live as long as its level is; the frames
                // between hold registers and plain words only.
                unsafe { resume(thread.contexts.get().cast::<Context>().add(depth)) };
            }
            let address = match function {
                NULL_FUNCTION => null_function as *const () as u64,
                address if address & BY_ADDRESS != 0 => address & !BY_ADDRESS,
                _ => thread.host.get().functions.get(function as usize).copied().unwrap_or(0),
            };
            if address == 0 {
                return simple(thread, Kind::NoFunction, &[]);
            }
            let mut job = Job { address, registers: Registers::default(), words: &[] };
            let count = read_arguments(&mut reader, &mut job.registers)?;
            let (mut words, mut variable);
            if count > FIXED_WORDS_MAX {
                variable = [0; STACK_WORDS_MAX];
                read_words(reader, &mut variable[..count])?;
                job.words = &variable[..count];
            } else if count > 0 {
                words = [0; FIXED_WORDS_MAX];
                read_words(reader, &mut words[..count])?;
                job.words = &words[..count];
            } else {
                reader.end()?;
            }
            let inside = match flags & INTERRUPTS {
                0 if thread.host.get().serial => Inside::Alone,
                0 => Inside::Beside,
                // It touches nothing, and every thread calls it when it starts.
                _ if function == NULL_FUNCTION => Inside::Beside,
                _ => Inside::Interrupting,
            };
            let outer = thread.inside.replace(inside);
            inside.enter(thread);
            thread.resume_kept(keeping);
            // SAFETY: the slot stays mapped for the life of the process; its head is all atomics.
            locale::follow(unsafe { at(thread.slot.get()) }, thread.host.get().opens_files);
            errno().store(before, Relaxed);
            thread.enter_call();
            // SAFETY: `run_job` expects a job; the context is one of DEPTH_MAX, of this level alone.
            let returned = unsafe {
                let context = thread.contexts.get().cast::<Context>().add(level);
                checkpoint(context, run_job, (&raw mut job).cast())
            };
            if !returned {
                return Ok(Next::Again);
            }
            let after = errno().load(Relaxed);
            thread.leave_call();
            let touched = thread.flush(inside);
            inside.leave();
            thread.inside.set(outer);
            let mut writer = FrameWriter::new(thread.frame());
            writer.kind(Kind::Return)?;
            writer.number(touched.number())?;
            write_results(&mut writer, &job.registers, after.min(4095))?;
            Ok(Next::Reply(writer.used()))
        }
        Request::CallBackReturned { keeping, results: reader } if level > 0 => {
            thread.keeping.set(keeping);
            let after = read_results(reader, results)?;
            errno().store(after, Relaxed);
            Ok(Next::Return)
        }
        Request::CallBytes { function, arguments: Payload::Inline(bytes) } => {
            call_bytes(thread, function, bytes)
        }
        Request::CallBytes { function, arguments: Payload::Bulk(length) } => {
            let mut bytes = vec![0; length];
            // SAFETY: the length fits the bulk area, which is mapped.
            unsafe { load_bytes(thread.bulk(), &mut bytes) };
            call_bytes(thread, function, &bytes)
        }
        Request::CallBackReturned { .. } | Request::Fetched(_) => Err(FrameError::Range),
    }
}

fn simple(thread: &Thread, kind: Kind, numbers: &[u64]) -> Result<Next, FrameError> {
    let mut writer = FrameWriter::new(thread.frame());
    writer.kind(kind)?;
    for &number in numbers {
        writer.number(number)?;
    }
    Ok(Next::Reply(writer.used()))
}

fn call_bytes(thread: &Thread, function: u64, arguments: &[u8]) -> Result<Next, FrameError> {
    let mut output = Vec::new();
    let result = if function == NULL_FUNCTION {
        Ok(())
    } else {
        let Some(function) = (thread.host.get().find)(function) else {
            return simple(thread, Kind::NoFunction, &[]);
        };
        thread.in_call.store(true, Relaxed);
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| function(arguments, &mut output)));
        thread.in_call.store(false, Relaxed);
        match result {
            Ok(result) => result,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                Err(format!("panic: {}", text.as_deref().unwrap_or("of unknown kind")))
            }
        }
    };
    let kind = match result {
        Ok(()) => Kind::CallBytes,
        Err(text) => {
            output = text.into_bytes();
            Kind::Failed
        }
    };
    let bulk = thread.bulk();
    let mut writer = FrameWriter::new(thread.frame());
    writer.kind(kind)?;
    if output.len() <= FRAME_MAX - 2 && output.len() <= FRAME_WORDS * 8 - 2 {
        writer.number(0)?;
        writer.bytes(&output)?;
        return Ok(Next::Reply(writer.used()));
    }
    if output.len() as u64 > BULK_BYTES_MAX {
        let mut writer = FrameWriter::new(thread.frame());
        writer.kind(Kind::Failed)?;
        writer.number(0)?;
        writer.bytes(b"the result is too long")?;
        return Ok(Next::Reply(writer.used()));
    }
    // SAFETY: the length fits the bulk area, which the caller does not touch now.
    unsafe { std::ptr::copy_nonoverlapping(output.as_ptr(), bulk as *mut u8, output.len()) };
    writer.number(1)?;
    writer.number(output.len() as u64)?;
    Ok(Next::Reply(writer.used()))
}
