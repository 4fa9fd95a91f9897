//! The part of a job that only its home node has: the map of regions, and what it knows of the other nodes.
//!
//! Lock order: `regions` or `steps_left`, then `files`, then the pager's. `used_by_left` before those of
//! `places`. Timers before `placement`. `mapping`, `copied`, `used_before`, `learned`, `nodes_ready` and
//! `ends` are taken alone.

use super::again::Again;
use super::files::Files;
use super::invitation::Presence;
use super::loader;
use super::mapping::Mapping;
use super::maps;
use super::places::Places;
use super::questions::{Answer, PEER_DEADLINE, Questions};
use super::settings::{self, JobSettings, Summary};
use super::timers::Kept;
use crate::cluster::authority::{Authority, MemoryCall};
use crate::pager::memory_file::MemoryFile;
use crate::pager::{Mapped, Pager, PagerError, pools};
use crate::report::Report;
use banyan_core::coherence::Extents;
use banyan_core::placement::Placement;
use banyan_core::regions::{Backing, Caller, Effect, FileNumber, Operation, Region, Regions, Source};
use banyan_wire::address_space::{POOL_BYTES, pool_start};
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::ids::NodeId;
use banyan_wire::statistics::NodeStatistics;
use banyan_wire::stub::{MapSource, Used};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What only the home node has of a job.
#[derive(Debug)]
pub(crate) struct Home {
    regions: Mutex<Regions>,
    mapping: Mutex<Mapping>,
    /// Its other end is dropped when the copy of the process that was made last has its memory.
    pub(super) copied: Mutex<Option<Receiver<()>>>,
    /// What regions are copies of.
    files: Mutex<Files>,
    /// What is left to do of the memory call under way: one at a time is made.
    steps_left: Mutex<VecDeque<Operation>>,
    start: loader::Start,
    images: Arc<loader::Images>,
    /// Where the threads of the program are.
    placement: Mutex<Placement>,
    /// A thread is elsewhere now, or has ended.
    pub(super) placement_changed: Condvar,
    /// Processor time of threads on nodes that they have left, in nanoseconds.
    pub(super) used_before: Mutex<BTreeMap<u32, u64>>,
    /// What the replicas of nodes that have left used. Held while one leaves, so that each is counted once.
    used_by_left: Mutex<BTreeMap<NodeId, Used>>,
    /// Timers on processor time.
    pub(super) timers: Kept,
    /// Whose the pools were at first: of nodes that come later they are home's until then.
    nodes_at_first: u8,
    pub(super) presence: Presence,
    questions: Arc<Questions>,
    /// What each node's replica may have mapped.
    learned: Mutex<BTreeMap<NodeId, Mapped>>,
    nodes_ready: Mutex<BTreeSet<NodeId>>,
    node_ready: Condvar,
    ends: Mutex<Ends>,
    node_ended: Condvar,
    report: Arc<Report>,
    pub(super) wishes: Wishes,
    /// Whether the program is executing another one: then what is said at the end is that one's to say.
    pub(super) executes: AtomicBool,
}

/// A program in memory, as the home of its process knows it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) regions: Regions,
    pub(crate) mapping: Mapping,
    pub(crate) start: loader::Start,
    pub(crate) images: Arc<loader::Images>,
    /// What regions are copies of.
    pub(crate) files: Files,
}

/// What the person wants of a run beside the program.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// The program and its arguments, for people.
    pub(super) command: String,
    /// Where threads go.
    pub(super) placement: settings::Placement,
    /// How often a random thread is moved.
    pub(super) move_every: Option<Duration>,
    /// What to print at the end.
    pub(super) summary: Summary,
    /// How to begin another run like this one.
    pub(super) again: Again,
}

impl Wishes {
    pub(crate) fn of(settings: &JobSettings) -> Self {
        let JobSettings { placement, move_every, summary, .. } = *settings;
        Self { command: settings.words(), placement, move_every, summary, again: Again::of(settings) }
    }

    /// Of a copy of the process.
    pub(super) fn of_copy(&self) -> Self {
        Self { move_every: None, summary: Summary::None, ..self.clone() }
    }
}

/// How the other nodes have ended.
#[derive(Debug, Default)]
struct Ends {
    /// What each did, as its last message says.
    statistics: BTreeMap<NodeId, NodeStatistics>,
    /// Nodes whose control connection has ended.
    gone: BTreeSet<NodeId>,
}

