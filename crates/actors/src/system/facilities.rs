//! [`Facilities`]: what an event or a commit may use of its process: clock, log, names, accounts, identities.
//!
//! No way leads from here to another configuration or to a processor: what an event wants of those is in its
//! effects.
//!
//! Locks: each part's own, none taken while another is held, but for what `system::signalling` says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use banyan_core::sponsors::{Quota, SponsorId};
use parking_lot::{Mutex, MutexGuard};

use super::clock::Clock;
use super::log::Log;
use super::mailboxes::Mailboxes;
use super::names::Names;
use super::numbers::Numbers;
use crate::durable::budgets::{Attributes, Found, KeepBudgetsError, KeptBudgets};
use crate::durable::changes::LedgerChange;
use crate::durable::identities::Identities;
use crate::durable::stored::{StoredAddress, StoredSponsor};
use crate::model::address::{Address, Local};
use crate::sponsors::accounts::{Accounts, Controller, Restored};

/// Makes the address for the answer that an actor waits for; the sponsor has paid for the notice that none
/// comes.
type Answers = Box<dyn Fn(Local, SponsorId) -> Address + Send + Sync>;

/// What events and commits may use.
pub(crate) struct Facilities {
    pub(crate) clock: Clock,
    log: Log,
    pub(crate) names: Names,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) identities: Identities,
    /// Makes addresses for answers.
    pub(crate) answers: Answers,
    accounts: Mutex<Accounts>,
    /// Budgets wait for the disk: a processor that has nothing else to do looks when it can take them.
    pub(crate) budgets_wait: Arc<AtomicBool>,
    /// Names the ledger, if it is kept.
    kept_ledger: OnceLock<u64>,
}

impl Facilities {
    pub(crate) fn new(
        clock: Clock,
        identities: Identities,
        answers: Answers,
        grant: Quota,
        refill: Option<Quota>,
    ) -> Self {
        let budgets_wait = Arc::<AtomicBool>::default();
        Self {
            clock,
            log: Log::default(),
            names: Names::default(),
            mailboxes: Mailboxes::default(),
            identities,
            answers,
            accounts: Mutex::new(Accounts::new(grant, refill, Arc::clone(&budgets_wait))),
            budgets_wait,
            kept_ledger: OnceLock::new(),
        }
    }

    /// With a clock that stands still and no process around it.
    #[cfg(test)]
    pub(crate) fn for_test(grant: Quota) -> Self {
        let stand_in =
            |_: &_| -> Box<dyn crate::model::address::Door> { unreachable!("there is no other process") };
        let answers = Box::new(|waiting, _| Address::local(waiting));
        Self::new(Clock::simulated(), Identities::new(Box::new(stand_in)), answers, grant, None)
    }

    pub(crate) fn numbers(&self) -> &Numbers {
        &self.identities.numbers
    }

    pub(crate) fn log(&self, line: String) {
        self.log.write(self.clock.now(), line);
    }

    /// A line about a configuration, of which there are so many in a second and no more.
    pub(crate) fn log_of(&self, name: &str, line: impl FnOnce() -> String) {
        self.log.write_of(self.clock.now(), name, line);
    }

    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lines()
    }

    pub(crate) fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock()
    }

    /// Goes on with the budgets that are kept there, and keeps them from now on.
    pub(crate) fn keep_budgets(&self, path: &Path) -> Result<(), KeepBudgetsError> {
        let (kept, found) = KeptBudgets::open(path)?;
        let number = kept.number;
        let found = found.map(|Found { ledger, attributes, reported, signals }| {
            let (mut names, mut controllers) = (BTreeMap::new(), BTreeMap::new());
            for (id, Attributes { name, controller }) in attributes {
                if !name.is_empty() {
                    names.insert(id, name);
                }
                if let Some(controller) = controller {
                    controllers.insert(id, Controller::of_stored(controller, &self.identities));
                }
            }
            Restored { ledger, names, controllers, reported, signals }
        });
        self.accounts().restore(kept, found)?;
        // It is the first time: the system was made just now.
        let _ = self.kept_ledger.set(number);
        Ok(())
    }

    /// Names the ledger, if it is kept.
    pub(crate) fn kept_ledger(&self) -> Option<u64> {
        self.kept_ledger.get().copied()
    }

    /// With the controller's address as it is kept.
    pub(crate) fn with_stored(&self, change: LedgerChange) -> LedgerChange {
        match change {
            LedgerChange::Start(sponsor, mut controller) if self.kept_ledger.get().is_some() => {
                controller.stored = self.stored_controllers(&controller.address).into_iter().next();
                LedgerChange::Start(sponsor, controller)
            }
            other => other,
        }
    }

    /// Whether an actor is, or was, signalled that a sponsor is exhausted.
    pub(crate) fn is_controller(&self, id: SponsorId, actor: &Address) -> bool {
        let names = self.stored_controllers(actor);
        let accounts = self.accounts();
        let Some(controller) = accounts.controller(id) else { return false };
        match controller.durable() {
            Some(kept) => names.contains(&kept.address),
            None => controller.address == *actor,
        }
    }

    /// As what a controller may be kept: as any process knows it, and by its name.
    fn stored_controllers(&self, actor: &Address) -> Vec<StoredAddress> {
        let known = self.identities.durable_address(actor);
        let known = known.map(|known| StoredAddress::Remote { address: known.to_bytes().to_vec() });
        known.into_iter().chain([StoredAddress::of(actor, Numbers::LEDGER, &self.identities)]).collect()
    }

    /// A sponsor as it is kept; `None` if budgets are not.
    pub(crate) fn stored_sponsor(&self, id: SponsorId) -> Option<StoredSponsor> {
        let ledger = self.kept_ledger()?;
        Some(StoredSponsor { ledger, index: id.index, generation: id.generation })
    }

    /// The sponsor that was kept, if it is of the ledger of this process.
    pub(crate) fn restored_sponsor(&self, stored: Option<StoredSponsor>) -> Option<SponsorId> {
        let stored = stored.filter(|stored| self.kept_ledger() == Some(stored.ledger))?;
        Some(SponsorId { index: stored.index, generation: stored.generation })
    }
}
