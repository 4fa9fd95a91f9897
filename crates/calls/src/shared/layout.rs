//! Where everything lies in the memory that a caller and its workers share.
//!
//! One anonymous file holds a *window*: a control part, written by the babysitter and the caller
//! only, and [`SLOTS`] slots, one a worker. Every part is mapped at the same address in every
//! process, so pointers into it mean the same everywhere, and a worker maps only its own slot.
//! Not for what travels in the channels; that is `crate::shared::frame`.

use crate::shared::message::Limits;
use crate::sys::channel::RobustWord;
use banyan_wire::address_space::CALL_WINDOWS;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where windows begin.
pub(crate) const WINDOWS_BASE: u64 = CALL_WINDOWS.start;
/// Bytes of a window.
pub(crate) const WINDOW_BYTES: u64 = 1 << 39;
/// Windows that one process may have: libraries isolated at once.
pub(crate) const WINDOWS: u64 = 16;
/// Bytes of a slot. Slot 0 is the control part.
pub(crate) const SLOT_BYTES: u64 = 1 << 35;
/// Slots in a window, the control part included.
pub(crate) const SLOTS: usize = 16;
/// Threads of the caller that can be inside calls at once.
pub(crate) const CHANNELS: usize = 64;
/// Nested call-backs on one channel.
pub(crate) const DEPTH_MAX: usize = 32;
/// Added to the depth of a call made in a signal handler that interrupted another call: it must
/// not wait for that one, which waits for it.
pub(crate) const INTERRUPTS: u8 = 0x40;
/// Pages of the caller that one call may touch between two returns of control.
pub(crate) const PAGES_MAX: usize = 16384;
/// What the messages of a channel may say.
pub(crate) const CHANNEL_LIMITS: Limits = Limits { pages: PAGES_MAX as u64, bulk_bytes: BULK_BYTES_MAX };
/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// Offset in a slot of the first channel.
pub(crate) const CHANNELS_OFFSET: u64 = 0x1000;
/// Offset in a slot of the copies of the library's data.
pub(crate) const DATA_OFFSET: u64 = 1 << 30;
/// Offset in a slot of the first stack.
pub(crate) const STACKS_OFFSET: u64 = 4 << 30;
/// Distance between stacks, and so their largest size.
pub(crate) const STACK_STRIDE: u64 = 64 << 20;
/// Offset in a slot of the first bulk area.
pub(crate) const BULKS_OFFSET: u64 = 8 << 30;
/// Distance between bulk areas.
pub(crate) const BULK_STRIDE: u64 = 128 << 20;
/// Offset in a bulk area of the change maps, 512 bytes a page.
pub(crate) const CHANGES_OFFSET: u64 = 64 << 20;
/// Offset in a bulk area of the list of changed pages, four bytes a page.
pub(crate) const CHANGED_LIST_OFFSET: u64 = 80 << 20;
/// Offset in a bulk area of what is said about pages that the worker has kept ([`Kept`]).
pub(crate) const KEPT_OFFSET: u64 = 81 << 20;
/// Pages that a worker keeps from one time that it runs to the next, at most: a bit each.
pub(crate) const KEPT_MAX: usize = 64;
/// Bytes of a line: what of a kept page is brought up to date at once, a bit each.
pub(crate) const LINE: u64 = 64;
/// Bytes of arguments or results that a bulk area can carry.
pub(crate) const BULK_BYTES_MAX: u64 = 64 << 20;
/// Offset in a slot of the heaps, which extend to its end.
pub(crate) const HEAP_OFFSET: u64 = 16 << 30;
/// Each worker of a slot begins its heap this much further than the one before, until the end is near: an
/// address of an earlier one lies below.
pub(crate) const HEAP_STEP: u64 = 64 << 20;
/// Offset in the control part of the heap that the babysitter itself uses while it loads the library.
pub(crate) const LOADING_HEAP_OFFSET: u64 = 16 << 30;

/// Bytes of that heap: enough for constructors.
pub(crate) const LOADING_HEAP_BYTES: u64 = 1 << 30;

/// Offset in the control part of blobs that workers can only read.
pub(crate) const CONSTANT_BLOBS_OFFSET: u64 = 4 << 30;
/// Offset in the control part of blobs that workers can change; they end where the loading heap begins.
pub(crate) const BLOBS_OFFSET: u64 = 8 << 30;

/// Bytes of the control part that are mapped.
pub(crate) const CONTROL_BYTES: u64 = 8 << 20;
/// Offset in the control part of the configuration, JSON.
pub(crate) const CONFIGURATION_OFFSET: u64 = 1 << 20;
/// Offset in the control part of the babysitter's report, JSON.
pub(crate) const REPORT_OFFSET: u64 = 4 << 20;
/// Longest configuration or report in bytes.
pub(crate) const TEXT_MAX: u64 = 3 << 20;

