//! What leaves a configuration: its requests to the system, and its messages to other configurations and
//! processes.
//!
//! A wake-up on another processor costs more than hundreds of events, so a sender that is about to have
//! nothing to do runs the receiver itself, and one whose receiver's processor sleeps runs it until an idle
//! processor asks for work.

use std::sync::atomic::Ordering;

use super::Processor;
use crate::configuration::effects::{Outgoing, Request};
use crate::configuration::event::Event;
use crate::model::address::{ConfigurationNumber, Local};
use crate::system::directory::{Arrival, Resident};

impl Processor {
    /// What goes out of a configuration: its requests to the processor, and its messages.
    pub(super) fn release_effects(&mut self, resident: &mut Resident) {
        for (sponsor, request) in resident.exclusive.running.effects.requests.drain(..) {
            match request {
                Request::Configuration(seed) => drop(self.system.spawn(seed)),
                Request::Blocking(work, reply_to) => self.system.submit(work, reply_to, sponsor),
            }
        }
        self.send_outgoing(resident);
    }

    pub(super) fn send_outgoing(&mut self, resident: &mut Resident) {
        let is_busy = !resident.exclusive.running.queue.is_empty();
        let mut outgoing = std::mem::take(&mut resident.exclusive.running.effects.outgoing);
        let mut batch: Vec<Event> = Vec::new();
        let mut items = outgoing.drain(..).peekable();
        while let Some(item) = items.next() {
            match item {
                Outgoing::Beyond(proxy, sponsor, message) => proxy.deliver_paid(message, sponsor),
                Outgoing::Configuration(number, event) => {
                    let follows =
                        matches!(items.peek(), Some(Outgoing::Configuration(next, _)) if *next == number);
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
        resident.exclusive.running.effects.outgoing = outgoing;
    }

    /// An actor's event has found no room where it sends to: it goes on when there is some.
    #[cold]
    pub(super) fn wait_for_room(&mut self, resident: &Resident, event: &Event, number: ConfigurationNumber) {
        let generation = event.generation & Event::GENERATION;
        let actor = Local { configuration: resident.entry.number, slot: event.slot, generation };
        let waiting = match self.system.facilities.mailboxes.find(number) {
            Some(mailbox) => mailbox.wait_as(actor),
            None => vec![actor],
        };
        self.system.tell_of_room(number, waiting);
    }

    /// Events that were handled count in the mailbox no more.
    #[inline]
    pub(super) fn make_room(&mut self, resident: &mut Resident) {
        if let Some(mailbox) = &resident.entry.mailbox {
            let waiting = mailbox.release(std::mem::take(&mut resident.exclusive.running.uncounted));
            self.system.tell_of_room(resident.entry.number, waiting);
        }
    }

    /// Puts events into a configuration's inbox, and takes the configuration or gives it to its processor if
    /// it rested. `sender_is_busy`: the sending configuration has more to do.
    fn deliver(
        &mut self,
        number: ConfigurationNumber,
        one: Option<Event>,
        many: Vec<Event>,
        sender_is_busy: bool,
    ) {
        if self.known.get(&number).is_some_and(|entry| entry.has_ended()) {
            self.known.remove(&number);
        }
        let entry = match self.known.get(&number) {
            Some(entry) => entry,
            None => match self.system.directory.find(number) {
                Some(entry) => self.known.entry(number).or_insert(entry),
                None => {
                    one.into_iter().chain(many).for_each(|event| self.system.undelivered(event));
                    return;
                }
            },
        };
        if let Some(event) = one {
            entry.inbox.push(event);
        }
        entry.inbox.push_many(many);
        if entry.has_ended() {
            return self.system.empty(entry);
        }
        if !entry.rouse() {
            return;
        }
        let home = entry.home.load(Ordering::Relaxed);
        if home != self.index {
            let door = &self.system.directory.processors[home];
            let this_is_free = self.ring.is_empty() && !sender_is_busy;
            let take = this_is_free
                || door.sleeping.load(Ordering::Relaxed)
                || door.load.load(Ordering::Relaxed) > self.ring.len() + usize::from(sender_is_busy);
            if entry.stays || !take {
                self.system.directory.arrive(home, Arrival::Roused(entry.clone()));
                return;
            }
            entry.home.store(self.index, Ordering::Relaxed);
        }
        if let Some(exclusive) = entry.take() {
            let entry = entry.clone();
            self.ring.push_back(Resident { entry, exclusive });
            self.note_load();
        }
    }
}
