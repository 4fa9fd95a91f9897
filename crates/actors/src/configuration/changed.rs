//! [`Changed`]: what a durable configuration has changed since its last commit, noted by its events and
//! written by `durable`.

use std::collections::BTreeSet;

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
