//! Configurations on their way between processors: given, roused, put to rest, and asked for by an idle
//! processor.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use banyan_core::sponsors::SponsorId;

use super::Processor;
use crate::configuration::running::RunningConfiguration;
use crate::containment::contain;
use crate::model::address::ConfigurationNumber;
use crate::processor::pool::Threads;
use crate::sys::allocator;
use crate::system::directory::{Arrival, Exclusive, NO_PROCESSOR, ProcessorEntry, Resident, Ring};

/// Nanoseconds between looks at whether another processor is held up: what waits there waits so much longer.
pub(super) const RELIEVE: u64 = 5_000_000;

/// Whether something waits with a processor beside what has its turn.
fn has_waiting(door: &ProcessorEntry) -> bool {
    let load = door.load.load(Ordering::Relaxed);
    load > 1 || load == 1 && !door.arrivals.is_empty()
}

impl Processor {
    /// Takes in the configurations that were given to this processor.
    #[cold]
    pub(super) fn admit(&mut self) {
        let mut arrivals = Vec::new();
        self.system.directory.processors[self.index].arrivals.take(|arrival| arrivals.push(arrival));
        arrivals.into_iter().for_each(|arrival| self.take_in(arrival));
        self.note_load();
    }

    fn take_in(&mut self, arrival: Arrival) {
        let (entry, exclusive) = match arrival {
            Arrival::Roused(entry) => match entry.take() {
                Some(exclusive) => (entry, exclusive),
                None => return,
            },
            Arrival::Given(entry, exclusive) => (entry, exclusive),
            Arrival::New(entry, mut seed) => {
                let mut running = RunningConfiguration::of(&seed);
                if let Some(first) = seed.first.take()
                    && let Err(words) = contain(|| running.begin(first))
                {
                    let name = &entry.name;
                    self.system.facilities.log(format!("{name}: its first actor panicked: {words}"));
                }
                entry.actors.store(running.population(), Ordering::Relaxed);
                (entry, Exclusive::new(running, None))
            }
        };
        entry.home.store(self.index, Ordering::Relaxed);
        self.ring.push_back(Resident { entry, exclusive });
    }

    /// Takes what waits behind a long event of another processor: one that has had no turn since this one
    /// looked last, and lends its ring. Whether there was anything.
    pub(super) fn relieve_others(&mut self) -> bool {
        if self.now < self.relieved.saturating_add(RELIEVE) || self.system.facilities.clock.is_simulated() {
            return false;
        }
        self.relieved = self.now;
        let system = self.system.clone();
        let before = self.ring.len();
        for (index, door) in system.directory.processors.iter().enumerate() {
            let turns = door.turns.load(Ordering::Relaxed);
            let had_none = std::mem::replace(&mut self.turns_seen[index], turns) == turns;
            if index == self.index || !had_none || !has_waiting(door) {
                continue;
            }
            let Some(ring) = door.ring.get() else { continue };
            let taken = ring.borrow(|ring| {
                let all = std::mem::take(ring);
                let (stay, go): (Ring, Ring) = all.into_iter().partition(|resident| resident.entry.stays);
                *ring = stay;
                let mut arrivals = Vec::new();
                door.arrivals.take(|arrival| arrivals.push(arrival));
                (go, arrivals)
            });
            let Some((go, arrivals)) = taken else { continue };
            for resident in go {
                resident.entry.home.store(self.index, Ordering::Relaxed);
                self.ring.push_back(resident);
            }
            for arrival in arrivals {
                if arrival.stays() { door.arrivals.push(arrival) } else { self.take_in(arrival) }
            }
        }
        self.note_load();
        self.ring.len() > before
    }

    pub(super) fn put_to_rest(&mut self, resident: Resident) {
        let Resident { entry, mut exclusive } = resident;
        if let Some(bytes) = exclusive.running.give_back() {
            self.trim(bytes);
        }
        entry.actors.store(exclusive.running.population(), Ordering::Relaxed);
        self.set_alarm(entry.number, &mut exclusive);
        self.in_hand = None;
        // Before: a sender would take it away from a processor that seems to be busy.
        self.note_load();
        if let Some(exclusive) = entry.rest(exclusive) {
            self.ring.push_back(Resident { entry, exclusive });
            self.note_load();
        }
    }

    /// The allocator gives back what many actors took: what lies between pieces in use by a thread of the
    /// pool, since that takes long, and the rest in steps.
    #[cold]
    fn trim(&mut self, bytes: usize) {
        if !self.system.facilities.clock.is_simulated() {
            self.system.pool.submit(Box::new(allocator::trim), SponsorId::ROOT, Threads::Started);
            self.freed.add(bytes);
        }
    }

    /// Sees to it that a configuration is roused when it has something to do. It may rest often until then:
    /// an alarm that is set here, and is not too late, serves.
    fn set_alarm(&mut self, number: ConfigurationNumber, exclusive: &mut Exclusive) {
        let due = exclusive.next_due();
        let (processor, at) = exclusive.alarm;
        let is_set = processor == self.index && self.now < at && at <= due;
        if due != u64::MAX && !is_set {
            self.alarms.push(Reverse((due, number)));
            exclusive.alarm = (self.index, due);
        }
    }

    /// Gives half of the ring to an idle processor that has asked, or wakes one so that it asks.
    pub(super) fn give_away(&mut self) {
        let door = &self.system.directory.processors[self.index];
        let taker = door.wanted_by.swap(NO_PROCESSOR, Ordering::Relaxed);
        if taker == NO_PROCESSOR || taker == self.index {
            let sleeping =
                self.system.directory.processors.iter().find(|other| other.sleeping.load(Ordering::Relaxed));
            if let Some(other) = sleeping {
                other.wake();
            }
            return;
        }
        let keep = self.ring.len().div_ceil(2);
        for resident in self.ring.split_off(keep) {
            if resident.entry.stays {
                self.ring.push_back(resident);
            } else {
                self.system.directory.arrive(taker, Arrival::Given(resident.entry, resident.exclusive));
            }
        }
        self.note_load();
    }

    /// Asks the busiest processor for half of what it has.
    pub(crate) fn ask_for_work(&self) {
        let doors = self.system.directory.processors.iter().enumerate();
        let others = doors.filter(|(index, door)| *index != self.index && has_waiting(door));
        if let Some((_, busiest)) = others.max_by_key(|(_, door)| door.load.load(Ordering::Relaxed)) {
            busiest.wanted_by.store(self.index, Ordering::Relaxed);
        }
    }

    pub(super) fn note_load(&self) {
        let load = self.ring.len() + usize::from(self.in_hand.is_some());
        self.system.directory.processors[self.index].load.store(load, Ordering::Relaxed);
    }
}
