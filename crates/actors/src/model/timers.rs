//! Timers of a configuration: messages that come later. They move with it between hosts, and are kept with it
//! if it is durable.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use banyan_core::sponsors::SponsorId;

use serde::{Deserialize, Serialize};

use crate::model::address::Address;
use crate::model::message::Message;

/// Names one timer of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimerId(pub(crate) u64);

/// A message that comes later.
pub(crate) struct Timer {
    /// In nanoseconds of the system's clock.
    pub(crate) due: u64,
    pub(crate) target: Address,
    pub(crate) sponsor: SponsorId,
    pub(crate) message: Message,
}

#[derive(Default)]
pub(crate) struct Timers {
    /// The number given out last.
    pub(crate) last: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// By number: cancelled ones are not here any more.
    set: BTreeMap<u64, Timer>,
}

impl Timers {
    pub(crate) fn new_id(&mut self) -> TimerId {
        self.last += 1;
        TimerId(self.last)
    }

    pub(crate) fn set(&mut self, id: TimerId, timer: Timer) {
        self.due.push(Reverse((timer.due, id.0)));
        self.set.insert(id.0, timer);
    }

    /// One that is set.
    pub(crate) fn get(&self, id: TimerId) -> Option<&Timer> {
        self.set.get(&id.0)
    }

    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.set.remove(&id.0);
        // Cancelled entries are dropped when they are due, or when they are most of the heap.
        if self.due.len() > 64 && self.due.len() > 2 * self.set.len() {
            let set = &self.set;
            self.due.retain(|Reverse((_, id))| set.contains_key(id));
        }
    }

    /// When the next one is due, in nanoseconds of the system's clock; `u64::MAX` if there is none.
    #[inline]
    pub(crate) fn next_due(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((due, _))| *due)
    }

    /// Takes one that is due.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(TimerId, Timer)> {
        while self.next_due() <= now {
            let Reverse((_, id)) = self.due.pop()?;
            if let Some(timer) = self.set.remove(&id) {
                return Some((TimerId(id), timer));
            }
        }
        None
    }
}
