//! The caller's end: one window, its babysitter, and a channel for each thread that calls.
//!
//! After [`Connection::open`] the path of a call performs no allocation, takes no lock, uses no
//! thread-local storage and keeps `errno`: it may run in a signal handler. A thread finds its
//! channel by its thread pointer, in a table that is claimed with compare-and-swap. Everything is
//! reached through mappings, so a program that closes all descriptors loses nothing. Not for
//! choosing what runs in the worker; that is [`crate::shared::service`] and [`crate::caller::launch`].

mod entries;
mod open;

pub(crate) use open::is_inherited;

use crate::caller::exchange::KnownStale;
use crate::caller::functions::Functions;
use crate::caller::keeping::{KeptPages, Scratch};
use crate::caller::pool::Pool;
use crate::caller::variables::Variables;
use crate::shared::layout::{
    CHANNELS, CHANNELS_OFFSET, CONSTANT_BLOBS_OFFSET, CONTROL_BYTES, Channel, Control, DEPTH_MAX,
    LOADING_HEAP_OFFSET, PAGES_MAX, SLOT_BYTES, SLOT_CURRENT, SLOT_SPARE, SLOTS, SlotHead, channel_address,
    slot_address,
};
use crate::shared::service::{Report, Segment};
use crate::shared::waiting::{Cancellation, Wait};
use crate::sys::channel::{OWNER_DIED, Processors, futex_wait, now_ns, signal_process};
use crate::sys::memory::{at, unmap};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

/// How one call is made.
#[derive(Clone, Copy, Debug)]
pub struct CallOptions {
    /// Longest time for the call, retries included.
    pub deadline: Duration,
    /// Calls made again after a failure of the system. Only for functions that may run twice.
    pub retries: u32,
    /// Longest processor time of the worker during the call.
    pub cpu_limit: Option<Duration>,
    /// How to wait.
    pub wait: Wait,
    /// Whether the call is to end before, of one that was begun as a [`Pending`](crate::pending::Pending).
    pub cancellation: Option<Cancellation>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            retries: 0,
            cpu_limit: None,
            wait: Wait::Adaptive,
            cancellation: None,
        }
    }
}

/// A channel as its owning thread sees it. Only that thread touches the fields after the claim.
#[repr(C, align(128))]
pub(crate) struct ClientChannel {
    /// The owner's thread pointer plus the level of signal nesting, or 0.
    pub(crate) owner: AtomicU64,
    pub(crate) thread: AtomicU32,
    /// See the constants below.
    pub(crate) state: AtomicU32,
    /// The current slot and generation that the sequence belongs to.
    pub(crate) of: AtomicU64,
    pub(crate) sequence: AtomicU32,
    pub(crate) depth: AtomicU32,
    /// Pages copied for the worker since it last gave control back, behind those that it keeps from before.
    pub(crate) granted: AtomicU32,
    /// Quick calls in a row.
    pub(crate) streak: AtomicU32,
    /// How often spinning for an answer has failed recently.
    pub(crate) in_vain: AtomicU32,
    pub(crate) last_counter: AtomicU64,
    pub(crate) placed: AtomicU32,
    /// Calls in a row that gave up because the worker made no thread for this channel.
    pub(crate) unserved: AtomicU32,
    /// The place used last.
    pub(crate) place: AtomicU32,
    /// The place given to a waiting caller, plus one.
    pub(crate) turn: AtomicU32,
    /// Order of arrival of a caller that waits for a place, else 0.
    pub(crate) ticket: AtomicU64,
    /// Where the program holds a pointer that the call has followed into the memory of an ended worker, or 0.
    pub(crate) stale_word: AtomicU64,
    pub(crate) call_back_stack: [AtomicU64; DEPTH_MAX],
    /// Where to go on if the library jumps over a call-back, by the depth of the call that it belongs to.
    pub(crate) call_back_context: [AtomicU64; DEPTH_MAX],
}

impl ClientChannel {
    /// Whether the channel serves a signal handler that interrupted a call on another.
    pub(crate) fn interrupts(&self) -> bool {
        self.owner.load(Relaxed) & 7 != 0
    }
}

/// No call is under way. The thread that changes a channel's state from this has the channel.
pub(crate) const IDLE: u32 = 0;
/// A call waits for the worker.
pub(crate) const WAITING: u32 = 1;
/// The worker called back, and the program's own code runs.
pub(crate) const CALLED_BACK: u32 = 2;

#[repr(C, align(4096))]
pub(crate) struct ClientState {
    /// On a page that a forked child finds empty.
    marker: AtomicU32,
    reserved: [AtomicU32; 1023],
    /// Where a thread found its channel last, by a hash of its key: a hint, checked at each use.
    pub(crate) hints: [AtomicU32; CHANNELS],
    pub(crate) channels: [ClientChannel; CHANNELS],
    /// Addresses of the pages granted, a row a channel; 0 for one that the worker was told to forget.
    pub(crate) grants: [[AtomicU64; PAGES_MAX]; CHANNELS],
    /// What is known of those that workers keep.
    pub(crate) kept: [KeptPages; CHANNELS],
    pub(crate) scratch: [Scratch; CHANNELS],
    /// Pages known to hold the program's code.
    pub(crate) code: [AtomicU64; 256],
}

/// A place's worker while one thread moves to another.
pub(crate) const SWITCHING: u64 = 1;