impl Home {
    /// Of a program that is in memory. Lines for the person go to `report`.
    pub(crate) fn new(
        program: Program,
        wishes: Wishes,
        placement: Placement,
        presence: Presence,
        questions: Arc<Questions>,
        report: Arc<Report>,
    ) -> Self {
        let nodes_at_first = presence.nodes();
        let Program { regions, mapping, start, images, files } = program;
        Self {
            regions: Mutex::new(regions),
            mapping: Mutex::new(mapping),
            copied: Mutex::default(),
            files: Mutex::new(files),
            steps_left: Mutex::default(),
            start,
            images,
            placement: Mutex::new(placement),
            placement_changed: Condvar::new(),
            used_before: Mutex::default(),
            used_by_left: Mutex::default(),
            timers: Kept::default(),
            nodes_at_first,
            presence,
            questions,
            learned: Mutex::default(),
            nodes_ready: Mutex::default(),
            node_ready: Condvar::new(),
            ends: Mutex::default(),
            node_ended: Condvar::new(),
            report,
            wishes,
            executes: AtomicBool::new(false),
        }
    }

    /// How a copy of the process gets what is in these stretches of the memory file, where all of the
    /// program's memory is.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn mapping_of_copy(
        &self,
        memory: &MemoryFile,
        stretches: &[(u64, u64)],
    ) -> std::io::Result<Mapping> {
        Mapping::copied(&self.regions.lock(), memory, stretches)
    }

    /// What a copy of the process begins with, which has private memory. `mapping` makes that.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn program(&self, mapping: Mapping) -> std::io::Result<Program> {
        let regions = self.regions.lock().clone();
        let files = self.files.lock().try_clone()?;
        Ok(Program { regions, mapping, start: self.start, images: Arc::clone(&self.images), files })
    }

    /// Questions to the other nodes.
    pub(super) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Where lines for the person go.
    pub(crate) fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Where the program starts.
    pub(crate) fn start(&self) -> loader::Start {
        self.start
    }

    /// What the program was loaded from.
    pub(crate) fn images(&self) -> &loader::Images {
        &self.images
    }

    /// The program's `maps`, given the kernel's.
    pub(crate) fn maps(&self, kernels: &str) -> String {
        let regions = self.regions.lock();
        let files = self.files.lock();
        maps::lines(&regions, &self.images, &files, self.start.stack, kernels)
    }

    /// Regions from an address on, `most` at most, and the name of the file that each is a copy of.
    pub(super) fn regions_from(&self, address: u64, most: usize) -> Vec<(Region, Option<String>)> {
        let regions: Vec<Region> = self.regions.lock().beginning_at(address).take(most).copied().collect();
        let files = self.files.lock();
        let named = |region: Region| {
            let name = match region.backing {
                Backing::File { file, .. } => {
                    files.describe(file).map(|(_, _, name)| name.to_string_lossy().into_owned())
                }
                Backing::Image => maps::image_name(&self.images, region.start),
                _ => None,
            };
            (region, name)
        };
        regions.into_iter().map(named).collect()
    }

    /// What is known of where threads are, to choose by or to change.
    pub(crate) fn placement(&self) -> MutexGuard<'_, Placement> {
        self.placement.lock()
    }

    /// What is left to do of the memory call under way.
    pub(crate) fn steps_left(&self) -> MutexGuard<'_, VecDeque<Operation>> {
        self.steps_left.lock()
    }

    /// Opens a file of which a region is a copy.
    pub(crate) fn open_file(&self, number: FileNumber) -> std::io::Result<OwnedFd> {
        self.files.lock().open(number)
    }

    /// What a new mapping shows.
    fn source(&self, source: MapSource, file: Option<OwnedFd>) -> Result<Source, PagerError> {
        Ok(match (source, file) {
            (MapSource::Zeroes, _) => Source::Zeroes,
            (MapSource::Kernel, _) => Source::Kernel,
            (MapSource::Segment, _) => Source::Segment,
            (MapSource::Copied, Some(file)) => {
                let kept = self.files.lock().keep(file);
                let (file, size) = kept.map_err(|error| PagerError::Fatal(error.to_string()))?;
                Source::Copied { file, size }
            }
            (MapSource::Copied, None) => {
                return Err(PagerError::Fatal("the replica maps a file and did not send it".into()));
            }
        })
    }

    /// The other nodes that take part.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.presence.present().into_iter().filter(|&node| node != NodeId::HOME)
    }

    /// Bytes that one writable mapping may ask for at most.
    pub(super) fn set_memory_total(&self, bytes: u64) {
        self.regions.lock().set_memory_total(bytes);
    }

    /// Those of these nodes in whose pools the program has no memory, and had none. The others take part
    /// without: what they would own is this node's.
    pub(super) fn with_free_pools(&self, pager: &Pager, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let regions = self.regions.lock();
        nodes.filter(|&node| is_free_pool(&regions, pager, node)).collect()
    }

    /// The pools of nodes that are about to take part become their memory.
    ///
    /// # Errors
    /// The program has got memory in one of them since they were asked; then all stay this node's.
    pub(super) fn give_pools(&self, pager: &Pager, nodes: &[NodeId]) -> Result<(), String> {
        // Held, so that nothing is mapped there between the look and the change.
        let regions = self.regions.lock();
        match nodes.iter().find(|&&node| !is_free_pool(&regions, pager, node)) {
            Some(used) => {
                let start = pool_start(used.get());
                Err(format!("the program uses addresses from {start:#x} on, which are those of {used}"))
            }
            None => {
                pager.cede_pools(nodes);
                Ok(())
            }
        }
    }

    /// What is left to do before the program runs.
    pub(super) fn mapping(&self) -> MutexGuard<'_, Mapping> {
        self.mapping.lock()
    }

    /// A node's replica can take threads.
    pub(crate) fn node_is_ready(&self, node: NodeId) {
        self.nodes_ready.lock().insert(node);
        self.node_ready.notify_all();
    }

    /// A node that was here, and did not take part after all, begins anew.
    pub(super) fn forget_node(&self, node: NodeId) {
        self.nodes_ready.lock().remove(&node);
        self.ends.lock().gone.remove(&node);
    }

    /// Waits until the replicas of so many nodes can take threads, home included.
    pub(crate) fn wait_for_nodes(&self, nodes: u8, deadline: Instant) -> Result<(), String> {
        let wanted = usize::from(nodes) - 1;
        let mut ready = self.nodes_ready.lock();
        self.node_ready.wait_while_for(&mut ready, |ready| ready.len() < wanted, left(deadline));
        let ready = ready.len();
        if ready < wanted { Err(format!("{ready} of {wanted} other nodes came up")) } else { Ok(()) }
    }

    /// The last statistics of a node have come: it may go.
    pub(crate) fn node_has_ended(&self, node: NodeId, statistics: NodeStatistics) {
        self.ends.lock().statistics.insert(node, statistics);
        self.node_ended.notify_all();
        self.questions.send(node, &ControlMessage::Bye);
    }

    /// The control connection with a node has ended.
    pub(crate) fn node_has_gone(&self, node: NodeId) {
        self.ends.lock().gone.insert(node);
        self.node_ended.notify_all();
    }

    /// Ends the other nodes. Returns what each did, without those that did not say it in time.
    pub(crate) fn end_nodes(&self, deadline: Instant) -> BTreeMap<NodeId, NodeStatistics> {
        for node in self.others() {
            self.questions.send(node, &ControlMessage::End);
        }
        let silent = |ends: &mut Ends| {
            let has_ended = |node| ends.statistics.contains_key(&node) || ends.gone.contains(&node);
            !self.others().all(has_ended)
        };
        let mut ends = self.ends.lock();
        self.node_ended.wait_while_for(&mut ends, silent, left(deadline));
        ends.statistics.clone()
    }

    /// Ends one node that has nothing left, or gives up after this time.
    pub(super) fn end_node(&self, node: NodeId, timeout: Duration) {
        self.questions.send(node, &ControlMessage::End);
        let mut ends = self.ends.lock();
        self.node_ended.wait_while_for(&mut ends, |ends| !ends.gone.contains(&node), timeout);
    }

    /// Waits until every other node has closed its control connection: it has read its
    /// [`ControlMessage::Bye`].
    pub(crate) fn wait_for_leave(&self, deadline: Instant) {
        let mut ends = self.ends.lock();
        let staying = |ends: &mut Ends| !self.others().all(|node| ends.gone.contains(&node));
        self.node_ended.wait_while_for(&mut ends, staying, left(deadline));
    }

    /// What processor time was used in the replicas of other nodes, or by one thread in that of `node`.
    pub(crate) fn time_elsewhere(&self, node: Option<NodeId>, thread: u32) -> Result<Used, PagerError> {
        let ask = |node| (node, self.questions.ask(node, |id| ControlMessage::ProcessorTime { id, thread }));
        let mut total = Used { user: 0, system: 0 };
        let mut add = |used: Used| {
            total.user = total.user.saturating_add(used.user);
            total.system = total.system.saturating_add(used.system);
        };
        let asked: Vec<NodeId> = {
            let left = self.used_by_left.lock();
            if node.is_none() {
                left.values().copied().for_each(&mut add);
            }
            self.others().filter(|&other| node.is_none_or(|node| node == other)).collect()
        };
        let waits: Vec<_> = asked.into_iter().map(ask).collect();
        let deadline = Instant::now() + PEER_DEADLINE;
        for (other, wait) in waits {
            match wait.recv_timeout(left(deadline)) {
                Ok(Answer::Used(used)) => add(used),
                Ok(Answer::Left) if node.is_none() => {
                    self.used_by_left.lock().get(&other).copied().into_iter().for_each(&mut add);
                }
                // The thread went elsewhere before.
                Ok(Answer::Left) => {}
                _ => return Err(PagerError::Fatal(format!("{other} did not say its processor time"))),
            }
        }
        Ok(total)
    }

    /// A node has left, whose replica used this much: from here on nobody waits for it, nor has memory
    /// unmapped there.
    pub(super) fn node_leaves(&self, places: &Places, node: NodeId, used: Used) {
        {
            let mut left = self.used_by_left.lock();
            left.insert(node, used);
            places.leave(node);
        }
        self.learned.lock().remove(&node);
        self.questions.node_has_left(node);
    }

    /// Has the other replicas unmap a range, those that may have it mapped.
    fn forget_elsewhere(&self, start: u64, length: u64) -> Result<(), PagerError> {
        let nodes: Vec<NodeId> = {
            let mut learned = self.learned.lock();
            let having =
                learned.iter_mut().filter(|(_, ranges)| !ranges.within(start, start + length).is_empty());
            having
                .map(|(&node, ranges)| {
                    ranges.remove(start, start + length);
                    node
                })
                .collect()
        };
        let ask = |node| (node, self.questions.ask(node, |id| ControlMessage::Forget { id, start, length }));
        let waits: Vec<_> = nodes.into_iter().map(ask).collect();
        let deadline = Instant::now() + PEER_DEADLINE;
        for (node, wait) in waits {
            if wait.recv_timeout(left(deadline)).is_err() {
                return Err(PagerError::Fatal(format!("{node} did not unmap memory in time")));
            }
        }
        Ok(())
    }
}

