//! Who holds something: a process that is attached to a heap, and one of its threads, in one word.
//!
//! A process is a place in the heap's table of participants and the number of times that place was taken, so
//! that the next process there is not mistaken for a holder that is dead. Not for process ids: they are
//! used again, and mean nothing in another container.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

const PLACE_BITS: u32 = 10;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// How often a place can be taken before its numbers come again. A lock that a dead process left that many
/// takings ago would be waited for without end; it is never given to two.
pub(crate) const TAKINGS: u32 = 1 << (32 - PLACE_BITS);
/// Bits of a lock's word that name a thread; the kernel's numbers have 22.
pub(crate) const THREAD_MASK: u64 = (1 << 28) - 1;

/// A process that is attached, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Participant(pub(crate) u32);

impl Participant {
    /// The `taking`-th process at `place`; takings count from 1, so that no participant is 0.
    pub(crate) const fn new(place: usize, taking: u32) -> Self {
        Self((taking << PLACE_BITS) | place as u32)
    }

    pub(crate) const fn place(self) -> usize {
        (self.0 & PLACE_MASK) as usize
    }

    pub(crate) const fn taking(self) -> u32 {
        self.0 >> PLACE_BITS
    }
}

/// A thread of a participant, as the word of a lock names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder(pub(crate) u64);

impl Holder {
    pub(crate) const fn new(process: Participant, thread: u32) -> Self {
        Self(((process.0 as u64) << 32) | thread as u64)
    }

    pub(crate) const fn process(self) -> Participant {
        Participant((self.0 >> 32) as u32)
    }

    pub(crate) const fn thread(self) -> u32 {
        (self.0 & THREAD_MASK) as u32
    }
}

/// How often this process is a copy of a copy: what a thread remembers of itself is of its own process only.
static FORKS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static THREAD: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// The kernel's number of this thread, asked for once.
#[inline]
pub(crate) fn this_thread() -> u32 {
    let forks = FORKS.load(Ordering::Relaxed);
    match THREAD.get() {
        (known, thread) if known == forks && thread != 0 => thread,
        _ => {
            let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            THREAD.set((forks, thread));
            thread
        }
    }
}

/// In a process that was just copied.
pub(crate) fn is_copied() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