/// A caller's hold on a service.
pub struct Connection {
    pub(crate) window: u64,
    state: u64,
    pub(crate) pool: Pool,
    pub(crate) ticks_per_us: u64,
    pub(crate) processors: usize,
    /// The processors of the thread that has opened it: a worker's threads use no others.
    pub(crate) allowed: Processors,
    pub(crate) segments: Vec<Segment>,
    /// Entries for functions of the library that lie elsewhere than these, in order.
    aliases: Vec<(u64, u64)>,
    report: Report,
    process: u32,
    pub(crate) functions: Functions,
    pub(crate) variables: Variables,
    pub(crate) known_stale: KnownStale,
    pub(crate) statistics: Statistics,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("window", &self.window).finish_non_exhaustive()
    }
}

/// What a connection has counted.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Workers that ended during a call.
    pub ended: AtomicU64,
    /// Calls that succeeded after a retry.
    pub absorbed: AtomicU64,
    /// Wake-ups of a sleeping worker.
    pub wakes: AtomicU64,
    /// Pages copied for workers.
    pub pages: AtomicU64,
    /// Call-backs run.
    pub call_backs: AtomicU64,
}

/// The slot and generation that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current(pub(crate) u64);

impl Current {
    pub(crate) const fn slot(self) -> usize {
        (self.0 >> 1 & 0x7f) as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 8) as u32
    }
}

impl Connection {
    /// What the babysitter said about itself: layers of the sandbox, functions found.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Calls that returned.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.control().counts.iter().map(|counts| counts.calls.load(Relaxed)).sum()
    }

    /// What this connection has counted beside its calls.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Calls that ended well.
    pub(crate) fn successes(&self) -> u64 {
        self.control().counts.iter().map(|counts| counts.calls.load(Relaxed)).sum()
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: the control part stays mapped as long as the connection lives; it is all atomics.
        unsafe { at(self.window) }
    }

    pub(crate) fn state(&self) -> &ClientState {
        // SAFETY: mapped in `open_window`, unmapped in `drop`; all atomics, valid when zero.
        unsafe { at(self.state) }
    }

    pub(crate) fn channel(&self, slot: usize, channel: usize) -> &Channel {
        // SAFETY: every slot stays mapped as long as the connection lives; a channel is all atomics.
        unsafe { at(channel_address(slot_address(self.window, slot), channel)) }
    }

    pub(crate) fn head(&self, slot: usize) -> &SlotHead {
        // SAFETY: as in `channel`.
        unsafe { at(slot_address(self.window, slot)) }
    }

    /// The worker that served this connection's first place last.
    fn first(&self) -> Option<Current> {
        let current = self.pool.places[0].current.load(Acquire);
        (current > SWITCHING).then_some(Current(current))
    }

    /// The process of the worker that serves now, 0 if none does. Of several, the first.
    #[must_use]
    pub fn worker_process(&self) -> u32 {
        self.first().map_or(0, |current| self.control().slots[current.slot()].process.load(Acquire))
    }

    /// The processes of all living workers, the spares included.
    #[must_use]
    pub fn worker_processes(&self) -> Vec<u32> {
        let live = |state: u32| state == SLOT_CURRENT || state == SLOT_SPARE;
        let slots = self.control().slots.iter().filter(|slot| live(slot.state.load(Acquire)));
        slots.map(|slot| slot.process.load(Acquire)).collect()
    }

    /// The babysitter's process.
    #[must_use]
    pub fn babysitter_process(&self) -> u32 {
        self.control().babysitter.load(Acquire)
    }

    /// The generation that serves now, 0 if none does yet. Of several workers, the first's.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.first().map_or(0, Current::generation)
    }

    /// How many workers this connection may use at once now: what it asked for, or its share of a pool.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.control().workers.load(Relaxed)
    }

    /// The process that takes over from the babysitter when that is killed, 0 if there is none.
    #[must_use]
    pub fn understudy_process(&self) -> u32 {
        self.control().understudy.load(Acquire)
    }

    /// Whether the process that starts workers for this connection has ended, and none has taken over yet.
    #[must_use]
    pub fn has_lost_its_babysitter(&self) -> bool {
        self.control().alive.word.load(Acquire) & OWNER_DIED != 0
    }

    /// Whether this process is a fork of the one that opened the connection: it must open its own.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.state().marker.load(Relaxed) == 0
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.process == std::process::id() && self.control().status.load(Acquire) != 0 {
            let control = self.control();
            control.finish.store(1, SeqCst);
            let deadline = now_ns() + 2_000_000_000;
            while control.alive.word.load(Acquire) & OWNER_DIED == 0 && now_ns() < deadline {
                signal_process(control.babysitter.load(Acquire), libc::SIGCHLD);
                futex_wait(&control.event, control.event.load(Acquire), 2_000_000);
            }
        }
        // SAFETY: no reference can exist into the mappings any more, as all borrow `self`.
        unsafe {
            for segment in &self.segments {
                unmap(segment.address, segment.length);
            }
            unmap(self.window + SLOT_BYTES, SLOT_BYTES * (SLOTS as u64 - 1));
            unmap(self.window + CONSTANT_BLOBS_OFFSET, LOADING_HEAP_OFFSET - CONSTANT_BLOBS_OFFSET);
            unmap(self.window, CONTROL_BYTES);
            unmap(self.state, size_of::<ClientState>() as u64);
        }
        open::release_window(self.window);
    }
}

const _: () = assert!(CHANNELS_OFFSET >= size_of::<SlotHead>() as u64);
