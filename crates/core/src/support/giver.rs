//! The end that promises.
//!
//! What is written for a pair is its epoch and whether anything is promised at it, not until when: so a
//! promise that is only extended costs no write, and a giver that restarts keeps each one for its whole
//! length anew.

use super::{Effect, Mutation, SupportEpoch, SupportMessage, Terms};
use crate::membership::MEMBERS_MAX;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use banyan_wire::cluster::MemberId;
use banyan_wire::ids::Microseconds;

/// What a giver has written down about one asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GiverRecord {
    /// Who asks.
    pub asker: MemberId,
    /// The lowest epoch at which it may be supported.
    pub epoch: SupportEpoch,
    /// Whether it may believe that it is.
    pub standing: Standing,
}

/// Whether anything is promised at an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Standing {
    /// It may be.
    Given,
    /// Not yet.
    Nothing,
}

#[derive(Clone, Debug)]
struct Promise {
    epoch: SupportEpoch,
    /// Until when by this node's clock, if anything is promised.
    until: Option<Microseconds>,
}

/// The promises of one node.
#[derive(Clone, Debug)]
pub struct Giver {
    terms: Terms,
    promises: BTreeMap<MemberId, Promise>,
    /// The last write asked for, and the last one that is durable.
    writes: u64,
    durable: u64,
    /// What waits for a write, in order: for each asker one answer at most, the last.
    waiting: VecDeque<(u64, Effect<GiverRecord>)>,
    mutation: Option<Mutation>,
}

impl Giver {
    /// A node that starts, with what it has written down before. What is over is told again: whether it was
    /// heard before, nobody knows.
    #[must_use]
    pub fn new(
        terms: Terms,
        now: Microseconds,
        records: impl IntoIterator<Item = GiverRecord>,
        mutation: Option<Mutation>,
    ) -> (Self, Vec<Effect<GiverRecord>>) {
        let mut giver = Self {
            terms,
            promises: BTreeMap::new(),
            writes: 0,
            durable: 0,
            waiting: VecDeque::new(),
            mutation,
        };
        let mut effects = Vec::new();
        for GiverRecord { asker, epoch, standing } in records {
            let kept = if mutation == Some(Mutation::ForgetPromises) { 0 } else { giver.kept() };
            let until = (standing == Standing::Given).then_some(Microseconds(now.0 + kept));
            giver.promises.insert(asker, Promise { epoch, until });
            effects.push(Effect::Over { asker, below: epoch });
        }
        (giver, effects)
    }

    /// The epoch at which a node may believe that it has this one's support.
    #[must_use]
    pub fn promised(&self, asker: MemberId) -> Option<SupportEpoch> {
        let promise = self.promises.get(&asker)?;
        promise.until.map(|_| promise.epoch)
    }

    /// When [`Self::tick`] has something to do, if nothing is heard before.
    #[must_use]
    pub fn next_tick(&self) -> Option<Microseconds> {
        self.promises.values().filter_map(|promise| promise.until).min()
    }

    /// A question has come, from a node that proved who it is.
    pub fn hear(
        &mut self,
        now: Microseconds,
        from: MemberId,
        epoch: SupportEpoch,
        asked_us: u64,
    ) -> Vec<Effect<GiverRecord>> {
        let mut effects = Vec::new();
        let is_new = !self.promises.contains_key(&from);
        if epoch > SupportEpoch::LAST || is_new && self.promises.len() >= MEMBERS_MAX {
            return effects;
        }
        let until = Some(Microseconds(now.0 + self.kept()));
        let promise = self.promises.entry(from).or_insert(Promise { epoch, until: None });
        let before = promise.epoch;
        if epoch < before && self.mutation != Some(Mutation::PromiseOldEpoch) {
            self.answer(from, SupportMessage::Over { epoch: before }, &mut effects);
            return effects;
        }
        let is_written = promise.until.is_some() && epoch <= before;
        // A clock that has not moved since must not shorten what is promised.
        promise.until = promise.until.max(until);
        promise.epoch = epoch.max(before);
        if !is_written {
            let record = GiverRecord { asker: from, epoch: promise.epoch, standing: Standing::Given };
            self.persist(record, &mut effects);
        }
        if epoch > before {
            // The asker itself has given up what was before: it restarted.
            self.over(from, epoch, &mut effects);
        }
        self.answer(from, SupportMessage::Given { epoch, asked_us }, &mut effects);
        effects
    }

    /// Time has passed: takes back what was promised long enough ago.
    pub fn tick(&mut self, now: Microseconds) -> Vec<Effect<GiverRecord>> {
        let is_over = |promise: &Promise| promise.until.is_some_and(|until| until <= now);
        let over: Vec<MemberId> =
            self.promises.iter().filter(|(_, promise)| is_over(promise)).map(|(asker, _)| *asker).collect();
        let mut effects = Vec::new();
        for asker in over {
            let Some(promise) = self.promises.get_mut(&asker) else { continue };
            let below = promise.epoch.next();
            promise.until = None;
            if self.mutation != Some(Mutation::KeepEpoch) {
                promise.epoch = below;
            }
            let record = GiverRecord { asker, epoch: promise.epoch, standing: Standing::Nothing };
            self.persist(record, &mut effects);
            self.over(asker, below, &mut effects);
        }
        effects
    }

