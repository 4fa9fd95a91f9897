//! Keeping one process's memory coherent over many nodes, as a state machine.
//!
//! A [`Machine`] stands for one process on one node and plays three parts: **requester** for the node's
//! threads, **holder** of page copies, and **owner** of extents, whose directory says who holds what. At any
//! time a page has one writer or any number of readers, and a copy that a reader has is the newest.
//! [`Machine::step`] takes what happened and says what to do; it reads no clock and does no I/O.
//!
//! What makes it right when messages are lost, repeated, reordered or late:
//! - The owner runs one transfer of a page at a time and numbers them upwards; every node remembers, for each
//!   page, the last number that touched it, and ignores what is not newer. So a stray grant never brings old
//!   bytes back.
//! - Bytes that are given away are retained until their arrival is confirmed.
//! - A read grant of the owner's own copy is not confirmed: should it arrive after the invalidation that ends
//!   it, it is old news. The price is that the directory may list a reader that got nothing; so a reader that
//!   wants to write says since when it has had its copy, and is sent the bytes if that is not recent enough;
//!   and the directory names one reader that surely has the bytes, so that the last copy is never taken from
//!   where it is.
//! - A node that waits for an answer asks again, and one that is asked again answers again.
//! - Ownership moves with its count of transactions, at a higher epoch.
//!
//! Not here: which threads run where, what is mapped, and how zero pages are encoded.

mod discard;
mod extent;
mod hand_over;
mod hold;
mod holder;
mod interface;
mod migration;
mod mutation;
mod owner;
mod pace;
mod policy;
pub mod prefetch;
mod requester;
mod retire;
mod stretch;
mod sweep;
#[cfg(test)]
mod tests;
mod timer;
mod turn;
mod view;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use banyan_wire::coherence::{Holders, Message, SWEEP_EXTENTS_MAX};
use banyan_wire::ids::{
    Access, EXTENT_PAGES, Epoch, ExtentNumber, Microseconds, NodeId, PAGES_END, PageNumber, RequestNumber,
    Run, Transaction,
};

use discard::Discards;
use extent::Extent;
use hold::Hold;
use pace::Pace;
use prefetch::Prefetch;
use requester::{Acquisition, Request};
use retire::Retirement;
use sweep::Sweeps;
use timer::{Timer, Timers};
use turn::Turn;

pub use extent::Held;
pub use interface::{Contents, Extents, Input, Lane, Output, ThreadNumber, Token};
pub use mutation::{Conduct, Faithful, MUTATIONS, Mutant, Mutation};
pub use policy::Policy;
pub use view::{PageView, Standing, Stretch};

/// The most pages that one acquisition waits for; the buffers of a larger system call are left to faults.
pub const ACQUIRE_PAGES_MAX: u32 = 4096;
/// The most requests that wait at the owner of an extent. A request beyond that is dropped; its sender asks
/// again.
pub const QUEUE_MAX: usize = 4096;
/// The most messages that a node sends itself in one step: a few for each of the requests that can be queued.
const MAILBOX_MAX: usize = 16 * QUEUE_MAX;

/// First owners by range, as first extent -> (end, owner).
type Assigned = BTreeMap<ExtentNumber, (ExtentNumber, NodeId)>;

/// One process on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine<C = Faithful> {
    me: NodeId,
    policy: Policy,
    conduct: C,
    /// The time of the step under way; zero between steps.
    now: Microseconds,
    /// Extents that concern more than one node: bounded by the memory of the process.
    extents: BTreeMap<ExtentNumber, Extent>,
    /// At home of every node, elsewhere only of this one.
    assigned: Assigned,
    /// At most one for each page that a thread waits for, an acquisition covers, or prefetch is ahead.
    requests: BTreeMap<RequestNumber, Request>,
    last_request: RequestNumber,
    /// One for each system call that the driver prepares.
    acquisitions: BTreeMap<Token, Acquisition>,
    discards: Discards,
    sweeps: Sweeps,
    retirement: Retirement,
    timers: Timers,
    prefetch: Prefetch,
    pace: Pace,
    turn: Turn,
    /// Messages of this node to itself; empty between steps.
    mailbox: VecDeque<Message>,
    dead: bool,
}

