//! Programs that call again for ever what fails: a reader takes a failure's 0 for "more to come".
//!
//! Without us such a program would have crashed. With a value that the policy gives, it does what its user
//! wants. With one that we chose, it is reported once, and ended when there is no progress: the same function
//! failed with the same arguments thousands of times, for long enough that a library which crashes is started
//! again, and no call of the library succeeded between. One row is kept for all libraries: another failure
//! begins a new one, so threads that fail beside each other are taken to make progress. No lock, no
//! allocation.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Failures in a row that are reported, and that end the program.
const TOLD: u64 = 100;
const ENDED: u64 = 10_000;
/// How long a row lasts at least that ends the program.
const ENDED_NS: u64 = 10_000_000_000;
/// A program that waits longer than this between calls does not loop.
const PAUSE_NS: u64 = 1_000_000_000;

/// A failure, as far as it can be that of a program that makes no progress.
pub(super) struct Failure<'a> {
    /// The function: its place, by which it is known.
    pub(super) function: u64,
    pub(super) arguments: &'a [u64],
    /// Calls of its library that succeeded so far.
    pub(super) successes: u64,
}

impl Failure<'_> {
    /// A number that equal failures share.
    fn digest(&self) -> u64 {
        let words = [self.function, self.successes];
        words.iter().chain(self.arguments).fold(0xcbf2_9ce4_8422_2325, |hash: u64, &word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is some, or not yet none.
    GoesOn,
    /// To be told of.
    Told,
    /// The program is to be ended.
    Ended,
}

/// Equal failures in a row.
pub(super) struct Row {
    digest: AtomicU64,
    count: AtomicU64,
    began_ns: AtomicU64,
    last_ns: AtomicU64,
    /// The function that was reported last.
    told: AtomicU64,
}

pub(super) static ROW: Row = Row::new();

impl Row {
    const fn new() -> Self {
        Self {
            digest: AtomicU64::new(0),
            count: AtomicU64::new(0),
            began_ns: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            told: AtomicU64::new(0),
        }
    }

    /// Adds a failure, at a time of the monotonic clock.
    pub(super) fn note(&self, failure: &Failure<'_>, now_ns: u64) -> Progress {
        let digest = failure.digest();
        let pause_ns = now_ns.saturating_sub(self.last_ns.swap(now_ns, Relaxed));
        if self.digest.swap(digest, Relaxed) != digest || pause_ns > PAUSE_NS {
            self.count.store(0, Relaxed);
            self.began_ns.store(now_ns, Relaxed);
        }
        let lasts_ns = now_ns.saturating_sub(self.began_ns.load(Relaxed));
        match self.count.fetch_add(1, Relaxed) + 1 {
            TOLD if self.told.swap(failure.function, Relaxed) != failure.function => Progress::Told,
            ENDED.. if lasts_ns >= ENDED_NS => Progress::Ended,
            _ => Progress::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_failures_in_quick_order_are_a_row() {
        let failure = |function, arguments, successes| Failure { function, arguments, successes };
        let row = Row::new();
        let mut now_ns = 0;
        let mut many = |failure: &Failure<'_>, times: u64, step_ns: u64| {
            let note = |_| {
                now_ns += step_ns;
                row.note(failure, now_ns)
            };
            (0..times).map(note).filter(|one| *one != Progress::GoesOn).collect::<Vec<_>>()
        };
        let one = failure(1, &[2, 3], 7);
        assert_eq!(many(&one, ENDED + 5, 1), [Progress::Told], "they are many, but quick");
        assert_eq!(many(&one, 9, PAUSE_NS), []);
        assert_eq!(many(&one, 1, PAUSE_NS), [Progress::Ended]);
        for other in [failure(2, &[2, 3], 7), failure(1, &[2, 4], 7), failure(1, &[2, 3], 8)] {
            assert_eq!(many(&other, 1, PAUSE_NS), []);
        }
        assert_eq!(many(&one, ENDED - 1, PAUSE_NS), [], "they last, but are few, and were told of");
        assert_eq!(many(&one, 1, PAUSE_NS + 1), [], "a pause");
        assert_eq!(many(&one, ENDED - 2, PAUSE_NS), []);
        assert_eq!(many(&failure(2, &[], 7), TOLD, 1), [Progress::Told], "another function");
        assert_eq!(many(&one, ENDED - 1, PAUSE_NS), [Progress::Told]);
        assert_eq!(many(&one, 1, PAUSE_NS), [Progress::Ended]);
    }
}