    /// This write is durable, and all before it.
    pub fn persisted(&mut self, write: u64) -> Vec<Effect<GiverRecord>> {
        self.durable = self.durable.max(write.min(self.writes));
        let ready = self.waiting.partition_point(|(after, _)| *after <= self.durable);
        self.waiting.drain(..ready).map(|(_, effect)| effect).collect()
    }

    fn kept(&self) -> u64 {
        if self.mutation == Some(Mutation::IgnoreDrift) { self.terms.term.0 } else { self.terms.kept() }
    }

    fn persist(&mut self, record: GiverRecord, effects: &mut Vec<Effect<GiverRecord>>) {
        self.writes += 1;
        effects.push(Effect::Persist { write: self.writes, record });
    }

    fn answer(&mut self, to: MemberId, message: SupportMessage, effects: &mut Vec<Effect<GiverRecord>>) {
        self.waiting.retain(|(_, effect)| !matches!(effect, Effect::Send { to: other, .. } if *other == to));
        let at_once = self.mutation == Some(Mutation::PromiseBeforePersist);
        self.after_writes(Effect::Send { to, message }, at_once, effects);
    }

    fn over(&mut self, asker: MemberId, below: SupportEpoch, effects: &mut Vec<Effect<GiverRecord>>) {
        let is_same =
            |effect: &Effect<_>| matches!(effect, Effect::Over { asker: other, .. } if *other == asker);
        self.waiting.retain(|(_, effect)| !is_same(effect));
        let at_once = self.mutation == Some(Mutation::OverBeforePersist);
        self.after_writes(Effect::Over { asker, below }, at_once, effects);
    }

    /// Has it done when all is durable that was asked for so far.
    fn after_writes(
        &mut self,
        effect: Effect<GiverRecord>,
        at_once: bool,
        effects: &mut Vec<Effect<GiverRecord>>,
    ) {
        if self.durable >= self.writes || at_once {
            effects.push(effect);
        } else {
            self.waiting.push_back((self.writes, effect));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::SupportMessage::{Given, Over};

    const ASKER: MemberId = MemberId([7; 10]);
    const FIRST: SupportEpoch = SupportEpoch(1);

    fn giver(records: &[GiverRecord]) -> (Giver, Vec<Effect<GiverRecord>>) {
        Giver::new(Terms::default(), Microseconds(0), records.iter().copied(), None)
    }

    fn given(epoch: SupportEpoch, asked_us: u64) -> Effect<GiverRecord> {
        Effect::Send { to: ASKER, message: Given { epoch, asked_us } }
    }

    fn persist(write: u64, epoch: u64, standing: Standing) -> Effect<GiverRecord> {
        Effect::Persist { write, record: GiverRecord { asker: ASKER, epoch: SupportEpoch(epoch), standing } }
    }

    #[test]
    fn the_first_promise_waits_for_the_disk_and_the_next_ones_cost_no_write() {
        let (mut giver, _) = giver(&[]);
        let hear = |giver: &mut Giver, now| giver.hear(Microseconds(now), ASKER, FIRST, now + 5);
        assert_eq!(hear(&mut giver, 1), [persist(1, 1, Standing::Given)]);
        // The disk stands still: the newest answer is the one that waits.
        assert_eq!(hear(&mut giver, 2), []);
        assert_eq!(giver.persisted(1), [given(FIRST, 7)]);
        assert_eq!(hear(&mut giver, 3), [given(FIRST, 8)]);
    }

    #[test]
    fn what_is_taken_back_is_durable_before_it_is_told_and_never_given_again() {
        let (mut giver, _) = giver(&[]);
        let _ = giver.hear(Microseconds(0), ASKER, FIRST, 0);
        let _ = giver.persisted(1);
        let until = giver.next_tick().unwrap();
        assert_eq!(until, Microseconds(2_020_101), "the term, by the fastest clock against the slowest");
        assert_eq!(giver.tick(Microseconds(until.0 - 1)), []);
        assert_eq!(giver.tick(until), [persist(2, 2, Standing::Nothing)]);
        assert_eq!(giver.hear(until, ASKER, FIRST, 9), []);
        let over = Effect::Over { asker: ASKER, below: SupportEpoch(2) };
        let refused = Effect::Send { to: ASKER, message: Over { epoch: SupportEpoch(2) } };
        assert_eq!(giver.persisted(2), [over, refused]);
    }

    #[test]
    fn a_restart_keeps_promises_for_their_whole_length_and_says_again_what_is_over() {
        let epoch = SupportEpoch(4);
        let (mut giver, effects) = giver(&[GiverRecord { asker: ASKER, epoch, standing: Standing::Given }]);
        assert_eq!(effects, [Effect::Over { asker: ASKER, below: epoch }]);
        assert_eq!(giver.promised(ASKER), Some(epoch));
        assert_eq!(giver.tick(Microseconds(2_020_100)), []);
        assert_ne!(giver.tick(Microseconds(2_020_101)), []);
    }

    #[test]
    fn a_foreign_epoch_that_could_not_be_raised_is_not_answered() {
        let (mut giver, _) = giver(&[]);
        assert_eq!(giver.hear(Microseconds(0), ASKER, SupportEpoch(u64::MAX), 0), []);
    }
}
