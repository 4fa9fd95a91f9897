//! One run on one node: its program brought into memory, its replica served, and its end.
//!
//! A `Job` is what every node of a run has of it; `Role` is what only the home, or only a node elsewhere has.
//! Not here: how it ends (`end`), its connections (`lanes`), its pages (`crate::pager`).
//!
//! Threads: the one that follows the job's events; one receives on each lane, and one sends what a socket
//! does not take at once; one serves the replica's requests; the pager's two. When the job ends, they end,
//! and with the last of them goes the job's memory.

pub mod again;
mod copies;
mod end;
mod files;
mod filter;
mod growing;
mod home;
pub(crate) mod invitation;
mod lanes;
pub mod launch;
mod leaving;
mod limits;
pub(crate) mod loader;
mod looking;
mod mapping;
mod maps;
mod moving;
pub(crate) mod places;
mod process_files;
mod questions;
mod remote;
pub(crate) mod replica;
mod requests;
pub(crate) mod settings;
mod spreading;
mod still;
mod timers;

pub(crate) use looking::{HomeView, ThreadView};

use crate::cluster::authority::Authority;
use crate::cluster::membership::Cluster;
use crate::observe::log::{self, Log};
use crate::observe::process::processor_seconds;
use crate::observe::usage::Tasks;
use crate::pager::Pager;
use crate::pager::memory_file::MemoryFile;
use crate::report::Report;
use crate::sys::scheduling;
use crate::transport::{Peers, Trust};
use banyan_core::coherence::Policy;
use banyan_core::regions::Regions;
use banyan_wire::cluster::MemberId;
use banyan_wire::control::{ControlMessage, JobPart};
use banyan_wire::ids::{JobId, NodeId};
use banyan_wire::stub::{Command, Range, STUB_ABI_VERSION, Welcome};
use copies::Copies;
use end::{Event, RemoteReplica};
use files::Files;
use home::{Home, Program, Wishes};
use invitation::Presence;
use mapping::Mapping;
use parking_lot::Mutex;
use places::Places;
use questions::Questions;
use remote::Remote;
use replica::Commands;
use settings::{JobSettings, Placement, Summary};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// All nodes must stand within this time.
const START_DEADLINE: Duration = Duration::from_secs(4);

/// What all nodes of a job know of it.
#[derive(Clone, Debug)]
pub(crate) struct JobFacts {
    pub(crate) id: JobId,
    /// How its nodes know each other.
    pub(crate) trust: Trust,
    /// Its nodes.
    pub(crate) places: Arc<Places>,
    /// Where this node notes what happens.
    pub(crate) log: Arc<Log>,
    /// By which its replicas have their faults served if they may not ask the kernel.
    pub(crate) fault_device: Option<Arc<OwnedFd>>,
}

impl JobFacts {
    /// What a node needs to know that is to take part.
    pub(crate) fn part(&self, settings: &JobSettings, node: NodeId) -> JobPart {
        JobPart {
            node: node.get(),
            places: self.places.all(),
            left: self.places.left(),
            name: settings.name(),
            summary: settings.summary != Summary::None,
            mark: settings.mark(),
            has_pool: true,
        }
    }
}

/// One run, as one of its nodes has it.
#[derive(Debug)]
pub(crate) struct Job {
    facts: JobFacts,
    part: JobPart,
    node: NodeId,
    pub(crate) pager: Pager,
    /// The lanes to the other nodes.
    peers: Arc<Peers>,
    questions: Arc<Questions>,
    role: Role,
    commands: OnceLock<Commands>,
    replica_id: AtomicU32,
    /// What the threads of the replica did.
    tasks: Mutex<Tasks>,
    /// Threads that the program has started, its first one included.
    threads_started: AtomicU64,
    events: Sender<Event>,
    /// Taken by the thread that follows the job.
    inbox: Mutex<Receiver<Event>>,
    /// The end of the run has begun: what breaks from now on is part of it.
    ending: AtomicBool,
    /// The nodes have been ended and the summary has been written.
    finished: Mutex<bool>,
    arrived: lanes::Arrived,
    /// All copies of the program's process, and of their copies.
    copies: Arc<Copies>,
    /// Elsewhere, while the replica stands still: wakes what has it go on.
    goes_on: Mutex<Option<Sender<()>>>,
    started: Instant,
    /// Processor time that this daemon had used before.
    daemon_seconds: f64,
    own: Weak<Self>,
}

/// What differs between the home of a job and its other nodes.
#[derive(Debug)]
pub(crate) enum Role {
    /// The program started here.
    Home(Box<Home>),
    /// Only threads of it are here.
    Remote(Remote),
}

