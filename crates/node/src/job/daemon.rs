//! A node daemon: what it is made of and how a run begins and ends.
//!
//! Threads: the main one waits for events; one accepts connections; per peer one for each lane's receiving and
//! sending (`lanes`); one serves the replica's requests; the pager's two.
//!
//! Lock order: `home`, then the pager's. `waiting` and `learned` are taken alone.

mod lanes;

use crate::job::launch::{DaemonConfiguration, Placement, Summary};
use crate::job::loader;
use crate::job::replica::{self, Commands};
use crate::job::requests;
use crate::observe::memory_map;
use crate::observe::statistics::RunStatistics;
use crate::pager::memory_file::MemoryFile;
use crate::pager::{Mapped, Pager, PagerError};
use crate::transport::Mesh;
use banyan_core::coherence::Policy;
use banyan_core::regions::Regions;
use banyan_sys::{descriptors, scheduling};
use banyan_wire::address::NodeId;
use banyan_wire::control::{ControlMessage, RegionFacts};
use banyan_wire::statistics::{MemoryPiece, NodeStatistics};
use banyan_wire::stub::{CommandKind, Record, STUB_ABI_VERSION, Welcome};
use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// All nodes must stand within this time.
const START_DEADLINE: Duration = Duration::from_secs(4);
/// The other nodes must have ended within this time.
const END_DEADLINE: Duration = Duration::from_secs(3);
/// The id by which messages name the process; one daemon serves one.
const PROCESS: u32 = 1;

/// Something that the main thread decides about.
#[derive(Debug)]
pub(crate) enum Event {
    /// The replica closed its request socket.
    ReplicaEnded,
    /// A connection to a node ended or brought something malformed.
    PeerLost {
        /// Which.
        node: u8,
        /// How.
        reason: String,
    },
    /// The run cannot go on.
    Broken(String),
    /// From home: the program has ended.
    End,
}

/// What only the home daemon has.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) regions: Regions,
    pub(crate) start: loader::Start,
    /// Regions that the stub has mapped before the program starts.
    pub(crate) mapped_at_start: usize,
}

/// One daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    configuration: DaemonConfiguration,
    pub(crate) pager: Pager,
    pub(crate) home: Mutex<Home>,
    pub(crate) commands: OnceLock<Commands>,
    pub(crate) replica_id: AtomicU32,
    pub(crate) threads_started: AtomicU64,
    events: Sender<Event>,
    /// Answers that are waited for, by id.
    waiting: Mutex<HashMap<u64, SyncSender<Option<RegionFacts>>>>,
    last_id: AtomicU64,
    /// At home: what each node's replica may have mapped.
    learned: Mutex<Vec<Mapped>>,
    nodes_ready: Mutex<usize>,
    node_ready: Condvar,
    ended: Mutex<Vec<Option<NodeStatistics>>>,
    node_ended: Condvar,
    finishing: AtomicBool,
    arrived: lanes::Arrived,
    finished: Mutex<bool>,
    started: Instant,
    own: OnceLock<Arc<Self>>,
}

/// Runs the daemon of one node until its run ends. Returns the exit status of the daemon.
#[must_use]
pub fn run(configuration: DaemonConfiguration) -> u8 {
    // A session of its own: the terminal's signals are the program's.
    let _ = rustix::process::setsid();
    // A limit on file sizes is meant for the program's files, not for its memory.
    let files = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Fsize, raised);
    let node = configuration.node;
    let requests = match configuration.requests.map(descriptors::take).transpose() {
        Ok(requests) => requests,
        Err(error) => return complain(node, &format!("its request socket: {error}")),
    };
    let listener = match descriptors::take(configuration.listener) {
        Ok(listener) => TcpListener::from(listener),
        Err(error) => return complain(node, &format!("its listening socket: {error}")),
    };
    let (events, inbox) = channel();
    let daemon = match Daemon::new(configuration, events) {
        Ok(daemon) => daemon,
        Err(reason) => return complain(node, &reason),
    };
    match daemon.begin(listener, requests) {
        Ok(child) => daemon.follow(&inbox, child),
        Err(reason) if node == 0 => complain(node, &reason),
        Err(reason) => {
            // One line is enough: home says that this node did not come up, and why if it can be told.
            daemon.notice(&reason);
            std::thread::sleep(Duration::from_millis(20));
            125
        }
    }
}

fn complain(node: u8, reason: &str) -> u8 {
    say(&format!("banyan: node {node}: {reason}\n"));
    125
}

