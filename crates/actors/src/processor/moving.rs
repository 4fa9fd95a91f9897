//! Between hosts: events for other configurations, and the configurations themselves.
//!
//! A wake-up on another processor costs more than hundreds of events, so a sender that is about to have nothing to do runs
//! the receiver itself, and one whose receiver's host sleeps runs it until an idle host asks for work.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::{Host, Resident};
use crate::configuration::effects::Outgoing;
use crate::configuration::{Event, Guest};
use crate::model::address::GuestNumber;
use crate::system::interfaces::{Arrival, NOBODY};

impl Host {
    pub(super) fn send_outgoing(&mut self, resident: &mut Resident) {
        let is_busy = !resident.guest.queue.is_empty();
        let mut outgoing = std::mem::take(&mut resident.guest.effects.outgoing);
        let mut batch: Vec<Event> = Vec::new();
        let mut items = outgoing.drain(..).peekable();
        while let Some(item) = items.next() {
            match item {
                Outgoing::Beyond(proxy, sponsor, message) => proxy.door.deliver(message, sponsor),
                Outgoing::Guest(number, event) => {
                    let follows = matches!(items.peek(), Some(Outgoing::Guest(next, _)) if *next == number);
                    if follows || !batch.is_empty() {
                        if batch.is_empty() {
                            batch.reserve_exact(items.len() + 1);
                        }
                        batch.push(event);
                        if follows {
                            continue;
                        }
                        self.deliver(number, None, std::mem::take(&mut batch), is_busy);
                    } else {
                        self.deliver(number, Some(event), Vec::new(), is_busy);
                    }
                }
            }
        }
        drop(items);
        resident.guest.effects.outgoing = outgoing;
    }

    /// Puts events into a configuration's inbox, and takes the configuration or gives it to its host if it rested.
    /// `sender_is_busy`: the sending configuration has more to do.
    fn deliver(&mut self, number: GuestNumber, one: Option<Event>, many: Vec<Event>, sender_is_busy: bool) {
        if self.known.get(&number).is_some_and(|shared| shared.has_ended()) {
            self.known.remove(&number);
        }
        let shared = match self.known.get(&number) {
            Some(shared) => shared,
            None => match self.system.shared(number) {
                Some(shared) => self.known.entry(number).or_insert(shared),
                None => {
                    let count = many.len() as u64 + u64::from(one.is_some());
                    self.system.dead_letters.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            },
        };
        if let Some(event) = one {
            shared.inbox.push(event);
        }
        shared.inbox.push_many(many);
        if !shared.rouse() {
            return;
        }
        let home = shared.home.load(Ordering::Relaxed);
        if home != self.index {
            let door = &self.system.hosts[home];
            let this_is_free = self.ring.is_empty() && !sender_is_busy;
            let take = this_is_free
                || door.sleeping.load(Ordering::Relaxed)
                || door.load.load(Ordering::Relaxed) > self.ring.len() + usize::from(sender_is_busy);
            if shared.stays || !take {
                self.system.arrive(home, Arrival::Roused(shared.clone()));
                return;
            }
            shared.home.store(self.index, Ordering::Relaxed);
        }
        if let Some(guest) = shared.take() {
            let shared = shared.clone();
            self.ring.push_back(Resident { shared, guest });
            self.note_load();
        }
    }

    /// Takes in the configurations that were given to this host.
    #[cold]
    pub(super) fn admit(&mut self) {
        let mut arrivals = Vec::new();
        self.system.hosts[self.index].arrivals.take(|arrival| arrivals.push(arrival));
        for arrival in arrivals {
            let (shared, guest) = match arrival {
                Arrival::Roused(shared) => match shared.take() {
                    Some(guest) => (shared, guest),
                    None => continue,
                },
                Arrival::Given(shared, guest) => (shared, guest),
                Arrival::New(shared, seed) => {
                    let configuration = seed.configuration;
                    let mut guest = Box::new(Guest::new(shared.number, configuration.sponsor));
                    guest.default_directive = configuration.default_directive;
                    guest.overseer = configuration.overseer;
                    guest.occupy(seed.first);
                    shared.actors.store(guest.population(), Ordering::Relaxed);
                    (shared, guest)
                }
            };
            shared.home.store(self.index, Ordering::Relaxed);
            self.ring.push_back(Resident { shared, guest });
        }
        self.note_load();
    }

    pub(super) fn lay_to_rest(&mut self, resident: Resident) {
        let Resident { shared, guest } = resident;
        shared.actors.store(guest.population(), Ordering::Relaxed);
        let due = guest.timers.next_due();
        if due != u64::MAX {
            self.alarms.push(Reverse((due, shared.number)));
        }
        self.in_hand = false;
        // Before: whoever sends to it from then on would take it away from a host that seems to be busy.
        self.note_load();
        if let Some(guest) = shared.rest(guest) {
            self.ring.push_back(Resident { shared, guest });
            self.note_load();
        }
    }

    /// Gives half of the ring to an idle host that has asked, or wakes one so that it asks.
    pub(super) fn share_out(&mut self) {
        let door = &self.system.hosts[self.index];
        let taker = door.wanted_by.swap(NOBODY, Ordering::Relaxed);
        if taker == NOBODY || taker == self.index {
            let sleeping = self.system.hosts.iter().find(|other| other.sleeping.load(Ordering::Relaxed));
            if let Some(other) = sleeping {
                other.wake();
            }
            return;
        }
        let keep = self.ring.len().div_ceil(2);
        for resident in self.ring.split_off(keep) {
            if resident.shared.stays {
                self.ring.push_back(resident);
            } else {
                self.system.arrive(taker, Arrival::Given(resident.shared, resident.guest));
            }
        }
        self.note_load();
    }

    /// Asks whoever is busiest for half of what it has.
    pub(crate) fn ask_for_work(&self) {
        let doors = self.system.hosts.iter().enumerate();
        let others =
            doors.filter(|(index, door)| *index != self.index && door.load.load(Ordering::Relaxed) > 1);
        if let Some((_, busiest)) = others.max_by_key(|(_, door)| door.load.load(Ordering::Relaxed)) {
            busiest.wanted_by.store(self.index, Ordering::Relaxed);
        }
    }

    pub(super) fn note_load(&self) {
        let load = self.ring.len() + usize::from(self.in_hand);
        self.system.hosts[self.index].load.store(load, Ordering::Relaxed);
    }
}
