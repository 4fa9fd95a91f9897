//! [`LedgerChange`]: changes to the ledger that events ask for, and [`Reported`]: what the ledger has done of
//! those that durable configurations have committed.
//!
//! The ledger is a receiver of a durable configuration's outbox like any other. Its changes are numbered and
//! committed with the configuration, and carried out then; a ledger that is kept writes the last number with
//! what it has changed, in one commit. Each number is taken once.

use banyan_core::sponsors::{Quota, SponsorId};
use serde::{Deserialize, Serialize};

use crate::model::durable_address::Token;
use crate::sponsors::accounts::{Accounts, Controller, Freed};

/// A change to the ledger that a completed event has asked for.
pub(crate) enum LedgerChange {
    /// An event of a durable configuration has made a sponsor. The ledger has it already: this makes it last.
    Made(SponsorId),
    /// Give what was set aside.
    Give { from: SponsorId, to: SponsorId, amount: Quota },
    /// The same after the end of the process that had set it aside: it counts as consumed.
    GiveConsumed { from: SponsorId, to: SponsorId, amount: Quota },
    /// Start a sponsor, and who is signalled when it is exhausted.
    Start(SponsorId, Controller),
    /// Stop a sponsor; its quota goes to the heir.
    Stop(SponsorId, SponsorId),
}

impl LedgerChange {
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self, Self::Stop(..))
    }
}

/// What a durable configuration has told the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reported {
    /// The configuration, as its identity names it.
    who: Token,
    /// The number of its last change that was carried out.
    last: u64,
    /// Sponsors that its events have made, as index and generation, of which the ledger does not know that it
    /// has committed them.
    made: Vec<(u32, u32)>,
}

impl Reported {
    #[cfg(test)]
    pub(super) fn of(who: Token, last: u64, made: Vec<(u32, u32)>) -> Self {
        Self { who, last, made }
    }

    /// The sponsor lasts, or is gone.
    pub(crate) fn confirm(&mut self, id: SponsorId) {
        self.made.retain(|made| *made != (id.index, id.generation));
    }
}

impl Accounts {
    fn reported_by(&mut self, who: &Token) -> &mut Reported {
        let place = self.reported.iter().position(|reported| reported.who == *who).unwrap_or_else(|| {
            self.reported.push(Reported { who: *who, last: 0, made: Vec::new() });
            self.reported.len() - 1
        });
        &mut self.reported[place]
    }

    /// The number of the last change of a configuration that was carried out.
    pub(crate) fn last_reported(&self, who: &Token) -> u64 {
        self.reported.iter().find(|reported| reported.who == *who).map_or(0, |reported| reported.last)
    }

    /// Whether budgets are kept, still.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some() && self.unkept.is_none()
    }

    /// An event of a durable configuration has made a sponsor: gone again after a crash, unless that has
    /// committed it.
    pub(crate) fn made_by(&mut self, who: &Token, id: SponsorId) {
        self.reported_by(who).made.push((id.index, id.generation));
    }

    /// Carries out what a configuration has committed, unless that was done before.
    pub(crate) fn tell(&mut self, who: &Token, changes: Vec<(u64, LedgerChange)>, freed: &mut Vec<Freed>) {
        for (sequence, change) in changes {
            let reported = self.reported_by(who);
            if sequence > reported.last {
                reported.last = sequence;
                self.changed = true;
                self.carry_out_change(change, freed);
            }
        }
    }

    /// Unmakes what events of a configuration have made that were never committed. What was committed has
    /// been told.
    pub(crate) fn unmake(&mut self, who: &Token) {
        for (index, generation) in std::mem::take(&mut self.reported_by(who).made) {
            self.discard(SponsorId { index, generation });
            self.changed = true;
        }
    }

    /// Carries out a change that an event has asked for.
    pub(crate) fn carry_out_change(&mut self, change: LedgerChange, freed: &mut Vec<Freed>) {
        match change {
            LedgerChange::Made(id) => self.reported.iter_mut().for_each(|reported| reported.confirm(id)),
            LedgerChange::Give { from, to, amount } => {
                self.ledger.transfer_leased(from, to, amount);
                self.changed = true;
                self.end_aside(from, Quota::ZERO, Quota::ZERO, freed);
            }
            LedgerChange::GiveConsumed { from, to, amount } => {
                if self.ledger.transfer_consumed(from, to, amount) {
                    if let Some(kept) = &mut self.kept {
                        kept.uncover(from, amount);
                    }
                } else {
                    self.complaints
                        .push("a committed transfer is more than its donor had: it is not made".into());
                }
            }
            LedgerChange::Start(sponsor, controller) => self.start(sponsor, Some(controller), freed),
            LedgerChange::Stop(sponsor, heir) => self.stop(sponsor, heir, freed),
        }
    }

    /// A change that will not be carried out in this process. What it had set aside is its donor's again, or
    /// counts as consumed if the change may be committed all the same.
    pub(crate) fn drop_change(&mut self, change: &LedgerChange, give_back: bool, freed: &mut Vec<Freed>) {
        match change {
            LedgerChange::Give { from, amount, .. } => {
                let left = if give_back { *amount } else { Quota::ZERO };
                self.end_aside(*from, *amount, left, freed);
            }
            LedgerChange::Made(id) if give_back => {
                self.changed = true;
                self.discard(*id);
            }
            _ => {}
        }
    }

    fn end_aside(&mut self, from: SponsorId, aside: Quota, left: Quota, freed: &mut Vec<Freed>) {
        let verdict = self.ledger.settle(from, aside, left, 0);
        self.carry_out(from, verdict, freed);
    }
}
