//! [`Leases`]: what a processor may spend for a few sponsors without asking the ledger, and the clock by
//! which native events are charged.
//!
//! Time is charged to the sponsor whose events ran, when the sponsor changes and every few events: one look
//! at the clock serves many events. Native code cannot be cut off by the clock; what it uses beyond the lease
//! is overdrawn.

use std::time::Instant;

use banyan_core::sponsors::{Grant, Quota, SponsorId};

use super::accounts::{Accounts, Freed};
use crate::system::facilities::Facilities;

/// The most leases a processor holds.
const LEASES_MAX: usize = 8;
/// What one event of native code costs in deterministic mode.
pub(crate) const SIMULATED_EVENT_CYCLES: u64 = 100;
/// Events between looks at the clock.
const CLOCK_EVENTS: u32 = 64;

struct Lease {
    sponsor: SponsorId,
    /// As granted, less what was transferred.
    granted: Quota,
    left: Quota,
    overrun: u64,
}

/// Whether an event is paid for.
pub(crate) enum Paid<'a> {
    /// It may spend so much.
    Left(&'a mut Quota),
    /// It must wait with its sponsor.
    Park,
    /// Its sponsor has ended.
    Drop,
}

pub(crate) struct Leases {
    /// The last one is the current.
    held: Vec<Lease>,
    simulated: bool,
    /// When the clock was last looked at; none while no sponsor is charged by it.
    looked: Option<Instant>,
    events: u32,
}

impl Leases {
    pub(crate) fn new(simulated: bool) -> Self {
        Self { held: Vec::with_capacity(LEASES_MAX), simulated, looked: None, events: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is left for a sponsor's event. What the ledger lets go for that is put into `freed`.
    #[inline]
    pub(crate) fn left_of(
        &mut self,
        sponsor: SponsorId,
        facilities: &Facilities,
        freed: &mut Vec<Freed>,
    ) -> Paid<'_> {
        if self.held.last().is_none_or(|lease| lease.sponsor != sponsor) {
            self.charge_time();
            match self.switch(sponsor, facilities, freed) {
                Grant::Leased(_) => {}
                Grant::Park => return Paid::Park,
                Grant::Drop => return Paid::Drop,
            }
        }
        match self.held.last_mut() {
            Some(lease) => Paid::Left(&mut lease.left),
            None => Paid::Park,
        }
    }

    /// Makes a sponsor's lease the current one.
    #[cold]
    fn switch(&mut self, sponsor: SponsorId, facilities: &Facilities, freed: &mut Vec<Freed>) -> Grant {
        if let Some(place) = self.held.iter().position(|lease| lease.sponsor == sponsor) {
            let lease = self.held.remove(place);
            let granted = lease.granted;
            self.held.push(lease);
            return Grant::Leased(granted);
        }
        let mut accounts = facilities.accounts();
        if self.held.len() == LEASES_MAX {
            let oldest = self.held.remove(0);
            give_back(&oldest, &mut accounts, freed);
        }
        let grant = accounts.lease(sponsor, false);
        drop(accounts);
        if let Grant::Leased(granted) = grant {
            self.held.push(Lease { sponsor, granted, left: granted, overrun: 0 });
        }
        grant
    }

    /// All of a sponsor's balance.
    pub(crate) fn take_all(&mut self, sponsor: SponsorId, accounts: &mut Accounts) {
        if let Grant::Leased(granted) = accounts.lease(sponsor, true) {
            self.held.push(Lease { sponsor, granted, left: granted, overrun: 0 });
        }
    }

    /// Before an event. The clock runs only while it charges: not for events that charge their own cycles,
    /// and not while the processor has nothing to do.
    #[inline]
    pub(crate) fn before_event(&mut self, meters_itself: bool) {
        if meters_itself {
            self.charge_time();
            self.looked = None;
        } else if self.looked.is_none() && !self.simulated {
            self.looked = Some(Instant::now());
        }
    }

    /// After an event whose cycles the clock charges.
    #[inline]
    pub(crate) fn after_event(&mut self) {
        self.events += 1;
        if self.simulated {
            self.charge(SIMULATED_EVENT_CYCLES);
        } else if self.events.is_multiple_of(CLOCK_EVENTS) {
            self.charge_time();
        }
    }

    /// After an event that has charged its own cycles, `overdrawn` of them beyond what was left.
    pub(crate) fn after_metered_event(&mut self, overdrawn: u64) {
        if let Some(lease) = self.held.last_mut() {
            lease.overrun += overdrawn;
        }
    }

    fn charge(&mut self, cycles: u64) {
        if let Some(lease) = self.held.last_mut() {
            let paid = cycles.min(lease.left.cycles);
            lease.left.cycles -= paid;
            lease.overrun += cycles - paid;
        }
    }

    /// Charges the time since the last look to the current sponsor.
    fn charge_time(&mut self) {
        if let Some(looked) = self.looked {
            let now = Instant::now();
            self.looked = Some(now);
            self.charge(u64::try_from((now - looked).as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// The processor is idle: no sponsor pays for the time.
    pub(crate) fn pause(&mut self) {
        self.looked = None;
    }

    /// Takes what the event gives away out of the current lease: it is a lease by itself until it is given.
    pub(crate) fn set_aside(&mut self, amount: Quota, accounts: &mut Accounts) -> SponsorId {
        let lease = self.held.last_mut().expect("the event that gives was paid from this lease");
        lease.granted = lease.granted.checked_sub(amount).expect("an event gives from what was leased");
        accounts.ledger.split_lease(lease.sponsor);
        lease.sponsor
    }

    pub(crate) fn settle_one(&mut self, sponsor: SponsorId, accounts: &mut Accounts, freed: &mut Vec<Freed>) {
        if let Some(place) = self.held.iter().position(|lease| lease.sponsor == sponsor) {
            let lease = self.held.remove(place);
            give_back(&lease, accounts, freed);
        }
    }

    pub(crate) fn settle_all(&mut self, accounts: &mut Accounts, freed: &mut Vec<Freed>) {
        self.charge_time();
        for lease in self.held.drain(..) {
            give_back(&lease, accounts, freed);
        }
    }
}

fn give_back(lease: &Lease, accounts: &mut Accounts, freed: &mut Vec<Freed>) {
    let verdict = accounts.ledger.settle(lease.sponsor, lease.granted, lease.left, lease.overrun);
    accounts.carry_out(lease.sponsor, verdict, freed);
}