fn is_free_pool(regions: &Regions, pager: &Pager, node: NodeId) -> bool {
    let (start, end) = (pool_start(node.get()), pool_start(node.get()) + POOL_BYTES);
    let is_used = regions.reach(start).is_some()
        || regions.beginning_at(start).next().is_some_and(|region| region.start < end);
    !is_used && pager.can_cede_pool(node)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

impl Authority for Home {
    fn first_owners(&self) -> Vec<(Extents, NodeId)> {
        pools(self.nodes_at_first)
    }

    fn memory_call(&self, call: MemoryCall) -> Result<Effect, PagerError> {
        let effect = {
            let mut regions = self.regions.lock();
            let source = self.source(call.source, call.file)?;
            let caller = Caller { node: call.node.get(), limits: call.limits, source };
            let effect = regions.call(call.kind, call.arguments, caller);
            let needed = effect.operations.iter().filter_map(|operation| operation.file());
            self.files.lock().retain(regions.files().chain(needed));
            effect
        };
        if let Some(range) = effect.forget {
            self.forget_elsewhere(range.start, range.length)?;
        }
        Ok(effect)
    }

    fn learn(&self, node: NodeId, address: u64, access: u32) -> Result<Option<RegionFacts>, PagerError> {
        let region = self.regions.lock().reach(address);
        let Some(region) = region else { return Ok(None) };
        if matches!(region.backing, Backing::Kernel(_)) {
            return Ok(Some(RegionFacts { start: region.start, end: region.end, protection: 0 }));
        }
        if region.protection & access != access {
            return Ok(None);
        }
        if node != NodeId::HOME {
            let mut learned = self.learned.lock();
            learned.entry(node).or_default().insert(region.start, region.end);
        }
        Ok(Some(RegionFacts { start: region.start, end: region.end, protection: region.protection }))
    }
}
