//! How long threads have run since a page was taken away from them.
//!
//! A thread was done with a page if it has gone on to other things, so that it has run for a while since. The
//! time in which it waited for pages does not count: a thread that finds one page after another gone comes
//! back to the first of them late, and yet has done nothing in between. So for each thread that faults the
//! last stretches are remembered for which it ran without waiting, but for short ones.
//!
//! Nothing here concerns correctness.

use alloc::collections::BTreeMap;

use banyan_wire::ids::{Microseconds, PageNumber};

use super::ThreadNumber;

/// Threads remembered. With one more, all are forgotten.
const THREADS_MAX: usize = 1024;
/// Stretches remembered of each.
const STRETCHES: usize = 4;
/// Shorter ones are not remembered: there are many between faults, and they are all alike.
const STRETCH_MIN: u64 = 50;

/// The threads of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pace(BTreeMap<ThreadNumber, Thread>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Thread {
    /// Where it faulted last, and when.
    page: PageNumber,
    faulted: Microseconds,
    /// When it ran, from and to; the oldest is at `next`.
    stretches: [(Microseconds, Microseconds); STRETCHES],
    next: usize,
}

impl Pace {
    /// The page at which the thread faulted last.
    pub(super) fn waited_for(&self, thread: ThreadNumber) -> Option<PageNumber> {
        self.0.get(&thread).map(|thread| thread.page)
    }

    /// A thread faults. `came` is when the page was granted for which it waited before.
    pub(super) fn faulted(
        &mut self,
        thread: ThreadNumber,
        page: PageNumber,
        came: Microseconds,
        now: Microseconds,
    ) {
        if self.0.len() >= THREADS_MAX && !self.0.contains_key(&thread) {
            self.0.clear();
        }
        let fresh = Thread { page, faulted: Microseconds(0), stretches: Default::default(), next: 0 };
        let thread = self.0.entry(thread).or_insert(fresh);
        let since = thread.faulted.max(came);
        if now.0.saturating_sub(since.0) > STRETCH_MIN {
            thread.stretches[thread.next] = (since, now);
            thread.next = (thread.next + 1) % STRETCHES;
        }
        (thread.page, thread.faulted) = (page, now);
    }

    /// How long a thread, which has just faulted, has run at a stretch at most since `lost`. Zero there means
    /// that nothing was lost.
    pub(super) fn ran_since(&self, thread: ThreadNumber, lost: Microseconds) -> Microseconds {
        let Some(thread) = self.0.get(&thread).filter(|_| lost > Microseconds(0)) else {
            return Microseconds::MAX;
        };
        let after =
            |(since, until): &(Microseconds, Microseconds)| until.0.saturating_sub(since.0.max(lost.0));
        Microseconds(thread.stretches.iter().map(after).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: ThreadNumber = ThreadNumber(1);

    fn fault(pace: &mut Pace, came: u64, now: u64) {
        pace.faulted(THREAD, PageNumber(now), Microseconds(came), Microseconds(now));
    }

    fn ran_since(pace: &Pace, lost: u64) -> u64 {
        pace.ran_since(THREAD, Microseconds(lost)).0
    }

    #[test]
    fn waiting_for_pages_is_no_running_however_long() {
        let mut pace = Pace::default();
        fault(&mut pace, 0, 1_000);
        for turn in 0..100 {
            // Each page takes 900 us to come, and then the thread runs for 100 us.
            fault(&mut pace, 1_900 + turn * 1_000, 2_000 + turn * 1_000);
        }
        assert_eq!((ran_since(&pace, 1_001), ran_since(&pace, 50_000)), (100, 100));
    }

    #[test]
    fn a_stretch_counts_as_far_as_it_came_after_the_loss() {
        let mut pace = Pace::default();
        fault(&mut pace, 0, 1_000);
        fault(&mut pace, 1_100, 5_000);
        fault(&mut pace, 5_100, 5_200);
        assert_eq!(ran_since(&pace, 1_100), 3_900);
        assert_eq!(ran_since(&pace, 4_700), 300);
        assert_eq!(ran_since(&pace, 5_190), 10);
    }

    #[test]
    fn what_is_not_known_is_long() {
        let mut pace = Pace::default();
        assert_eq!(ran_since(&pace, 500), Microseconds::MAX.0);
        fault(&mut pace, 0, 1_000);
        assert_eq!((ran_since(&pace, 500), ran_since(&pace, 0)), (500, Microseconds::MAX.0));
        for number in 0..5_000 {
            pace.faulted(ThreadNumber(number), PageNumber(1), Microseconds(0), Microseconds(2_000));
            assert!(pace.0.len() <= THREADS_MAX);
        }
    }
}
