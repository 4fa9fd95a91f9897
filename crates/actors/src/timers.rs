//! Timers of a configuration: messages that come later. They move with it between hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use banyan_core::sponsors::SponsorId;

use crate::address::Address;
use crate::message::Message;

/// Names one timer of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub(crate) u64);

#[derive(Default)]
pub(crate) struct Timers {
    next: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// By number: cancelled ones are not here any more.
    set: BTreeMap<u64, (Address, SponsorId, Message)>,
}

impl Timers {
    pub(crate) fn new_id(&mut self) -> TimerId {
        self.next += 1;
        TimerId(self.next)
    }

    pub(crate) fn set(
        &mut self,
        id: TimerId,
        due: u64,
        target: Address,
        sponsor: SponsorId,
        message: Message,
    ) {
        self.due.push(Reverse((due, id.0)));
        self.set.insert(id.0, (target, sponsor, message));
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
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(Address, SponsorId, Message)> {
        while self.next_due() <= now {
            let Reverse((_, id)) = self.due.pop()?;
            if let Some(timer) = self.set.remove(&id) {
                return Some(timer);
            }
        }
        None
    }
}
