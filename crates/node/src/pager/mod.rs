//! The pager: drives the coherence machine of one job on this node.
//!
//! Threads: one reads the userfaultfd, one per coherence lane reads messages, one keeps time. Each takes the
//! state lock, steps the machine and carries out what it says, in order, before it lets go: that order is
//! what the protocol's correctness rests on.
//!
//! Lock order: `state`, then `mapped`, then a lane's queue. None is held while waiting for a peer or a thread
//! of the program, and nothing here touches a file, pipe or terminal of the program.

mod contents;
mod freezing;
mod gathering;
mod heat;
mod looking;
mod mapping;
pub(crate) mod memory_file;
mod retiring;

pub(crate) use heat::{HOT_MAX, HotPage};
pub(crate) use looking::{KnownExtent, Residency};
pub(crate) use mapping::Mapped;

use freezing::Frozen;
use heat::Heat;

use crate::observe::statistics::{Counters, FaultCause};
use crate::pager::memory_file::MemoryFile;
use crate::transport::Peers;
use banyan_core::coherence::{Contents, Extents, Input, Lane, Machine, Output, Policy, ThreadNumber, Token};
use banyan_sys::userfaultfd::{self, Cause, Fault, Registration, Userfaultfd};
use banyan_wire::address_space::{MEMORY_FILE_BYTES, POOL_BYTES, POOLS, pool_start};
use banyan_wire::coherence::{HEADER_BYTES, Message, encode_header, encode_payload};
use banyan_wire::ids::{
    Access, EXTENT_BYTES, ExtentNumber, JobId, Microseconds, NODES_MAX, NodeId, PageNumber, Run, Transaction,
};
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What ends a run from inside the pager.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PagerError {
    /// The machine contradicts itself, or the kernel refused what must succeed.
    #[error("the pager stopped rather than corrupt the program's memory: {0}")]
    Fatal(String),
    /// A peer sent what it must not.
    #[error("{from} sent an impossible message: {reason}")]
    Rejected {
        /// The peer.
        from: NodeId,
        /// What is wrong.
        reason: String,
    },
}

/// Freeing memory, however much, takes no longer than this, or the run ends: nodes that answer for ever do
/// not keep it.
const DISCARD_DEADLINE: Duration = Duration::from_secs(120);

/// Coherence of one job on one node.
#[derive(Debug)]
pub(crate) struct Pager {
    job: JobId,
    memory: MemoryFile,
    faults: OnceLock<Userfaultfd>,
    peers: Arc<Peers>,
    /// Ranges of the program's memory that this replica has mapped.
    pub mapped: RwLock<Mapped>,
    /// What it cost.
    pub counters: Counters,
    state: Mutex<State>,
    /// Which pages moved most, for people. Taken before `state`, and for a look only.
    heat: Mutex<Heat>,
    /// How often other nodes have said that memory is discarded.
    answers: AtomicU64,
    /// When the timekeeper wakes, in microseconds; only an earlier deadline wakes it.
    armed: AtomicU64,
    earlier: Condvar,
    /// The pager no longer stands still.
    thawed: Condvar,
    /// Readable when the pager's threads are to end.
    stop: OwnedFd,
    stopped: AtomicBool,
    started: Instant,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    outputs: Vec<Output>,
    /// Payloads of pages given away, until their arrival is confirmed.
    retained: HashMap<(ExtentNumber, Transaction), Vec<u8>>,
    waiting: HashMap<Token, SyncSender<()>>,
    last_token: u64,
    /// Since when a thread waits for a page.
    faulted: HashMap<PageNumber, (Instant, FaultCause)>,
    /// While the program's memory is copied: what waits for its end.
    frozen: Option<Frozen>,
    /// Frames are built here. It only grows: clearing it for every frame would cost as much as a copy.
    frame: Vec<u8>,
}

