//! Durable configurations: after each batch of events, states, waiting events and unsent messages are committed together.
//!
//! - **Nothing leaves before it is durable.** What events of a batch send to others is held until the batch's commit.
//! - **Exactly once.** A message to another durable configuration, of this process or of another one that a router has
//!   joined, is kept in the outbox until that one has committed it, and is sent again when either is opened again; the
//!   receiver takes each (sender, sequence) once, in order. What comes from outside can be numbered too
//!   ([`Handle::send_once`](crate::Handle::send_once)). Messages to anybody else are sent once after the commit, and are
//!   lost if the process ends just then.
//! - **Group commit.** One sync serves all events of a batch, up to [`BATCH_EVENTS`].
//!
//! Kept: actors made from [`DurableActor`](crate::DurableActor) or another behaviour that can be saved, the queue, the
//! outbox, timers by their date. Not kept, and refused inside a durable configuration: actors that cannot be saved, so also
//! what waits for an answer. Supervisors, links and monitors last as long as the process. The sponsors of waiting events
//! are kept if the budgets are ([`Runtime::start_kept`](crate::Runtime::start_kept)), else replaced by the configuration's
//! own.

mod outbox;
mod records;
mod stored;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use banyan_arena::store::{CommitError, SnapshotInfo, SnapshotOperation};
use banyan_core::sponsors::SponsorId;

use crate::address::{GuestNumber, Local};
use crate::behaviour::Behaviour;
use crate::configuration::{Configuration, Seed};
use crate::effects::Outgoing;
use crate::guest::{Event, Guest};
use crate::message::{CodecError, Message, Packet};
use crate::router::{Identity, configuration_of_name, stream_of_name};
use crate::system::System;
use crate::timers::{Timer, TimerId};
pub(crate) use records::Records;
pub use records::RecordsError;
use stored::{StoredActor, StoredEvent, StoredPacket, StoredSelf, StoredSend, StoredTimer};
pub(crate) use stored::{StoredAddress, StoredSponsor};

/// The most events of one commit.
pub const BATCH_EVENTS: u32 = 1024;

/// The first byte of a key says what the record is; the others number it.
const ACTOR: u64 = 1 << 56;
const QUEUED: u64 = 2 << 56;
const OUTBOX: u64 = 3 << 56;
const SEEN: u64 = 4 << 56;
const SENT: u64 = 5 << 56;
const TIMER: u64 = 6 << 56;
const SELF: u64 = 7 << 56;
const KIND: u64 = 0xff << 56;
/// Numbers of timers that are reserved at a time, so that one is never given out twice.
const TIMERS_RESERVED: u64 = 1024;
/// Streams from other processes that a configuration takes: each is a record for ever.
const STREAMS_MAX: usize = 65_536;
/// Messages behind a gap after which the sender is told of it once more.
const ASK_AGAIN: u32 = 256;

type Maker = Box<dyn Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send>;

/// How to rebuild behaviours, by the names under which they were saved.
#[derive(Default)]
pub struct Kinds(BTreeMap<String, Maker>);

impl Kinds {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is a maker for a kind.
    #[must_use]
    pub fn knows(&self, kind: &str) -> bool {
        self.0.contains_key(kind)
    }

    /// And this native type.
    #[must_use]
    pub fn with<A: crate::actor::DurableActor>(self) -> Self {
        self.with_maker(A::KIND, crate::actor::rebuild::<A>)
    }

    /// And whatever this makes from states that were saved under a name.
    #[must_use]
    pub fn with_maker(
        mut self,
        kind: &str,
        make: impl Fn(&Packet) -> Result<Box<dyn Behaviour>, CodecError> + Send + 'static,
    ) -> Self {
        self.0.insert(kind.to_owned(), Box::new(make));
        self
    }
}