impl Daemon {
    fn new(configuration: DaemonConfiguration, events: Sender<Event>) -> Result<Arc<Self>, String> {
        let nodes = configuration.addresses.len();
        let own = NodeId::new(configuration.node).ok_or("its number is too high")?;
        let memory = MemoryFile::create().map_err(|error| format!("its memory file: {error}"))?;
        let memory_total = memory_total() * nodes as u64;
        let mut regions = Regions::new(memory_total);
        let mut start = loader::Start { instruction: 0, stack: 0, executable: 0 };
        if own == NodeId::HOME {
            let environment: Vec<_> = configuration
                .environment
                .iter()
                .cloned()
                .map(std::os::unix::ffi::OsStringExt::from_vec)
                .collect();
            start = loader::load(&configuration.command(), &environment, &memory, &mut regions)
                .map_err(|error| error.to_string())?;
        }
        let pager = Pager::new(own, nodes as u8, PROCESS, memory, Policy::default());
        let daemon = Arc::new(Self {
            configuration,
            pager,
            home: Mutex::new(Home { regions, start, mapped_at_start: 0 }),
            commands: OnceLock::new(),
            replica_id: AtomicU32::new(0),
            threads_started: AtomicU64::new(1),
            events,
            waiting: Mutex::default(),
            last_id: AtomicU64::new(0),
            learned: Mutex::new(vec![Mapped::default(); nodes]),
            nodes_ready: Mutex::new(0),
            node_ready: Condvar::new(),
            ended: Mutex::new(vec![None; nodes]),
            node_ended: Condvar::new(),
            finishing: AtomicBool::new(false),
            arrived: lanes::Arrived::default(),
            finished: Mutex::new(false),
            started: Instant::now(),
            own: OnceLock::new(),
        });
        let _ = daemon.own.set(Arc::clone(&daemon));
        Ok(daemon)
    }

    pub(crate) fn is_home(&self) -> bool {
        self.configuration.node == 0
    }

    fn nodes(&self) -> u8 {
        self.configuration.addresses.len() as u8
    }

    pub(crate) fn tell(&self, event: Event) {
        // The main thread ends the process when it stops listening.
        let _ = self.events.send(event);
    }

    /// Says one line to the person who started the run.
    pub(crate) fn notice(&self, text: &str) {
        if self.is_home() {
            say(&format!("banyan: {text}\n"));
        } else {
            self.send_home(&ControlMessage::Notice(format!("node {}: {text}", self.configuration.node)));
        }
    }

    /// Connects to the other nodes and starts this node's replica. A remote replica is a child.
    fn begin(
        self: &Arc<Self>,
        listener: TcpListener,
        requests: Option<OwnedFd>,
    ) -> Result<Option<Child>, String> {
        let lanes = self.connect(listener)?;
        self.pager.set_mesh(Mesh(lanes));
        let (requests, child) = match requests {
            Some(requests) => {
                // The launcher waits for this before it becomes the program.
                let _ = replica::send_record(&requests, &Record::new(0, [0; 8]), &[]);
                (requests, None)
            }
            None => {
                let (child, requests) =
                    replica::spawn_remote(&format!("banyan: node {}", self.configuration.node))
                        .map_err(|error| format!("its replica could not be started: {error}"))?;
                (requests, Some(child))
            }
        };
        let turn = match self.configuration.placement {
            Placement::Spread => 1,
            Placement::Pack => std::thread::available_parallelism().map_or(1, usize::from) as u32,
        };
        let welcome = Welcome {
            version: STUB_ABI_VERSION,
            node: u32::from(self.configuration.node),
            nodes: u32::from(self.nodes()),
            threads_per_turn: turn,
            name: self.name(),
        };
        let commands = replica::welcome(&requests, &welcome, self.pager.memory().as_fd())
            .map_err(|error| format!("its replica did not start: {error}"))?;
        let _ = self.commands.set(commands);
        self.thread("requests", move |daemon| requests::serve(daemon, &requests));
        Ok(child)
    }

    /// What the kernel would call the program's process: 15 bytes of its file's name.
    fn name(&self) -> [u8; 16] {
        let file = self.configuration.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(file) {
            *to = *from;
        }
        name
    }

    /// Starts a thread of this daemon. Without it the daemon is not whole, so failing to start one is fatal.
    fn thread(&self, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(own) = self.own.get().cloned() else { return };
        if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(move || body(&own)) {
            self.tell(Event::Broken(format!("a thread could not be started: {error}")));
        }
    }