impl Job {
    /// A job whose home is here: loads its program. Lines for the person go to `report`.
    pub(crate) fn at_home(
        facts: &JobFacts,
        settings: &JobSettings,
        presence: Presence,
        report: Report,
    ) -> Result<Arc<Self>, String> {
        let nodes = facts.places.count();
        let memory = MemoryFile::create().map_err(|error| format!("its memory file: {error}"))?;
        let mut regions = Regions::new(memory_total() * u64::from(nodes));
        let (start, images) =
            loader::load(&settings.command(), &settings.surroundings(), &memory, &mut regions)
                .map_err(|error| error.to_string())?;
        let mapping = if facts.places.is_alone() {
            Mapping::private(&regions, &memory).map_err(|error| format!("its memory file: {error}"))?
        } else {
            Mapping::shared(&regions)
        };
        let files = Files::default();
        let program = Program { regions, mapping, start, images: Arc::new(images), files };
        let part = facts.part(settings, NodeId::HOME);
        let placement = settings.placement(nodes);
        let role = |questions| {
            let wishes = Wishes::of(settings);
            let report = Arc::new(report);
            Role::Home(Box::new(Home::new(program, wishes, placement, presence, questions, report)))
        };
        Self::new(facts.clone(), part, NodeId::HOME, memory, Arc::default(), role)
    }

    /// A job whose home is another node.
    pub(crate) fn elsewhere(facts: JobFacts, part: JobPart) -> Result<Arc<Self>, String> {
        let nodes = facts.places.count();
        let node = NodeId::new(part.node).filter(|&node| node != NodeId::HOME && node.get() < nodes);
        let node = node.ok_or("a number in the job that cannot be")?;
        let memory = MemoryFile::create().map_err(|error| format!("its memory file: {error}"))?;
        let has_pool = part.has_pool;
        let role = |questions| Role::Remote(Remote::new(node, nodes, has_pool, questions));
        Self::new(facts, part, node, memory, Arc::default(), role)
    }

    fn new(
        facts: JobFacts,
        part: JobPart,
        node: NodeId,
        memory: MemoryFile,
        copies: Arc<Copies>,
        role: impl FnOnce(Arc<Questions>) -> Role,
    ) -> Result<Arc<Self>, String> {
        let peers = Arc::new(Peers::default());
        let questions = Arc::new(Questions::new(Arc::clone(&peers)));
        let role = role(Arc::clone(&questions));
        let owners = role.authority().first_owners();
        let pager = Pager::new(node, facts.id, memory, Arc::clone(&peers), Policy::default(), owners)
            .map_err(|error| format!("its pager: {error}"))?;
        let (events, inbox) = channel();
        Ok(Arc::new_cyclic(|own| Self {
            facts,
            part,
            node,
            pager,
            peers,
            questions,
            role,
            commands: OnceLock::new(),
            replica_id: AtomicU32::new(0),
            tasks: Mutex::default(),
            threads_started: AtomicU64::new(1),
            events,
            inbox: Mutex::new(inbox),
            ending: AtomicBool::new(false),
            finished: Mutex::new(false),
            arrived: lanes::Arrived::default(),
            copies,
            goes_on: Mutex::default(),
            started: Instant::now(),
            daemon_seconds: processor_seconds(std::process::id()),
            own: Weak::clone(own),
        }))
    }

    pub(crate) fn id(&self) -> JobId {
        self.facts.id
    }

    /// The number of this node in the job.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Whether a machine that calls itself the node with this number is that node.
    pub(crate) fn is_node(&self, node: u32, member: Option<MemberId>) -> bool {
        self.facts.places.is_at(node, member)
    }

    /// How many nodes it has, those included that do not take part yet.
    pub(crate) fn nodes(&self) -> u8 {
        self.facts.places.count()
    }

    /// Who decides about regions and extents.
    pub(crate) fn authority(&self) -> &dyn Authority {
        self.role.authority()
    }