/// Why a durable configuration could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDurableError {
    /// The arena could not be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A record is not what this build writes.
    #[error("{path}: {what} cannot be read ({reason}); use the build that wrote it")]
    Record {
        /// The arena.
        path: PathBuf,
        /// Which record.
        what: String,
        /// Why.
        reason: String,
    },
    /// A durable configuration of that name is open.
    #[error("a durable configuration named {name} is open in this process; choose another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The store is a copy of one that is open.
    #[error(
        "the store of {name} has the identity of another one that is open in this process: it is a copy of that; \
         make copies by a snapshot to a file, which gives them an identity of their own"
    )]
    Twin {
        /// The name.
        name: String,
    },
    /// A new store could not be written.
    #[error("{path}: the store could not be written: {source}")]
    Write {
        /// The arena.
        path: PathBuf,
        /// Why.
        source: CommitError,
    },
    /// An actor's kind is not among those given.
    #[error("{path}: an actor of kind {kind} was kept, and no maker for that kind was given to `Kinds`")]
    UnknownKind {
        /// The arena.
        path: PathBuf,
        /// The kind.
        kind: String,
    },
}

/// Why a durable configuration gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// It is not open, not durable, or did not answer in time.
    #[error("the durable configuration {0} is not open here, or did not answer in time")]
    NoAnswer(String),
    /// The snapshot was not made.
    #[error("{0}")]
    Refused(String),
}