/// Why a step failed.
enum Problem {
    /// The sender of the message is to blame.
    Peer(String),
    /// This machine contradicts itself.
    Own(String),
}

type Outcome = Result<(), Problem>;
type Outputs = Vec<Output>;

impl Machine<Faithful> {
    /// A machine that knows nothing yet: every extent is taken to be owned at home until it is said
    /// otherwise.
    #[must_use]
    pub fn new(me: NodeId, policy: Policy) -> Self {
        Self::with_conduct(me, policy, Faithful)
    }
}

impl<C: Conduct> Machine<C> {
    /// A machine that may make a mistake on purpose; for tests of tests.
    #[must_use]
    pub fn with_conduct(me: NodeId, policy: Policy, conduct: C) -> Self {
        Self {
            me,
            policy,
            conduct,
            now: Microseconds(0),
            extents: BTreeMap::new(),
            assigned: BTreeMap::new(),
            requests: BTreeMap::new(),
            last_request: RequestNumber(0),
            acquisitions: BTreeMap::new(),
            discards: Discards::default(),
            sweeps: Sweeps::default(),
            retirement: Retirement::default(),
            timers: Timers::default(),
            prefetch: Prefetch::default(),
            pace: Pace::default(),
            turn: Turn::default(),
            mailbox: VecDeque::new(),
            dead: false,
        }
    }