    /// What only the home has of the job, if this is its home.
    fn home(&self) -> Option<&Home> {
        match &self.role {
            Role::Home(home) => Some(home),
            Role::Remote(_) => None,
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Something has happened that the thread which follows the job decides about.
    fn emit(&self, event: Event) {
        if let (Event::PeerLost { node, reason }, false) = (&event, self.is_ending()) {
            self.facts.log.note(log::Kind::Loss, Some(self.facts.id), format!("{node} was lost: {reason}"));
        }
        // When that thread has gone, so is the job.
        let _ = self.events.send(event);
    }

    /// The process id of this node's replica.
    fn replica_id(&self) -> u32 {
        self.replica_id.load(Ordering::Relaxed)
    }

    /// Writes one line to the person who started the run.
    pub(crate) fn notice(&self, text: &str) {
        match &self.role {
            Role::Home(home) => home.report().notice(text),
            Role::Remote(remote) => {
                remote.send_home(&ControlMessage::Notice(format!("{}: {text}", self.node)));
            }
        }
    }

    /// At home: connects to the other nodes, if they take part, and greets the stub, the process at the other
    /// end of `requests`.
    pub(crate) fn begin_at_home(&self, requests: OwnedFd) -> Result<(), String> {
        let Some(home) = self.home() else { return Ok(()) };
        if home.presence.nodes() > 1 {
            self.connect()?;
        }
        self.greet_replica(requests)?;
        if let Some(every) = home.wishes.move_every {
            self.thread_at_home("moving", move |job, home| job.keep_moving(home, every));
        }
        if !self.facts.places.is_alone() && home.wishes.placement == Placement::Auto {
            self.thread_at_home("spreading", Self::keep_spreading);
        }
        if !self.facts.places.is_alone() {
            self.thread_at_home("limits", Self::keep_limits);
        }
        Ok(())
    }

    /// At home: machines that join this cluster take part, too.
    pub(crate) fn grow_with(&self, cluster: Arc<Cluster>) {
        self.thread_at_home("growing", move |job, home| job.keep_growing(home, &cluster));
    }

    /// Elsewhere: connects to the other nodes and starts the replica, a child of this daemon.
    fn begin_elsewhere(&self, replica: &mut RemoteReplica) -> Result<(), String> {
        self.connect()?;
        let (child, requests) =
            replica::spawn_remote(&format!("banyan: {}", self.node), self.part.mark.as_deref())
                .map_err(|error| format!("its replica could not be started: {error}"))?;
        *replica = RemoteReplica(Some(child));
        self.greet_replica(requests)
    }

    /// Whether what children of the program execute is a run, too. Children are at home.
    fn follows_children(&self) -> bool {
        self.home().is_some_and(|home| home.wishes.again.follows_children())
    }

    /// Gives a stub its role and serves its requests.
    fn greet_replica(&self, requests: OwnedFd) -> Result<(), String> {
        let welcome = Welcome {
            version: STUB_ABI_VERSION,
            node: u32::from(self.node.get()),
            nodes: if self.facts.places.is_alone() { 1 } else { u32::from(self.nodes().max(2)) },
            follows_children: u32::from(self.follows_children()),
            name: self.part.name,
        };
        let commands = replica::welcome(&requests, &welcome, self.pager.memory().as_fd())
            .map_err(|error| format!("its replica did not start: {error}"))?;
        let _ = self.commands.set(commands);
        self.thread("requests", move |job| requests::serve(job, &requests));
        Ok(())
    }

    /// Waits for what the program has made of its process, and has left.
    pub(crate) fn wait_for_copies(&self) {
        self.copies.wait_until_ended();
    }

    /// Ends the job's threads and connections. Its replica has ended.
    pub(crate) fn close(&self) {
        self.ending.store(true, Ordering::Release);
        self.pager.stop();
        self.disconnect();
    }

    /// Starts a thread of this job. Without it the job is not whole, so failing to start one is fatal.
    fn thread(&self, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(own) = self.own.upgrade() else { return };
        if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(move || body(&own)) {
            self.emit(Event::Broken(format!("a thread could not be started: {error}")));
        }
    }

    /// As [`Self::thread`], of what only the home does.
    fn thread_at_home(&self, name: &str, body: impl FnOnce(&Self, &Home) + Send + 'static) {
        self.thread(name, |job| {
            if let Some(home) = job.home() {
                body(job, home);
            }
        });
    }

    /// The replica's userfaultfd is here: its faults can be served.
    fn serve_faults(&self) {
        self.thread("faults", |job| {
            let _ = scheduling::make_urgent();
            if let Err(error) = job.pager.serve_faults() {
                job.emit(Event::Broken(error.to_string()));
            }
        });
        self.thread("time", |job| {
            let _ = scheduling::make_urgent();
            if let Err(error) = job.pager.keep_time() {
                job.emit(Event::Broken(error.to_string()));
            }
        });
    }

    /// Unmaps a range in this node's replica.
    fn unmap(&self, start: u64, length: u64) -> std::io::Result<()> {
        if let Some(commands) = self.commands.get() {
            let command = Command::Forget(Range { address: start, length });
            let _ = commands.command(&command, None)?;
        }
        let mut mapped = self.pager.mapped.write();
        mapped.remove(start, start + length);
        Ok(())
    }
}

impl Role {
    fn authority(&self) -> &dyn Authority {
        match self {
            Self::Home(home) => &**home,
            Self::Remote(remote) => remote,
        }
    }
}

/// Memory and swap of this machine: what one writable mapping may ask for at most.
fn memory_total() -> u64 {
    let information = rustix::system::sysinfo();
    (information.totalram as u64 + information.totalswap as u64) * u64::from(information.mem_unit)
}
