//! Views of the last quarter of an hour, bounded in number and in bytes: dense for a minute, sparse before.

use std::collections::VecDeque;
use std::sync::Arc;

/// Older views are dropped.
const KEPT_S: f64 = 900.0;
/// Within this time every view is kept.
const DENSE_S: f64 = 60.0;
/// Before it, about one for each 5 s.
const SPARSE_S: f64 = 4.5;
/// Bytes of all views together.
const BYTES_MAX: usize = 24 << 20;

/// A view that is kept.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Counts up.
    pub number: u64,
    /// When, in seconds since 1970.
    pub at_s: f64,
    /// As JSON.
    pub json: Arc<str>,
}

/// The views, oldest first.
#[derive(Debug, Default)]
pub struct History {
    moments: VecDeque<Moment>,
    next: u64,
    bytes: usize,
}

impl History {
    /// Keeps a view.
    pub fn push(&mut self, at_s: f64, json: Arc<str>) -> Moment {
        let moment = Moment { number: self.next, at_s, json };
        self.next += 1;
        self.bytes += moment.json.len();
        self.moments.push_back(moment.clone());
        self.thin(at_s);
        moment
    }

    /// The view that was the newest at a number, which may have been dropped: then the one before it.
    #[must_use]
    pub fn at(&self, number: u64) -> Option<&Moment> {
        let after = self.moments.partition_point(|moment| moment.number <= number);
        self.moments.get(after.checked_sub(1)?)
    }

    /// The newest view.
    #[must_use]
    pub fn latest(&self) -> Option<&Moment> {
        self.moments.back()
    }

    /// All of them, oldest first.
    pub fn moments(&self) -> impl Iterator<Item = &Moment> {
        self.moments.iter()
    }

    fn thin(&mut self, now: f64) {
        // The one that has just left the dense part goes if it is too close to the one before it.
        let leaving = self.moments.partition_point(|moment| now - moment.at_s > DENSE_S);
        let mut at = leaving;
        while at >= 2 {
            at -= 1;
            if self.moments[at].at_s - self.moments[at - 1].at_s >= SPARSE_S {
                break;
            }
            if let Some(dropped) = self.moments.remove(at) {
                self.bytes -= dropped.json.len();
            }
        }
        while self.moments.len() > 1
            && self.moments.front().is_some_and(|oldest| self.bytes > BYTES_MAX || now - oldest.at_s > KEPT_S)
        {
            if let Some(dropped) = self.moments.pop_front() {
                self.bytes -= dropped.json.len();
            }
        }
    }
}