impl Pager {
    /// A pager for `job` on node `own`. `owners` are the first owners of extents that this node is to know.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(
        own: NodeId,
        job: JobId,
        memory: MemoryFile,
        peers: Arc<Peers>,
        policy: Policy,
        owners: Vec<(Extents, NodeId)>,
    ) -> io::Result<Self> {
        let mut machine = Machine::new(own, policy);
        let mut outputs = Vec::new();
        for (extents, owner) in owners {
            let input = if owner == own { Input::Claim(extents) } else { Input::Assign { extents, owner } };
            machine.step(Microseconds(0), input, &mut outputs);
        }
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok(Self {
            job,
            memory,
            faults: OnceLock::new(),
            peers,
            mapped: RwLock::default(),
            counters: Counters::default(),
            state: Mutex::new(State {
                machine,
                outputs,
                retained: HashMap::new(),
                waiting: HashMap::new(),
                last_token: 0,
                faulted: HashMap::new(),
                frozen: None,
                frame: Vec::new(),
            }),
            heat: Mutex::default(),
            answers: AtomicU64::new(0),
            armed: AtomicU64::new(u64::MAX),
            earlier: Condvar::new(),
            thawed: Condvar::new(),
            stop,
            stopped: AtomicBool::new(false),
            started: Instant::now(),
        })
    }

    /// At home: whether the pool of a node can be ceded, in which nothing is mapped: it is this node's, or
    /// was ceded already, and nobody has asked for any of it.
    pub(crate) fn can_cede_pool(&self, to: NodeId) -> bool {
        let State { machine, .. } = &*self.lock();
        [NodeId::HOME, to].iter().any(|&from| machine.can_cede(pool_of(to), from))
    }

    /// At home: the pools of nodes that join become theirs.
    pub(crate) fn cede_pools(&self, nodes: &[NodeId]) {
        let State { machine, outputs, .. } = &mut *self.lock();
        for &to in nodes {
            let cede = Input::Cede { extents: pool_of(to), from: NodeId::HOME, to };
            machine.step(Microseconds(0), cede, outputs);
        }
    }

    /// At home: those nodes did not join after all, and their pools are this node's again.
    pub(crate) fn take_pools_back(&self, nodes: &[NodeId]) {
        let State { machine, outputs, .. } = &mut *self.lock();
        for &from in nodes {
            let cede = Input::Cede { extents: pool_of(from), from, to: NodeId::HOME };
            machine.step(Microseconds(0), cede, outputs);
        }
    }

    /// The memory file of the replica.
    pub(crate) fn memory(&self) -> &MemoryFile {
        &self.memory
    }

    /// Gives the replica's userfaultfd; once.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn set_faults(&self, descriptor: OwnedFd) -> io::Result<()> {
        // It is waited for together with the sign to stop.
        rustix::fs::fcntl_setfl(&descriptor, OFlags::NONBLOCK)?;
        let _ = self.faults.set(descriptor.into());
        Ok(())
    }

    /// Ends the threads that serve faults and keep the time. The replica must have ended.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        // Under the lock, so that the timekeeper is not between its look and its wait.
        let _state = self.lock();
        self.earlier.notify_one();
    }

    /// Serves faults until the pager is stopped.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn serve_faults(&self) -> Result<(), PagerError> {
        let Some(faults) = self.faults.get() else { return Ok(()) };
        let failed =
            |error: &dyn std::fmt::Display| PagerError::Fatal(format!("reading page faults: {error}"));
        let mut messages = [userfaultfd::Message::default(); 16];
        loop {
            let mut ready = [PollFd::new(faults, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) if ready[1].revents().contains(PollFlags::IN) => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(&error)),
            }
            match faults.read(&mut messages) {
                Ok(count) => {
                    for fault in messages[..count].iter().filter_map(userfaultfd::Message::fault) {
                        self.fault(fault)?;
                    }
                }
                Err(banyan_sys::raw::Errno::EINTR | banyan_sys::raw::Errno::EAGAIN) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn fault(&self, fault: Fault) -> Result<(), PagerError> {
        let page = PageNumber::of_address(fault.address);
        let access = match fault.access {
            userfaultfd::Access::Read => Access::Read,
            userfaultfd::Access::Write => Access::Write,
        };
        let end = self.mapped.read().end_of(fault.address);
        let limit = PageNumber::of_address(end.unwrap_or(fault.address + 4096));
        let mut state = self.lock();
        if let Some(frozen) = &mut state.frozen {
            frozen.faults.push(fault);
            return Ok(());
        }
        // One that waited for a page while memory was copied, and has been woken.
        if fault.cause == Cause::Protected
            && state.machine.foreign(extents_of(fault.address, 1)).next().is_none()
        {
            return self.wake(page);
        }
        let cause = match access {
            Access::Read => FaultCause::Read,
            Access::Write if fault.cause == Cause::Protected => FaultCause::Upgrade,
            Access::Write => FaultCause::Write,
        };
        self.counters.fault_begins(cause);
        state.faulted.entry(page).or_insert_with(|| (Instant::now(), cause));
        self.step(state, Input::Fault { thread: ThreadNumber(fault.thread), page, access, limit }, &[])
    }

    /// Takes in a message of another node; `payload` are the bytes that followed its header.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn receive(&self, from: NodeId, message: Message, payload: &[u8]) -> Result<(), PagerError> {
        if matches!(message, Message::Discarded { .. } | Message::Swept { .. }) {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        self.step(self.lock(), Input::Receive { from, message }, payload)
    }

    /// Wakes the machine at its deadlines, until the pager is stopped.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn keep_time(&self) -> Result<(), PagerError> {
        let mut state = self.lock();
        while !self.stopped.load(Ordering::Acquire) {
            let now = self.now();
            match state.machine.next_deadline() {
                Some(deadline) if deadline.0 <= now.0 => {
                    self.step(state, Input::Tick, &[])?;
                    state = self.lock();
                }
                deadline => {
                    let wait = deadline.map_or(1_000_000, |deadline| deadline.0 - now.0);
                    self.armed.store(deadline.map_or(u64::MAX, |deadline| deadline.0), Ordering::Relaxed);
                    self.earlier.wait_for(&mut state, Duration::from_micros(wait));
                }
            }
        }
        Ok(())
    }

    /// Brings `[address, address + length)` here. Blocks until it was here, or `deadline` has passed.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn acquire(
        &self,
        ranges: &[(u64, u64)],
        access: Access,
        deadline: Duration,
    ) -> Result<(), PagerError> {
        let mut waits = Vec::new();
        for &(address, length) in ranges {
            let first = PageNumber::of_address(address);
            let end = PageNumber::of_address(address.saturating_add(length).saturating_add(4095));
            let count = u32::try_from(end.0.saturating_sub(first.0)).unwrap_or(u32::MAX);
            if count == 0 {
                continue;
            }
            let (mut state, token, wait) = self.expect();
            self.thawed.wait_while(&mut state, |state| state.frozen.is_some());
            state.faulted.remove(&first);
            self.step(state, Input::Acquire { token, run: Run { first, count }, access }, &[])?;
            waits.push(wait);
        }
        for wait in waits {
            // The deadline is only a bound: what did not come faults.
            let _ = wait.recv_timeout(deadline);
        }
        Ok(())
    }

    /// At home: makes a range zero on all nodes. Blocks until it is.
    ///
    /// # Errors
    /// [`PagerError`]; also if for `deadline` no node answers, or the whole takes [`DISCARD_DEADLINE`].
    pub(crate) fn discard(&self, address: u64, length: u64, deadline: Duration) -> Result<(), PagerError> {
        let first = PageNumber::of_address(address);
        let mut left = length / 4096;
        let mut at = first;
        let last = Instant::now() + DISCARD_DEADLINE;
        while left > 0 {
            let count = u32::try_from(left).unwrap_or(u32::MAX / 2);
            let (state, token, wait) = self.expect();
            self.step(state, Input::Discard { token, run: Run { first: at, count } }, &[])?;
            let mut answers = self.answers.load(Ordering::Relaxed);
            while wait.recv_timeout(deadline).is_err() {
                let before = std::mem::replace(&mut answers, self.answers.load(Ordering::Relaxed));
                if before == answers || Instant::now() >= last {
                    let what = "freeing memory took too long: a node does not answer";
                    return Err(PagerError::Fatal(what.into()));
                }
            }
            at = at.plus(count);
            left -= u64::from(count);
        }
        Ok(())
    }

    /// Whether no other node has ever asked for any of the range, all of which is owned here.
    pub(crate) fn is_native(&self, address: u64, length: u64) -> bool {
        self.lock().machine.foreign(extents_of(address, length)).next().is_none()
    }

    /// The node that owns an extent, as this node knows.
    pub(crate) fn owner(&self, extent: ExtentNumber) -> NodeId {
        self.lock().machine.owner(extent)
    }

    /// The replica has mapped this range, so far without rights: registers what concerns other nodes.
    ///
    /// # Errors
    /// [`PagerError`].
    pub(crate) fn confirm(&self, address: u64, length: u64) -> Result<(), PagerError> {
        let state = self.lock();
        self.mapped.write().insert(address, address + length);
        let mut pending: Option<(u64, u64)> = None;
        for foreign in state.machine.foreign(extents_of(address, length)) {
            let start = foreign.first.first_page().address();
            let end = (start + foreign.count * EXTENT_BYTES).min(address + length);
            let start = start.max(address);
            pending = match pending {
                Some((from, to)) if to == start => Some((from, end)),
                Some((from, to)) => {
                    self.register(from, to, Registration::Everything)?;
                    Some((start, end))
                }
                None => Some((start, end)),
            };
        }
        if let Some((from, to)) = pending {
            self.register(from, to, Registration::Everything)?;
        }
        Ok(())
    }

    fn register(&self, start: u64, end: u64, what: Registration) -> Result<(), PagerError> {
        let Some(faults) = self.faults.get() else { return Ok(()) };
        match faults.register(start, end - start, what) {
            Ok(()) => Ok(()),
            Err(_) if self.replica_ended() => Ok(()),
            Err(error) => Err(PagerError::Fatal(format!("registering {start:#x}..{end:#x}: {error}"))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn now(&self) -> Microseconds {
        Microseconds(self.started.elapsed().as_micros() as u64)
    }

    fn expect(&self) -> (MutexGuard<'_, State>, Token, Receiver<()>) {
        let mut state = self.lock();
        state.last_token += 1;
        let token = Token(state.last_token);
        let (done, wait) = sync_channel(1);
        state.waiting.insert(token, done);
        (state, token, wait)
    }

    /// One step of the machine and everything that follows from it.
    fn step(&self, mut guard: MutexGuard<'_, State>, input: Input, payload: &[u8]) -> Result<(), PagerError> {
        let state = &mut *guard;
        let frame = match &input {
            Input::Receive { message: Message::Grant { run, contents: true, .. }, .. } => {
                Some((*run, payload))
            }
            _ => None,
        };
        let mut outputs = std::mem::take(&mut state.outputs);
        state.machine.step(self.now(), input, &mut outputs);
        let mut at = 0;
        while at < outputs.len() {
            if let Some(answer) = self.carry_out(state, &outputs[at], frame)? {
                state.machine.step(self.now(), answer, &mut outputs);
            }
            at += 1;
        }
        outputs.clear();
        state.outputs = outputs;
        if let Some(deadline) = state.machine.next_deadline()
            && deadline.0 < self.armed.load(Ordering::Relaxed)
        {
            self.armed.store(deadline.0, Ordering::Relaxed);
            self.earlier.notify_one();
        }
        Ok(())
    }

    fn carry_out(
        &self,
        state: &mut State,
        output: &Output,
        frame: Option<(Run, &[u8])>,
    ) -> Result<Option<Input>, PagerError> {
        let fatal = |what: &str, error: &dyn std::fmt::Display| PagerError::Fatal(format!("{what}: {error}"));
        match output {
            Output::Share { extent } => {
                let (start, end) =
                    (extent.first_page().address(), extent.first_page().address() + EXTENT_BYTES);
                let pieces = self.mapped.read().within(start, end);
                for (from, to) in pieces {
                    self.register(from, to, Registration::Everything)?;
                }
                let empty =
                    self.memory.is_empty(start, EXTENT_BYTES).map_err(|e| fatal("looking for pages", &e))?;
                return Ok(Some(Input::Shared { extent: *extent, empty }));
            }
            Output::Native { extent } => self.unregister(*extent)?,
            Output::Send { to, lane, message, contents } => {
                self.send(state, *to, *lane, message, *contents)?;
            }
            Output::Install { run, access, marker } => {
                let Some((whole, payload)) = frame else {
                    return Err(PagerError::Fatal("pages to install, but no frame that carries them".into()));
                };
                self.install(whole, payload, *run, *access, *marker)?;
                self.resolved(state, *run);
            }
            Output::Wake { run, access } => {
                self.map_pages(*run, *access)?;
                self.resolved(state, *run);
            }
            Output::Upgrade { run } => {
                self.unprotect(*run)?;
                self.resolved(state, *run);
            }
            Output::Downgrade { run } => self.protect(*run)?,
            Output::Invalidate { run } => self
                .memory
                .punch(run.first.address(), u64::from(run.count) * 4096)
                .map_err(|e| fatal("dropping pages", &e))?,
            Output::Retain { run, transaction } => {
                let mut payload = Vec::new();
                let end = contents::read(&self.memory, *run, &mut payload, 0)
                    .map_err(|e| fatal("reading pages", &e))?;
                payload.truncate(end);
                state.retained.insert((run.first.extent(), *transaction), payload);
            }
            Output::Release { run, transaction } => {
                state.retained.remove(&(run.first.extent(), *transaction));
            }
            Output::Acquired { token } | Output::Discarded { token } => {
                if let Some(waiting) = state.waiting.remove(token) {
                    let _ = waiting.try_send(());
                }
            }
            Output::Reject { from, reason } => {
                return Err(PagerError::Rejected { from: *from, reason: reason.clone() });
            }
            Output::Fatal { reason } => return Err(PagerError::Fatal(reason.clone())),
        }
        Ok(None)
    }

    fn send(
        &self,
        state: &mut State,
        to: NodeId,
        lane: Lane,
        message: &Message,
        contents: Contents,
    ) -> Result<(), PagerError> {
        let Some(peer) = self.peers.get(to) else {
            return Err(PagerError::Fatal(format!("a message for {to}, which is not of this run")));
        };
        let mut frame = std::mem::take(&mut state.frame);
        if frame.len() < HEADER_BYTES {
            frame.resize(HEADER_BYTES, 0);
        }
        let end = match (contents, message) {
            (Contents::None, _) => {
                let mut payload = Vec::new();
                encode_payload(message, &mut payload);
                append(&mut frame, &payload)
            }
            (Contents::Replica, Message::Grant { run, .. }) => {
                contents::read(&self.memory, *run, &mut frame, HEADER_BYTES)
                    .map_err(|error| PagerError::Fatal(format!("reading pages: {error}")))?
            }
            (Contents::Retained, Message::Grant { run, transaction, .. }) => {
                let kept = state.retained.get(&(run.first.extent(), *transaction));
                let kept = kept.ok_or_else(|| PagerError::Fatal("pages were not retained".into()))?;
                append(&mut frame, kept)
            }
            _ => return Err(PagerError::Fatal("contents for a message that carries none".into())),
        };
        let header = encode_header(self.job.0, message, (end - HEADER_BYTES) as u32);
        frame[..HEADER_BYTES].copy_from_slice(&header);
        match lane {
            Lane::Urgent => peer.urgent.send(&frame[..end]),
            Lane::Bulk => peer.bulk.send(&frame[..end]),
        }
        state.frame = frame;
        Ok(())
    }

    /// Counts how long the threads waited that waited for these pages.
    fn resolved(&self, state: &mut State, run: Run) {
        if state.faulted.is_empty() {
            return;
        }
        if run.count as usize > state.faulted.len() {
            let done: Vec<PageNumber> =
                state.faulted.keys().copied().filter(|page| run.contains(*page)).collect();
            for page in done {
                self.count(state.faulted.remove(&page));
            }
        } else {
            for page in run.pages() {
                self.count(state.faulted.remove(&page));
            }
        }
    }

    fn count(&self, fault: Option<(Instant, FaultCause)>) {
        if let Some((since, cause)) = fault {
            self.counters.fault_took(cause, since.elapsed().as_nanos() as u64);
        }
    }
}

/// Puts a payload after the header; returns where it ends.
fn append(frame: &mut Vec<u8>, payload: &[u8]) -> usize {
    let end = HEADER_BYTES + payload.len();
    if frame.len() < end {
        frame.resize(end, 0);
    }
    frame[HEADER_BYTES..end].copy_from_slice(payload);
    end
}

/// Which node is the first owner of which extents: each of its pool, and home of everything else. Pools that
/// no node has yet come one by one, so that each can be ceded.
pub(crate) fn pools(nodes: u8) -> Vec<(Extents, NodeId)> {
    let extents = |start: u64, end: u64| Extents {
        first: ExtentNumber::of_address(start),
        count: (end - start) / EXTENT_BYTES,
    };
    let mut owners =
        vec![(extents(0, POOLS.start), NodeId::HOME), (extents(POOLS.end, MEMORY_FILE_BYTES), NodeId::HOME)];
    for pool in 0..NODES_MAX {
        let owner = NodeId::new(pool).filter(|_| pool < nodes).unwrap_or(NodeId::HOME);
        owners.push((extents(pool_start(pool), pool_start(pool) + POOL_BYTES), owner));
    }
    owners
}

fn pool_of(node: NodeId) -> Extents {
    extents_of(pool_start(node.get()), POOL_BYTES)
}

fn extents_of(address: u64, length: u64) -> Extents {
    let (first, last) = (address / EXTENT_BYTES, (address + length.max(1) - 1) / EXTENT_BYTES);
    Extents { first: ExtentNumber(first), count: last - first + 1 }
}
