//! The ledger in its own store, so that a crash or a restart gives back nothing that was spent.
//!
//! Not every event is written. What is kept is the ledger as it must be after a crash: leases count as
//! consumed, and so does a part of the balance of each sponsor that hosts spend for just now, so that most
//! leases need no write. A lease that is not covered is written before it is spent; made, started, stopped
//! and given are written before they are reported: while the disk takes nothing, who has done that rests with
//! what tells of it, whatever else goes on. That a sponsor is exhausted is written with the signal to its
//! controller. A clean end writes what was really spent.
//!
//! Attributes the ledger, and in the same commit, it is written which changes of each durable configuration
//! were carried out, by the number of the last, which sponsors its events have made that are not committed
//! yet (`changes`), and which signals its controllers have not committed (`signals`). Stores without these
//! are read; one with records that are neither is refused, as is a durable configuration's with changes for
//! the ledger by a build that does not know them.
//!
//! Invariant: for each sponsor, what it has consumed and what is leased is never more than the store counts
//! as consumed; but for what is spent while the disk is full or faulty, which is written when it can be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use banyan_core::sponsors::{Account, Ledger, Quota, Resource, SponsorId, State};
use banyan_pages::store::{CommitError, SnapshotOperation};
use serde::{Deserialize, Serialize};

use crate::durable::changes::Reported;
use crate::durable::error::disk_of;
use crate::durable::health::StoreHealth;
use crate::durable::identity::random_token;
use crate::durable::records::{Records, RecordsError};
use crate::durable::signals::Signals;
use crate::durable::stored::StoredController;

/// The record of the ledger as a whole; those below [`REPORTED`] are places of the ledger.
const WHOLE: u64 = u64::MAX;
/// From here: what a durable configuration has told the ledger.
const REPORTED: u64 = 1 << 56;
/// What the ledger has told durable controllers.
const SIGNALS: u64 = 2 << 56;
/// What is counted as consumed ahead while hosts spend for a sponsor: a quarter of a balance, and at least
/// this if there is.
const AHEAD_FLOOR: Quota = Quota { memory: 1 << 16, cycles: 1 << 22, events: 256 };

