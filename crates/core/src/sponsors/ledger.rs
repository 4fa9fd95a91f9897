//! The [`Ledger`]: every sponsor's account, and the decisions on them.

use alloc::vec::Vec;

use super::{Quota, Resource, SponsorId};

/// A lease is a quarter of the balance, but at least this much if there is.
const LEASE_FLOOR: Quota = Quota { memory: 1 << 16, cycles: 1 << 22, events: 256 };

/// What a sponsor is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made and not started yet: its events wait.
    Stopped,
    /// Its events are dispatched.
    Running,
    /// An event could not be paid for while other hosts held leases: decided when they have settled.
    Settling {
        /// What was short.
        resource: Resource,
        /// How much of it did not suffice.
        had: u64,
    },
    /// Its events wait until it is started again.
    Exhausted(Resource),
    /// Its events are dropped, and what leases return goes to the heir.
    Ended {
        /// Who stopped it.
        heir: SponsorId,
    },
}

/// One sponsor's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who made it; none for the root.
    pub parent: Option<SponsorId>,
    /// What it is doing.
    pub state: State,
    /// What it may still spend and no host has leased.
    pub balance: Quota,
    /// What hosts have leased.
    pub leased: Quota,
    /// Leases that are not settled.
    pub leases: u32,
    /// What it has spent.
    pub consumed: Quota,
    /// Cycles used beyond what was leased, by native code that cannot be cut off; paid from the next income.
    pub overdrawn: u64,
}

#[derive(Clone, Debug)]
struct Place {
    generation: u32,
    account: Option<Account>,
}

/// The answer to a host that wants a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// So much may be spent, and must be settled.
    Leased(Quota),
    /// The event must wait with the sponsor.
    Park,
    /// The event must be dropped: the sponsor has ended.
    Drop,
}

/// What is to be done about a sponsor's waiting events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nothing.
    Wait,
    /// Dispatch them again.
    Release,
    /// Tell the controller, once, that this resource is exhausted.
    Signal(Resource),
    /// Drop them: the sponsor has ended.
    Drop,
}

/// Why nothing was transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The donor must keep something of each resource that it gives.
    #[error("the donor has {available} of {resource} and must keep some of it, so {asked} is too much")]
    TooMuch {
        /// The resource.
        resource: Resource,
        /// What the donor has.
        available: u64,
        /// What was asked for.
        asked: u64,
    },
    /// No such sponsor.
    #[error("the sponsor has ended")]
    Ended,
}

/// The accounts of all sponsors.
#[derive(Clone, Debug)]
pub struct Ledger {
    places: Vec<Place>,
    free: Vec<u32>,
    granted: Quota,
    /// What sponsors that are gone had spent.
    retired: Quota,
}

impl Ledger {
    /// A ledger with its root sponsor, running.
    #[must_use]
    pub fn new(grant: Quota) -> Self {
        let root = Account {
            parent: None,
            state: State::Running,
            balance: grant,
            leased: Quota::ZERO,
            leases: 0,
            consumed: Quota::ZERO,
            overdrawn: 0,
        };
        let places = alloc::vec![Place { generation: 0, account: Some(root) }];
        Self { places, free: Vec::new(), granted: grant, retired: Quota::ZERO }
    }

    /// The account of a sponsor that has not gone.
    #[must_use]
    pub fn account(&self, id: SponsorId) -> Option<&Account> {
        let place = self.places.get(id.index as usize)?;
        place.account.as_ref().filter(|_| place.generation == id.generation)
    }

    fn account_mut(&mut self, id: SponsorId) -> Option<&mut Account> {
        let place = self.places.get_mut(id.index as usize)?;
        place.account.as_mut().filter(|_| place.generation == id.generation)
    }

