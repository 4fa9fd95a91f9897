//! Durable configurations: after each batch of events, states, waiting events and unsent messages are committed together.
//!
//! - **Nothing leaves before it is durable.** What events of a batch send to others is held until the batch's commit.
//! - **Exactly once.** A message to another durable configuration, of this process or of another one that a router has
//!   joined, is kept in the outbox until that one has committed it, and is sent again when either is opened again; the
//!   receiver takes each (sender, sequence) once, in order. What comes from outside can be numbered too
//!   ([`Handle::send_once`](crate::Handle::send_once)). Messages to anybody else are sent once after the commit, and are
//!   lost if the process ends just then.
//! - **Sponsors too.** The ledger is such a receiver: what an event makes, gives, starts and stops is carried out after the
//!   commit. If the budgets are kept, it is in the store until the ledger has it for good, which takes each
//!   (configuration, number) once (`money`), and it is such a sender of what it tells controllers (`signals`). If they are not,
//!   the ledger ends with the process, and nothing is stored.
//! - **At most once**: work for the pool and configurations that the host is asked for. They are begun after the commit,
//!   and lost if the process ends before.
//! - **Group commit.** One sync serves all events of a batch, up to [`BATCH_EVENTS`].
//!
//! Kept: actors made from [`DurableActor`](crate::DurableActor) or another behaviour that can be saved, the queue, the
//! outbox, timers by their date. Not kept, and refused inside a durable configuration: actors that cannot be saved, so also
//! what waits for an answer. Supervisors, links and monitors last as long as the process. The sponsors of waiting events
//! are kept if the budgets are ([`Runtime::start_kept`](crate::Runtime::start_kept)), else replaced by the configuration's
//! own.

mod actors;
pub mod budgets;
mod commit;
mod error;
mod held;
mod kinds;
pub(crate) mod money;
mod outbox;
mod records;
pub(crate) mod signals;
mod store;
mod stored;
mod waking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use banyan_arena::store::SnapshotOperation;
use banyan_core::sponsors::SponsorId;

use crate::configuration::Event;
use crate::durable::money::Money;
use crate::model::message::Message;
use crate::model::timers::TimerId;
use crate::router::{Identity, stream_of_name};
use crate::system::System;
use commit::{encode, stored_event};
pub(crate) use error::CommitFailed;
pub use error::{DurableError, OpenDurableError};
use held::StoredMoney;
pub use kinds::Kinds;
pub(crate) use records::Records;
pub use records::RecordsError;
pub use store::{DurableSeed, DurableStore};
use stored::StoredSelf;
pub(crate) use stored::{StoredAddress, StoredSponsor};
use waking::{event_of, unreadable};

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
const MONEY: u64 = 8 << 56;
const KIND: u64 = 0xff << 56;
/// Numbers of timers that are reserved at a time, so that one is never given out twice.
const TIMERS_RESERVED: u64 = 1024;
/// Streams from other processes that a configuration takes: each is a record for ever.
const STREAMS_MAX: usize = 65_536;
/// Messages behind a gap after which the sender is told of it once more.
const ASK_AGAIN: u32 = 256;

/// Stops the process at a named point, the n-th time that it is reached: for tests of crashes.
#[derive(Clone, Debug)]
pub struct KillPoint {
    /// `dispatched`, `committed` or `sent`; `made` and `told`, before and after the commit of a batch that asks something of
    /// the ledger, when that has the sponsors that were made, and when it has everything.
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
    /// For the ledger, after the commit: numbers and changes.
    held: Vec<(u64, Money)>,
    /// The number of the last change.
    last_money: u64,
    /// What the store held for the ledger.
    unfinished: Vec<(u64, StoredMoney)>,
    requests: Vec<DurableRequest>,
    events: u64,
    /// Events since the last commit.
    uncommitted: u32,
    failed: bool,
    /// Nothing is committed, and nothing but answers leaves.
    looking: bool,
    kill: Option<KillPoint>,
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
            held: Vec::new(),
            last_money: 0,
            unfinished: Vec::new(),
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
}
