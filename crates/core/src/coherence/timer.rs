//! What a node has to look at again when nothing comes of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use banyan_wire::ids::{ExtentNumber, Microseconds, RequestNumber, Transaction};

/// Something to look at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// A request that this node sent.
    Request(RequestNumber),
    /// A transfer that this node, as owner, waits for.
    Transfer(ExtentNumber, Transaction),
    /// Pages given away.
    Retained(ExtentNumber, Transaction),
    /// Requests queued until a minimum hold time is over.
    Queue(ExtentNumber),
    /// A directory given to the next owner.
    HandOver(ExtentNumber),
    /// The discard under way of home in this extent.
    Discard(ExtentNumber),
}

/// The armed timers. There are few at a time (one for each thing under way), so that the earliest is found by
/// looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    armed: BTreeMap<Timer, Microseconds>,
}

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, deadline: Microseconds) {
        self.armed.insert(timer, deadline);
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        self.armed.remove(&timer);
    }

    pub(super) fn deadline(&self, timer: Timer) -> Option<Microseconds> {
        self.armed.get(&timer).copied()
    }

    pub(super) fn earliest(&self) -> Option<Microseconds> {
        self.armed.values().min().copied()
    }

    pub(super) fn take_due(&mut self, now: Microseconds) -> Vec<Timer> {
        let due: Vec<Timer> =
            self.armed.iter().filter(|(_, deadline)| **deadline <= now).map(|(timer, _)| *timer).collect();
        for timer in &due {
            self.armed.remove(timer);
        }
        due
    }

    pub(super) fn forget_times(&mut self) {
        self.armed.values_mut().for_each(|deadline| *deadline = Microseconds(1));
    }
}