    /// Appends to `outputs` what is to be done, in order, because of `input` at the time `now`.
    pub fn step(&mut self, now: Microseconds, input: Input, outputs: &mut Vec<Output>) {
        if self.dead || self.retirement.is_closed() {
            return;
        }
        self.now = now;
        let from = if let Input::Receive { from, .. } = &input { *from } else { self.me };
        let outcome = self.handle(input, outputs);
        self.settle(from, outcome, outputs);
        let mut delivered = 0;
        while let Some(message) = self.mailbox.pop_front() {
            delivered += 1;
            if delivered > MAILBOX_MAX {
                let endless = Err(Problem::Own(format!("talks to itself for ever, now with {message:?}")));
                self.settle(self.me, endless, outputs);
                break;
            }
            let outcome = self.receive(self.me, message, outputs);
            self.settle(self.me, outcome, outputs);
        }
        let outcome = self.hand_over_all(outputs);
        self.settle(self.me, outcome, outputs);
        self.now = Microseconds(0);
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Microseconds> {
        self.timers.earliest()
    }

    fn settle(&mut self, from: NodeId, outcome: Outcome, outputs: &mut Outputs) {
        match outcome {
            Ok(()) => {}
            Err(Problem::Peer(reason)) if from != self.me => outputs.push(Output::Reject { from, reason }),
            Err(Problem::Peer(reason) | Problem::Own(reason)) => {
                self.dead = true;
                self.mailbox.clear();
                outputs.push(Output::Fatal { reason });
            }
        }
    }

    fn handle(&mut self, input: Input, outputs: &mut Outputs) -> Outcome {
        match input {
            Input::Fault { thread, page, access, limit } => self.fault(thread, page, access, limit, outputs),
            Input::Acquire { token, run, access } => self.acquire(token, run, access, outputs),
            Input::Receive { from, message } => {
                if from == self.me {
                    return Err(Problem::Own(format!("{from} sent a message to itself by the network")));
                }
                // What was on its way when it fell silent was said before, and answered.
                if self.retirement.has_left(from) {
                    return Ok(());
                }
                return self.receive(from, message, outputs);
            }
            Input::Tick => return self.tick(outputs),
            Input::Claim(extents) => self.assign(extents, self.me),
            Input::Assign { extents, owner } => self.assign(extents, owner),
            Input::Cede { extents, from, to } => self.cede(extents, from, to),
            Input::Shared { extent, empty } => return self.shared(extent, empty, outputs),
            Input::Discard { token, run } => self.discard(token, run, outputs),
            Input::HandOver { extent, to } => return self.hand_over(extent, to, outputs),
            Input::Retire => return self.retire(),
            Input::Dismiss { node } => self.dismiss(node),
            Input::Close => self.fall_silent(),
            Input::Forget { node } => self.forget(node, outputs),
        }
        Ok(())
    }

    fn receive(&mut self, from: NodeId, message: Message, outputs: &mut Outputs) -> Outcome {
        if !is_possible(&message) {
            return Err(Problem::Peer(format!("{from} sent a run that no extent has: {message:?}")));
        }
        match message {
            Message::Get { run, access, epoch, request, have, demand, ran } => {
                let asked = extent::Asked { requester: from, request, run, access, have, demand, ran };
                self.get(asked, epoch, outputs)
            }
            Message::Forward { run, access, epoch, transaction, requester, request, confirm } => {
                let order = holder::Order {
                    owner: from,
                    run,
                    access,
                    epoch,
                    transaction,
                    requester,
                    request,
                    confirm,
                };
                self.forward(&order, outputs)
            }
            Message::Grant { run, access, epoch, transaction, owner, request, contents, confirm } => {
                let grant = requester::Granted {
                    from,
                    run,
                    access,
                    epoch,
                    transaction,
                    owner,
                    request,
                    contents,
                    confirm,
                };
                self.granted(&grant, outputs)
            }
            Message::Decline { run, request, .. } => {
                self.declined(run, request, outputs);
                Ok(())
            }
            Message::Done { run, transaction, .. } => self.done(from, run, transaction, outputs),
            Message::Invalidate { run, epoch, transaction, discard } => {
                self.invalidate(from, run, epoch, transaction, discard, outputs)
            }
            Message::Acknowledge { run, transaction, .. } => {
                self.acknowledged(from, run.first.extent(), transaction, outputs)
            }
            Message::Located { extent, epoch, owner } => {
                self.learn(extent, epoch, owner, outputs);
                Ok(())
            }
            Message::Discard { run, epoch, request } => self.discard_here(from, run, epoch, request, outputs),
            Message::Discarded { run, request, .. } => {
                self.discarded(run, request, outputs);
                Ok(())
            }
            Message::Sweep { extent, extents, epoch, request } => {
                let extents = Extents { first: extent, count: extents };
                self.sweep_here(from, extents, epoch, request, outputs)
            }
            Message::Swept { swept, request, .. } => self.swept(from, swept, request, outputs),
            Message::Adopt { extent, epoch, directory } => {
                self.adopt(from, extent, epoch, &directory, outputs)
            }
            Message::Adopted { extent, epoch } => {
                self.adopted(extent, epoch);
                Ok(())
            }
        }
    }

    fn tick(&mut self, outputs: &mut Outputs) -> Outcome {
        for timer in self.timers.take_due(self.now) {
            if self.conduct.makes(Mutation::NeverRetry) && !matches!(timer, Timer::Queue(_)) {
                continue;
            }
            match timer {
                Timer::Request(number) => self.retry_request(number, outputs),
                Timer::Transfer(extent, transaction) => self.retry_transfer(extent, transaction, outputs),
                Timer::Retained(extent, transaction) => self.retry_retained(extent, transaction, outputs),
                Timer::Queue(extent) => self.serve_queue(extent, outputs)?,
                Timer::HandOver(extent) => self.retry_hand_over(extent, outputs),
                Timer::Discard(extent) => self.discard_again(extent, outputs),
                Timer::Sweep(owner) => self.sweep_again(owner, outputs),
            }
        }
        Ok(())
    }

    /// Notes the first owner of extents that no node has asked for yet. Extents that are already known keep
    /// theirs.
    fn assign(&mut self, extents: Extents, owner: NodeId) {
        let end = ExtentNumber(extents.first.0.saturating_add(extents.count));
        if extents.count > 0 && self.is_fresh(extents) {
            self.assigned.insert(extents.first, (end, owner));
        }
    }

    /// Has extents change their first owner of which nobody has asked for any.
    fn cede(&mut self, extents: Extents, from: NodeId, to: NodeId) {
        if self.can_cede(extents, from) {
            let end = ExtentNumber(extents.first.0.saturating_add(extents.count));
            self.assigned.insert(extents.first, (end, to));
        }
    }

    /// Whether these extents, as one range, are `from`'s from the start, and none of them was asked for.
    #[must_use]
    pub fn can_cede(&self, extents: Extents, from: NodeId) -> bool {
        let end = ExtentNumber(extents.first.0.saturating_add(extents.count));
        let is_from = self.assigned.get(&extents.first) == Some(&(end, from));
        is_from && self.extents.range(extents.first..end).next().is_none()
    }

    /// Has none of these extents been claimed, assigned, or asked for? Only such extents may be assigned.
    fn is_fresh(&self, extents: Extents) -> bool {
        let end = ExtentNumber(extents.first.0.saturating_add(extents.count));
        let assigned_before =
            self.assigned.range(..end).next_back().is_some_and(|(_, (last, _))| *last > extents.first);
        !assigned_before && self.extents.range(extents.first..end).next().is_none()
    }

    /// The owner of an extent, as far as this node knows.
    #[must_use]
    pub fn owner(&self, extent: ExtentNumber) -> NodeId {
        self.extents.get(&extent).map_or_else(|| self.first_owner(extent).0, |known| known.owner)
    }

    /// Since which epoch this node is the owner of an extent, if it is.
    #[must_use]
    pub fn owns(&self, extent: ExtentNumber) -> Option<Epoch> {
        if self.retirement.is_closed() {
            return None;
        }
        match self.extents.get(&extent) {
            Some(known) => known.owned.then_some(known.epoch),
            None => {
                Some(self.first_owner(extent)).filter(|(owner, _)| *owner == self.me).map(|(_, epoch)| epoch)
            }
        }
    }

    /// Whether this node has asked for pages that have not come.
    #[must_use]
    pub fn expects_pages(&self) -> bool {
        !self.requests.is_empty() || !self.acquisitions.is_empty()
    }

    /// How this node holds a page.
    #[must_use]
    pub fn held(&self, page: PageNumber) -> Held {
        if self.retirement.is_closed() {
            return Held::Absent;
        }
        match self.extents.get(&page.extent()) {
            Some(extent) => extent.page(page).held,
            None if self.first_owner(page.extent()).0 == self.me => Held::Exclusive,
            None => Held::Absent,
        }
    }

    /// At the owner: who holds a page, and how often write access to it went from one node to another.
    #[must_use]
    pub fn directory(&self, page: PageNumber) -> Option<(Holders, u32)> {
        let entry = self.extents.get(&page.extent())?.directory.as_ref()?.entry(page);
        Some((entry.holders, entry.moves))
    }

    /// Owner and epoch of an extent of which this node has heard nothing.
    fn first_owner(&self, extent: ExtentNumber) -> (NodeId, Epoch) {
        first_owner(&self.assigned, &self.policy, extent)
    }

    fn extent(&mut self, number: ExtentNumber) -> &mut Extent {
        let Self { extents, assigned, policy, me, .. } = self;
        extents.entry(number).or_insert_with(|| {
            let (owner, epoch) = first_owner(assigned, policy, number);
            Extent::new(owner, epoch, owner == *me)
        })
    }

    fn post(&mut self, to: NodeId, message: Message, contents: Contents, outputs: &mut Outputs) {
        if to == self.me {
            self.mailbox.push_back(message);
            return;
        }
        if self.retirement.has_left(to) {
            return;
        }
        let lane = match &message {
            Message::Grant { run, contents: true, .. } if run.count > self.policy.urgent_pages => Lane::Bulk,
            Message::Adopt { .. } => Lane::Bulk,
            _ => Lane::Urgent,
        };
        outputs.push(Output::Send { to, lane, message, contents });
    }

    fn arm(&mut self, timer: Timer) {
        self.timers.arm(timer, self.now.plus(self.policy.retry));
    }
}

/// See [`Machine::first_owner`].
fn first_owner(assigned: &Assigned, policy: &Policy, extent: ExtentNumber) -> (NodeId, Epoch) {
    match assigned.range(..=extent).next_back() {
        Some((_, (end, owner))) if extent < *end => (*owner, Epoch(1)),
        _ => (policy.home, Epoch(0)),
    }
}

/// Is what the message is about inside of an extent, and the extent inside of the address space? Decoding has
/// checked this already, but not every message was decoded.
fn is_possible(message: &Message) -> bool {
    let (entries, extents) = match message {
        Message::Adopt { directory, .. } => (directory.pages.len(), 0),
        Message::Sweep { extents, .. } | Message::Swept { swept: extents, .. } => (0, *extents),
        _ => (0, 0),
    };
    let last = message.extent().0.saturating_add(extents);
    let place = message.run().map_or(last < PAGES_END, Run::is_within_extent);
    place && extents <= SWEEP_EXTENTS_MAX && entries <= EXTENT_PAGES as usize
}

/// For the explorer, which leaves time out.
impl<C: Conduct> Machine<C> {
    /// Forgets when timers are due, and counts that nothing depends on, so that states which differ in
    /// nothing else are equal.
    pub fn forget_times(&mut self) {
        self.timers.forget_times();
        self.pace = Pace::default();
        self.turn = Turn::default();
        for extent in self.extents.values_mut() {
            for page in &mut extent.pages {
                (page.came, page.lost) = (Microseconds(0), Microseconds(0));
            }
            if let Some(directory) = &mut extent.directory {
                for entry in &mut directory.entries {
                    entry.moves = 0;
                    entry.hold = Hold::default();
                    entry.granted = entry.granted.map(|_| Microseconds(0));
                }
            }
        }
    }

