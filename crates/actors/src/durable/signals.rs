//! [`Signals`]: the signals to controllers of exhausted sponsors, until those that are durable have committed
//! it.
//!
//! The ledger sends to a durable controller as another durable configuration would: it has an identity, and
//! with that a stream to each configuration, whose messages are numbered, kept in its store with the state
//! that they tell of, and sent again when the receiver is opened, here or in a process that a router has
//! joined, until the receiver has committed them. So one exhaustion is signalled once, whatever is killed
//! between the ledger's write and the controller's commit.
//!
//! Not here: signals of ledgers that are not kept, and to controllers that end with their process. They are
//! sent once.
//!
//! Sending is in `system::signalling`.

use std::collections::BTreeMap;

use banyan_core::sponsors::SponsorId;
use serde::{Deserialize, Serialize};

use crate::durable::identity::Identity;
use crate::durable::stored::{StoredAddress, StoredController};
use crate::model::durable_address::{DurableAddress, Token};
use crate::sponsors::sponsor::Signal;

/// A signal that its receiver has not committed, as far as the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    controller: StoredController,
    signal: Signal,
    /// Given when the controller's configuration is known: that, and the number in the stream to it.
    number: Option<(Token, u64)>,
    /// Not sent in this process. What was kept is sent when its receiver is opened.
    #[serde(skip)]
    is_new: bool,
}

/// The ledger as a sender to durable configurations; kept with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Signals {
    pub(crate) identity: Identity,
    /// By configuration: the number of the last signal.
    sent: BTreeMap<Token, u64>,
    /// Oldest first.
    pending: Vec<Pending>,
}

/// A signal to be sent, with its number.
pub(crate) struct Due {
    pub(crate) to: DurableAddress,
    pub(crate) payer: SponsorId,
    pub(crate) signal: Signal,
    pub(crate) sequence: u64,
}

impl Default for Signals {
    fn default() -> Self {
        Self { identity: Identity::random(), sent: BTreeMap::new(), pending: Vec::new() }
    }
}

impl Signals {
    /// Whether there is nothing in it that must be kept.
    pub(crate) fn is_unused(&self) -> bool {
        self.sent.is_empty() && self.pending.is_empty()
    }

    /// Drops what is not committed: it cannot be kept any more.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn add(&mut self, controller: StoredController, signal: Signal) {
        let number = match &controller.address {
            StoredAddress::Remote { address } => sealed(address).map(|to| self.next(to.configuration)),
            _ => None,
        };
        self.pending.push(Pending { controller, signal, number, is_new: true });
    }

    fn next(&mut self, receiver: Token) -> (Token, u64) {
        let last = self.sent.entry(receiver).or_default();
        *last += 1;
        (receiver, *last)
    }

    /// Numbers what can be, and gives what is to be sent: what is new, and all for the configuration that may
    /// lack something.
    pub(crate) fn due(
        &mut self,
        lacking: Option<&Token>,
        durable_address: impl Fn(&StoredAddress) -> Option<DurableAddress>,
    ) -> (Vec<Due>, bool) {
        let (mut due, mut has_numbered) = (Vec::new(), false);
        let mut pending = std::mem::take(&mut self.pending);
        for one in &mut pending {
            let is_lacked = one.number.is_some_and(|(receiver, _)| Some(&receiver) == lacking);
            if !is_lacked && !one.is_new && one.number.is_some() {
                continue;
            }
            let Some(to) = durable_address(&one.controller.address) else { continue };
            if one.number.is_none() {
                one.controller.address = StoredAddress::Remote { address: to.to_bytes().to_vec() };
                one.number = Some(self.next(to.configuration));
                has_numbered = true;
            }
            one.is_new = false;
            let (index, generation) = one.controller.payer;
            let sequence = one.number.map_or(0, |(_, sequence)| sequence);
            due.push(Due { to, payer: SponsorId { index, generation }, signal: one.signal, sequence });
        }
        self.pending = pending;
        (due, has_numbered)
    }

    /// What was to be sent could not be kept: it is sent when it is.
    pub(crate) fn hold_back(&mut self, due: &[Due]) {
        let is_due = |number| due.iter().any(|one| number == Some((one.to.configuration, one.sequence)));
        self.pending.iter_mut().filter(|one| is_due(one.number)).for_each(|one| one.is_new = true);
    }

    /// A configuration has committed what it was sent, up to a number.
    pub(crate) fn acknowledge(&mut self, receiver: &Token, sequence: u64) {
        self.pending.retain(|one| one.number.is_none_or(|(to, number)| to != *receiver || number > sequence));
    }
}