    /// All sponsors that have not gone, in the order of their places.
    pub fn accounts(&self) -> impl Iterator<Item = (SponsorId, &Account)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let id = SponsorId { index: u32::try_from(index).ok()?, generation: place.generation };
            Some((id, place.account.as_ref()?))
        })
    }

    /// All that was ever granted to the root.
    #[must_use]
    pub fn granted(&self) -> Quota {
        self.granted
    }

    /// The sum that the law of conservation equals to [`Ledger::granted`]; `None` if it does not fit into a
    /// word.
    #[must_use]
    pub fn total(&self) -> Option<Quota> {
        let accounts = self.accounts().map(|(_, account)| account);
        accounts
            .flat_map(|one| [one.balance, one.leased, one.consumed])
            .try_fold(self.retired, Quota::checked_add)
    }

    /// Grants more to a sponsor from outside: a host's policy for its root. Whether it was added.
    pub fn grant(&mut self, id: SponsorId, more: Quota) -> bool {
        let Some(granted) = self.granted.checked_add(more) else { return false };
        if self.account(id).is_none() {
            return false;
        }
        self.granted = granted;
        self.receive(id, more);
        true
    }

    /// Makes a sponsor with nothing, stopped.
    pub fn create(&mut self, parent: SponsorId) -> SponsorId {
        let account = Account {
            parent: Some(parent),
            state: State::Stopped,
            balance: Quota::ZERO,
            leased: Quota::ZERO,
            leases: 0,
            consumed: Quota::ZERO,
            overdrawn: 0,
        };
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.account = Some(account);
            return SponsorId { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        assert!(index < u32::MAX, "a ledger has fewer than 2^32 sponsors");
        self.places.push(Place { generation: 0, account: Some(account) });
        SponsorId { index, generation: 0 }
    }

    /// Adds to a balance, pays what is overdrawn, and passes on what an ended sponsor gets.
    fn receive(&mut self, id: SponsorId, amount: Quota) {
        let mut id = id;
        // An heir may have ended as well: at most as many steps as there are sponsors, and the root never
        // ends.
        for _ in 0..=self.places.len() {
            match self.account_mut(id) {
                Some(account) => match account.state {
                    State::Ended { heir } => id = heir,
                    _ => {
                        let sum = account.balance.checked_add(amount);
                        account.balance = sum.expect("what was granted fits into a word, so its parts do");
                        pay(account);
                        return;
                    }
                },
                None => id = SponsorId::ROOT,
            }
        }
        unreachable!("heirs form no circle: a sponsor that has ended cannot stop another");
    }

    /// What sponsors that are gone had spent.
    #[must_use]
    pub fn retired(&self) -> Quota {
        self.retired
    }

    /// Every place: how many sponsors it has had, and the account of the one that has it.
    pub fn places(&self) -> impl Iterator<Item = (u32, Option<&Account>)> {
        self.places.iter().map(|place| (place.generation, place.account.as_ref()))
    }

    /// The ledger as it must be after a crash, to be kept before hosts spend more: what is leased counts as
    /// consumed, and so does `ahead` of each balance, for leases to come. No crash gives anything back that
    /// may have been spent.
    #[must_use]
    pub fn after_crash(&self, ahead: impl Fn(SponsorId, &Account) -> Quota) -> Self {
        let mut after = self.clone();
        for index in 0..after.places.len() {
            let place = &mut after.places[index];
            let id = SponsorId { index: index as u32, generation: place.generation };
            let Some(account) = &mut place.account else { continue };
            let gone = account.leased.checked_add(ahead(id, account).min(account.balance));
            let gone = gone.expect("parts of what was granted");
            let ahead = gone.checked_sub(account.leased).expect("it was added to that");
            account.balance = account.balance.checked_sub(ahead).expect("no more than there is");
            account.consumed = account.consumed.checked_add(gone).expect("a part of what was granted");
            (account.leased, account.leases) = (Quota::ZERO, 0);
            if matches!(account.state, State::Settling { .. }) {
                account.state = State::Running;
            }
            after.bury(id);
        }
        after
    }

    /// A ledger that was kept; `None` if the parts are none of a ledger, or do not add up to what was
    /// granted.
    #[must_use]
    pub fn restore(granted: Quota, retired: Quota, places: Vec<(u32, Option<Account>)>) -> Option<Self> {
        let (first, root) = places.first()?;
        if *first != 0 || root.as_ref()?.parent.is_some() || u32::try_from(places.len()).is_err() {
            return None;
        }
        let places = places.into_iter().map(|(generation, account)| Place { generation, account });
        let mut ledger = Self { places: places.collect(), free: Vec::new(), granted, retired };
        for (index, place) in ledger.places.iter().enumerate() {
            let Some(account) = &place.account else {
                ledger.free.push(index as u32);
                continue;
            };
            let quiet = account.leases == 0 && account.leased == Quota::ZERO;
            let parent = account.parent.map_or(index == 0, |parent| ledger.account(parent).is_some());
            let alive = matches!(account.state, State::Stopped | State::Running | State::Exhausted(_));
            if !quiet || !parent || !alive {
                return None;
            }
        }
        (ledger.total() == Some(granted)).then_some(ledger)
    }

    /// Gives from one balance to another, outside of an event.
    ///
    /// # Errors
    /// [`TransferError`]; nothing has moved then.
    pub fn transfer(&mut self, from: SponsorId, to: SponsorId, amount: Quota) -> Result<(), TransferError> {
        self.account(to).ok_or(TransferError::Ended)?;
        let donor = self.account_mut(from).ok_or(TransferError::Ended)?;
        donor.balance = keep_some(donor.balance, amount)?;
        self.receive(to, amount);
        Ok(())
    }

    /// Gives from a lease that a host holds; the host has checked that it keeps some.
    pub fn transfer_leased(&mut self, from: SponsorId, to: SponsorId, amount: Quota) {
        if let Some(donor) = self.account_mut(from) {
            donor.leased = donor.leased.checked_sub(amount).expect("a host gives from what it has leased");
            self.receive(to, amount);
        }
    }

    /// Makes two leases of one that a host holds: a part of it is settled by itself from here.
    pub fn split_lease(&mut self, id: SponsorId) {
        let account = self.account_mut(id).expect("a sponsor is not forgotten while a lease is out");
        account.leases += 1;
    }

    /// Gives what was leased when the ledger crashed, and so counts as consumed, to whom it was meant for.
    /// Returns whether this amount was counted as consumed.
    pub fn transfer_consumed(&mut self, from: SponsorId, to: SponsorId, amount: Quota) -> bool {
        let retired = &mut self.retired;
        let place = self.places.get_mut(from.index as usize);
        let account = place.filter(|place| place.generation == from.generation);
        // What a sponsor that is gone had spent is counted for all of them together.
        let consumed =
            account.and_then(|place| place.account.as_mut()).map_or(retired, |one| &mut one.consumed);
        let Ok(rest) = consumed.checked_sub(amount) else { return false };
        *consumed = rest;
        self.receive(to, amount);
        true
    }

    /// Starts a sponsor, or starts it again.
    pub fn start(&mut self, id: SponsorId) -> Verdict {
        match self.account_mut(id) {
            Some(account) if !matches!(account.state, State::Ended { .. }) => {
                account.state = State::Running;
                Verdict::Release
            }
            _ => Verdict::Drop,
        }
    }

    /// Ends a sponsor. Its balance goes to the heir now, what is leased when it is settled. Its children live
    /// on as children of the heir. The root, and a sponsor that would be its own heir, are not ended:
    /// `false`.
    pub fn stop(&mut self, id: SponsorId, heir: SponsorId) -> bool {
        let alive = |account: &Account| !matches!(account.state, State::Ended { .. });
        if id == SponsorId::ROOT || id == heir || !self.account(heir).is_some_and(alive) {
            return false;
        }
        let Some(account) = self.account_mut(id).filter(|account| alive(account)) else { return false };
        let balance = core::mem::take(&mut account.balance);
        account.state = State::Ended { heir };
        self.receive(heir, balance);
        for place in &mut self.places {
            if let Some(account) = place.account.as_mut().filter(|account| account.parent == Some(id)) {
                account.parent = Some(heir);
            }
        }
        self.bury(id);
        true
    }

    /// Forgets an ended sponsor once no lease is out.
    fn bury(&mut self, id: SponsorId) {
        let Some(account) = self.account(id) else { return };
        if !matches!(account.state, State::Ended { .. }) || account.leases > 0 {
            return;
        }
        debug_assert!(account.balance == Quota::ZERO && account.leased == Quota::ZERO);
        self.retired = self.retired.checked_add(account.consumed).expect("a part of what was granted");
        let place = &mut self.places[id.index as usize];
        place.account = None;
        place.generation += 1;
        self.free.push(id.index);
    }

    /// A lease for a host: a part of the balance, or all of it.
    pub fn lease(&mut self, id: SponsorId, all: bool) -> Grant {
        let Some(account) = self.account_mut(id) else { return Grant::Drop };
        match account.state {
            State::Running => {}
            State::Ended { .. } => return Grant::Drop,
            State::Stopped | State::Settling { .. } | State::Exhausted(_) => return Grant::Park,
        }
        let balance = account.balance;
        let share = |whole: u64, floor: u64| if all { whole } else { whole.min((whole / 4).max(floor)) };
        let leased = Quota {
            memory: share(balance.memory, LEASE_FLOOR.memory),
            cycles: share(balance.cycles, LEASE_FLOOR.cycles),
            events: share(balance.events, LEASE_FLOOR.events),
        };
        account.balance = balance.checked_sub(leased).expect("a share is no more than the whole");
        account.leased = account.leased.checked_add(leased).expect("a part of what was granted");
        account.leases += 1;
        Grant::Leased(leased)
    }

    /// Takes a lease back: `leased` as it was granted, less what was transferred from it; `left` of it is
    /// unspent, and `overrun` cycles were used beyond it.
    pub fn settle(&mut self, id: SponsorId, leased: Quota, left: Quota, overrun: u64) -> Verdict {
        let account = self.account_mut(id).expect("a sponsor is not forgotten while a lease is out");
        let spent = leased.checked_sub(left).expect("no more is left of a lease than was leased");
        account.leases = account.leases.checked_sub(1).expect("a lease is settled once");
        account.leased = account.leased.checked_sub(leased).expect("what is settled was leased");
        account.consumed = account.consumed.checked_add(spent).expect("a part of what was granted");
        account.overdrawn = account.overdrawn.saturating_add(overrun);
        self.receive(id, left);
        self.bury(id);
        let Some(account) = self.account_mut(id) else { return Verdict::Drop };
        match account.state {
            State::Settling { resource, had } if account.leases == 0 => decide(account, resource, had),
            State::Ended { .. } => Verdict::Drop,
            _ => Verdict::Wait,
        }
    }

    /// An event could not be paid for with `had` of a resource. The host has settled its own lease.
    pub fn park(&mut self, id: SponsorId, resource: Resource, had: u64) -> Verdict {
        let Some(account) = self.account_mut(id) else { return Verdict::Drop };
        match account.state {
            State::Running if account.leases > 0 => {
                account.state = State::Settling { resource, had };
                Verdict::Wait
            }
            State::Running => decide(account, resource, had),
            State::Stopped | State::Settling { .. } | State::Exhausted(_) => Verdict::Wait,
            State::Ended { .. } => Verdict::Drop,
        }
    }
}

/// No lease is out: what the balance is now, is all there is.
fn decide(account: &mut Account, resource: Resource, had: u64) -> Verdict {
    if account.balance.get(resource) > had {
        account.state = State::Running;
        return Verdict::Release;
    }
    account.state = State::Exhausted(resource);
    Verdict::Signal(resource)
}

/// Pays overdrawn cycles from the balance.
fn pay(account: &mut Account) {
    let cycles = account.overdrawn.min(account.balance.cycles);
    account.overdrawn -= cycles;
    account.balance.cycles -= cycles;
    account.consumed.cycles += cycles;
}

/// What a donor has left; it must keep something of whatever it gives of.
pub(super) fn keep_some(balance: Quota, amount: Quota) -> Result<Quota, TransferError> {
    for resource in Resource::ALL {
        let (available, asked) = (balance.get(resource), amount.get(resource));
        if asked > 0 && asked >= available {
            return Err(TransferError::TooMuch { resource, available, asked });
        }
    }
    balance.checked_sub(amount).map_err(|resource| TransferError::TooMuch {
        resource,
        available: balance.get(resource),
        asked: amount.get(resource),
    })
}
