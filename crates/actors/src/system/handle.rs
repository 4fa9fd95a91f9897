//! [`Handle`]: the way in from outside of any event, for hosts that run and for simulated ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use banyan_core::sponsors::{Quota, SponsorId};

use super::System;
use super::mailboxes::{Mailbox, MailboxFull, WhenFull};
use super::names::NameTaken;
use crate::configuration::effects::Seed;
use crate::configuration::event::Event;
use crate::configuration::settings::Configuration;
use crate::durable::requests::{DurableRequest, Numbered};
use crate::durable::{DurableError, DurableSeed, OpenDurableError, StoreHealth};
use crate::model::actor::Actor;
use crate::model::address::{Addr, Address, Local, Place};
use crate::model::ask::{self, AskError};
use crate::model::durable_address::DurableAddress;
use crate::model::message::{Message, Payload};
use crate::model::supervision::{Control, ControlOf, Watch};
use crate::mutation::{Mutation, makes};
use crate::processor::dispatching::assert_outside_of_events;
use crate::sponsors::sponsor::Sponsor;

/// How long a request to a durable configuration may take: many batches.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// The way in from outside of any event.
#[derive(Clone)]
pub struct Handle {
    pub(crate) system: Arc<System>,
}

/// What a listing tells of one configuration.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ConfigurationStatus {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// The processor that had it last.
    pub host: usize,
    /// Events per turn.
    pub weight: u32,
    /// Actors, when it last rested.
    pub actors: usize,
    /// Events that completed.
    pub events: u64,
    /// Events that failed.
    pub failures: u64,
    /// Whether it is kept.
    pub durable: bool,
    /// How its store is, if it is kept.
    #[serde(default)]
    pub store: StoreHealth,
}

/// Whether a grant outlasts a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// It is kept, or nothing is: budgets may end with the process.
    Kept,
    /// It counts in this process, and is kept as soon as the budgets' store can be written, which it cannot
    /// now.
    NotYetKept,
}

/// What a listing tells of one sponsor.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct SponsorStatus {
    /// Its index.
    pub index: u32,
    /// Its parent's.
    pub parent: Option<u32>,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: String,
    /// What it may still spend, leases included: memory, cycles, events.
    pub left: [u64; 3],
    /// What it has spent.
    pub consumed: [u64; 3],
    /// Events that wait with it.
    pub waiting: usize,
}

impl Handle {
    /// Asks a host for a configuration, and gets the address of its first actor.
    pub fn create(&self, seed: Seed) -> Address {
        let shared = self.system.spawn(seed);
        Address::local(Local { configuration: shared.number, slot: 0, generation: 0 })
    }

    /// The same for a native actor, whose address has the type of its messages.
    pub fn create_actor<A: Actor>(&self, configuration: Configuration, first: A) -> Addr<A::Message> {
        self.create(configuration.with_actor(first)).typed()
    }

    /// Opens a durable configuration: every actor, waiting event and unsent message is as it was last
    /// committed. Its first actor has the address that is returned.
    ///
    /// # Errors
    /// [`OpenDurableError`].
    pub fn open(&self, seed: DurableSeed) -> Result<Address, OpenDurableError> {
        let number = self.system.open_durable(seed)?;
        Ok(Address::local(Local { configuration: number, slot: 0, generation: 0 }))
    }

    /// Sends a numbered message to a durable configuration, which takes each (sender, sequence) once. A
    /// sender counts from 1 without gaps, and sends again what [`Handle::last_seen`] does not report after a
    /// crash.
    pub fn send_once<M: Payload>(&self, sender: &str, sequence: u64, target: &Addr<M>, message: M) {
        let message = Message::new(message);
        let numbered = Numbered { sender: sender.to_owned(), sequence, message };
        self.deliver(target.address(), Message::internal(numbered));
    }

    /// The last message of a sender that a durable configuration has committed.
    ///
    /// # Errors
    /// [`DurableError::NoAnswer`].
    pub fn last_seen(&self, configuration: &str, sender: &str) -> Result<u64, DurableError> {
        let (answer, receiver) = std::sync::mpsc::channel();
        let request = DurableRequest::Seen { sender: sender.to_owned(), answer };
        self.request_of(configuration, request)?;
        receiver.recv_timeout(REQUEST_DEADLINE).map_err(|_| DurableError::NoAnswer(configuration.to_owned()))
    }

    /// Keeps the state of a running durable configuration: under a name in its store, in a new file, or both.
    /// Returns how many events it had committed.
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn snapshot(
        &self,
        configuration: &str,
        name: Option<&str>,
        export: Option<&std::path::Path>,
    ) -> Result<u64, DurableError> {
        let (done, receiver) = std::sync::mpsc::channel();
        let (name, export) = (name.map(str::to_owned), export.map(std::path::Path::to_owned));
        self.request_of(configuration, DurableRequest::Snapshot { name, export, done })?;
        let answer = receiver.recv_timeout(REQUEST_DEADLINE);
        answer.map_err(|_| DurableError::NoAnswer(configuration.to_owned()))?.map_err(DurableError::Refused)
    }

