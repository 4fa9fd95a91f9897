//! [`System`]: what all hosts of a process share: the directory of configurations, names, the ledger, the clock.
//!
//! Locks: each field's own, none taken while another is held, but for what `signals` says.

pub mod handle;
pub(crate) mod interfaces;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use banyan_core::sponsors::{Quota, SponsorId};

use crate::configuration::settings::Seed;
use crate::configuration::{Event, Guest};
use crate::durable::budgets::{Beside, Found, KeepBudgetsError, KeptBudgets};
use crate::durable::money::Money;
use crate::durable::{DurableRequest, DurableSeed, OpenDurableError, StoredAddress, StoredSponsor};
use crate::model::address::{Address, GuestNumber, Place};
use crate::model::message::Message;
use crate::processor::pool::Pool;
use crate::router::{Identity, Remotes, configuration_of_name};
use crate::sponsors::{Controller, Freed, Restored, Treasury};
use crate::system::interfaces::{Arrival, HostDoor, Shared};

/// Lines of log that are kept.
const LOG_MAX: usize = 1000;
/// A name is given to another actor already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name} is taken by {by}; choose another or unregister it")]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Who has it.
    pub by: String,
}

enum Clock {
    Real(Instant),
    /// Nanoseconds.
    Simulated(AtomicU64),
}

/// What all hosts share.
pub(crate) struct System {
    clock: Clock,
    treasury: Mutex<Treasury>,
    /// Held while signals are numbered and sent: see `signals`.
    pub(crate) signalling: Mutex<()>,
    /// Names the ledger, if it is kept.
    kept_ledger: OnceLock<u64>,
    directory: RwLock<BTreeMap<GuestNumber, Arc<Shared>>>,
    names: Mutex<BTreeMap<String, Address>>,
    /// When, and what.
    log: Mutex<VecDeque<(u64, String)>>,
    /// Numbers of durable configurations by name, given when the name is first met.
    durable_numbers: Mutex<BTreeMap<String, GuestNumber>>,
    next_number: AtomicU32,
    next_home: AtomicUsize,
    pub(crate) hosts: Vec<HostDoor>,
    pub(crate) pool: Pool,
    /// Durable configurations, as other processes know them.
    pub(crate) remotes: Remotes,
    pub(crate) closing: AtomicBool,
    /// Messages to actors that are gone.
    pub(crate) dead_letters: AtomicU64,
    /// Leases are called back: a sponsor was stopped, or cannot be decided on before all are settled.
    pub(crate) recalls: AtomicU64,
    this: Weak<System>,
}

impl System {
    /// The ledger, where senders are known by the numbers of their configurations. No configuration has this one.
    pub(crate) const LEDGER: GuestNumber = 0;

