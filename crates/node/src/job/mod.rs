//! One run on one node: its program brought into memory, its replica served, and its end.
//!
//! A [`Job`] is what every node of a run has of it; [`Role`] is what only the home, or only a node elsewhere has.
//! Not here: how it ends (`end`), its connections (`lanes`), its pages (`crate::pager`).
//!
//! Threads: the one that follows the job's events; one accepts connections; one receives on each lane; one serves
//! the replica's requests; the pager's two.

pub mod end;
mod home;
mod lanes;
pub mod launch;
pub mod loader;
mod questions;
mod remote;
pub mod replica;
mod requests;

use crate::cluster::authority::Authority;
use crate::pager::Pager;
use crate::pager::memory_file::MemoryFile;
use crate::report::Report;
use crate::transport::Peers;
use banyan_core::coherence::Policy;
use banyan_core::regions::Regions;
use banyan_sys::scheduling;
use banyan_wire::address::NodeId;
use banyan_wire::control::ControlMessage;
use banyan_wire::stub::{CommandKind, Record, STUB_ABI_VERSION, Welcome};
use end::Event;
use home::Home;
use launch::{DaemonConfiguration, Placement};
use questions::Questions;
use remote::Remote;
use replica::Commands;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The id by which messages name the process; one daemon serves one.
const PROCESS: u32 = 1;
/// All nodes must stand within this time.
const START_DEADLINE: Duration = Duration::from_secs(4);

/// One run, as one of its nodes has it.
#[derive(Debug)]
pub(crate) struct Job {
    settings: DaemonConfiguration,
    node: NodeId,
    pub(crate) pager: Pager,
    /// The lanes to the other nodes.
    peers: Arc<Peers>,
    questions: Arc<Questions>,
    role: Role,
    commands: OnceLock<Commands>,
    replica_id: AtomicU32,
    /// Threads that the program has started, its first one included.
    threads_started: AtomicU64,
    events: Sender<Event>,
    /// The end of the run has begun: what breaks from now on is part of it.
    ending: AtomicBool,
    /// The nodes have been ended and the summary has been written.
    finished: Mutex<bool>,
    arrived: lanes::Arrived,
    report: Report,
    started: Instant,
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
    fn new(settings: DaemonConfiguration, events: Sender<Event>) -> Result<Arc<Self>, String> {
        let nodes = settings.addresses.len() as u8;
        let node = NodeId::new(settings.node).ok_or("its number is too high")?;
        let memory = MemoryFile::create().map_err(|error| format!("its memory file: {error}"))?;
        let peers = Arc::new(Peers::default());
        let questions = Arc::new(Questions::new(Arc::clone(&peers)));
        let role = if node == NodeId::HOME {
            let mut regions = Regions::new(memory_total() * u64::from(nodes));
            let environment: Vec<_> =
                settings.environment.iter().cloned().map(std::os::unix::ffi::OsStringExt::from_vec).collect();
            let start = loader::load(&settings.command(), &environment, &memory, &mut regions)
                .map_err(|error| error.to_string())?;
            Role::Home(Box::new(Home::new(regions, start, nodes, Arc::clone(&questions))))
        } else {
            Role::Remote(Remote::new(node, nodes, Arc::clone(&questions)))
        };
        let owners = role.authority().first_owners();
        let report = Report::own().map_err(|error| format!("its standard error: {error}"))?;
        Ok(Arc::new_cyclic(|own| Self {
            settings,
            node,
            pager: Pager::new(node, PROCESS, memory, Arc::clone(&peers), Policy::default(), owners),
            peers,
            questions,
            role,
            commands: OnceLock::new(),
            replica_id: AtomicU32::new(0),
            threads_started: AtomicU64::new(1),
            events,
            ending: AtomicBool::new(false),
            finished: Mutex::new(false),
            arrived: lanes::Arrived::default(),
            report,
            started: Instant::now(),
            own: Weak::clone(own),
        }))
    }

    /// Who decides about regions and extents.
    pub(crate) fn authority(&self) -> &dyn Authority {
        self.role.authority()
    }

    fn nodes(&self) -> u8 {
        self.settings.addresses.len() as u8
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Something has happened that the thread which follows the job decides about.
    fn emit(&self, event: Event) {
        // When that thread has gone, so is the job.
        let _ = self.events.send(event);
    }

    /// Writes one line to the person who started the run.
    pub(crate) fn notice(&self, text: &str) {
        match &self.role {
            Role::Home(_) => self.report.notice(text),
            Role::Remote(remote) => {
                remote.send_home(&ControlMessage::Notice(format!("{}: {text}", self.node)));
            }
        }
    }

    /// Connects to the other nodes and starts this node's replica. A remote replica is a child.
    fn begin(&self, listener: TcpListener, requests: Option<OwnedFd>) -> Result<Option<Child>, String> {
        self.connect(listener)?;
        let (requests, child) = match requests {
            Some(requests) => {
                // The launcher waits for this before it becomes the program.
                let _ = replica::send_record(&requests, &Record::new(0, [0; 8]), &[]);
                (requests, None)
            }
            None => {
                let (child, requests) = replica::spawn_remote(&format!("banyan: {}", self.node))
                    .map_err(|error| format!("its replica could not be started: {error}"))?;
                (requests, Some(child))
            }
        };
        let turn = match self.settings.placement {
            Placement::Spread => 1,
            Placement::Pack => std::thread::available_parallelism().map_or(1, usize::from) as u32,
        };
        let welcome = Welcome {
            version: STUB_ABI_VERSION,
            node: u32::from(self.node.get()),
            nodes: u32::from(self.nodes()),
            threads_per_turn: turn,
            name: self.name(),
        };
        let commands = replica::welcome(&requests, &welcome, self.pager.memory().as_fd())
            .map_err(|error| format!("its replica did not start: {error}"))?;
        let _ = self.commands.set(commands);
        self.thread("requests", move |job| requests::serve(job, &requests));
        Ok(child)
    }

    /// What the kernel would call the program's process: 15 bytes of its file's name.
    fn name(&self) -> [u8; 16] {
        let file = self.settings.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(file) {
            *to = *from;
        }
        name
    }

    /// Starts a thread of this job. Without it the job is not whole, so failing to start one is fatal.
    fn thread(&self, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(own) = self.own.upgrade() else { return };
        if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(move || body(&own)) {
            self.emit(Event::Broken(format!("a thread could not be started: {error}")));
        }
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
            let command = Record::new(CommandKind::Forget as u32, [start, length, 0, 0, 0, 0, 0, 0]);
            let _ = commands.command(&command, None)?;
        }
        let mut mapped = self.pager.mapped.write().unwrap_or_else(PoisonError::into_inner);
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
