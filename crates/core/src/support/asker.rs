//! The end that acts only while others promise.
//!
//! Every round of questions begins with a write. Its record is the highest epoch that the questions may
//! have, so that after a restart none is asked at an epoch of before; and a node whose disk stands still
//! asks nobody, and is given up by all.

use super::{Effect, Incarnation, Mutation, SupportEpoch, SupportMessage, Terms};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use banyan_wire::cluster::MemberId;
use banyan_wire::ids::Microseconds;

/// What an asker has written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AskerRecord {
    /// It has asked nobody at a higher epoch.
    pub highest: SupportEpoch,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    epoch: SupportEpoch,
    /// By this node's clock; zero, if nothing was received at this epoch.
    until: Microseconds,
}

/// The support that one node has.
#[derive(Clone, Debug)]
pub struct Asker {
    terms: Terms,
    givers: BTreeMap<MemberId, Received>,
    first: SupportEpoch,
    highest: SupportEpoch,
    /// The highest epoch at which it may ask.
    durable: SupportEpoch,
    /// When it asks again.
    next: Microseconds,
    writes: u64,
    /// What the write says that a round waits for.
    writing: Option<SupportEpoch>,
    pub(super) mutation: Option<Mutation>,
}

impl Asker {
    /// A node that starts, with what it has written down before. What it was promised then is nothing now.
    #[must_use]
    pub fn new(terms: Terms, record: AskerRecord, mutation: Option<Mutation>) -> Self {
        let keeps = mutation == Some(Mutation::KeepAskingEpoch) && record != AskerRecord::default();
        let first = if keeps { record.highest } else { record.highest.next() };
        Self {
            terms,
            givers: BTreeMap::new(),
            first,
            highest: first,
            durable: record.highest,
            next: Microseconds(0),
            writes: 0,
            writing: None,
            mutation,
        }
    }

    /// Whom it asks: the members of all companies that it has anything in. What it has from others it loses.
    pub fn ask_of(&mut self, givers: &[MemberId]) {
        self.givers.retain(|giver, _| givers.contains(giver));
        let fresh = Received { epoch: self.highest, until: Microseconds(0) };
        for &giver in givers {
            self.givers.entry(giver).or_insert(fresh);
        }
    }

