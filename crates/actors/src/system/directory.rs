//! [`Directory`]: which configurations there are, which processor has each, and how an event gets to it.
//!
//! An [`Entry`] is what every processor can reach of a configuration, a [`ProcessorEntry`] what can be
//! reached of a processor. The rest of a configuration, [`Exclusive`], is with one processor at a time, or in
//! the entry while it rests.
//!
//! Lock: the table of entries, and each entry's own; nothing is sent under them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use banyan_core::sponsors::SponsorId;
use parking_lot::{Mutex, RwLock};

use super::mailboxes::Mailbox;
use super::retry::Retry;
use crate::configuration::effects::Seed;
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::durable::{Durability, StoreHealth};
use crate::model::address::ConfigurationNumber;
use crate::sys::batch_queue::BatchQueue;
use crate::sys::lent::Lent;

/// No processor.
pub(crate) const NO_PROCESSOR: usize = usize::MAX;

/// What one processor at a time has of a configuration.
pub(crate) struct Exclusive {
    pub(crate) running: RunningConfiguration,
    pub(crate) durability: Option<Box<Durability>>,
    /// What its events have changed of the budgets is not kept yet: nothing that tells of it leaves, and it
    /// handles nothing until then. When to look, and how the budgets' store was.
    pub(crate) unkept: Option<(Retry, StoreHealth)>,
    /// The processor that was to rouse it last, and when.
    pub(crate) alarm: (usize, u64),
}

impl Exclusive {
    pub(crate) fn new(running: RunningConfiguration, durability: Option<Box<Durability>>) -> Box<Self> {
        Box::new(Self { running, durability, unkept: None, alarm: (NO_PROCESSOR, 0) })
    }

    /// When there is something to do that no event asks for, in nanoseconds of the system's clock. While a
    /// batch waits for room, or a change for the budgets' store, that is to look whether there is some.
    #[inline]
    pub(crate) fn next_due(&self) -> u64 {
        if let Some((retry, health)) = self.unkept {
            return if health.waits() { retry.at } else { u64::MAX };
        }
        let retry = self.durability.as_ref().and_then(|durability| durability.retry_at());
        retry.unwrap_or_else(|| self.running.next_due())
    }

    pub(crate) fn health(&self) -> StoreHealth {
        if let Some((_, health)) = self.unkept {
            return health;
        }
        self.durability.as_ref().map_or(StoreHealth::Well, |durability| durability.health())
    }
}

/// What every processor can reach of a configuration.
pub(crate) struct Entry {
    pub(crate) number: ConfigurationNumber,
    pub(crate) name: String,
    /// Events from other configurations and from outside.
    pub(crate) inbox: BatchQueue<Event>,
    /// It has no events and lies in `parked`. The thread that changes this to `false` gives it to a
    /// processor.
    resting: AtomicBool,
    ended: AtomicBool,
    parked: Mutex<Option<Box<Exclusive>>>,
    pub(crate) weight: AtomicU32,
    /// The processor that had it last.
    pub(crate) home: AtomicUsize,
    /// Events that completed.
    pub(crate) events: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) actors: AtomicUsize,
    pub(crate) sponsor: SponsorId,
    pub(crate) durable: bool,
    /// How its store is: a [`StoreHealth`].
    health: AtomicU8,
    /// It stays on the processor that it began on.
    pub(crate) stays: bool,
    /// If it takes so many events and no more.
    pub(crate) mailbox: Option<Arc<Mailbox>>,
}

impl Entry {
    pub(crate) fn new(seed: &Seed, home: usize, durable: bool) -> Self {
        Self {
            number: seed.number,
            name: seed.configuration.name.clone(),
            inbox: BatchQueue::new(),
            resting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            parked: Mutex::new(None),
            weight: AtomicU32::new(seed.configuration.weight),
            home: AtomicUsize::new(home),
            events: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            actors: AtomicUsize::new(0),
            sponsor: seed.configuration.sponsor,
            durable,
            health: AtomicU8::new(StoreHealth::Well as u8),
            stays: seed.configuration.stays,
            mailbox: seed.configuration.mailbox.map(|(events, when)| Arc::new(Mailbox::new(events, when))),
        }
    }

    pub(crate) fn health(&self) -> StoreHealth {
        const ALL: [StoreHealth; 4] =
            [StoreHealth::Well, StoreHealth::Full, StoreHealth::Failed, StoreHealth::Faulty];
        ALL[usize::from(self.health.load(Ordering::Relaxed))]
    }

    /// Notes how its store is; gives how it was.
    pub(crate) fn note_health(&self, health: StoreHealth) -> StoreHealth {
        let before = self.health();
        self.health.store(health as u8, Ordering::Relaxed);
        before
    }

