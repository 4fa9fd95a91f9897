//! Which pages to ask for before a thread wants them.
//!
//! A few ascending streams of faults are followed at a time. The second fault of a stream asks for a small
//! window along with the page, and every further one doubles the window and asks for some windows ahead.
//! Since a page that has arrived does not fault, each window is installed with its first page unmapped:
//! touching that marker is cheap and shows that the reader has begun the window, which is when the next one
//! has to be asked for. Thus the data of the windows ahead is always on its way while the reader is busy with
//! this one.
//!
//! Buffers are gone through again and again, from the same page and over the same length. So it is remembered
//! how far the streams got that began at a page, and a fault at such a page asks for all of that and nothing
//! beyond. The last page of it is a marker too: if it was not touched by the next time, the habit is
//! forgotten.

use alloc::vec::Vec;

use banyan_wire::ids::{PageNumber, Run};

use super::policy::Policy;

/// Streams followed at a time; the one that was idle longest makes room.
pub const STREAMS_MAX: usize = 16;
/// Beginnings of streams remembered; the one that was idle longest makes room.
const HABITS_MAX: usize = 64;
/// Shorter streams are no habit: a page or two are asked for soon enough without.
const HABIT_PAGES_MIN: u32 = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Stream {
    first: PageNumber,
    /// A fault from here on continues the stream ...
    next: PageNumber,
    /// ... up to here: the first page not yet asked for.
    asked: PageNumber,
    /// Streams from this page usually end before this one; if that is not known, the page after the first.
    end: PageNumber,
    window: u32,
    used: u64,
}

/// How far streams from a page usually go, up to the largest window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Habit {
    first: PageNumber,
    pages: u32,
    used: u64,
    /// It was relied upon, and the end has not been reached since.
    doubted: bool,
}

/// What to ask for because of one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pages to ask for in one request with the faulting page, itself included.
    pub demand: u32,
    /// Pages to ask for beyond, in requests of `window`; may be empty.
    pub ahead: Run,
    /// The length of one request ahead.
    pub window: u32,
}

/// The streams of one node's threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefetch {
    /// At most [`STREAMS_MAX`].
    streams: Vec<Stream>,
    /// At most [`HABITS_MAX`], no two of them for one page.
    habits: Vec<Habit>,
    faults: u64,
}

impl Prefetch {
    /// A thread faults at this page, or touches a marker. Pages from `limit` on are never asked for.
    pub fn fault(&mut self, policy: &Policy, page: PageNumber, limit: PageNumber) -> Plan {
        if policy.window_first == 0 {
            return Plan { demand: 1, ahead: Run { first: page.plus(1), count: 0 }, window: 1 };
        }
        self.faults += 1;
        let faults = self.faults;
        let room = limit.0.saturating_sub(page.0).max(1);
        let continues = |stream: &&mut Stream| stream.next <= page && page <= stream.asked;
        let Some(stream) = self.streams.iter_mut().find(continues) else {
            let habit = u64::from(self.habit(page).unwrap_or(1)).min(room) as u32;
            let demand = (habit - 1).max(1);
            let ahead = Run { first: page.plus(demand), count: habit - demand };
            let next = page.plus(1);
            // A stream that fills the largest window may go on for ever.
            let (end, window) = if habit < policy.window_max { (page.plus(habit), 0) } else { (next, habit) };
            self.follow(Stream { first: page, next, asked: ahead.end(), end, window, used: faults });
            return Plan { demand, ahead, window: 1 };
        };
        stream.used = faults;
        stream.next = page.plus(1);
        let (first, reached) = (stream.first, (page.0 - stream.first.0 + 1) as u32);
        let grown = if stream.window == 0 { policy.window_first } else { stream.window.saturating_mul(2) };
        let mut plan = Plan { demand: 1, ahead: Run { first: stream.asked, count: 0 }, window: 1 };
        // At the marker before the usual end there is nothing more to ask for.
        if stream.next != stream.end {
            stream.window = grown.min(policy.window_max).max(1);
            plan.window = stream.window;
            // Not beyond the usual end, until the stream itself goes beyond it.
            let room = if page < stream.end { room.min(stream.end.0 - page.0) } else { room };
            if page == stream.asked {
                plan.demand = u64::from(stream.window).min(room) as u32;
                stream.asked = page.plus(plan.demand);
            }
            // The second fault may be chance: go ahead only from the third on.
            let windows =
                if stream.window > policy.window_first { 1 + u64::from(policy.windows_ahead) } else { 0 };
            let wished = windows * u64::from(stream.window);
            let missing = (page.0 + wished.min(room)).saturating_sub(stream.asked.0);
            // Whole windows only, but for the last: what is left over would come back as a small request for
            // ever.
            let whole = if wished < room { missing - missing % u64::from(stream.window) } else { missing };
            plan.ahead = Run { first: stream.asked, count: whole as u32 };
            stream.asked = plan.ahead.end();
        }
        self.note(first, reached.min(policy.window_max));
        plan
    }

