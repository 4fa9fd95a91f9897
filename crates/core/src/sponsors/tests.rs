//! The rules of sponsors, one by one, and the law of conservation under random histories.

use super::{Grant, Ledger, Quota, Resource, SponsorId, State, TransferError, Verdict};
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

fn quota(amount: u64) -> Quota {
    Quota { memory: amount, cycles: amount, events: amount }
}

/// A ledger with a running sponsor of this balance.
fn with_sponsor(amount: u64) -> (Ledger, SponsorId) {
    let mut ledger = Ledger::new(quota(1 << 40));
    let sponsor = ledger.create(SponsorId::ROOT);
    ledger.transfer(SponsorId::ROOT, sponsor, quota(amount)).unwrap();
    assert_eq!(ledger.lease(sponsor, false), Grant::Park, "a sponsor that was not started");
    assert_eq!(ledger.start(sponsor), Verdict::Release);
    (ledger, sponsor)
}

#[test]
fn a_donor_keeps_some() {
    let (mut ledger, sponsor) = with_sponsor(10);
    let error = ledger.transfer(sponsor, SponsorId::ROOT, quota(10)).unwrap_err();
    assert_eq!(error, TransferError::TooMuch { resource: Resource::Memory, available: 10, asked: 10 });
    ledger.transfer(sponsor, SponsorId::ROOT, quota(9)).unwrap();
    assert_eq!(ledger.account(sponsor).unwrap().balance, quota(1));
}

#[test]
fn exhaustion_is_signalled_once_and_start_releases() {
    let (mut ledger, sponsor) = with_sponsor(10);
    let Grant::Leased(lease) = ledger.lease(sponsor, true) else { panic!() };
    assert_eq!(ledger.settle(sponsor, lease, Quota { events: 0, ..lease }, 0), Verdict::Wait);
    assert_eq!(ledger.park(sponsor, Resource::Events, 0), Verdict::Signal(Resource::Events));
    assert_eq!(ledger.park(sponsor, Resource::Events, 0), Verdict::Wait, "told once");
    assert_eq!(ledger.lease(sponsor, false), Grant::Park);
    assert_eq!(ledger.start(sponsor), Verdict::Release);
}

#[test]
fn nobody_is_exhausted_while_a_lease_is_out() {
    let (mut ledger, sponsor) = with_sponsor(1000);
    let Grant::Leased(one) = ledger.lease(sponsor, false) else { panic!() };
    let Grant::Leased(other) = ledger.lease(sponsor, true) else { panic!() };
    assert_eq!(ledger.settle(sponsor, other, quota(0), 0), Verdict::Wait);
    assert_eq!(ledger.park(sponsor, Resource::Memory, other.memory), Verdict::Wait);
    assert!(matches!(ledger.account(sponsor).unwrap().state, State::Settling { .. }));
    // The first returns less than the other had: that does not help.
    assert_eq!(ledger.settle(sponsor, one, quota(0), 0), Verdict::Signal(Resource::Memory));

    let (mut ledger, sponsor) = with_sponsor(1000);
    let Grant::Leased(one) = ledger.lease(sponsor, true) else { panic!() };
    let Grant::Leased(other) = ledger.lease(sponsor, true) else { panic!() };
    assert_eq!(ledger.settle(sponsor, other, other, 0), Verdict::Wait);
    assert_eq!(ledger.park(sponsor, Resource::Events, 0), Verdict::Wait);
    assert_eq!(ledger.settle(sponsor, one, one, 0), Verdict::Release);
}

#[test]
fn what_is_overdrawn_is_paid_from_the_next_income() {
    let (mut ledger, sponsor) = with_sponsor(100);
    let Grant::Leased(lease) = ledger.lease(sponsor, true) else { panic!() };
    let _ = ledger.settle(sponsor, lease, Quota { cycles: 0, ..lease }, 30);
    ledger.transfer(SponsorId::ROOT, sponsor, quota(50)).unwrap();
    assert_eq!(ledger.account(sponsor).unwrap().balance.cycles, 20);
    assert_eq!(ledger.total(), Some(ledger.granted()));
}

