//! Timers of a configuration: messages that come later. They move with it between hosts, and are kept with it
//! if it is durable.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use banyan_core::sponsors::SponsorId;

use serde::{Deserialize, Serialize};

use crate::model::address::{Address, Local, Place};
use crate::model::message::Message;
use crate::mutation::{Mutation, makes};

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

/// The message of a timer that was due, until its event has completed: it can still be cancelled.
pub(crate) struct Due {
    pub(crate) id: TimerId,
    pub(crate) message: Message,
}

/// A timer of this configuration that was due, and for which actor.
struct Fired {
    owner: Option<Local>,
    target: Local,
}

/// What a timer was when it was to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// Set: it is no more.
    Set,
    /// Due: its event waits, and is dropped when it is met.
    Due,
    /// Gone already, or another actor's.
    Not,
}

#[derive(Default)]
pub(crate) struct Timers {
    /// The number given out last.
    pub(crate) last: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// By number: cancelled ones are not here any more.
    set: BTreeMap<u64, Timer>,
    /// Those whose events wait, wherever that is; the event of one that is not here any more was cancelled.
    fired: BTreeMap<u64, Fired>,
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

    /// Cancels a timer for an actor: the one that set it, or the one it is for. Of a timer that was kept it
    /// is not known who set it.
    pub(crate) fn cancel(&mut self, id: TimerId, by: Local) -> Cancelled {
        if let Some(timer) = self.set.get(&id.0) {
            let is_for = matches!(timer.target.0, Place::Local(target) if target == by);
            if !is_for && !makes(Mutation::AnyoneCancels) && timer.owner.is_some_and(|owner| owner != by) {
                return Cancelled::Not;
            }
            self.take_out(id);
            return Cancelled::Set;
        }
        let may = |fired: &Fired| fired.target == by || fired.owner.is_none_or(|owner| owner == by);
        if self.fired.get(&id.0).is_some_and(may) {
            self.fired.remove(&id.0);
            return Cancelled::Due;
        }
        Cancelled::Not
    }

    fn take_out(&mut self, id: TimerId) {
        self.set.remove(&id.0);
        // Cancelled entries are dropped when they are due, or when they are most of the heap.
        if self.due.len() > 64 && self.due.len() > 2 * self.set.len() {
            let set = &self.set;
            self.due.retain(|Reverse((_, id))| set.contains_key(id));
        }
    }

    /// Cancels all that an actor has set for itself; gives those that were still set, and whether events of
    /// others wait.
    pub(crate) fn cancel_own(&mut self, actor: Local) -> (Vec<TimerId>, Cancelled) {
        let own = self.set.iter().filter(|(_, timer)| timer.is_own(actor));
        let own: Vec<TimerId> = own.map(|(id, _)| TimerId(*id)).collect();
        own.iter().for_each(|id| self.take_out(*id));
        let before = self.fired.len();
        self.fired.retain(|_, fired| fired.owner != Some(actor) || fired.target != actor);
        (own, if self.fired.len() == before { Cancelled::Not } else { Cancelled::Due })
    }

    /// The event of a timer begins to wait.
    pub(crate) fn note_fired(&mut self, id: TimerId, owner: Option<Local>, target: Local) {
        self.fired.insert(id.0, Fired { owner, target });
    }

    /// Whether the event of a timer was not cancelled.
    pub(crate) fn is_wanted(&self, id: TimerId) -> bool {
        self.fired.contains_key(&id.0)
    }

    /// The event of a timer waits no more.
    pub(crate) fn forget(&mut self, id: TimerId) {
        self.fired.remove(&id.0);
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
