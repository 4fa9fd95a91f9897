//! How a run ends, as each of its nodes sees it.
//!
//! Home says `End` to every node when the program has ended or cannot go on. A node ends its replica and answers with
//! what it did (`Ended`); home acknowledges that (`Bye`), and the node leaves by closing its control connection, which
//! home waits for. So nothing that was said is lost with a process that ends too early. Each wait has a deadline.

use super::home::Home;
use super::launch::{DaemonConfiguration, Summary};
use super::remote::Remote;
use super::{Job, Role};
use crate::observe::memory_map;
use crate::observe::process::{private_bytes, processor_seconds};
use crate::observe::statistics::RunStatistics;
use crate::report::Report;
use banyan_sys::descriptors;
use banyan_wire::address::NodeId;
use banyan_wire::control::ControlMessage;
use banyan_wire::statistics::{MemoryPiece, NodeStatistics};
use banyan_wire::stub::{CommandKind, Record};
use std::net::TcpListener;
use std::process::Child;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The other nodes must have ended within this time.
const END_DEADLINE: Duration = Duration::from_secs(3);
/// The last message of a run must have been read within this time.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);
/// The exit status for failures that are ours.
const STATUS_OURS: u8 = 125;

/// Something that the thread which follows a job decides about.
#[derive(Debug)]
pub(crate) enum Event {
    /// The replica closed its request socket.
    ReplicaEnded,
    /// The connections with a node are lost, or its replica is.
    PeerLost {
        /// Which.
        node: NodeId,
        /// How.
        reason: String,
    },
    /// The run cannot go on.
    Broken(String),
    /// From home: the program has ended.
    End,
    /// From home: it has what this node did.
    Bye,
}

/// Runs the daemon of one node until its run ends. Returns the exit status of the daemon.
#[must_use]
pub fn run(settings: DaemonConfiguration) -> u8 {
    // A session of its own: the terminal's signals are the program's.
    let _ = rustix::process::setsid();
    // A limit on file sizes is meant for the program's files, not for its memory.
    let files = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let raised = rustix::process::Rlimit { current: files.maximum, ..files };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Fsize, raised);
    match serve(settings) {
        Ok(status) => status,
        Err(reason) => {
            if let Ok(report) = Report::own() {
                report.notice(&reason);
            }
            STATUS_OURS
        }
    }
}

fn serve(settings: DaemonConfiguration) -> Result<u8, String> {
    let number = settings.node;
    let named = |reason: String| format!("node {number}: {reason}");
    let requests = settings.requests.map(descriptors::take).transpose();
    let requests = requests.map_err(|error| named(format!("its request socket: {error}")))?;
    let listener = descriptors::take(settings.listener);
    let listener = listener.map_err(|error| named(format!("its listening socket: {error}")))?;
    let (events, inbox) = channel();
    let job = Job::new(settings, events).map_err(named)?;
    let child = match job.begin(TcpListener::from(listener), requests) {
        Ok(child) => child,
        Err(reason) => {
            match &job.role {
                Role::Home(_) => return Err(named(reason)),
                // Without connections home cannot be told, and sees it.
                Role::Remote(_) if job.peers.get(NodeId::HOME).is_none() => return Ok(STATUS_OURS),
                Role::Remote(_) => job.emit(Event::Broken(reason)),
            }
            None
        }
    };
    Ok(match &job.role {
        Role::Home(home) => job.follow_at_home(home, &inbox),
        Role::Remote(remote) => job.follow_elsewhere(remote, &inbox, child),
    })
}

impl Job {
    /// At home: ends the other nodes, adds up what all did, and prints it if that was asked for. Once; a second
    /// caller waits for the first.
    pub(crate) fn finish(&self, home: &Home) {
        self.ending.store(true, Ordering::Release);
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if *finished {
            return;
        }
        *finished = true;
        let own = self.statistics(self.replica_id.load(Ordering::Relaxed));
        let mut others = home.end_nodes(Instant::now() + END_DEADLINE);
        let mut nodes = vec![own];
        let of_node = |node| others.remove(&node).unwrap_or_else(|| NodeStatistics::unknown(node));
        nodes.extend(home.others().map(of_node));
        let elsewhere: u64 = nodes[1..].iter().map(|node| node.threads).sum();
        // The first thread is always at home; a program that a signal ended sent no count.
        nodes[0].threads = self.threads_started.load(Ordering::Relaxed).saturating_sub(elsewhere).max(1);
        let total = RunStatistics::new(&nodes, self.started.elapsed().as_secs_f64());
        match self.settings.summary {
            Summary::None => {}
            Summary::Table => self.report.write(&total.table()),
            Summary::Json => {
                if let Ok(text) = serde_json::to_string(&total) {
                    self.report.write(&format!("{text}\n"));
                }
            }
        }
    }

