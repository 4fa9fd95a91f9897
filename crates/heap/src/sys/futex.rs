//! Waiting until half of a word changes, in memory that several processes share (futex(2)).
//!
//! The kernel finds the waiters by the page and the offset, so processes may have it at any address. Locks
//! keep 64 bits, of which the kernel compares 32: a half is named, never read here, so that no access of
//! another size meets the atomic ones of the word.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

/// Which 32 bits of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// Bits 0 to 31.
    Low,
    /// Bits 32 to 63.
    High,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Woken, or interrupted by a signal: look again.
    Woken,
    /// The half was another one already.
    Changed,
    /// The time is over.
    TimedOut,
}

/// Sleeps while `half` of `word` is what it is in `seen`, for `at_most` at most.
pub(crate) fn wait(word: &AtomicU64, half: Half, seen: u64, at_most: Duration) -> Waited {
    let expected = match half {
        Half::Low => seen as u32,
        Half::High => (seen >> 32) as u32,
    };
    let timeout = Timespec {
        tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    match futex::wait(half_of(word, half), Flags::empty(), expected, Some(&timeout)) {
        Err(rustix::io::Errno::AGAIN) => Waited::Changed,
        Err(rustix::io::Errno::TIMEDOUT) => Waited::TimedOut,
        _ => Waited::Woken,
    }
}

/// Wakes up to `count` threads that wait for `half` of `word`.
pub(crate) fn wake(word: &AtomicU64, half: Half, count: u32) {
    // It fails only for an address that is gone: then no thread waits there.
    let _woken = futex::wake(half_of(word, half), Flags::empty(), count);
}

/// How many threads a [`wake`] may wake that wakes all of them.
pub(crate) const ALL: u32 = i32::MAX as u32;

fn half_of(word: &AtomicU64, half: Half) -> &AtomicU32 {
    let first: *const AtomicU32 = std::ptr::from_ref(word).cast();
    let index = usize::from(half == Half::High);
    // SAFETY: x86-64 is little-endian, so the high half is the second of two; both lie in the word, are
    // aligned and live as long. The reference is made for the kernel, which compares atomically; nothing here
    // reads or writes through it.
    unsafe { &*first.add(index) }
}