/// Why budgets could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepBudgetsError {
    /// The arena could not be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// It could not be written.
    #[error("{path}: the budgets could not be written: {source}")]
    Write {
        /// The arena.
        path: PathBuf,
        /// Why.
        source: CommitError,
    },
    /// It holds something else.
    #[error("{path} holds no budgets that this build can read: {reason}")]
    Unreadable {
        /// The arena.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The hosts' threads could not be started.
    #[error("the hosts could not be started: {0}")]
    Hosts(#[from] std::io::Error),
}

impl KeepBudgetsError {
    /// How the disk is that was in the way: the same can be tried again. `None`: it was something else.
    pub(crate) fn disk(&self) -> Option<StoreHealth> {
        match self {
            Self::Write { source, .. } => disk_of(source),
            _ => None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Whole {
    /// Names the ledger.
    pub(super) number: u64,
    pub(super) granted: [u64; 3],
    pub(super) retired: [u64; 3],
    pub(super) places: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPlace {
    pub(super) generation: u32,
    pub(super) account: Option<StoredAccount>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) name: String,
    pub(super) parent: Option<(u32, u32)>,
    /// 0 stopped, 1 running, from 2 exhausted.
    pub(super) state: u8,
    pub(super) balance: [u64; 3],
    pub(super) consumed: [u64; 3],
    pub(super) overdrawn: u64,
    pub(super) controller: Option<StoredController>,
}

/// What is kept of a sponsor beside its account.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) name: String,
    pub(crate) controller: Option<StoredController>,
}

fn words(quota: Quota) -> [u64; 3] {
    [quota.memory, quota.cycles, quota.events]
}

fn quota([memory, cycles, events]: [u64; 3]) -> Quota {
    Quota { memory, cycles, events }
}

/// What is counted as consumed ahead of a sponsor, of which `covered` was before.
fn ahead(account: &Account, covered: Quota) -> Quota {
    // What is covered stays so: it would be written again for the next lease.
    let still =
        |covered: u64, consumed: u64, leased: u64| covered.saturating_sub(consumed.saturating_add(leased));
    let (consumed, leased) = (account.consumed, account.leased);
    let still = Quota {
        memory: still(covered.memory, consumed.memory, leased.memory),
        cycles: still(covered.cycles, consumed.cycles, leased.cycles),
        events: still(covered.events, consumed.events, leased.events),
    };
    if account.leases == 0 {
        return still;
    }
    let part = |whole: u64, floor: u64, still: u64| (whole / 4).max(floor).max(still);
    let Quota { memory, cycles, events } = account.balance;
    Quota {
        memory: part(memory, AHEAD_FLOOR.memory, still.memory),
        cycles: part(cycles, AHEAD_FLOOR.cycles, still.cycles),
        events: part(events, AHEAD_FLOOR.events, still.events),
    }
}

/// The ledger's store.
pub(crate) struct KeptBudgets {
    records: Records,
    path: PathBuf,
    pub(crate) number: u64,
    /// What the store counts as consumed.
    covered: BTreeMap<SponsorId, Quota>,
    writes: u64,
}

/// What a store held.
pub(crate) struct Found {
    pub(crate) ledger: Ledger,
    pub(crate) attributes: BTreeMap<SponsorId, Attributes>,
    pub(crate) reported: Vec<Reported>,
    pub(crate) signals: Signals,
}

impl KeptBudgets {
    /// Opens the store and reads the ledger in it; none if it is new.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Found>), KeepBudgetsError> {
        let records = Records::open(path, None)?;
        let unreadable =
            |reason: &str| KeepBudgetsError::Unreadable { path: path.to_owned(), reason: reason.to_owned() };
        let mut kept =
            Self { records, path: path.to_owned(), number: 0, covered: BTreeMap::new(), writes: 0 };
        let Some(whole) = kept.records.read(WHOLE) else {
            if kept.records.keys().next().is_some() {
                return Err(unreadable("it is the store of a durable configuration"));
            }
            let token = random_token();
            kept.number = token.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
            return Ok((kept, None));
        };
        let whole: Whole = postcard::from_bytes(&whole).map_err(|error| unreadable(&error.to_string()))?;
        kept.number = whole.number;
        kept.writes = kept.records.last_event();
        let (mut places, mut attributes) = (Vec::new(), BTreeMap::new());
        for index in 0..whole.places {
            let record =
                kept.records.read(u64::from(index)).ok_or_else(|| unreadable("a sponsor is missing"))?;
            let place: StoredPlace =
                postcard::from_bytes(&record).map_err(|error| unreadable(&error.to_string()))?;
            let generation = place.generation;
            let Some(stored) = place.account else {
                places.push((generation, None));
                continue;
            };
            let state = match stored.state {
                0 => State::Stopped,
                1 => State::Running,
                other => {
                    let resource = Resource::ALL.get(usize::from(other) - 2);
                    State::Exhausted(*resource.ok_or_else(|| unreadable("a sponsor's state"))?)
                }
            };
            let account = Account {
                parent: stored.parent.map(|(index, generation)| SponsorId { index, generation }),
                state,
                balance: quota(stored.balance),
                leased: Quota::ZERO,
                leases: 0,
                consumed: quota(stored.consumed),
                overdrawn: stored.overdrawn,
            };
            let id = SponsorId { index, generation };
            attributes.insert(id, Attributes { name: stored.name, controller: stored.controller });
            places.push((generation, Some(account)));
        }
        let (mut reported, mut signals) = (Vec::new(), Signals::default());
        for key in kept.records.keys().filter(|key| *key >= u64::from(whole.places) && *key != WHOLE) {
            let record = kept.records.read(key).unwrap_or_default();
            let unreadable_record = |error: postcard::Error| unreadable(&error.to_string());
            if key == REPORTED | reported.len() as u64 {
                reported.push(postcard::from_bytes(&record).map_err(unreadable_record)?);
            } else if key == SIGNALS {
                signals = postcard::from_bytes(&record).map_err(unreadable_record)?;
            } else {
                return Err(unreadable("a record's kind is unknown; use the build that wrote it"));
            }
        }
        let ledger = Ledger::restore(quota(whole.granted), quota(whole.retired), places);
        let ledger = ledger.ok_or_else(|| unreadable("its sums do not agree"))?;
        kept.cover(&ledger);
        Ok((kept, Some(Found { ledger, attributes, reported, signals })))
    }

    fn cover(&mut self, kept: &Ledger) {
        self.covered = kept.accounts().map(|(id, account)| (id, account.consumed)).collect();
    }

    /// Whether what a sponsor has consumed and leased is counted as consumed in the store.
    pub(crate) fn covers(&self, id: SponsorId, account: &Account) -> bool {
        let spent = account.consumed.checked_add(account.leased);
        let covered = self.covered.get(&id).copied().unwrap_or_default();
        spent.is_some_and(|spent| covered.checked_sub(spent).is_ok())
    }

    /// Part of what a sponsor had consumed before a crash was not: it need not be counted as consumed again.
    pub(crate) fn uncover(&mut self, id: SponsorId, amount: Quota) {
        if let Some(covered) = self.covered.get_mut(&id) {
            *covered = covered.checked_sub(amount).unwrap_or(Quota::ZERO);
        }
    }

    /// Writes the ledger as it must be after a crash; after a clean end, `last`, as it is.
    pub(crate) fn write(
        &mut self,
        ledger: &Ledger,
        reported: &[Reported],
        signals: &Signals,
        last: bool,
        attributes: impl Fn(SponsorId) -> Attributes,
    ) -> Result<(), KeepBudgetsError> {
        let covered = |id| self.covered.get(&id).copied().unwrap_or_default();
        let kept = ledger.after_crash(|id, account| match last {
            true => Quota::ZERO,
            false => ahead(account, covered(id)),
        });
        let mut places = 0;
        for (generation, account) in kept.places() {
            let id = SponsorId { index: places, generation };
            let account = account.map(|account| {
                let Attributes { name, controller } = attributes(id);
                StoredAccount {
                    name,
                    parent: account.parent.map(|parent| (parent.index, parent.generation)),
                    state: match account.state {
                        State::Stopped => 0,
                        State::Exhausted(Resource::Memory) => 2,
                        State::Exhausted(Resource::Cycles) => 3,
                        State::Exhausted(Resource::Events) => 4,
                        State::Running | State::Settling { .. } | State::Ended { .. } => 1,
                    },
                    balance: words(account.balance),
                    consumed: words(account.consumed),
                    overdrawn: account.overdrawn,
                    controller,
                }
            });
            self.put(u64::from(places), &StoredPlace { generation, account })?;
            places += 1;
        }
        for (key, reported) in (REPORTED..).zip(reported) {
            self.put(key, reported)?;
        }
        if !signals.is_unused() {
            self.put(SIGNALS, signals)?;
        }
        let (granted, retired) = (words(kept.granted()), words(kept.retired()));
        self.put(WHOLE, &Whole { number: self.number, granted, retired, places })?;
        if self.records.is_dirty() {
            self.writes += 1;
            let written = self.records.commit(self.writes, SnapshotOperation::None);
            written.map_err(|source| KeepBudgetsError::Write { path: self.path.clone(), source })?;
        }
        self.cover(&kept);
        Ok(())
    }

    /// Lets so many commits find no room, or fail, every second one after it was written, for tests.
    pub(crate) fn spoil(&mut self, health: StoreHealth, commits: u32) {
        match health {
            StoreHealth::Full => self.records.without_room = commits,
            _ => self.records.faults = commits,
        }
    }

    /// Commits that are still to find no room, or to fail.
    #[cfg(test)]
    pub(crate) fn spoilt(&self) -> u32 {
        self.records.without_room + self.records.faults
    }

    fn put(&mut self, key: u64, value: &impl Serialize) -> Result<(), KeepBudgetsError> {
        let bytes = postcard::to_stdvec(value).map_err(|error| KeepBudgetsError::Unreadable {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        if self.records.read(key).as_deref() != Some(bytes.as_slice()) {
            self.records.write(key, &bytes);
        }
        Ok(())
    }
}