pub(crate) fn sealed(address: &[u8]) -> Option<DurableAddress> {
    Some(DurableAddress::from_bytes(address.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use banyan_core::sponsors::Quota;
    use serde::{Deserialize, Serialize};

    use banyan_core::sponsors::Resource;

    use super::{DurableAddress, Signal, Signals, SponsorId, StoredAddress, StoredController};
    use crate::system::System;
    use crate::system::clock::Clock;
    use crate::{
        Actor, Addr, Configuration, DurableActor, DurableStore, Failure, Kinds, Simulation, Work, closure,
    };

    fn address(configuration: u8) -> DurableAddress {
        DurableAddress { configuration: [configuration; 16], slot: 1, generation: 2, seal: [3; 16] }
    }

    fn signal(index: u32) -> Signal {
        Signal { sponsor: SponsorId { index, generation: 0 }, resource: Resource::Events }
    }

    pub(crate) fn due(signals: &mut Signals, lacking: Option<u8>, is_open: bool) -> Vec<(u32, u64)> {
        let lacking = lacking.map(|configuration| [configuration; 16]);
        let find = |stored: &StoredAddress| match stored {
            StoredAddress::Remote { address } => super::sealed(address),
            StoredAddress::Other { .. } if is_open => Some(address(9)),
            _ => None,
        };
        let (due, _) = signals.due(lacking.as_ref(), find);
        due.into_iter().map(|one| (one.signal.sponsor.index, one.sequence)).collect()
    }

    fn controller(address: StoredAddress) -> StoredController {
        StoredController { address, payer: (0, 0) }
    }

    fn known(configuration: u8) -> StoredController {
        controller(StoredAddress::Remote { address: address(configuration).to_bytes().to_vec() })
    }

    /// Each receiver has its own stream; what it has not committed is sent again, in its order, and nothing
    /// else.
    #[test]
    fn what_is_not_committed_is_sent_again_to_whom_may_lack_it() {
        let mut signals = Signals::default();
        for (sponsor, to) in [(10, 1), (11, 2), (12, 1), (13, 1)] {
            signals.add(known(to), signal(sponsor));
        }
        assert_eq!(due(&mut signals, None, false), [(10, 1), (11, 1), (12, 2), (13, 3)]);
        assert_eq!(due(&mut signals, None, false), [], "they are sent");
        signals.acknowledge(&[1; 16], 1);
        assert_eq!(due(&mut signals, Some(1), false), [(12, 2), (13, 3)]);
        signals.add(known(1), signal(14));
        assert_eq!(due(&mut signals, Some(1), false), [(12, 2), (13, 3), (14, 4)]);
        signals.acknowledge(&[1; 16], 4);
        assert_eq!(due(&mut signals, Some(1), false), []);
        assert_eq!(due(&mut signals, Some(2), false), [(11, 1)], "its receiver has committed nothing");
        signals.acknowledge(&[2; 16], 1);
        signals.add(known(1), signal(15));
        assert_eq!(due(&mut signals, None, false), [(15, 5)], "no number is used twice");
    }

    /// What could not be kept is sent when it is, with the number that it has got.
    #[test]
    fn what_is_held_back_is_sent_later() {
        let mut signals = Signals::default();
        for (sponsor, to) in [(10, 1), (11, 2)] {
            signals.add(known(to), signal(sponsor));
        }
        let find = |stored: &StoredAddress| match stored {
            StoredAddress::Remote { address } => super::sealed(address),
            _ => None,
        };
        let (held_back, _) = signals.due(None, find);
        signals.hold_back(&held_back);
        signals.add(known(1), signal(12));
        assert_eq!(due(&mut signals, None, false), [(10, 1), (11, 1), (12, 2)]);
        assert_eq!(due(&mut signals, None, false), []);
    }

    /// What is known by a name only waits until the name is a configuration that is open.
    #[test]
    fn a_name_gets_its_number_when_it_is_opened() {
        let mut signals = Signals::default();
        let name = StoredAddress::Other { name: "controller".to_owned(), slot: 1, generation: 2 };
        signals.add(controller(name), signal(20));
        assert_eq!(due(&mut signals, None, false), []);
        signals.acknowledge(&[9; 16], 100);
        assert_eq!(due(&mut signals, Some(9), true), [(20, 1)]);
        assert_eq!(due(&mut signals, Some(9), false), [(20, 1)], "it is known by its address now");
    }

    /// After a crash the number of what was sent is not given to another signal.
    #[test]
    fn what_is_sent_is_kept_before() {
        let directory = tempfile::tempdir().unwrap();
        let kept = || {
            let system = System::new(1, Clock::simulated(), Quota::AMPLE, None);
            system.facilities.keep_budgets(&directory.path().join("budgets.arena")).unwrap();
            system
        };
        let system = kept();
        let mut accounts = system.facilities.accounts();
        accounts.signals.add(known(1), signal(7));
        accounts.changed = true;
        drop(accounts);
        system.send_signals(None);
        drop(system);
        let system = kept();
        let accounts = system.facilities.accounts();
        assert_eq!((accounts.signals.pending.len(), accounts.signals.sent[&[1; 16]]), (1, 1));
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Controller;

    impl Actor for Controller {
        type Message = Signal;
        fn receive(&self, _: &Signal, _: &mut Work<'_, '_, Self>) -> Result<(), Failure> {
            Ok(())
        }
    }

    impl DurableActor for Controller {
        const KIND: &'static str = "test.acknowledging_controller";
    }

    /// What a controller has committed is not kept any longer, in this process and after it.
    #[test]
    fn what_is_committed_is_forgotten() {
        const GRANT: Quota = Quota { memory: 1 << 40, cycles: 1 << 40, events: 1 << 40 };
        let directory = tempfile::tempdir().unwrap();
        let budgets = directory.path().join("budgets.arena");
        let mut simulation = Simulation::kept(1, 2, GRANT, &budgets).unwrap();
        let kinds = Kinds::new().with::<Controller>();
        let store = DurableStore::open(&directory.path().join("controller.arena"), kinds).unwrap();
        let opened = simulation.open(Configuration::new("controller").durable(store, Controller));
        let controller: Addr<Signal> = opened.unwrap().typed();
        let starter = closure(controller, |controller, (): &(), context| {
            let watched = context.new_sponsor("watched")?;
            context.transfer(&watched, Quota { memory: 1 << 20, cycles: 1 << 20, events: 1 })?;
            context.start(&watched, controller)?;
            let me: Addr<u64> = context.this().typed();
            context.send_under(&watched, &me, 1)?;
            context.send_under(&watched, &me, 2)?;
            Ok(())
        });
        let starter = simulation.create(Configuration::new("starter").with_behaviour(starter));
        simulation.send(&starter.typed(), ());
        simulation.run(100_000);
        let left = |simulation: &Simulation| {
            let accounts = simulation.system.facilities.accounts();
            (accounts.signals.pending.len(), accounts.signals.sent.values().copied().collect::<Vec<_>>())
        };
        assert_eq!(left(&simulation), (0, vec![1]));
        simulation.close();
        let simulation = Simulation::kept(2, 2, GRANT, &budgets).unwrap();
        assert_eq!(left(&simulation), (0, vec![1]), "the next has another number");
    }
}