    /// The replica's userfaultfd is here: its faults can be served.
    pub(crate) fn serve_faults(&self) {
        self.thread("faults", |daemon| {
            let _ = scheduling::make_urgent();
            if let Err(error) = daemon.pager.serve_faults() {
                daemon.tell(Event::Broken(error.to_string()));
            }
        });
        self.thread("time", |daemon| {
            let _ = scheduling::make_urgent();
            if let Err(error) = daemon.pager.keep_time() {
                daemon.tell(Event::Broken(error.to_string()));
            }
        });
    }

    fn send(&self, node: u8, message: &ControlMessage) {
        if let Some(lanes) = self.pager.mesh().and_then(|mesh| mesh.lanes(node)) {
            lanes.control.send(&message.encode());
        }
    }

    pub(crate) fn send_home(&self, message: &ControlMessage) {
        self.send(0, message);
    }

    fn answer(&self, id: u64, region: Option<RegionFacts>) {
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            let _ = waiting.try_send(region);
        }
    }

    fn ask(&self, node: u8, question: impl FnOnce(u64) -> ControlMessage) -> Receiver<Option<RegionFacts>> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (done, wait) = sync_channel(1);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, done);
        self.send(node, &question(id));
        wait
    }

    /// The region at an address, as home knows it.
    pub(crate) fn lookup_at_home(
        &self,
        address: u64,
        access: u32,
        deadline: Duration,
    ) -> Result<Option<RegionFacts>, PagerError> {
        let wait = self.ask(0, |id| ControlMessage::Lookup { id, address, access });
        wait.recv_timeout(deadline).map_err(|_| PagerError::Fatal("the home node does not answer".into()))
    }

    /// At home: has the other replicas unmap a range, those that may have it mapped.
    pub(crate) fn forget_elsewhere(
        &self,
        start: u64,
        length: u64,
        deadline: Duration,
    ) -> Result<(), PagerError> {
        let nodes: Vec<u8> = {
            let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
            let having = learned
                .iter_mut()
                .enumerate()
                .filter(|(_, ranges)| !ranges.within(start, start + length).is_empty());
            having
                .map(|(node, ranges)| {
                    ranges.remove(start, start + length);
                    node as u8
                })
                .collect()
        };
        let waits: Vec<_> = nodes
            .iter()
            .map(|&node| self.ask(node, |id| ControlMessage::Forget { id, start, length }))
            .collect();
        for (node, wait) in nodes.iter().zip(waits) {
            if wait.recv_timeout(deadline).is_err() {
                return Err(PagerError::Fatal(format!("node {node} did not unmap memory in time")));
            }
        }
        Ok(())
    }

    /// At home: waits until every replica can take threads.
    pub(crate) fn wait_for_nodes(&self) -> Result<(), String> {
        let wanted = usize::from(self.nodes()) - 1;
        let ready = self.nodes_ready.lock().unwrap_or_else(PoisonError::into_inner);
        let (ready, _) = self
            .node_ready
            .wait_timeout_while(ready, START_DEADLINE, |ready| *ready < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        if *ready < wanted {
            return Err(format!("{} of {wanted} other nodes came up", *ready));
        }
        Ok(())
    }

    /// At home: ends the other nodes, adds up what all did, and prints it if that was asked for. Once; a second
    /// caller waits for the first.
    pub(crate) fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if *finished {
            return;
        }
        let own = self.statistics(self.replica_id.load(Ordering::Relaxed));
        for node in 1..self.nodes() {
            self.send(node, &ControlMessage::End);
        }
        let wanted = usize::from(self.nodes()) - 1;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut ended, _) = self
            .node_ended
            .wait_timeout_while(ended, END_DEADLINE, |ended| ended.iter().flatten().count() < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        ended[0] = Some(own);
        let mut nodes: Vec<NodeStatistics> = ended
            .iter()
            .enumerate()
            .map(|(node, statistics)| statistics.clone().unwrap_or_else(|| nothing_known(node as u8)))
            .collect();
        let elsewhere: u64 = nodes[1..].iter().map(|node| node.threads).sum();
        // The first thread is always at home; a program that a signal ended told no count.
        nodes[0].threads = self.threads_started.load(Ordering::Relaxed).saturating_sub(elsewhere).max(1);
        let total = RunStatistics::new(&nodes, self.started.elapsed().as_secs_f64());
        match self.configuration.summary {
            Summary::None => {}
            Summary::Table => say(&total.table()),
            Summary::Json => {
                if let Ok(text) = serde_json::to_string(&total) {
                    say(&format!("{text}\n"));
                }
            }
        }
        *finished = true;
    }

    /// What this node did so far.
    fn statistics(&self, replica: u32) -> NodeStatistics {
        let counters = &self.pager.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NodeStatistics {
            name: format!("node {}", self.configuration.node),
            threads: get(&counters.threads),
            cpu_seconds: cpu_seconds(&format!("/proc/{replica}/stat")),
            daemon_cpu_seconds: cpu_seconds("/proc/self/stat"),
            memory_bytes: self.pager.memory().bytes().unwrap_or(0) + self.private_bytes(replica),
            read_faults: get(&counters.read_faults),
            write_faults: get(&counters.write_faults),
            upgrade_faults: get(&counters.upgrade_faults),
            waits: counters.waits(),
            bytes_sent: self.pager.mesh().map_or(0, Mesh::sent_bytes),
            deputy_calls: get(&counters.deputy_calls),
            wait_seconds: get(&counters.wait_nanoseconds) as f64 / 1e9,
            memory: self.memory_pieces(),
        }
    }

    /// Memory of a replica that is alone and needs no memory file. With other nodes only the stub has private memory.
    fn private_bytes(&self, replica: u32) -> u64 {
        if self.nodes() > 1 {
            return 0;
        }
        let status = std::fs::read_to_string(format!("/proc/{replica}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// Where this node has memory; nothing if nobody will look at it.
    fn memory_pieces(&self) -> Vec<MemoryPiece> {
        match self.configuration.summary {
            Summary::None => Vec::new(),
            _ => {
                memory_map::pieces(self.pager.memory(), |extent| self.pager.owner(extent)).unwrap_or_default()
            }
        }
    }

    /// The main thread's part: follows what happens until the run has ended.
    fn follow(&self, inbox: &Receiver<Event>, mut child: Option<Child>) -> u8 {
        loop {
            let Ok(event) = inbox.recv() else { return 125 };
            let finishing = self.finishing.load(Ordering::Acquire);
            let status = match event {
                Event::PeerLost { .. } if finishing => continue,
                Event::ReplicaEnded if self.is_home() => {
                    self.finish();
                    0
                }
                Event::ReplicaEnded => {
                    let how = child.as_mut().and_then(|child| child.wait().ok());
                    let how = how.map_or_else(|| "ended".into(), |status| format!("ended ({status})"));
                    self.send_home(&ControlMessage::ReplicaLost(how));
                    // Home ends the run; this node goes with it.
                    continue;
                }
                Event::End => {
                    let replica = child.as_ref().map_or(0, Child::id);
                    let statistics = self.statistics(replica);
                    kill(&mut child);
                    self.send_home(&ControlMessage::Ended(statistics));
                    // The lane sends at once; give the bytes of a full socket a moment.
                    std::thread::sleep(Duration::from_millis(20));
                    0
                }
                Event::PeerLost { node, reason } if self.is_home() => {
                    self.end_program(&format!("node {node} was lost: {reason}; the program ends with it"))
                }
                Event::PeerLost { node: 0, .. } => {
                    kill(&mut child);
                    0
                }
                // Home sees it too and decides.
                Event::PeerLost { .. } => continue,
                Event::Broken(_) if finishing => continue,
                Event::Broken(reason) if self.is_home() => self.end_program(&reason),
                Event::Broken(reason) => {
                    self.notice(&reason);
                    kill(&mut child);
                    std::thread::sleep(Duration::from_millis(20));
                    125
                }
            };
            return status;
        }
    }

    /// At home: the run cannot go on. One line, and the program ends with 125.
    fn end_program(&self, reason: &str) -> u8 {
        self.finishing.store(true, Ordering::Release);
        say(&format!("banyan: {reason}\n"));
        if let Some(commands) = self.commands.get() {
            commands.end(&Record::new(CommandKind::End as u32, [125, 0, 0, 0, 0, 0, 0, 0]));
        }
        for node in 1..self.nodes() {
            self.send(node, &ControlMessage::End);
        }
        std::thread::sleep(Duration::from_millis(20));
        125
    }
}

fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn nothing_known(node: u8) -> NodeStatistics {
    NodeStatistics { name: format!("node {node}"), ..NodeStatistics::default() }
}

/// Memory and swap of this machine: what one writable mapping may ask for at most.
fn memory_total() -> u64 {
    let information = rustix::system::sysinfo();
    (information.totalram as u64 + information.totalswap as u64) * u64::from(information.mem_unit)
}

/// User and system time of a process, its ended threads included (proc_pid_stat(5), fields 14 and 15).
fn cpu_seconds(path: &str) -> f64 {
    let Ok(text) = std::fs::read_to_string(path) else { return 0.0 };
    // The name in parentheses may contain anything.
    let Some((_, fields)) = text.rsplit_once(')') else { return 0.0 };
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Writes to the caller's standard error. He may have gone and closed it: that must not end a thread of the daemon, as
/// `eprintln!` would.
fn say(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
