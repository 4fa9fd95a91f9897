//! Configurations on their way between processors: given, roused, put to rest, and asked for by an idle
//! processor.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::{Processor, Resident};
use crate::configuration::running::RunningConfiguration;
use crate::containment::contain;
use crate::system::directory::{Arrival, Exclusive, NO_PROCESSOR};

impl Processor {
    /// Takes in the configurations that were given to this processor.
    #[cold]
    pub(super) fn admit(&mut self) {
        let mut arrivals = Vec::new();
        self.system.directory.processors[self.index].arrivals.take(|arrival| arrivals.push(arrival));
        for arrival in arrivals {
            let (entry, exclusive) = match arrival {
                Arrival::Roused(entry) => match entry.take() {
                    Some(exclusive) => (entry, exclusive),
                    None => continue,
                },
                Arrival::Given(entry, exclusive) => (entry, exclusive),
                Arrival::New(entry, mut seed) => {
                    let mut running = RunningConfiguration::of(&seed);
                    if let Some(first) = seed.first.take()
                        && let Err(words) = contain(|| running.occupy(first))
                    {
                        let name = &entry.name;
                        self.system.facilities.log(format!("{name}: its first actor panicked: {words}"));
                    }
                    entry.actors.store(running.population(), Ordering::Relaxed);
                    (entry, Box::new(Exclusive { running, durability: None }))
                }
            };
            entry.home.store(self.index, Ordering::Relaxed);
            self.ring.push_back(Resident { entry, exclusive });
        }
        self.note_load();
    }

    pub(super) fn put_to_rest(&mut self, resident: Resident) {
        let Resident { entry, exclusive } = resident;
        entry.actors.store(exclusive.running.population(), Ordering::Relaxed);
        let due = exclusive.running.next_due();
        if due != u64::MAX {
            self.alarms.push(Reverse((due, entry.number)));
        }
        self.in_hand = None;
        // Before: a sender would take it away from a processor that seems to be busy.
        self.note_load();
        if let Some(exclusive) = entry.rest(exclusive) {
            self.ring.push_back(Resident { entry, exclusive });
            self.note_load();
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
        let others =
            doors.filter(|(index, door)| *index != self.index && door.load.load(Ordering::Relaxed) > 1);
        if let Some((_, busiest)) = others.max_by_key(|(_, door)| door.load.load(Ordering::Relaxed)) {
            busiest.wanted_by.store(self.index, Ordering::Relaxed);
        }
    }

    pub(super) fn note_load(&self) {
        let load = self.ring.len() + usize::from(self.in_hand.is_some());
        self.system.directory.processors[self.index].load.store(load, Ordering::Relaxed);
    }
}
