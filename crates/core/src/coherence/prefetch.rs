//! Which pages to ask for before a thread wants them.
//!
//! A few ascending streams of faults are followed at a time. The second fault of a stream asks for a small window along
//! with the page, and every further one doubles the window and asks for some windows ahead. Since a page that has
//! arrived does not fault, each window is installed with its first page unmapped: touching that marker is cheap and
//! shows that the reader has begun the window, which is when the next one has to be asked for. Thus the data of the
//! windows ahead is always on its way while the reader is busy with this one.

use alloc::vec::Vec;

use banyan_wire::address::{PageNumber, Run};

use super::policy::Policy;

/// Streams followed at a time; the one that was idle longest makes room.
pub const STREAMS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Stream {
    /// A fault from here on continues the stream ...
    next: PageNumber,
    /// ... up to here: the first page not yet asked for.
    asked: PageNumber,
    window: u32,
    used: u64,
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
    faults: u64,
}

impl Prefetch {
    /// A thread faults at this page, or touches a marker. Pages from `limit` on are never asked for.
    pub fn fault(&mut self, policy: &Policy, page: PageNumber, limit: PageNumber) -> Plan {
        let only = Plan { demand: 1, ahead: Run { first: page.plus(1), count: 0 }, window: 1 };
        if policy.window_first == 0 {
            return only;
        }
        self.faults += 1;
        let faults = self.faults;
        let continues = |stream: &&mut Stream| stream.next <= page && page <= stream.asked;
        let Some(stream) = self.streams.iter_mut().find(continues) else {
            let fresh = Stream { next: page.plus(1), asked: page.plus(1), window: 0, used: faults };
            if self.streams.len() < STREAMS_MAX {
                self.streams.push(fresh);
            } else if let Some(idle) = self.streams.iter_mut().min_by_key(|stream| stream.used) {
                *idle = fresh;
            }
            return only;
        };
        stream.used = faults;
        let grown = if stream.window == 0 { policy.window_first } else { stream.window.saturating_mul(2) };
        stream.window = grown.min(policy.window_max).max(1);
        stream.next = page.plus(1);
        let room = limit.0.saturating_sub(page.0).max(1);
        let mut demand = 1;
        if page == stream.asked {
            demand = u64::from(stream.window).min(room) as u32;
            stream.asked = page.plus(demand);
        }
        // The second fault may be chance: go ahead only from the third on.
        let windows =
            if stream.window > policy.window_first { 1 + u64::from(policy.windows_ahead) } else { 0 };
        let wished = windows * u64::from(stream.window);
        let missing = (page.0 + wished.min(room)).saturating_sub(stream.asked.0);
        // Whole windows only, but for the last: what is left over would come back as a small request for ever.
        let whole = if wished < room { missing - missing % u64::from(stream.window) } else { missing };
        let ahead = Run { first: stream.asked, count: whole as u32 };
        stream.asked = ahead.end();
        Plan { demand, ahead, window: stream.window }
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