    pub(crate) fn new(hosts: usize, simulated: bool, grant: Quota, refill: Option<Quota>) -> Arc<Self> {
        let clock = if simulated { Clock::Simulated(AtomicU64::new(0)) } else { Clock::Real(Instant::now()) };
        Arc::new_cyclic(|this| Self {
            clock,
            treasury: Mutex::new(Treasury::new(grant, refill)),
            signalling: Mutex::new(()),
            kept_ledger: OnceLock::new(),
            directory: RwLock::new(BTreeMap::new()),
            names: Mutex::new(BTreeMap::new()),
            log: Mutex::new(VecDeque::new()),
            durable_numbers: Mutex::new(BTreeMap::new()),
            next_number: AtomicU32::new(1),
            next_home: AtomicUsize::new(0),
            hosts: (0..hosts).map(|_| HostDoor::new()).collect(),
            pool: Pool::default(),
            remotes: Remotes::default(),
            closing: AtomicBool::new(false),
            dead_letters: AtomicU64::new(0),
            recalls: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.clock, Clock::Simulated(_))
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        match &self.clock {
            Clock::Real(origin) => u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Clock::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Nanoseconds since 1970, to which what is kept refers; of a simulated clock, since its start.
    pub(crate) fn date(&self) -> u64 {
        match &self.clock {
            Clock::Real(_) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            }
            Clock::Simulated(now) => now.load(Ordering::Relaxed),
        }
    }

    /// Moves the simulated clock.
    pub(crate) fn advance(&self, by: Duration) {
        if let Clock::Simulated(now) = &self.clock {
            now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        }
    }

    pub(crate) fn treasury(&self) -> MutexGuard<'_, Treasury> {
        self.treasury.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the budgets that are kept there, and keeps them from now on.
    pub(crate) fn keep_budgets(&self, path: &std::path::Path) -> Result<(), KeepBudgetsError> {
        let (kept, found) = KeptBudgets::open(path)?;
        let number = kept.number;
        let found = found.map(|Found { ledger, beside, told, signals }| {
            let (mut names, mut controllers) = (BTreeMap::new(), BTreeMap::new());
            for (id, Beside { name, controller }) in beside {
                if !name.is_empty() {
                    names.insert(id, name);
                }
                if let Some(controller) = controller {
                    controllers.insert(id, Controller::of_stored(controller, self));
                }
            }
            Restored { ledger, names, controllers, told, signals }
        });
        self.treasury().restore(kept, found)?;
        // Nobody has asked before: the system was made just now.
        let _ = self.kept_ledger.set(number);
        Ok(())
    }

    /// With the controller's address as it is kept.
    pub(crate) fn with_stored(&self, money: Money) -> Money {
        match money {
            Money::Start(sponsor, mut controller) if self.kept_ledger.get().is_some() => {
                controller.stored = self.stored_controllers(&controller.address).into_iter().next();
                Money::Start(sponsor, controller)
            }
            other => other,
        }
    }

    /// Whether an actor is told, or was told, that a sponsor is exhausted.
    pub(crate) fn is_controller(&self, id: SponsorId, actor: &Address) -> bool {
        let names = self.stored_controllers(actor);
        let treasury = self.treasury();
        let Some(controller) = treasury.controller(id) else { return false };
        match controller.durable() {
            Some(kept) => names.contains(&kept.address),
            None => controller.address == *actor,
        }
    }

    /// As what a controller may be kept: as any process knows it, and by its name.
    fn stored_controllers(&self, actor: &Address) -> Vec<StoredAddress> {
        let known = self.remotes.durable_address(actor);
        let known = known.map(|known| StoredAddress::Remote { address: known.to_bytes().to_vec() });
        known.into_iter().chain([StoredAddress::of(actor, Self::LEDGER, self)]).collect()
    }

    /// Names the ledger, if it is kept.
    pub(crate) fn kept_ledger(&self) -> Option<u64> {
        self.kept_ledger.get().copied()
    }

    /// After the ledger was told of a change.
    pub(crate) fn after_money(&self, freed: Vec<Freed>, stops: bool) {
        if stops {
            self.recalls.fetch_add(1, Ordering::Relaxed);
        }
        self.send_freed(freed);
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

    pub(crate) fn new_number(&self) -> GuestNumber {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn log(&self, line: String) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_MAX {
            log.pop_front();
        }
        log.push_back((self.now(), line));
    }

    pub(crate) fn log_lines(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().map(|(when, line)| format!("{:.6} {line}", *when as f64 / 1e9)).collect()
    }

    pub(crate) fn register(&self, name: &str, address: Address) -> Result<(), NameTaken> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(by) = names.get(name) {
            return Err(NameTaken { name: name.to_owned(), by: format!("{by:?}") });
        }
        names.insert(name.to_owned(), address);
        Ok(())
    }

    pub(crate) fn unregister(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<Address> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<(String, Address)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|(name, address)| (name.clone(), address.clone())).collect()
    }

    pub(crate) fn shared(&self, number: GuestNumber) -> Option<Arc<Shared>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(crate) fn all_shared(&self) -> Vec<Arc<Shared>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Asks a host to make a configuration. It can be sent to at once.
    pub(crate) fn plant(&self, mut seed: Seed) -> Arc<Shared> {
        if seed.number == 0 {
            seed.number = self.new_number();
        }
        let next = self.next_home.fetch_add(1, Ordering::Relaxed);
        let home = seed.configuration.host.unwrap_or(next) % self.hosts.len();
        let shared = Arc::new(Shared::new(&seed, home, false));
        let mut directory = self.directory.write().unwrap_or_else(PoisonError::into_inner);
        directory.insert(seed.number, shared.clone());
        drop(directory);
        self.arrive(home, Arrival::New(shared.clone(), seed));
        shared
    }

    /// The number of the durable configuration of a name, whether it is open or not.
    pub(crate) fn number_of_durable(&self, name: &str) -> GuestNumber {
        let mut numbers = self.durable_numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.entry(name.to_owned()).or_insert_with(|| self.new_number())
    }

    pub(crate) fn durable_number(&self, name: &str) -> Option<GuestNumber> {
        self.durable_numbers.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    pub(crate) fn durable_name(&self, number: GuestNumber) -> Option<String> {
        let numbers = self.durable_numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.iter().find(|(_, one)| **one == number).map(|(name, _)| name.clone())
    }

    /// Gives a durable configuration, put back as it was kept, to a host.
    pub(crate) fn plant_durable(&self, durable: DurableSeed) -> Result<GuestNumber, OpenDurableError> {
        let DurableSeed { mut seed, mut durability } = durable;
        let name = seed.configuration.name.clone();
        let number = self.number_of_durable(&name);
        if self.shared(number).is_some() {
            return Err(OpenDurableError::NameTaken { name });
        }
        let identity = durability.identity();
        if let Some(identity) = identity
            && !self.remotes.open(number, identity)
        {
            return Err(OpenDurableError::Twin { name });
        }
        seed.number = number;
        let home = seed.configuration.host.unwrap_or_else(|| self.next_home.fetch_add(1, Ordering::Relaxed));
        let home = home % self.hosts.len();
        let shared = Arc::new(Shared::new(&seed, home, true));
        let mut guest = Box::new(Guest::new(number, seed.configuration.sponsor));
        guest.default_directive = seed.configuration.default_directive;
        guest.overseer = seed.configuration.overseer;
        if let Err(error) = durability.wake(&mut guest, seed.first, self) {
            self.remotes.close(number);
            return Err(error);
        }
        durability.tell_again(self);
        guest.durable = Some(durability);
        shared.actors.store(guest.population(), Ordering::Relaxed);
        let others = self.all_shared();
        self.directory.write().unwrap_or_else(PoisonError::into_inner).insert(number, shared.clone());
        self.arrive(home, Arrival::Given(shared, guest));
        for other in others.iter().filter(|other| other.durable) {
            self.request(other.number, DurableRequest::Resend { target: name.clone() });
        }
        if let Some(Identity { configuration, .. }) = identity {
            self.send_signals(Some(&configuration));
            self.remotes.announce(&configuration);
        }
        Ok(number)
    }

    /// Asks something of a durable configuration, or of the ledger as far as that is a sender like one.
    pub(crate) fn request(&self, number: GuestNumber, request: DurableRequest) {
        if number == Self::LEDGER {
            return self.request_of_ledger(&request);
        }
        let message = Message::internal(request);
        let event = Event { slot: Event::CONTROL, generation: 0, sponsor: SponsorId::ROOT, message };
        self.route_event(number, event);
    }

    fn request_of_ledger(&self, request: &DurableRequest) {
        match request {
            DurableRequest::Acknowledge { target, sequence } => {
                if let Some(receiver) = configuration_of_name(target) {
                    self.treasury().signals.acknowledge(&receiver, *sequence);
                }
            }
            DurableRequest::Resend { target } => self.send_signals(configuration_of_name(target).as_ref()),
            // It has no store of its own kind.
            DurableRequest::Snapshot { .. } | DurableRequest::Seen { .. } => {}
        }
    }

    pub(crate) fn uproot(&self, number: GuestNumber) {
        let removed = self.directory.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(shared) = removed {
            self.remotes.close(number);
            shared.end();
            self.rouse(&shared);
        }
    }

    pub(crate) fn arrive(&self, host: usize, arrival: Arrival) {
        self.hosts[host].arrivals.push(arrival);
        self.hosts[host].wake();
    }

    /// Gives a configuration that may rest to a host, because it has something to do.
    pub(crate) fn rouse(&self, shared: &Arc<Shared>) {
        if shared.rouse() {
            self.arrive(shared.home.load(Ordering::Relaxed), Arrival::Roused(shared.clone()));
        }
    }

    /// A message from outside of any event; its sponsor pays for it when it is dispatched.
    pub(crate) fn route(&self, target: &Address, sponsor: SponsorId, message: Message) {
        match &target.0 {
            Place::Beyond(proxy) => proxy.door.deliver(message, sponsor),
            Place::Local(local) => {
                let generation = local.generation | Event::UNPAID;
                self.route_event(local.guest, Event { slot: local.slot, generation, sponsor, message });
            }
        }
    }

    pub(crate) fn route_event(&self, guest: GuestNumber, event: Event) {
        match self.shared(guest) {
            Some(shared) => {
                shared.inbox.push(event);
                self.rouse(&shared);
            }
            None => self.note_dead_letter(),
        }
    }

    pub(crate) fn note_dead_letter(&self) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts what a sponsor's events waited for on its way.
    pub(crate) fn send_freed(&self, freed: Vec<Freed>) {
        for freed in freed {
            match freed {
                Freed::Event(guest, event) => self.route_event(guest, event),
                Freed::Message(address, sponsor, message) => self.route(&address, sponsor, message),
                Freed::Signals => self.send_signals(None),
            }
        }
    }

    pub(crate) fn submit(&self, job: crate::processor::pool::Job) {
        self.pool.submit(job, &self.this, !self.is_simulated());
    }
}