    /// What this node did so far.
    fn statistics(&self, replica: u32) -> NodeStatistics {
        let counters = &self.pager.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Memory of a replica that is alone and needs no memory file. With other nodes only the stub has private
        // memory.
        let private = if self.nodes() > 1 { 0 } else { private_bytes(replica) };
        NodeStatistics {
            name: self.node.to_string(),
            threads: get(&counters.threads),
            cpu_seconds: processor_seconds(replica),
            daemon_cpu_seconds: processor_seconds(std::process::id()),
            memory_bytes: self.pager.memory().bytes().unwrap_or(0) + private,
            read_faults: get(&counters.read_faults),
            write_faults: get(&counters.write_faults),
            upgrade_faults: get(&counters.upgrade_faults),
            waits: counters.waits(),
            bytes_sent: self.peers.sent_bytes(),
            deputy_calls: get(&counters.deputy_calls),
            wait_seconds: get(&counters.wait_nanoseconds) as f64 / 1e9,
            memory: self.memory_pieces(),
        }
    }

    /// Where this node has memory; nothing if no one will look at it.
    fn memory_pieces(&self) -> Vec<MemoryPiece> {
        match self.settings.summary {
            Summary::None => Vec::new(),
            _ => {
                memory_map::pieces(self.pager.memory(), |extent| self.pager.owner(extent)).unwrap_or_default()
            }
        }
    }

    /// Follows what happens at home until the run has ended.
    fn follow_at_home(&self, home: &Home, inbox: &Receiver<Event>) -> u8 {
        while let Ok(event) = inbox.recv() {
            match event {
                Event::ReplicaEnded => {
                    self.finish(home);
                    home.wait_for_leave(Instant::now() + LEAVE_DEADLINE);
                    return 0;
                }
                Event::PeerLost { node, reason } if !self.is_ending() => {
                    let reason = format!("{node} was lost: {reason}; the program ends with it");
                    return self.end_program(home, &reason);
                }
                Event::Broken(reason) if !self.is_ending() => return self.end_program(home, &reason),
                // A part of the end, or nothing that home is sent.
                Event::PeerLost { .. } | Event::Broken(_) | Event::End | Event::Bye => {}
            }
        }
        STATUS_OURS
    }

    /// At home: the run cannot go on. One line, and the program ends with 125.
    fn end_program(&self, home: &Home, reason: &str) -> u8 {
        self.ending.store(true, Ordering::Release);
        self.report.notice(reason);
        if let Some(commands) = self.commands.get() {
            commands
                .end(&Record::new(CommandKind::End as u32, [u64::from(STATUS_OURS), 0, 0, 0, 0, 0, 0, 0]));
        }
        let deadline = Instant::now() + LEAVE_DEADLINE;
        home.end_nodes(deadline);
        home.wait_for_leave(deadline);
        STATUS_OURS
    }

    /// Follows what happens on another node until home has said that the run has ended, or is gone.
    fn follow_elsewhere(&self, remote: &Remote, inbox: &Receiver<Event>, child: Option<Child>) -> u8 {
        let mut replica = RemoteReplica(child);
        let mut status = 0;
        // From when on this node waits for home to end the run.
        let mut deadline: Option<Instant> = None;
        loop {
            let event = match deadline {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::ReplicaEnded) if !self.is_ending() => {
                    remote.send_home(&ControlMessage::ReplicaLost(replica.wait()));
                    deadline.get_or_insert_with(|| Instant::now() + END_DEADLINE);
                }
                Ok(Event::Broken(reason)) if !self.is_ending() => {
                    status = STATUS_OURS;
                    self.ending.store(true, Ordering::Release);
                    remote.send_home(&ControlMessage::Failed(reason));
                    replica.kill();
                    deadline.get_or_insert_with(|| Instant::now() + END_DEADLINE);
                }
                Ok(Event::End) => {
                    self.ending.store(true, Ordering::Release);
                    let statistics = self.statistics(replica.id());
                    replica.kill();
                    remote.send_home(&ControlMessage::Ended(statistics));
                    deadline = Some(Instant::now() + END_DEADLINE);
                }
                // Home reports the loss of any other node and ends the run.
                Ok(Event::PeerLost { node, .. }) if node != NodeId::HOME => {}
                Ok(Event::ReplicaEnded | Event::Broken(_)) => {}
                Ok(Event::Bye | Event::PeerLost { .. }) => return status,
                Err(_) => return STATUS_OURS,
            }
        }
    }
}

/// The replica of a node that is not the home, a child of this daemon. It does not outlive this value.
struct RemoteReplica(Option<Child>);

impl RemoteReplica {
    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Waits for a replica that has closed its socket and says how it ended.
    fn wait(&mut self) -> String {
        let status = self.0.take().and_then(|mut child| child.wait().ok());
        status.map_or_else(|| "ended".into(), |status| format!("ended ({status})"))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for RemoteReplica {
    fn drop(&mut self) {
        self.kill();
    }
}
