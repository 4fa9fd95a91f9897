//! [`Durability`]: what is in memory of a durable configuration's store, and how events from outside come in.
//!
//! Opening is in `waking`, writing in `commit`. What goes out while it is at work, to other configurations,
//! to the ledger's sponsors and to peers, is left in its [`Aftermath`] for the processor.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use banyan_pages::store::SnapshotOperation;

use super::changes::LedgerChange;
use super::error::OpenDurableError;
use super::held::StoredLedgerChange;
use super::identity::{Identity, stream_of_name};
use super::keys::{OUTBOX, QUEUED, SELF};
use super::kinds::Kinds;
use super::records::Records;
use super::requests::{Aftermath, DurableRequest, Notice, Numbered, Unpark};
use super::room::Writing;
use super::stored::{StoredSelf, encode};
use crate::configuration::event::Event;
use crate::model::message::Message;
use crate::system::facilities::Facilities;

/// The most events of one commit.
pub const BATCH_EVENTS: u32 = 1024;

/// Streams from other processes that a configuration takes: each is a record for ever.
const STREAMS_MAX: usize = 65_536;
/// Messages behind a gap after which the sender is asked once more.
const ASK_AGAIN: u32 = 256;

/// Stops the process at a named point, the n-th time that it is reached: for tests of crashes.
#[derive(Clone, Debug)]
pub struct KillPoint {
    /// `dispatched`, `committed` or `sent`; `made` and `told`, before and after the commit of a batch that
    /// asks something of the ledger, when that has the sponsors that were made, and when it has everything.
    pub point: String,
    /// From 1.
    pub occurrence: u64,
}

/// What makes a configuration durable.
pub(crate) struct Durability {
    pub(super) path: PathBuf,
    pub(super) records: Records,
    /// Who it is to other processes, and how many numbers of timers are reserved.
    pub(super) this: StoredSelf,
    pub(super) kinds: Kinds,
    /// By stream with a gap: the number before the gap, and how many have come behind it.
    pub(super) gaps: BTreeMap<String, (u64, u32)>,
    /// Events that wait with their sponsors.
    pub(crate) parked: Vec<Event>,
    /// Numbers of the stored events of the queue: from, to.
    pub(super) queue_from: u64,
    pub(super) queue_to: u64,
    /// Of those, how many are still at the front of the queue.
    pub(super) stored_queued: u64,
    pub(super) reordered: bool,
    /// By sender: the last number taken.
    pub(super) seen: BTreeMap<String, (u64, u64)>,
    pub(super) seen_changed: BTreeSet<String>,
    /// By target: the last number sent.
    pub(super) sent: BTreeMap<String, (u64, u64)>,
    pub(super) outbox: VecDeque<(u64, String, u64)>,
    pub(super) next_outbox: u64,
    /// For the ledger, after the commit: numbers and changes.
    pub(super) held: Vec<(u64, LedgerChange)>,
    /// The number of the last change.
    pub(super) last_change: u64,
    /// What the store held for the ledger.
    pub(super) unfinished: Vec<(u64, StoredLedgerChange)>,
    pub(super) requests: Vec<DurableRequest>,
    pub(super) events: u64,
    /// Events since the last commit.
    pub(super) uncommitted: u32,
    pub(super) writing: Writing,
    /// Nothing is committed, and nothing but answers leaves.
    pub(super) looking: bool,
    pub(super) kill: Option<KillPoint>,
    pub(super) aftermath: Aftermath,
}

impl Durability {
    pub(super) fn open(path: &Path, kinds: Kinds, snapshot: Option<&str>) -> Result<Self, OpenDurableError> {
        let mut records = Records::open(path, snapshot)?;
        let events = records.last_event();
        let this = match records.read(SELF) {
            Some(bytes) => postcard::from_bytes(&bytes)
                .map_err(|error| OpenDurableError::unreadable(path, "its identity", error))?,
            None => {
                let this = StoredSelf { identity: Identity::random(), timers: 0 };
                if snapshot.is_none() {
                    // Before any other process can know it.
                    let bytes = encode(&this)
                        .map_err(|error| OpenDurableError::unreadable(path, "its identity", error))?;
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
            gaps: BTreeMap::new(),
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
            last_change: 0,
            unfinished: Vec::new(),
            requests: Vec::new(),
            events,
            uncommitted: 0,
            writing: Writing::Well,
            looking: false,
            kill: None,
            aftermath: Aftermath::default(),
        })
    }

    /// Who it is to other processes; none, if it is only looked at.
    pub(crate) fn identity(&self) -> Option<Identity> {
        (!self.looking).then_some(self.this.identity)
    }

    /// What it has left for the system to do.
    pub(crate) fn take_aftermath(&mut self) -> Aftermath {
        std::mem::take(&mut self.aftermath)
    }

    /// Whether a commit is due: the batch is full, or nothing more is to be done.
    pub(crate) fn is_due(&self, idle: bool) -> bool {
        idle || self.uncommitted >= BATCH_EVENTS
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

    /// Takes an event from outside into the queue, if it is new; later, if the batch waits for room.
    pub(crate) fn admit(&mut self, mut event: Event, queue: &mut VecDeque<Event>, facilities: &Facilities) {
        if let Writing::Waits(_, came, _) = &mut self.writing {
            came.push(event);
            return;
        }
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
                    facilities.log(format!("a message of one more stream than {STREAMS_MAX} is not taken"));
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
                        self.aftermath.notices.push(Notice::Lacking { stream, sequence: seen.1 });
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
