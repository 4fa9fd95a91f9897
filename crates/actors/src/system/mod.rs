//! [`System`]: what the processors of a process share, and the steps that need more than one part of it.
//!
//! - `directory`: configurations, and which processor has each;
//! - `facilities`: what events and commits may use (`clock`, `log`, `names`, `numbers`, accounts,
//!   identities);
//! - `signalling`: the signals of the ledger to durable controllers;
//! - `handle`: the way in from outside of any event.
//!
//! Locks: each part's own, none taken while another is held, but for what `signalling` says.

mod answer;
pub(crate) mod clock;
pub(crate) mod directory;
pub(crate) mod facilities;
pub mod handle;
pub(crate) mod log;
pub(crate) mod mailboxes;
pub(crate) mod names;
pub(crate) mod numbers;
pub(crate) mod retry;
mod signalling;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use banyan_core::sponsors::{Quota, SponsorId};
use parking_lot::Mutex;

use self::answer::Answer;
use self::clock::Clock;
use self::directory::{Arrival, Directory, Entry, Exclusive};
use self::facilities::Facilities;
use self::numbers::Numbers;
use crate::configuration::changed::Changed;
use crate::configuration::effects::{Seed, Work};
use crate::configuration::event::Event;
use crate::configuration::running::RunningConfiguration;
use crate::configuration::supervised::{Unanswered, unanswered};
use crate::containment::{Foreign, contain, take_notes};
use crate::durable::identities::Identities;
use crate::durable::identity::{Identity, configuration_of_name};
use crate::durable::requests::{Aftermath, DurableRequest, Notice};
use crate::durable::{DurableSeed, OpenDurableError};
use crate::model::address::{Address, ConfigurationNumber, Local, Place};
use crate::model::message::Message;
use crate::model::supervision::{Control, ControlOf};
use crate::processor::pool::{Pool, Threads};
use crate::router::peers::{DurableRemote, Peers};
use crate::sponsors::accounts::Freed;
use crate::sponsors::sponsor::Signal;

/// What all processors share.
pub(crate) struct System {
    pub(crate) facilities: Facilities,
    pub(crate) directory: Directory,
    /// Where durable configurations of other processes are open.
    pub(crate) peers: Peers,
    pub(crate) pool: Arc<Pool>,
    /// Held while signals are numbered and sent: see `signalling`.
    signalling: Mutex<()>,
    pub(crate) closing: AtomicBool,
    /// Leases are called back: a sponsor was stopped, or cannot be decided on before all are settled.
    pub(crate) recalls: AtomicU64,
    this: Weak<System>,
}