#[test]
fn stopping_gives_everything_to_the_heir() {
    let (mut ledger, sponsor) = with_sponsor(100);
    let child = ledger.create(sponsor);
    let Grant::Leased(lease) = ledger.lease(sponsor, true) else { panic!() };
    assert!(ledger.stop(sponsor, SponsorId::ROOT));
    assert!(!ledger.stop(sponsor, SponsorId::ROOT), "it has ended");
    assert_eq!(ledger.lease(sponsor, false), Grant::Drop);
    assert_eq!(ledger.settle(sponsor, lease, quota(40), 0), Verdict::Drop);
    assert!(ledger.account(sponsor).is_none(), "forgotten with its last lease");
    assert_eq!(ledger.account(child).unwrap().parent, Some(SponsorId::ROOT));
    assert_eq!(ledger.account(SponsorId::ROOT).unwrap().balance, quota((1 << 40) - 60));
    assert_eq!(ledger.total(), Some(ledger.granted()));
    let again = ledger.create(SponsorId::ROOT);
    assert_eq!(again.index, sponsor.index);
    assert!(ledger.account(sponsor).is_none(), "an old name is no name of the new one");
}

#[derive(Clone, Debug)]
enum Act {
    Create(usize),
    Transfer(usize, usize, u64),
    TransferLeased(usize, usize, u64),
    Split(usize, u64),
    TransferConsumed(usize, usize, u64),
    Start(usize),
    Stop(usize, usize),
    Lease(usize, bool),
    Settle(usize, u64, u64),
    Park(usize, u64),
    Grant(usize, u64),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..6_usize;
    prop_oneof![
        who.clone().prop_map(Act::Create),
        (who.clone(), who.clone(), 0..2000_u64).prop_map(|(from, to, n)| Act::Transfer(from, to, n)),
        (who.clone(), who.clone(), 0..500_u64).prop_map(|(lease, to, n)| Act::TransferLeased(lease, to, n)),
        (who.clone(), 0..500_u64).prop_map(|(lease, n)| Act::Split(lease, n)),
        (who.clone(), who.clone(), 0..500_u64).prop_map(|(from, to, n)| Act::TransferConsumed(from, to, n)),
        who.clone().prop_map(Act::Start),
        (who.clone(), who.clone()).prop_map(|(id, heir)| Act::Stop(id, heir)),
        (who.clone(), any::<bool>()).prop_map(|(id, all)| Act::Lease(id, all)),
        (who.clone(), 0..100_u64, 0..50_u64).prop_map(|(lease, share, over)| Act::Settle(lease, share, over)),
        (who.clone(), 0..1000_u64).prop_map(|(id, had)| Act::Park(id, had)),
        (who, 0..1000_u64).prop_map(|(id, n)| Act::Grant(id, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_granted_is_conserved(acts in prop::collection::vec(act(), 1..120)) {
        let mut ledger = Ledger::new(quota(10_000));
        let mut known = Vec::from([SponsorId::ROOT]);
        let mut leases: Vec<(SponsorId, Quota)> = Vec::new();
        for act in acts {
            let pick = |number: usize| known[number % known.len()];
            match act {
                Act::Create(parent) => {
                    let made = ledger.create(pick(parent));
                    known.push(made);
                }
                Act::Transfer(from, to, n) => drop(ledger.transfer(pick(from), pick(to), quota(n))),
                Act::TransferLeased(lease, to, n) => {
                    let to = pick(to);
                    if !leases.is_empty() && ledger.account(to).is_some() {
                        let place = lease % leases.len();
                        let (id, leased) = leases[place];
                        if let Ok(rest) = super::ledger::keep_some(leased, quota(n)) {
                            ledger.transfer_leased(id, to, quota(n));
                            leases[place].1 = rest;
                        }
                    }
                }
                Act::Split(lease, n) => {
                    if !leases.is_empty() {
                        let place = lease % leases.len();
                        let (id, leased) = leases[place];
                        if let Ok(rest) = leased.checked_sub(quota(n)) {
                            ledger.split_lease(id);
                            leases[place].1 = rest;
                            leases.push((id, quota(n)));
                        }
                    }
                }
                Act::TransferConsumed(from, to, n) => {
                    let before = ledger.account(pick(from)).map_or(ledger.retired(), |one| one.consumed);
                    let done = ledger.transfer_consumed(pick(from), pick(to), quota(n));
                    prop_assert_eq!(done, before.checked_sub(quota(n)).is_ok());
                }
                Act::Start(id) => drop(ledger.start(pick(id))),
                Act::Stop(id, heir) => drop(ledger.stop(pick(id), pick(heir))),
                Act::Lease(id, all) => {
                    if let Grant::Leased(leased) = ledger.lease(pick(id), all) {
                        leases.push((pick(id), leased));
                    }
                }
                Act::Settle(lease, share, over) => {
                    if !leases.is_empty() {
                        let (id, leased) = leases.swap_remove(lease % leases.len());
                        let part = |whole: u64| whole * share / 100;
                        let left = Quota {
                            memory: part(leased.memory),
                            cycles: part(leased.cycles),
                            events: part(leased.events),
                        };
                        let _ = ledger.settle(id, leased, left, over);
                    }
                }
                Act::Park(id, had) => drop(ledger.park(pick(id), Resource::Events, had)),
                Act::Grant(id, n) => drop(ledger.grant(pick(id), quota(n))),
            }
            prop_assert_eq!(ledger.total(), Some(ledger.granted()));
        }
        // A crash of every host: leases come back unspent, and all is there.
        for (id, leased) in leases {
            let _ = ledger.settle(id, leased, leased, 0);
        }
        prop_assert_eq!(ledger.total(), Some(ledger.granted()));
        for (_, account) in ledger.accounts() {
            prop_assert_eq!(account.leased, Quota::ZERO);
            let decided = !matches!(account.state, State::Settling { .. } | State::Ended { .. });
            prop_assert!(decided, "{:?}", account.state);
        }
    }
}

#[test]
fn after_a_crash_leases_are_consumed_and_a_damaged_ledger_is_none() {
    let (mut ledger, sponsor) = with_sponsor(1000);
    let gone = ledger.create(sponsor);
    ledger.transfer(sponsor, gone, quota(100)).unwrap();
    let _ = ledger.start(gone);
    let Grant::Leased(_) = ledger.lease(gone, true) else { panic!() };
    assert!(ledger.stop(gone, sponsor), "it ends while a lease is out");
    let Grant::Leased(lease) = ledger.lease(sponsor, false) else { panic!() };
    let after = ledger.after_crash(|_, account| if account.leases > 0 { quota(10) } else { quota(0) });
    assert_eq!(after.total(), Some(ledger.granted()), "nothing is made or lost");
    let account = after.account(sponsor).unwrap();
    assert_eq!((account.leases, account.leased), (0, quota(0)));
    assert_eq!(account.consumed.events, lease.events + 10);
    assert_eq!(account.balance.events, 900 - lease.events - 10);
    assert!(after.account(gone).is_none(), "what had ended is gone");
    assert_eq!(after.retired(), quota(100));

    let places = |ledger: &Ledger| -> Vec<_> {
        ledger.places().map(|(generation, account)| (generation, account.cloned())).collect()
    };
    let restored = Ledger::restore(after.granted(), after.retired(), places(&after)).unwrap();
    assert_eq!(places(&restored), places(&after));
    assert!(Ledger::restore(after.granted(), quota(0), places(&after)).is_none(), "its sums do not agree");
    assert!(Ledger::restore(ledger.granted(), ledger.retired(), places(&ledger)).is_none(), "leases are out");
    assert!(Ledger::restore(quota(0), quota(0), Vec::new()).is_none(), "it has no root");
}
