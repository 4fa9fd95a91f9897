//! [`Changed`]: what a durable configuration has changed since its last commit, noted by its events and
//! written by `durable`.

use std::collections::BTreeSet;

use super::event::Event;
use super::running::RunningConfiguration;
use crate::model::durable_address::Token;
use crate::model::timers::TimerId;

/// What the next commit has to write.
pub(crate) struct Changed {
    /// Who the configuration is to the ledger.
    pub(crate) who: Token,
    /// Slots whose actors changed, began or ended.
    pub(crate) slots: BTreeSet<u32>,
    /// Timers that were set, cancelled or fired.
    pub(crate) timers: BTreeSet<TimerId>,
    /// Events were put at the front of the queue: what is stored of it is out of order.
    pub(crate) reordered: bool,
}

impl Changed {
    pub(crate) fn new(who: Token) -> Self {
        Self { who, slots: BTreeSet::new(), timers: BTreeSet::new(), reordered: false }
    }
}

impl RunningConfiguration {
    /// What is stored of the queue is not what it will be.
    pub(super) fn reorder(&mut self) {
        if let Some(changed) = &mut self.changed {
            changed.reordered = true;
        }
    }

    /// Puts events before all that wait, in their order.
    pub(crate) fn put_first(
        &mut self,
        events: impl IntoIterator<Item = Event, IntoIter: DoubleEndedIterator>,
    ) {
        events.into_iter().rev().for_each(|event| self.queue.push_front(event));
        self.reorder();
    }
}
