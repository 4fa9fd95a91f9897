//! Timers of a configuration: messages that come later. They move with it between hosts, and are kept with it
//! if it is durable.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use banyan_core::sponsors::SponsorId;

use serde::{Deserialize, Serialize};

use crate::model::address::{Address, Local, Place};
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
    /// The actor that set it; not known of one that was kept.
    pub(crate) owner: Option<Local>,
}

impl Timer {
    /// Whether an actor has set it for itself.
    pub(crate) fn is_own(&self, actor: Local) -> bool {
        self.owner == Some(actor) && matches!(self.target.0, Place::Local(target) if target == actor)
    }
}

/// The message of a timer that was due, until its event is dispatched: it can still be cancelled.
pub(crate) struct Due {
    pub(crate) id: TimerId,
    /// The actor that set the timer for itself, if it did.
    pub(crate) own: Option<Local>,
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

    /// Those that an actor has set for itself.
    pub(crate) fn own_of(&self, actor: Local) -> Vec<TimerId> {
        let own = self.set.iter().filter(|(_, timer)| timer.is_own(actor));
        own.map(|(id, _)| TimerId(*id)).collect()
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