    /// Which start of the node this is, as soon as no later one can be taken for it.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        (self.durable >= self.first).then_some(Incarnation(self.first.0))
    }

    /// The epoch at which this giver supports the node now. Ask after every wait, not before: the time that
    /// was waited counts.
    #[must_use]
    pub fn supported(&self, giver: MemberId, now: Microseconds) -> Option<SupportEpoch> {
        let received = self.givers.get(&giver)?;
        (now < received.until).then_some(received.epoch)
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Microseconds {
        self.next
    }

    /// Time has passed: begins a round, if it is time and the last one got through the disk.
    pub fn tick(&mut self, now: Microseconds) -> Vec<Effect<AskerRecord>> {
        if now < self.next {
            return Vec::new();
        }
        self.next = Microseconds(now.0 + self.terms.every.0);
        let hasty = self.mutation == Some(Mutation::AskBeforePersist);
        if self.writing.is_some() && !hasty {
            return Vec::new();
        }
        self.writes += 1;
        self.writing = Some(self.highest);
        let record = AskerRecord { highest: self.highest };
        let mut effects = Vec::from([Effect::Persist { write: self.writes, record }]);
        if hasty {
            self.durable = self.highest;
            effects.extend(self.ask(now));
        }
        effects
    }

    /// This write is durable: the questions of the round go out.
    pub fn persisted(&mut self, write: u64, now: Microseconds) -> Vec<Effect<AskerRecord>> {
        if write != self.writes {
            return Vec::new();
        }
        let Some(written) = self.writing.take() else { return Vec::new() };
        self.durable = self.durable.max(written);
        self.ask(now)
    }

    /// An answer has come. Its time is this node's own, from the question.
    pub fn hear(&mut self, now: Microseconds, from: MemberId, message: SupportMessage) {
        let Some(received) = self.givers.get_mut(&from) else { return };
        match message {
            SupportMessage::Given { epoch, asked_us } => {
                let is_ours = epoch == received.epoch || self.mutation == Some(Mutation::TakeAnyAnswer);
                if is_ours && asked_us <= now.0 {
                    let late = self.mutation == Some(Mutation::CountFromAnswer);
                    let from = if late { now.0 } else { asked_us };
                    received.until = received.until.max(Microseconds(from + self.terms.term.0));
                }
            }
            SupportMessage::Over { epoch } if epoch > received.epoch && epoch <= SupportEpoch::LAST => {
                *received = Received { epoch, until: Microseconds(0) };
                self.highest = self.highest.max(epoch);
                // It need not wait to be supported again.
                self.next = now;
            }
            SupportMessage::Over { .. } | SupportMessage::Ask { .. } => {}
        }
    }

    fn ask(&self, now: Microseconds) -> Vec<Effect<AskerRecord>> {
        let may = self.givers.iter().filter(|(_, received)| received.epoch <= self.durable);
        may.map(|(&to, received)| {
            let message = SupportMessage::Ask { epoch: received.epoch, asked_us: now.0 };
            Effect::Send { to, message }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::SupportMessage::{Ask, Given, Over};

    const GIVER: MemberId = MemberId([7; 10]);

    fn asker(highest: u64) -> Asker {
        let record = AskerRecord { highest: SupportEpoch(highest) };
        let mut asker = Asker::new(Terms::default(), record, None);
        asker.ask_of(&[GIVER]);
        asker
    }

    fn persist(write: u64, highest: u64) -> Effect<AskerRecord> {
        Effect::Persist { write, record: AskerRecord { highest: SupportEpoch(highest) } }
    }

    fn ask(epoch: u64, asked_us: u64) -> Effect<AskerRecord> {
        Effect::Send { to: GIVER, message: Ask { epoch: SupportEpoch(epoch), asked_us } }
    }

    #[test]
    fn a_disk_that_stands_still_asks_nobody_and_support_counts_from_the_question() {
        let mut asker = asker(4);
        assert_eq!(asker.tick(Microseconds(0)), [persist(1, 5)]);
        assert_eq!(asker.incarnation(), None);
        assert_eq!(asker.tick(Microseconds(3_000_000)), []);
        assert_eq!(asker.persisted(1, Microseconds(3_000_100)), [ask(5, 3_000_100)]);
        assert_eq!(asker.incarnation(), Some(Incarnation(5)));
        let epoch = SupportEpoch(5);
        asker.hear(Microseconds(4_000_000), GIVER, Given { epoch, asked_us: 3_000_100 });
        assert_eq!(asker.supported(GIVER, Microseconds(5_000_099)), Some(epoch));
        assert_eq!(asker.supported(GIVER, Microseconds(5_000_100)), None);
    }

    #[test]
    fn what_is_over_is_over_and_no_late_answer_brings_it_back() {
        let mut asker = asker(0);
        let _ = asker.tick(Microseconds(0));
        let _ = asker.persisted(1, Microseconds(1));
        let given = Given { epoch: SupportEpoch(1), asked_us: 1 };
        asker.hear(Microseconds(2), GIVER, given);
        asker.hear(Microseconds(3), GIVER, Over { epoch: SupportEpoch(2) });
        asker.hear(Microseconds(4), GIVER, given);
        assert_eq!(asker.supported(GIVER, Microseconds(4)), None);
        // It asks again at once, at the new epoch, which is durable first.
        assert_eq!(asker.tick(Microseconds(4)), [persist(2, 2)]);
        assert_eq!(asker.persisted(2, Microseconds(5)), [ask(2, 5)]);
        // From before it started: another clock's time.
        asker.hear(Microseconds(6), GIVER, Given { epoch: SupportEpoch(2), asked_us: 7 });
        assert_eq!(asker.supported(GIVER, Microseconds(6)), None);
    }
}