    fn request_of(&self, configuration: &str, request: DurableRequest) -> Result<(), DurableError> {
        let number = self.system.facilities.numbers().known(configuration);
        let number = number.ok_or_else(|| DurableError::NoAnswer(configuration.to_owned()))?;
        self.system.request(number, request);
        Ok(())
    }

    /// Sends a message, for which the target's configuration pays. Waits if that has a mailbox that makes
    /// senders wait, and it is full; in deterministic mode the message is dropped then.
    ///
    /// # Panics
    /// If it must wait and this thread is inside an event.
    pub fn send<M: Payload>(&self, target: &Addr<M>, message: M) {
        self.deliver(target.address(), Message::new(message));
    }

    /// The same with a message of any type.
    ///
    /// # Panics
    /// As [`Handle::send`].
    pub fn deliver(&self, target: &Address, message: Message) {
        self.deliver_under(self.payer_of(target), target, message);
    }

    /// Sends a message if the target's mailbox has room for it, for which the target's configuration pays.
    ///
    /// # Errors
    /// [`MailboxFull`].
    pub fn try_send<M: Payload>(&self, target: &Addr<M>, message: M) -> Result<(), MailboxFull> {
        let target = target.address();
        let mark = match self.mailbox_of(target) {
            None => 0,
            Some(mailbox) if mailbox.reserve() => Event::COUNTED,
            Some(_) => return Err(MailboxFull),
        };
        self.system.route_marked(target, self.payer_of(target), Message::new(message), mark);
        Ok(())
    }

    /// Sends a message on a sponsor's account. It may wait as [`Handle::send`].
    ///
    /// # Panics
    /// As [`Handle::send`].
    pub fn send_under<M: Payload>(&self, sponsor: &Sponsor, target: &Addr<M>, message: M) {
        self.deliver_under(sponsor.id, target.address(), Message::new(message));
    }

    fn deliver_under(&self, sponsor: SponsorId, target: &Address, message: Message) {
        let mark = match self.mailbox_of(target) {
            None => 0,
            Some(mailbox) if mailbox.reserve() => Event::COUNTED,
            Some(mailbox) => {
                if mailbox.when_full != WhenFull::Wait || self.system.facilities.clock.is_simulated() {
                    self.system.facilities.mailboxes.note_dropped();
                    return;
                }
                assert_outside_of_events();
                if mailbox.wait() { Event::COUNTED } else { 0 }
            }
        };
        self.system.route_marked(target, sponsor, message, mark);
    }

    fn mailbox_of(&self, target: &Address) -> Option<Arc<Mailbox>> {
        match &target.0 {
            Place::Local(local) => self.system.facilities.mailboxes.find(local.configuration),
            Place::Beyond(_) => None,
        }
    }

    fn payer_of(&self, target: &Address) -> SponsorId {
        match &target.0 {
            Place::Local(local) => {
                self.system.directory.find(local.configuration).map_or(SponsorId::ROOT, |one| one.sponsor)
            }
            Place::Beyond(_) => SponsorId::ROOT,
        }
    }

    /// Asks an actor and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`].
    ///
    /// # Panics
    /// If this thread is inside an event: nothing waits there.
    pub fn ask<Q: Payload, R: Payload + Clone>(
        &self,
        target: &Addr<Q>,
        deadline: Duration,
        question: impl FnOnce(Addr<R>) -> Q,
    ) -> Result<R, AskError> {
        assert_outside_of_events();
        let (address, receiver) = ask::reply();
        self.send(target, question(address));
        ask::wait(&receiver, deadline)
    }

    /// Gives an actor a name, until it ends.
    ///
    /// # Errors
    /// [`NameTaken`].
    pub fn register(&self, name: &str, actor: &Address) -> Result<(), NameTaken> {
        let watcher = self.system.facilities.names.reserve(name, actor)?;
        self.system.facilities.names.confirm(name);
        self.control(actor, Control::Monitor(Watch { watcher, by: None }));
        Ok(())
    }

    /// Takes a name away.
    pub fn unregister(&self, name: &str) {
        if let Some((actor, watcher)) = self.system.facilities.names.unregister(name) {
            self.control(&actor, Control::Unmonitor(Watch { watcher, by: None }));
        }
    }

    fn control(&self, actor: &Address, control: Control) {
        if let Place::Local(at) = actor.0 {
            let message = Message::internal(ControlOf { at, control });
            self.system.route_event(at.configuration, Event::control(SponsorId::ROOT, message));
        }
    }