    /// Does anything here still wait for an answer or a timer?
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.timers.earliest().is_none()
            && self.requests.is_empty()
            && self.acquisitions.is_empty()
            && self.extents.values().all(|extent| {
                extent.retained.is_empty()
                    && extent.leaving.is_none()
                    && extent.directory.as_ref().is_none_or(|directory| {
                        directory.transfers.is_empty() && directory.queue.is_empty() && !directory.sharing
                    })
            })
    }

    /// Checks what must be true of this machine alone between steps.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> Result<(), String> {
        for (number, extent) in &self.extents {
            for (index, page) in extent.pages.iter().enumerate() {
                let at = number.first_page().plus(index as u32);
                let asked = self.requests.get(&page.request).is_some_and(|request| request.run.contains(at));
                if page.request != RequestNumber(0) && !asked {
                    return Err(format!("{at:?} names {:?}, which is not under way", page.request));
                }
                if page.wanted.is_some() && !asked && !extent.is_sharing() {
                    return Err(format!("{at:?} is wanted and not asked for"));
                }
            }
            let Some(directory) = &extent.directory else { continue };
            if directory.queue.len() > QUEUE_MAX {
                return Err(format!("{} requests queued for {number:?}", directory.queue.len()));
            }
            for (index, entry) in directory.entries.iter().enumerate() {
                let at = number.first_page().plus(index as u32);
                let busy =
                    directory.transfers.get(&entry.busy).is_some_and(|transfer| transfer.run.contains(at));
                if entry.busy != Transaction(0) && !busy {
                    return Err(format!("{at:?} is busy with {:?}, which is not under way", entry.busy));
                }
                if matches!(entry.holders, Holders::Readers { nodes, sure } if !nodes.contains(sure)) {
                    return Err(format!("{at:?} has no holder"));
                }
            }
        }
        Ok(())
    }

    fn access_name(access: Access) -> &'static str {
        match access {
            Access::Read => "read",
            Access::Write => "write",
        }
    }
}