/// Bits of a sequence number; the others are the kernel's and the sleepers'.
pub(crate) const SEQUENCE_MASK: u32 = 0x1fff_ffff;

/// State of a slot: nothing there.
pub(crate) const SLOT_FREE: u32 = 0;
/// A worker runs there, unused.
pub(crate) const SLOT_SPARE: u32 = 1;
/// The caller uses the worker.
pub(crate) const SLOT_CURRENT: u32 = 2;
/// The worker has ended; its memory is still there.
pub(crate) const SLOT_DEAD: u32 = 3;
/// The caller has given the worker up, and another may be started in its stead.
pub(crate) const SLOT_ENDING: u32 = 4;

/// What the babysitter says about a slot.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SlotState {
    pub(crate) state: AtomicU32,
    pub(crate) generation: AtomicU32,
    pub(crate) process: AtomicU32,
    pub(crate) wait_status: AtomicU32,
    /// Where the worker's heap begins, in steps behind the first place for one.
    pub(crate) heap_steps: AtomicU32,
}

/// The babysitter serves.
pub(crate) const CONTROL_READY: u32 = 1;
/// The babysitter could not load; the report says why.
pub(crate) const CONTROL_FAILED: u32 = 2;
/// Workers crash without serving; the babysitter pauses before it starts the next.
pub(crate) const CONTROL_BROKEN: u32 = 3;

/// The control part.
#[repr(C, align(4096))]
pub(crate) struct Control {
    /// One of the `CONTROL_` constants.
    pub(crate) status: AtomicU32,
    /// Incremented at every change of a slot.
    pub(crate) event: AtomicU32,
    /// The babysitter's process.
    pub(crate) babysitter: AtomicU32,
    /// Channels that the caller uses; a new worker prepares as many.
    pub(crate) channels: AtomicU32,
    /// Length of the configuration text.
    pub(crate) configuration_length: AtomicU64,
    /// Length of the report text.
    pub(crate) report_length: AtomicU64,
    /// Workers that the caller may use at once.
    pub(crate) workers: AtomicU32,
    /// Workers that ended during a call.
    pub(crate) ended: AtomicU64,
    /// Callers that wait for a worker; [`demand`](crate::shared::demand) has the rules.
    pub(crate) awaiting: AtomicU32,
    /// The slot of the worker that is started next, as far as is known; 0 if it is not. Who waits for it need
    /// not be woken when it is started, only to find that it is not ready: on a processor that is busy
    /// starting it.
    pub(crate) next: AtomicU32,
    /// The process that takes the babysitter's place when it is killed; 0 none.
    pub(crate) understudy: AtomicU32,
    /// Incremented by the caller when it wants the babysitter to end.
    pub(crate) finish: AtomicU32,
    /// Holds the babysitter's thread id until it ends.
    pub(crate) alive: RobustWord,
    pub(crate) slots: [SlotState; SLOTS],
    pub(crate) counts: [Counts; CHANNELS],
}

/// What one channel has counted; only its owner writes.
#[repr(C, align(64))]
pub(crate) struct Counts {
    /// Calls that ended well.
    pub(crate) calls: AtomicU64,
    /// Calls that succeeded after a retry.
    pub(crate) absorbed: AtomicU64,
    /// Calls that were timed, and their times in nanoseconds.
    pub(crate) sampled: AtomicU64,
    pub(crate) sampled_ns: AtomicU64,
}

/// The head of a slot.
#[repr(C, align(4096))]
pub(crate) struct SlotHead {
    /// The worker's generation, once it can serve.
    pub(crate) ready: AtomicU32,
    /// Channels the caller wants served.
    pub(crate) wanted: AtomicU32,
    /// The thread of the worker that brings the caller's pages; 0 if the threads do it themselves.
    pub(crate) bringer: AtomicU32,
    /// Freed by the caller: a stack of chunks of the worker's heap, linked through their first words.
    pub(crate) freed: AtomicU64,
    /// How often the caller's program has set its locale, as far as `locale` says.
    pub(crate) locale_changes: AtomicU32,
    /// The program's locale, as `setlocale` writes it, ended by a zero.
    pub(crate) locale: [AtomicU64; LOCALE_WORDS],
}

/// Words of a locale's name.
pub(crate) const LOCALE_WORDS: usize = 64;

/// Words of a frame.
pub(crate) const FRAME_WORDS: usize = 500;

