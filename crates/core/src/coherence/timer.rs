//! What a node has to look at again when nothing comes of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use banyan_wire::ids::{ExtentNumber, Microseconds, NodeId, RequestNumber, Transaction};

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
    /// The sweep under way of home at this node.
    Sweep(NodeId),
}

/// The armed timers: one for each thing under way, which can be many when much memory is freed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Timers {
    deadlines: BTreeMap<Timer, Microseconds>,
    /// The same, in the order in which they are due.
    order: BTreeSet<(Microseconds, Timer)>,
}

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, deadline: Microseconds) {
        if let Some(before) = self.deadlines.insert(timer, deadline) {
            self.order.remove(&(before, timer));
        }
        self.order.insert((deadline, timer));
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(deadline) = self.deadlines.remove(&timer) {
            self.order.remove(&(deadline, timer));
        }
    }

    pub(super) fn deadline(&self, timer: Timer) -> Option<Microseconds> {
        self.deadlines.get(&timer).copied()
    }

    pub(super) fn earliest(&self) -> Option<Microseconds> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn take_due(&mut self, now: Microseconds) -> Vec<Timer> {
        let mut due = Vec::new();
        while let Some((_, timer)) = self.order.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.cancel(timer);
            due.push(timer);
        }
        due
    }

    pub(super) fn forget_times(&mut self) {
        let at = Microseconds(1);
        self.deadlines.values_mut().for_each(|deadline| *deadline = at);
        self.order = self.deadlines.keys().map(|timer| (at, *timer)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_in_their_order_and_arming_again_moves_them() {
        let (mut timers, discard) = (Timers::default(), |number| Timer::Discard(ExtentNumber(number)));
        for number in 0..100 {
            timers.arm(discard(number), Microseconds(1_000 - number));
        }
        timers.arm(discard(99), Microseconds(5_000));
        timers.cancel(discard(98));
        assert_eq!(timers.earliest(), Some(Microseconds(903)));
        assert_eq!(timers.take_due(Microseconds(904)), [discard(97), discard(96)]);
        assert_eq!(timers.take_due(Microseconds(4_999)).len(), 96);
        assert_eq!(
            (timers.earliest(), timers.deadline(discard(99))),
            (Some(Microseconds(5_000)), Some(Microseconds(5_000)))
        );
        timers.forget_times();
        assert_eq!(timers.take_due(Microseconds(1)), [discard(99)]);
        assert_eq!(timers, Timers::default());
    }
}