/// Why a batch was not committed. The configuration then takes no more events; opened again, it is where it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailed {
    #[error("the batch was not committed: {0}")]
    Store(#[from] CommitError),
    #[error("an actor's state could not be written as bytes: {0:?}")]
    NotSaved(Local),
    #[error(transparent)]
    Message(#[from] CodecError),
}

/// Stops the process at a named point, the n-th time that it is reached: for tests of crashes.
#[derive(Clone, Debug)]
pub struct KillPoint {
    /// `dispatched`, `committed` or `sent`.
    pub point: String,
    /// From 1.
    pub occurrence: u64,
}

/// A message that is taken once.
pub(crate) struct Numbered {
    pub(crate) sender: String,
    pub(crate) sequence: u64,
    pub(crate) message: Message,
}

/// Comes back from the sponsor in place of events that wait for it: they stay where they are kept.
pub(crate) struct Unpark(pub(crate) SponsorId);

/// A request to a durable configuration.
pub(crate) enum DurableRequest {
    /// The receiver has committed everything up to this number.
    Acknowledge { target: String, sequence: u64 },
    /// Retain the next commit under a name, and write it to a file if one is given.
    Snapshot {
        name: Option<String>,
        export: Option<PathBuf>,
        done: std::sync::mpsc::Sender<Result<u64, String>>,
    },
    /// A receiver was opened: it may lack what is in the outbox.
    Resend { target: String },
    /// How far a sender's messages have been committed.
    Seen { sender: String, answer: std::sync::mpsc::Sender<u64> },
}

/// What makes a configuration durable.
pub struct Durability {
    path: PathBuf,
    records: Records,
    /// Who it is to other processes, and how many numbers of timers are reserved.
    this: StoredSelf,
    kinds: Kinds,
    timers_changed: BTreeSet<TimerId>,
    /// By stream with a gap: the number before the gap, and how many have come behind it.
    gaps: BTreeMap<String, (u64, u32)>,
    touched: BTreeSet<u32>,
    /// Events that wait with their sponsors.
    pub(crate) parked: Vec<Event>,
    /// Numbers of the stored events of the queue: from, to.
    queue_from: u64,
    queue_to: u64,
    /// Of those, how many are still at the front of the queue.
    stored_queued: u64,
    reordered: bool,
    /// By sender: the last number taken.
    seen: BTreeMap<String, (u64, u64)>,
    seen_changed: BTreeSet<String>,
    /// By target: the last number sent.
    sent: BTreeMap<String, (u64, u64)>,
    outbox: VecDeque<(u64, String, u64)>,
    next_outbox: u64,
    requests: Vec<DurableRequest>,
    events: u64,
    /// Events since the last commit.
    uncommitted: u32,
    failed: bool,
    /// Nothing is committed, and nothing but answers leaves.
    looking: bool,
    kill: Option<KillPoint>,
}

fn unreadable(path: &Path, what: &str, error: impl std::fmt::Display) -> OpenDurableError {
    OpenDurableError::Record { path: path.to_owned(), what: what.to_owned(), reason: error.to_string() }
}

impl Durability {
    fn open(path: &Path, kinds: Kinds, snapshot: Option<&str>) -> Result<Self, OpenDurableError> {
        let mut records = Records::open(path, snapshot)?;
        let events = records.last_event();
        let this = match records.read(SELF) {
            Some(bytes) => {
                postcard::from_bytes(&bytes).map_err(|error| unreadable(path, "its identity", error))?
            }
            None => {
                let this = StoredSelf { identity: Identity::random(), timers: 0 };
                if snapshot.is_none() {
                    // Before anybody is told of it.
                    let bytes = encode(&this).map_err(|error| unreadable(path, "its identity", error))?;
                    records.write(SELF, &bytes);
                    let written = records.commit(events, SnapshotOperation::None);
                    written.map_err(|source| OpenDurableError::Write { path: path.to_owned(), source })?;
                }
                this
            }
        };
        Ok(Self {
            path: path.to_owned(),
            records,
            this,
            kinds,
            timers_changed: BTreeSet::new(),
            gaps: BTreeMap::new(),
            touched: BTreeSet::new(),
            parked: Vec::new(),
            queue_from: 0,
            queue_to: 0,
            stored_queued: 0,
            reordered: false,
            seen: BTreeMap::new(),
            seen_changed: BTreeSet::new(),
            sent: BTreeMap::new(),
            outbox: VecDeque::new(),
            next_outbox: 0,
            requests: Vec::new(),
            events,
            uncommitted: 0,
            failed: false,
            looking: false,
            kill: None,
        })
    }

    /// Who it is to other processes; nobody, if it is only looked at.
    pub(crate) fn identity(&self) -> Option<Identity> {
        (!self.looking).then_some(self.this.identity)
    }

    pub(crate) fn timer_changed(&mut self, id: TimerId) {
        self.timers_changed.insert(id);
    }

    pub(crate) fn touched(&mut self, slot: u32) {
        self.touched.insert(slot);
    }

    /// Whether a commit is due: the batch is full, or nothing more is to be done.
    pub(crate) fn is_due(&self, idle: bool) -> bool {
        idle || self.uncommitted >= BATCH_EVENTS
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The event at the front of the queue was taken.
    pub(crate) fn popped(&mut self) {
        self.events += 1;
        self.uncommitted += 1;
        if self.stored_queued > 0 {
            self.stored_queued -= 1;
            self.records.remove(QUEUED | self.queue_from);
            self.queue_from += 1;
        }
    }

    /// Events were put at the front of the queue: what is stored of it is out of order.
    pub(crate) fn reordered(&mut self) {
        self.reordered = true;
    }

    /// Takes an event from outside into the queue, if it is new.
    pub(crate) fn admit(&mut self, mut event: Event, queue: &mut VecDeque<Event>, system: &System) {
        if event.slot != Event::CONTROL && !event.message.is_internal::<Numbered>() {
            queue.push_back(event);
            return;
        }
        let message = std::mem::replace(&mut event.message, Message::internal(()));
        let message = match message.try_internal::<Numbered>() {
            Ok(Numbered { sender, sequence, message }) => {
                let next = self.seen.len() as u64;
                let stream = stream_of_name(&sender);
                if stream.is_some() && self.seen.len() >= STREAMS_MAX && !self.seen.contains_key(&sender) {
                    system.log(format!("a message of one more stream than {STREAMS_MAX} is not taken"));
                    return;
                }
                let seen = self.seen.entry(sender.clone()).or_insert((next, 0));
                if sequence == seen.1 + 1 {
                    seen.1 = sequence;
                    queue.push_back(Event { message, ..event });
                } else if let Some(stream) = stream.filter(|_| sequence > seen.1) {
                    // A connection has lost some before it.
                    let gap = self.gaps.entry(sender.clone()).or_insert((seen.1, 0));
                    if gap.0 != seen.1 {
                        *gap = (seen.1, 0);
                    }
                    if gap.1.is_multiple_of(ASK_AGAIN) {
                        system.remotes.lack(&stream, seen.1);
                    }
                    gap.1 += 1;
                }
                // What is not taken is sent again until it is acknowledged.
                self.seen_changed.insert(sender);
                return;
            }
            Err(message) => message,
        };
        let message = match message.try_internal::<Unpark>() {
            Ok(Unpark(sponsor)) => {
                let (released, parked) =
                    std::mem::take(&mut self.parked).into_iter().partition(|one| one.sponsor == sponsor);
                self.parked = parked;
                self.reordered = true;
                queue.extend::<Vec<Event>>(released);
                return;
            }
            Err(message) => message,
        };
        match message.try_internal::<DurableRequest>() {
            Ok(DurableRequest::Acknowledge { target, sequence }) => {
                let records = &mut self.records;
                self.outbox.retain(|(key, to, number)| {
                    let acknowledged = *to == target && *number <= sequence;
                    if acknowledged {
                        records.remove(OUTBOX | key);
                    }
                    !acknowledged
                });
            }
            Ok(request) => self.requests.push(request),
            Err(message) => queue.push_back(Event { message, ..event }),
        }
    }

    /// Puts back what was kept; a new store begins with the first actor.
    pub(crate) fn wake(
        &mut self,
        guest: &mut Guest,
        first: Box<dyn Behaviour>,
        system: &System,
    ) -> Result<(), OpenDurableError> {
        let keys: Vec<u64> = self.records.keys().filter(|key| *key != SELF).collect();
        guest.timers.last = self.this.timers;
        if keys.is_empty() {
            let slot = guest.occupy(first);
            self.touched(slot);
            return Ok(());
        }
        let own = guest.number();
        for key in keys {
            let bytes = self.records.read(key).unwrap_or_default();
            let number = key & !KIND;
            let path = self.path.clone();
            match key & KIND {
                ACTOR => {
                    let what = format!("actor {number}");
                    let actor: StoredActor =
                        postcard::from_bytes(&bytes).map_err(|error| unreadable(&path, &what, error))?;
                    let behaviour = match actor.behaviour {
                        None => None,
                        Some((kind, state)) => {
                            let unknown =
                                || OpenDurableError::UnknownKind { path: path.clone(), kind: kind.clone() };
                            let make = self.kinds.0.get(&kind).ok_or_else(unknown)?;
                            let made = make(&state.packet(own, system));
                            Some(made.map_err(|error| unreadable(&path, &what, error))?)
                        }
                    };
                    let slot = u32::try_from(number).map_err(|error| unreadable(&path, &what, error))?;
                    guest.restore(slot, actor.generation, behaviour);
                }
                QUEUED => {
                    let event = postcard::from_bytes(&bytes);
                    let event = event.map_err(|error| unreadable(&path, "a waiting event", error))?;
                    if self.stored_queued == 0 {
                        self.queue_from = number;
                    }
                    self.queue_to = number + 1;
                    self.stored_queued += 1;
                    guest.queue.push_back(event_of(event, guest.sponsor, own, system));
                }
                OUTBOX => {
                    let send: StoredSend = postcard::from_bytes(&bytes)
                        .map_err(|error| unreadable(&path, "an unsent message", error))?;
                    self.next_outbox = number + 1;
                    self.outbox.push_back((number, send.target.clone(), send.sequence));
                    let again = self.send_of(send, guest.sponsor, own, system);
                    guest.effects.outgoing.push(again);
                }
                TIMER => {
                    let timer: StoredTimer =
                        postcard::from_bytes(&bytes).map_err(|error| unreadable(&path, "a timer", error))?;
                    let sponsor = system.restored_sponsor(timer.sponsor).unwrap_or(guest.sponsor);
                    // What is overdue is due now.
                    let due = system.now().saturating_add(timer.date.saturating_sub(system.date()));
                    let target = timer.target.address(own, system);
                    let message = Message::from_packet(timer.message.packet(own, system));
                    guest.timers.set(TimerId(number), Timer { due, target, sponsor, message });
                }
                SEEN | SENT => {
                    let (name, last): (String, u64) =
                        postcard::from_bytes(&bytes).map_err(|error| unreadable(&path, "a sender", error))?;
                    if key & KIND == SENT
                        && let Some(configuration) = configuration_of_name(&name)
                        && !self.looking
                    {
                        // Acknowledgements of what was sent before the restart are for this configuration.
                        system.remotes.stream(own, &self.this.identity, &configuration);
                    }
                    let table = if key & KIND == SEEN { &mut self.seen } else { &mut self.sent };
                    table.insert(name, (number, last));
                }
                _ => return Err(unreadable(&path, "a record", "its kind is unknown")),
            }
        }
        Ok(())
    }

    fn kill_point(&mut self, point: &str) {
        if let Some(kill) = &mut self.kill
            && kill.point == point
        {
            kill.occurrence -= 1;
            if kill.occurrence == 0 {
                // No destructor runs, no buffer is flushed: what a power cut would leave of a process.
                let _ =
                    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            }
        }
    }

    /// Makes the batch durable: states, queue and outbox together.
    pub(crate) fn commit(&mut self, guest: &mut Guest, system: &System) -> Result<(), CommitFailed> {
        self.uncommitted = 0;
        if self.looking {
            let is_answer = |one: &Outgoing| match one {
                Outgoing::Beyond(proxy, ..) => proxy.door.durable().is_none(),
                Outgoing::Guest(..) => false,
            };
            guest.effects.outgoing.retain(is_answer);
            return Ok(());
        }
        self.kill_point("dispatched");
        let result = self.write_batch(guest, system);
        let exporting =
            self.requests.iter().any(|request| matches!(request, DurableRequest::Snapshot { .. }));
        let result = result.and_then(|()| {
            if !self.records.is_dirty() && !exporting {
                return Ok(());
            }
            let name = self.requests.iter().find_map(|request| match request {
                DurableRequest::Snapshot { name, .. } => name.clone(),
                _ => None,
            });
            let operation = name.map_or(SnapshotOperation::None, SnapshotOperation::Retain);
            match self.records.commit(self.events, operation) {
                Ok(_) => Ok(()),
                // A bad name is the fault of whoever asked for the snapshot, not of the batch.
                Err(error @ (CommitError::SnapshotName(_) | CommitError::SnapshotExists(_))) => {
                    self.refuse_snapshots(&error.to_string());
                    Ok(self.records.commit(self.events, SnapshotOperation::None).map(|_| ())?)
                }
                Err(error) => Err(error.into()),
            }
        });
        if result.is_err() {
            self.failed = true;
            guest.effects.outgoing.clear();
            return result;
        }
        self.kill_point("committed");
        self.answer(guest, system);
        Ok(())
    }

    /// After what was committed has left.
    pub(crate) fn left(&mut self) {
        self.kill_point("sent");
    }

    fn refuse_snapshots(&mut self, reason: &str) {
        self.requests.retain(|request| match request {
            DurableRequest::Snapshot { done, .. } => {
                // Whoever asked may have gone.
                let _ = done.send(Err(reason.to_owned()));
                false
            }
            _ => true,
        });
    }

    fn write_batch(&mut self, guest: &mut Guest, system: &System) -> Result<(), CommitFailed> {
        let own = guest.number();
        for slot in std::mem::take(&mut self.touched) {
            let saved = guest.save(slot).map_err(CommitFailed::NotSaved)?;
            let generation = guest.generation(slot);
            let actor = StoredActor::of(generation, saved.map(|(_, saved)| saved), own, system);
            self.records.write(ACTOR | u64::from(slot), &encode(&actor)?);
        }
        self.write_queue(guest, system)?;
        self.write_timers(guest, system)?;
        let mut outgoing = std::mem::take(&mut guest.effects.outgoing);
        let written = outgoing.iter_mut().try_for_each(|one| self.write_send(one, own, system));
        guest.effects.outgoing = outgoing;
        written?;
        for sender in &self.seen_changed {
            if let Some((key, last)) = self.seen.get(sender) {
                self.records.write(SEEN | key, &encode(&(sender, last))?);
            }
        }
        Ok(())
    }

    /// Stores the timers that were set, and removes those that were fired or cancelled.
    fn write_timers(&mut self, guest: &Guest, system: &System) -> Result<(), CodecError> {
        let own = guest.number();
        for id in std::mem::take(&mut self.timers_changed) {
            let Some(timer) = guest.timers.get(id) else {
                self.records.remove(TIMER | id.0);
                continue;
            };
            let stored = StoredTimer {
                date: system.date().saturating_add(timer.due.saturating_sub(system.now())),
                target: StoredAddress::of(&timer.target, own, system),
                message: StoredPacket::of(timer.message.to_packet()?, own, system),
                sponsor: system.stored_sponsor(timer.sponsor),
            };
            self.records.write(TIMER | id.0, &encode(&stored)?);
        }
        if guest.timers.last > self.this.timers {
            self.this.timers = guest.timers.last + TIMERS_RESERVED;
            self.records.write(SELF, &encode(&self.this)?);
        }
        Ok(())
    }

    /// Stores the events that wait. Those that were stored before and are still at the front of the queue stay as they are.
    fn write_queue(&mut self, guest: &Guest, system: &System) -> Result<(), CommitFailed> {
        let own = guest.number();
        let is_control = |event: &Event| event.slot == Event::CONTROL;
        // Parked and held events are older than what is in the queue, and come first when the store is opened again.
        let is_odd = !self.parked.is_empty() || guest.held_events().next().is_some();
        let is_odd = is_odd || guest.queue.iter().any(is_control);
        if is_odd || self.reordered {
            for number in self.queue_from..self.queue_to {
                self.records.remove(QUEUED | number);
            }
            self.queue_from = self.queue_to;
            self.stored_queued = 0;
            for event in self.parked.iter().chain(guest.held_events()) {
                store_event(&mut self.records, &mut self.queue_to, event, own, system)?;
            }
        }
        for event in guest.queue.iter().skip(self.stored_queued as usize).filter(|event| !is_control(event)) {
            store_event(&mut self.records, &mut self.queue_to, event, own, system)?;
        }
        self.stored_queued = if is_odd { 0 } else { guest.queue.len() as u64 };
        self.reordered = is_odd;
        Ok(())
    }

    /// After a commit: senders are told what they need not keep, and requests are answered.
    fn answer(&mut self, guest: &mut Guest, system: &System) {
        let own = system.durable_name(guest.number()).unwrap_or_default();
        for sender in std::mem::take(&mut self.seen_changed) {
            if let Some(stream) = stream_of_name(&sender) {
                let sequence = self.seen.get(&sender).map_or(0, |(_, last)| *last);
                system.remotes.acknowledge(system, &stream, sequence);
                continue;
            }
            let Some(number) = system.durable_number(&sender) else { continue };
            let sequence = self.seen.get(&sender).map_or(0, |(_, last)| *last);
            let message = Message::internal(DurableRequest::Acknowledge { target: own.clone(), sequence });
            let event = Event { slot: Event::CONTROL, generation: 0, sponsor: guest.sponsor, message };
            guest.effects.outgoing.push(Outgoing::Guest(number, event));
        }
        for request in std::mem::take(&mut self.requests) {
            match request {
                DurableRequest::Acknowledge { .. } => {}
                DurableRequest::Resend { target } => self.resend(&target, guest, system),
                DurableRequest::Snapshot { export, done, .. } => {
                    // A copy is somebody else.
                    let exported = export.map_or(Ok(()), |path| self.records.export(&path, &[SELF]));
                    let _ = done.send(exported.map(|()| self.events).map_err(|error| error.to_string()));
                }
                DurableRequest::Seen { sender, answer } => {
                    let _ = answer.send(self.seen.get(&sender).map_or(0, |(_, last)| *last));
                }
            }
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    postcard::to_stdvec(value).map_err(|error| CodecError::Encode {
        type_name: std::any::type_name::<T>(),
        reason: error.to_string(),
    })
}

fn stored_event(event: &Event, own: GuestNumber, system: &System) -> Result<StoredEvent, CodecError> {
    let message = StoredPacket::of(event.message.to_packet()?, own, system);
    let sponsor = system.stored_sponsor(event.sponsor);
    Ok(StoredEvent { slot: event.slot, generation: event.generation & Event::GENERATION, message, sponsor })
}

fn store_event(
    records: &mut Records,
    next: &mut u64,
    event: &Event,
    own: GuestNumber,
    system: &System,
) -> Result<(), CodecError> {
    records.write(QUEUED | *next, &encode(&stored_event(event, own, system)?)?);
    *next += 1;
    Ok(())
}

/// An event that was kept; `sponsor` pays for it if it is not known who did.
fn event_of(stored: StoredEvent, sponsor: SponsorId, own: GuestNumber, system: &System) -> Event {
    let sponsor = system.restored_sponsor(stored.sponsor).unwrap_or(sponsor);
    let message = Message::from_packet(stored.message.packet(own, system));
    Event { slot: stored.slot, generation: stored.generation, sponsor, message }
}

/// A store that a durable configuration lives in.
pub struct DurableStore(Box<Durability>);

impl DurableStore {
    /// Opens the arena of a durable configuration at its last commit; makes it if there is none.
    ///
    /// # Errors
    /// [`OpenDurableError`].
    pub fn open(path: &Path, kinds: Kinds) -> Result<Self, OpenDurableError> {
        Ok(Self(Box::new(Durability::open(path, kinds, None)?)))
    }

    /// The snapshots that the store retains.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        self.0.records.snapshots()
    }

    /// Events that were committed.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.events
    }

    /// Stops the process at a point, for tests of crashes.
    #[must_use]
    pub fn kill_at(mut self, kill: KillPoint) -> Self {
        self.0.kill = Some(kill);
        self
    }
}

impl Configuration {
    /// A durable configuration: what the store holds, or this first actor if it is new.
    pub fn durable<A: crate::actor::DurableActor>(self, store: DurableStore, first: A) -> Seed {
        self.durable_behaviour(store, crate::actor::kept(first))
    }

    /// The same with a behaviour of another kind, as of a module: one that can be saved.
    #[must_use]
    pub fn durable_behaviour(self, store: DurableStore, first: Box<dyn Behaviour>) -> Seed {
        Seed { configuration: self, first, number: 0, durable: Some(store.0) }
    }

    /// What a retained snapshot held, for looking at it: a configuration that is not durable.
    ///
    /// # Errors
    /// [`OpenDurableError`], also if there is no such snapshot.
    pub fn at_snapshot(self, path: &Path, kinds: Kinds, snapshot: &str) -> Result<Seed, OpenDurableError> {
        let durability = Durability::open(path, kinds, Some(snapshot))?;
        let first = crate::actor::closure((), |(), (): &(), _: &mut crate::Context<'_>| Ok(()));
        Ok(Seed { configuration: self, first, number: 0, durable: Some(Box::new(durability.for_looking())) })
    }
}

impl Durability {
    fn for_looking(mut self) -> Self {
        self.looking = true;
        self
    }
}