/// One channel: the caller writes the first half, the worker the second.
#[repr(C, align(4096))]
pub(crate) struct Channel {
    /// Sequence number of the last request, or that and `WAITERS`.
    pub(crate) request: AtomicU32,
    /// Length of the request in the low 16 bits; above, how long to spin for the next, in microseconds.
    pub(crate) request_length: AtomicU32,
    pub(crate) request_frame: [AtomicU64; FRAME_WORDS],
    reserved: [AtomicU64; 11],
    /// Sequence number of the last request answered, or the worker's thread id and `WAITERS`. Beside
    /// it the reply's length, and behind it its first bytes: a small reply arrives with its number.
    pub(crate) reply: RobustWord,
    pub(crate) reply_frame: [AtomicU64; FRAME_WORDS],
    /// The worker's thread id until the thread ends.
    pub(crate) alive: RobustWord,
    rest: [AtomicU64; 2],
}

/// What has become of the pages that the worker kept, as the caller says before the worker runs again. Bits
/// are numbers of pages, in the order fetched.
#[repr(C, align(64))]
pub(crate) struct Kept {
    /// Those it may keep on; the others are forgotten.
    pub(crate) kept: AtomicU64,
    /// Those of them that the program has changed: the new bytes lie where the pages were copied to.
    pub(crate) changed: AtomicU64,
    /// For each of these which lines, a bit each.
    pub(crate) lines: [AtomicU64; KEPT_MAX],
}

const _: () = {
    assert!(PAGE / LINE == 64 && KEPT_MAX == 64);
    assert!(CHANGED_LIST_OFFSET + (PAGES_MAX * 4) as u64 <= KEPT_OFFSET);
    assert!(KEPT_OFFSET + size_of::<Kept>() as u64 <= BULK_STRIDE);
    assert!(size_of::<Channel>() == 8192);
    assert!(std::mem::offset_of!(Channel, reply) == 4096);
    assert!(std::mem::offset_of!(Channel, reply_frame) == 4136);
    assert!(CHANNELS_OFFSET + (CHANNELS * size_of::<Channel>()) as u64 <= DATA_OFFSET);
    assert!(STACKS_OFFSET + CHANNELS as u64 * STACK_STRIDE <= BULKS_OFFSET);
    assert!(BULKS_OFFSET + CHANNELS as u64 * BULK_STRIDE <= HEAP_OFFSET);
    assert!(WINDOWS * WINDOW_BYTES == CALL_WINDOWS.bytes());
    assert!(size_of::<Control>() as u64 <= CONFIGURATION_OFFSET);
};

/// Stores a frame word by word.
#[inline]
pub(crate) fn store_frame(words: &[AtomicU64; FRAME_WORDS], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks();
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(chunks.len())) {
        let value = rest.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        word.store(value, Ordering::Relaxed);
    }
}

/// Copies a frame out word by word, as long as `length` says and `to` has room; returns the copy.
#[inline]
pub(crate) fn load_frame<'a>(words: &[AtomicU64; FRAME_WORDS], length: usize, to: &'a mut [u8]) -> &'a [u8] {
    let length = length.min(to.len()).min(FRAME_WORDS * 8);
    let (chunks, rest) = to[..length].as_chunks_mut();
    let count = chunks.len();
    for (word, chunk) in words.iter().zip(chunks) {
        *chunk = word.load(Ordering::Relaxed).to_le_bytes();
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(count)) {
        let value = word.load(Ordering::Relaxed);
        for (index, byte) in rest.iter_mut().enumerate() {
            *byte = (value >> (index * 8)) as u8;
        }
    }
    &to[..length]
}

/// The address of a slot.
pub(crate) const fn slot_address(window: u64, slot: usize) -> u64 {
    window + slot as u64 * SLOT_BYTES
}

/// Offset in a slot of a heap that begins `steps` steps behind the first place for one.
pub(crate) const fn heap_offset(steps: u32) -> u64 {
    HEAP_OFFSET + steps as u64 * HEAP_STEP
}

/// The address of a channel.
pub(crate) const fn channel_address(slot: u64, channel: usize) -> u64 {
    slot + CHANNELS_OFFSET + (channel * size_of::<Channel>()) as u64
}

/// Bytes from the start of a slot to the end of its first `channels` channels.
pub(crate) const fn shared_bytes(channels: u32) -> u64 {
    let channels = if channels < CHANNELS as u32 { channels as usize } else { CHANNELS };
    CHANNELS_OFFSET + (channels * size_of::<Channel>()) as u64
}

/// The address of a channel's bulk area.
pub(crate) const fn bulk_address(slot: u64, channel: usize) -> u64 {
    slot + BULKS_OFFSET + channel as u64 * BULK_STRIDE
}