    /// It was removed: the processor that has it drops it.
    pub(crate) fn end(&self) {
        // An event that is put in from here on is seen by who puts it in, or by who ends this.
        self.ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Lays a configuration without events to rest; gives it back if meanwhile an event has come, or it was
    /// removed.
    pub(crate) fn rest(&self, exclusive: Box<Exclusive>) -> Option<Box<Exclusive>> {
        *self.parked.lock() = Some(exclusive);
        self.resting.store(true, Ordering::SeqCst);
        // A thread that put an event in, or ended it, before it saw that this rests has not woken it.
        let is_wanted = self.has_ended() || !self.inbox.is_empty();
        if is_wanted && self.rouse() { self.take() } else { None }
    }

    /// Whether it rested, and the caller must give it to a processor.
    pub(crate) fn rouse(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
            && self.resting.compare_exchange(true, false, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// For the thread that has roused it.
    pub(crate) fn take(&self) -> Option<Box<Exclusive>> {
        self.parked.lock().take()
    }
}

/// A configuration on its way to a processor.
pub(crate) enum Arrival {
    /// It was roused.
    Roused(Arc<Entry>),
    /// Another processor gives it away.
    Given(Arc<Entry>, Box<Exclusive>),
    /// It is to be made.
    New(Arc<Entry>, Seed),
}

impl Arrival {
    /// Whether it stays where it was given to.
    pub(crate) fn stays(&self) -> bool {
        match self {
            Self::Roused(entry) | Self::Given(entry, _) | Self::New(entry, _) => entry.stays,
        }
    }
}

/// A configuration with a processor.
pub(crate) struct Resident {
    pub(crate) entry: Arc<Entry>,
    pub(crate) exclusive: Box<Exclusive>,
}

/// Configurations that take turns.
pub(crate) type Ring = VecDeque<Resident>;

/// What every processor can reach of a processor.
pub(crate) struct ProcessorEntry {
    /// The processor's ring, lent during events: an idle processor takes from it what waits behind a long
    /// one.
    pub(crate) ring: OnceLock<Arc<Lent<Ring>>>,
    pub(crate) arrivals: BatchQueue<Arrival>,
    pub(crate) sleeping: AtomicBool,
    pub(crate) thread: Mutex<Option<std::thread::Thread>>,
    /// An idle processor that would take configurations from this one.
    pub(crate) wanted_by: AtomicUsize,
    /// Configurations that have something to do, the one that has its turn included.
    pub(crate) load: AtomicUsize,
    pub(crate) turns: AtomicU64,
}

impl ProcessorEntry {
    pub(crate) fn new() -> Self {
        Self {
            ring: OnceLock::new(),
            arrivals: BatchQueue::new(),
            sleeping: AtomicBool::new(false),
            thread: Mutex::new(None),
            wanted_by: AtomicUsize::new(NO_PROCESSOR),
            load: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
        }
    }

    /// Wakes the processor if it sleeps. Of several that want to, one pays for the wake-up.
    pub(crate) fn wake(&self) {
        if self.sleeping.load(Ordering::SeqCst)
            && self.sleeping.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.lock().as_ref()
        {
            thread.unpark();
        }
    }
}

/// Configurations by number, and the processors that run them.
pub(crate) struct Directory {
    entries: RwLock<BTreeMap<ConfigurationNumber, Arc<Entry>>>,
    pub(crate) processors: Vec<ProcessorEntry>,
    next_home: AtomicUsize,
    /// Messages to actors that are gone.
    dead_letters: AtomicU64,
}

impl Directory {
    pub(crate) fn new(processors: usize) -> Self {
        Self {
            entries: RwLock::default(),
            processors: (0..processors).map(|_| ProcessorEntry::new()).collect(),
            next_home: AtomicUsize::new(0),
            dead_letters: AtomicU64::new(0),
        }
    }

    pub(crate) fn find(&self, number: ConfigurationNumber) -> Option<Arc<Entry>> {
        self.entries.read().get(&number).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, entry: &Arc<Entry>) {
        self.entries.write().insert(entry.number, entry.clone());
    }

    pub(crate) fn take_out(&self, number: ConfigurationNumber) -> Option<Arc<Entry>> {
        self.entries.write().remove(&number)
    }

    /// The processor that the next new configuration begins on.
    pub(crate) fn next_home(&self) -> usize {
        self.next_home.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives a configuration to a processor.
    pub(crate) fn arrive(&self, processor: usize, arrival: Arrival) {
        self.processors[processor].arrivals.push(arrival);
        self.processors[processor].wake();
    }

    /// Gives a configuration that may rest to a processor, because it has something to do.
    pub(crate) fn rouse(&self, entry: &Arc<Entry>) {
        if entry.rouse() {
            self.arrive(entry.home.load(Ordering::Relaxed), Arrival::Roused(entry.clone()));
        }
    }

    pub(crate) fn note_dead_letters(&self, count: u64) {
        self.dead_letters.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }
}