    /// The actor of a name.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<Address> {
        self.system.facilities.names.lookup(name)
    }

    /// All names.
    #[must_use]
    pub fn names(&self) -> Vec<(String, Address)> {
        self.system.facilities.names.all()
    }

    /// Makes a sponsor below the root, started, with so much of the root's; `None` if the root has not
    /// enough, or if budgets are kept and their store cannot be written now.
    #[must_use]
    pub fn sponsor(&self, name: &str, amount: Quota) -> Option<Sponsor> {
        make_sponsor(&self.system, name, amount)
    }

    /// The sponsor of a name: budgets that are kept have it after a restart too.
    #[must_use]
    pub fn find_sponsor(&self, name: &str) -> Option<Sponsor> {
        self.system.facilities.accounts().find(name).map(|id| Sponsor { id })
    }

    /// The address of an actor of a durable configuration for other processes, the same after every restart;
    /// `None` for any other actor. Who has its bytes can send to it.
    #[must_use]
    pub fn durable_address(&self, actor: &Address) -> Option<DurableAddress> {
        self.system.facilities.identities.durable_address(actor)
    }

    /// The actor of a durable configuration of another process, once a router has joined that process. What a
    /// durable configuration sends to it is taken once, whatever is killed; what others send may be lost.
    #[must_use]
    pub fn address_of(&self, durable: &DurableAddress) -> Address {
        self.system.facilities.identities.address(durable)
    }

    /// The root of the budget tree.
    #[must_use]
    pub fn root_sponsor(&self) -> Sponsor {
        Sponsor { id: SponsorId::ROOT }
    }

    /// Grants more to a sponsor and starts it.
    pub fn grant(&self, sponsor: &Sponsor, more: Quota) -> Granted {
        let mut freed = Vec::new();
        let mut accounts = self.system.facilities.accounts();
        if accounts.ledger.grant(sponsor.id, more) {
            accounts.start(sponsor.id, None, &mut freed);
        }
        let (freed, health) = accounts.keep_before(freed);
        drop(accounts);
        self.system.send_freed(freed);
        if health == StoreHealth::Well { Granted::Kept } else { Granted::NotYetKept }
    }

    /// Whether what was granted is all there: quotas, leases and what was consumed.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let accounts = self.system.facilities.accounts();
        accounts.ledger.total() == Some(accounts.ledger.granted())
    }

    /// The configurations.
    #[must_use]
    pub fn configurations(&self) -> Vec<ConfigurationStatus> {
        status(&self.system)
    }

    /// The budget tree.
    #[must_use]
    pub fn sponsors(&self) -> Vec<SponsorStatus> {
        sponsors(&self.system)
    }

    /// Writes a line into the log.
    pub fn log(&self, line: impl Into<String>) {
        self.system.facilities.log(line.into());
    }

    /// The newest lines of the log: failures, exhausted sponsors, lost stores.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        self.system.facilities.log_lines()
    }

    /// Messages that were sent to actors that are gone, or to full mailboxes that drop them.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.system.directory.dead_letters() + self.system.facilities.mailboxes.dropped()
    }

    /// Forgets a configuration: what is sent to it is dropped. An event of it that is under way completes.
    pub fn remove(&self, configuration: u32) {
        self.system.remove(configuration);
    }
}

pub(crate) fn make_sponsor(system: &System, name: &str, amount: Quota) -> Option<Sponsor> {
    let mut accounts = system.facilities.accounts();
    let id = accounts.ledger.create(SponsorId::ROOT);
    if accounts.ledger.transfer(SponsorId::ROOT, id, amount).is_err() {
        accounts.discard(id);
        return None;
    }
    accounts.name(id, name.to_owned());
    accounts.start(id, None, &mut Vec::new());
    accounts.keep();
    if accounts.health != StoreHealth::Well && !makes(Mutation::TellUnkept) {
        accounts.changed = true;
        accounts.discard(id);
        return None;
    }
    Some(Sponsor { id })
}

pub(crate) fn status(system: &System) -> Vec<ConfigurationStatus> {
    let every = system.directory.all().into_iter();
    every
        .map(|shared| ConfigurationStatus {
            number: shared.number,
            name: shared.name.clone(),
            host: shared.home.load(Ordering::Relaxed),
            weight: shared.weight.load(Ordering::Relaxed),
            actors: shared.actors.load(Ordering::Relaxed),
            events: shared.events.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            durable: shared.durable,
            store: shared.health(),
        })
        .collect()
}

pub(crate) fn sponsors(system: &System) -> Vec<SponsorStatus> {
    use banyan_core::sponsors::State;
    let words = |quota: Quota| [quota.memory, quota.cycles, quota.events];
    let accounts = system.facilities.accounts();
    let all = accounts.ledger.accounts();
    all.map(|(id, account)| SponsorStatus {
        index: id.index,
        parent: account.parent.map(|parent| parent.index),
        name: accounts.name_of(id).unwrap_or("unnamed").to_owned(),
        state: match account.state {
            State::Stopped => "stopped".to_owned(),
            State::Running => "running".to_owned(),
            State::Settling { .. } => "settling".to_owned(),
            State::Exhausted(resource) => format!("no {resource} left"),
            State::Ended { .. } => "ended".to_owned(),
        },
        left: words(account.balance.checked_add(account.leased).unwrap_or(account.balance)),
        consumed: words(account.consumed),
        waiting: accounts.waiting_for(id),
    })
    .collect()
}