impl System {
    pub(crate) fn new(processors: usize, clock: Clock, grant: Quota, refill: Option<Quota>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let system = this.clone();
            let identities = Identities::new(Box::new(move |to| {
                Box::new(DurableRemote { system: system.clone(), to: *to })
            }));
            let system = this.clone();
            let answers = Box::new(move |waiting, payer| {
                let (system, answered) = (system.clone(), AtomicBool::new(false));
                Address::of_door(Box::new(Answer { system, waiting, payer, answered }))
            });
            Self {
                facilities: Facilities::new(clock, identities, answers, grant, refill),
                directory: Directory::new(processors),
                peers: Peers::default(),
                pool: Arc::default(),
                signalling: Mutex::new(()),
                closing: AtomicBool::new(false),
                recalls: AtomicU64::new(0),
                this: this.clone(),
            }
        })
    }

    /// Leases are called back, so that the ledger can decide.
    pub(crate) fn recall_leases(&self) {
        self.recalls.fetch_add(1, Ordering::Relaxed);
    }

    /// After the ledger was changed.
    pub(crate) fn after_changes(&self, freed: Vec<Freed>, stops: bool) {
        if stops {
            self.recall_leases();
        }
        self.send_freed(freed);
    }

    /// Does what a durable configuration has left to be done.
    pub(crate) fn carry_out(&self, aftermath: Aftermath) {
        let Aftermath { freed, stops, notices } = aftermath;
        self.after_changes(freed, stops);
        for notice in notices {
            match notice {
                Notice::Acknowledged { stream, sequence } => self.peers.acknowledge(self, &stream, sequence),
                Notice::Lacking { stream, sequence } => self.peers.lack(&stream, sequence),
            }
        }
    }

    /// Asks a processor to make a configuration. It can be sent to at once.
    pub(crate) fn spawn(&self, mut seed: Seed) -> Arc<Entry> {
        if seed.number == 0 {
            seed.number = self.facilities.numbers().fresh();
        }
        let next = self.directory.next_home();
        let home = seed.configuration.host.unwrap_or(next) % self.directory.processors.len();
        let entry = Arc::new(Entry::new(&seed, home, false));
        self.open_mailbox(&entry);
        self.directory.insert(&entry);
        self.directory.arrive(home, Arrival::New(entry.clone(), seed));
        entry
    }

    /// Gives a durable configuration, put back as it was kept, to a processor.
    pub(crate) fn open_durable(&self, durable: DurableSeed) -> Result<ConfigurationNumber, OpenDurableError> {
        let DurableSeed { mut seed, mut durability } = durable;
        let name = seed.configuration.name.clone();
        let number = self.facilities.numbers().of_durable(&name);
        if self.directory.find(number).is_some() {
            return Err(OpenDurableError::NameTaken { name });
        }
        let identity = durability.identity();
        if let Some(identity) = identity
            && !self.facilities.identities.open(number, identity)
        {
            return Err(OpenDurableError::Twin { name });
        }
        seed.number = number;
        let home = seed.configuration.host.unwrap_or_else(|| self.directory.next_home());
        let home = home % self.directory.processors.len();
        let entry = Arc::new(Entry::new(&seed, home, true));
        let mut running = RunningConfiguration::of(&seed);
        running.changed = Some(Box::new(Changed::new(durability.who())));
        let first = std::mem::take(&mut seed.first);
        if let Err(error) = durability.wake(&mut running, first, &self.facilities) {
            self.facilities.identities.close(number);
            return Err(error);
        }
        durability.report_again(&self.facilities);
        self.carry_out(durability.take_aftermath());
        entry.actors.store(running.population(), Ordering::Relaxed);
        let others = self.directory.all();
        self.open_mailbox(&entry);
        self.directory.insert(&entry);
        let exclusive = Exclusive::new(running, Some(durability));
        self.directory.arrive(home, Arrival::Given(entry, exclusive));
        for other in others.iter().filter(|other| other.durable) {
            self.request(other.number, DurableRequest::Resend { target: name.clone() });
        }
        if let Some(Identity { configuration, .. }) = identity {
            self.send_signals(Some(&configuration));
            self.peers.announce(&configuration);
        }
        Ok(number)
    }

    /// Asks something of a durable configuration, or of the ledger as far as that is a sender like one.
    pub(crate) fn request(&self, number: ConfigurationNumber, request: DurableRequest) {
        if number == Numbers::LEDGER {
            return self.request_of_ledger(&request);
        }
        self.route_event(number, Event::control(SponsorId::ROOT, Message::internal(request)));
    }

    fn request_of_ledger(&self, request: &DurableRequest) {
        match request {
            DurableRequest::Acknowledge { target, sequence } => {
                if let Some(receiver) = configuration_of_name(target) {
                    self.facilities.accounts().signals.acknowledge(&receiver, *sequence);
                }
            }
            DurableRequest::Resend { target } => self.send_signals(configuration_of_name(target).as_ref()),
            // It has no store of that kind.
            DurableRequest::Snapshot { .. } | DurableRequest::Seen { .. } => {}
        }
    }

    /// Forgets a configuration.
    pub(crate) fn remove(&self, number: ConfigurationNumber) {
        if let Some(entry) = self.directory.take_out(number) {
            self.facilities.identities.close(number);
            entry.end();
            self.directory.rouse(&entry);
            let waiting = self.facilities.mailboxes.remove(number);
            self.tell_of_room(number, waiting);
        }
    }

    fn open_mailbox(&self, entry: &Entry) {
        if let Some(mailbox) = &entry.mailbox {
            self.facilities.mailboxes.insert(entry.number, mailbox.clone());
        }
    }

    /// A configuration has room again for what these actors wait to send.
    pub(crate) fn tell_of_room(&self, number: ConfigurationNumber, waiting: Vec<Local>) {
        for at in waiting {
            let message = Message::internal(ControlOf { at, control: Control::Room(number) });
            self.route_event(at.configuration, Event::control(SponsorId::ROOT, message));
        }
    }

    /// A message from outside of any event; its sponsor pays for it when it is dispatched.
    pub(crate) fn route(&self, target: &Address, sponsor: SponsorId, message: Message) {
        self.route_marked(target, sponsor, message, 0);
    }

    /// The same with a mark on its event, if it becomes one.
    pub(crate) fn route_marked(&self, target: &Address, sponsor: SponsorId, message: Message, mark: u32) {
        match &target.0 {
            Place::Beyond(proxy) => proxy.deliver(message, sponsor),
            Place::Local(local) => {
                let generation = local.generation | Event::UNPAID | mark;
                let event = Event { slot: local.slot, generation, sponsor, message };
                self.route_event(local.configuration, event);
            }
        }
    }

    pub(crate) fn route_event(&self, number: ConfigurationNumber, event: Event) {
        let Some(entry) = self.directory.find(number) else { return self.undelivered(event) };
        entry.inbox.push(event);
        if entry.has_ended() {
            // The processor that had it may have looked before.
            return self.empty(&entry);
        }
        self.directory.rouse(&entry);
    }

    /// Events of a configuration that was removed.
    pub(crate) fn empty(&self, entry: &Entry) {
        let mut events = Vec::new();
        entry.inbox.take(|event| events.push(event));
        events.into_iter().for_each(|event| self.undelivered(event));
    }

    /// An event has found no actor. Who waits for something to come of it hears that nothing will.
    #[cold]
    pub(crate) fn undelivered(&self, event: Event) {
        self.note_dead_letter();
        if let Some(Signal { sponsor, resource }) = event.message.downcast::<Signal>() {
            let name = self.facilities.accounts().name_of(*sponsor).unwrap_or("unnamed").to_owned();
            self.facilities.log(format!(
                "sponsor {name} has no {resource} left, and its controller is gone: its events wait"
            ));
        }
        let Ok(ControlOf { at, control }) = event.message.try_internal::<ControlOf>() else { return };
        match unanswered(at, control) {
            Some(Unanswered::Tell(watcher, ended)) => {
                self.route(&watcher, event.sponsor, Message::new(ended));
            }
            Some(Unanswered::Control(at, control)) => {
                let message = Message::internal(ControlOf { at, control });
                self.route_event(at.configuration, Event::control(event.sponsor, message));
            }
            None => {}
        }
    }

    pub(crate) fn note_dead_letter(&self) {
        self.directory.note_dead_letters(1);
    }

    /// Puts what a sponsor's events waited for on its way.
    pub(crate) fn send_freed(&self, freed: Vec<Freed>) {
        for freed in freed {
            match freed {
                Freed::Event(number, event) => self.route_event(number, event),
                Freed::Message(address, sponsor, message) => self.route(&address, sponsor, message),
                Freed::Signals => self.send_signals(None),
            }
        }
    }

    /// Gives work that may block to the pool; what it returns is sent to an actor. Nothing is sent of work
    /// that panics, but its address for the answer is dropped, which who asked hears of.
    pub(crate) fn submit(&self, mut work: Foreign<Work>, reply_to: Address, sponsor: SponsorId) {
        let system = self.this.clone();
        let job = move || {
            let Some(work) = work.take() else { return };
            let result = contain(work);
            let Some(system) = system.upgrade() else { return };
            match result {
                Ok(message) => system.route(&reply_to, sponsor, message),
                Err(words) => {
                    system.facilities.log(format!("blocking work panicked; no answer is sent: {words}"));
                }
            }
            drop(reply_to);
            system.log_notes();
        };
        let payer = self.facilities.accounts().below_root(sponsor);
        let threads = if self.facilities.clock.is_simulated() { Threads::None } else { Threads::Started };
        self.pool.submit(Box::new(job), payer, threads);
    }

    /// What dropped values had to say on this thread goes to the log.
    pub(crate) fn log_notes(&self) {
        take_notes().into_iter().for_each(|line| self.facilities.log(line));
    }
}