    /// Follows one more stream, in place of an earlier one from the same page.
    fn follow(&mut self, fresh: Stream) {
        if let Some(earlier) = self.streams.iter_mut().find(|stream| stream.first == fresh.first) {
            *earlier = fresh;
        } else if self.streams.len() < STREAMS_MAX {
            self.streams.push(fresh);
        } else if let Some(idle) = self.streams.iter_mut().min_by_key(|stream| stream.used) {
            *idle = fresh;
        }
    }

    /// How many pages a stream that begins here is expected to go through, if that is known and was right
    /// last time.
    fn habit(&mut self, first: PageNumber) -> Option<u32> {
        let place = self.habits.iter().position(|habit| habit.first == first)?;
        let habit = &mut self.habits[place];
        if core::mem::replace(&mut habit.doubted, true) {
            self.habits.swap_remove(place);
            return None;
        }
        habit.used = self.faults;
        Some(habit.pages)
    }

    /// A stream that began at `first` has got through `pages` pages.
    fn note(&mut self, first: PageNumber, pages: u32) {
        let used = self.faults;
        if let Some(habit) = self.habits.iter_mut().find(|habit| habit.first == first) {
            habit.doubted &= pages < habit.pages;
            habit.pages = habit.pages.max(pages);
            habit.used = used;
        } else if pages >= HABIT_PAGES_MIN {
            let fresh = Habit { first, pages, used, doubted: false };
            if self.habits.len() < HABITS_MAX {
                self.habits.push(fresh);
            } else if let Some(idle) = self.habits.iter_mut().min_by_key(|habit| habit.used) {
                *idle = fresh;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: PageNumber = PageNumber(1 << 30);

    #[test]
    fn a_sequential_reader_soon_faults_once_a_window() {
        let (policy, mut prefetch) = (Policy::default(), Prefetch::default());
        let (mut have, mut markers, mut faults) = (0, alloc::collections::BTreeSet::new(), 0);
        for page in 0..65_536_u64 {
            if page < have && !markers.contains(&page) {
                continue;
            }
            faults += 1;
            let plan = prefetch.fault(&policy, PageNumber(page), LIMIT);
            if page >= have {
                have = page + u64::from(plan.demand);
            }
            assert_eq!(plan.ahead.first.0, have.max(plan.ahead.first.0), "asks twice");
            markers.extend(
                (0..plan.ahead.count)
                    .step_by(plan.window as usize)
                    .map(|at| plan.ahead.first.0 + u64::from(at)),
            );
            have = have.max(plan.ahead.end().0);
        }
        assert!(faults < 300, "{faults} faults");
    }

    /// Goes through a buffer and returns how often that faulted without the page, and what was asked for
    /// beyond.
    fn go_through(prefetch: &mut Prefetch, first: u64, pages: u64) -> (u32, u64) {
        let policy = Policy::default();
        let (mut have, mut missed, mut beyond) = (first, 0, 0);
        let mut markers = alloc::collections::BTreeSet::new();
        for page in first..first + pages {
            if page < have && !markers.contains(&page) {
                continue;
            }
            missed += u32::from(page >= have);
            let plan = prefetch.fault(&policy, PageNumber(page), LIMIT);
            have = have.max(page + u64::from(plan.demand)).max(plan.ahead.end().0);
            let windows = (0..plan.ahead.count).step_by(plan.window as usize);
            markers.extend(windows.map(|at| plan.ahead.first.0 + u64::from(at)));
            beyond = beyond.max(have.saturating_sub(first + pages));
        }
        (missed, beyond)
    }

    #[test]
    fn a_buffer_that_is_gone_through_again_comes_in_one_piece_and_nothing_with_it() {
        let mut prefetch = Prefetch::default();
        let buffers = [(5_000, 32), (1_000, 8), (70_000, 200), (40_000, 33)];
        for (first, pages) in buffers {
            assert!(go_through(&mut prefetch, first, pages).0 > 1, "it cannot be known yet");
        }
        for round in 0..16 {
            for (first, pages) in buffers {
                let (missed, beyond) = go_through(&mut prefetch, first, pages);
                if round > 12 {
                    assert_eq!((missed, beyond), (1, 0), "{pages} pages, round {round}");
                }
            }
        }
        let long = (0..4).map(|_| go_through(&mut prefetch, 100_000, 2_000).0).collect::<Vec<_>>();
        assert!(long[3] < long[0], "{long:?}");
        // A shorter visit is noticed at the next.
        assert!(prefetch.fault(&Policy::default(), PageNumber(5_000), LIMIT).demand > 1);
        assert_eq!(prefetch.fault(&Policy::default(), PageNumber(5_000), LIMIT).demand, 1);
    }

    #[test]
    fn random_faults_ask_for_nothing_more_and_a_limit_is_kept() {
        let (policy, mut prefetch) = (Policy::default(), Prefetch::default());
        for step in 0..1000_u64 {
            let page = PageNumber(step * 7919 % 100_000 * 3);
            assert_eq!(prefetch.fault(&policy, page, LIMIT).ahead.count, 0);
        }
        for page in 0..100_u64 {
            let plan = prefetch.fault(&policy, PageNumber(1_000_000 + page), PageNumber(1_000_100));
            assert!(plan.ahead.end().0 <= 1_000_100 || plan.ahead.count == 0);
            assert!(1_000_000 + page + u64::from(plan.demand) <= 1_000_100);
        }
    }
}
