//! How hosts reach each other and each other's configurations: [`HostDoor`] and [`Shared`].

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::batch_queue::BatchQueue;
use banyan_core::sponsors::SponsorId;

use crate::configuration::settings::Seed;
use crate::configuration::{Event, Guest};
use crate::model::address::GuestNumber;

/// No host.
pub(crate) const NOBODY: usize = usize::MAX;

/// What of a configuration every host can reach.
pub(crate) struct Shared {
    pub(crate) number: GuestNumber,
    pub(crate) name: String,
    /// Events from other configurations and from outside.
    pub(crate) inbox: BatchQueue<Event>,
    /// It has no events and lies in `parked`. Whoever changes this to `false` gives it to a host.
    resting: AtomicBool,
    ended: AtomicBool,
    parked: Mutex<Option<Box<Guest>>>,
    pub(crate) weight: AtomicU32,
    /// The host that had it last.
    pub(crate) home: AtomicUsize,
    /// Events that completed.
    pub(crate) events: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) actors: AtomicUsize,
    pub(crate) sponsor: SponsorId,
    pub(crate) durable: bool,
    /// It stays on the host that it began on.
    pub(crate) stays: bool,
}

impl Shared {
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
            stays: seed.configuration.stays,
        }
    }

    /// It was removed: whoever has it drops it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Lays a configuration without events to rest; gives it back if an event has come meanwhile.
    pub(crate) fn rest(&self, guest: Box<Guest>) -> Option<Box<Guest>> {
        *self.parked.lock().unwrap_or_else(PoisonError::into_inner) = Some(guest);
        self.resting.store(true, Ordering::SeqCst);
        // Whoever put an event in before seeing that this rests has not woken it.
        if !self.inbox.is_empty() && self.rouse() { self.take() } else { None }
    }

    /// Whether it rested, and the caller must give it to a host.
    pub(crate) fn rouse(&self) -> bool {
        self.resting.load(Ordering::SeqCst)
            && self.resting.compare_exchange(true, false, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// For whoever has roused it.
    pub(crate) fn take(&self) -> Option<Box<Guest>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A configuration on its way to a host.
pub(crate) enum Arrival {
    /// It was roused.
    Roused(Arc<Shared>),
    /// Another host gives it away.
    Given(Arc<Shared>, Box<Guest>),
    /// It is to be made.
    New(Arc<Shared>, Seed),
}

/// What of a host everybody can reach.
pub(crate) struct HostDoor {
    pub(crate) arrivals: BatchQueue<Arrival>,
    pub(crate) sleeping: AtomicBool,
    pub(crate) thread: Mutex<Option<std::thread::Thread>>,
    /// An idle host that would take configurations from this one.
    pub(crate) wanted_by: AtomicUsize,
    /// Configurations that have something to do, the one that has its turn included.
    pub(crate) load: AtomicUsize,
    pub(crate) turns: AtomicU64,
}

impl HostDoor {
    pub(crate) fn new() -> Self {
        Self {
            arrivals: BatchQueue::new(),
            sleeping: AtomicBool::new(false),
            thread: Mutex::new(None),
            wanted_by: AtomicUsize::new(NOBODY),
            load: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
        }
    }

    /// Wakes the host if it sleeps. Of several that want to, one pays for the wake-up.
    pub(crate) fn wake(&self) {
        if self.sleeping.load(Ordering::SeqCst)
            && self.sleeping.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
        {
            thread.unpark();
        }
    }
}
