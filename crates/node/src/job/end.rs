//! How a run ends, as each of its nodes sees it.
//!
//! Home says `End` to every node when the program has ended or cannot go on. A node ends its replica and
//! answers with what it did (`Ended`); home acknowledges that (`Bye`), and the node leaves by closing its
//! control connection, which home waits for. So nothing that was said is lost with a process that ends too
//! early. Each wait has a deadline.

use super::home::Home;
use super::remote::Remote;
use super::settings::Summary;
use super::{Job, Role};
use crate::observe::memory_map;
use crate::observe::process::{private_bytes, processor_seconds};
use crate::observe::statistics::{FaultCause, RunStatistics};
use banyan_wire::control::ControlMessage;
use banyan_wire::ids::NodeId;
use banyan_wire::statistics::{MemoryPiece, NodeStatistics};
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
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

impl Job {
    /// At home: ends the other nodes, adds up what all did, and prints it if that was asked for. Once; a
    /// second caller waits for the first.
    pub(crate) fn finish(&self, home: &Home) {
        self.ending.store(true, Ordering::Release);
        let mut finished = self.finished.lock();
        if *finished {
            return;
        }
        *finished = true;
        let settled = home.presence.settle(END_DEADLINE);
        let own = self.statistics(self.replica_id.load(Ordering::Relaxed));
        let mut others = home.end_nodes(Instant::now() + END_DEADLINE);
        let mut nodes = vec![own];
        let of_node = |node| others.remove(&node).unwrap_or_else(|| NodeStatistics::unknown(node));
        let (mut started, moves) = {
            let placement = home.placement();
            (placement.started().to_vec(), placement.moves())
        };
        nodes.extend((1..started.len() as u8).filter_map(NodeId::new).map(of_node));
        drop(settled);
        // Alone it starts threads without asking where; a program that a signal ended sent no count.
        let elsewhere: u64 = started[1..].iter().sum();
        started[0] = self.threads_started.load(Ordering::Relaxed).saturating_sub(elsewhere).max(1);
        let total = RunStatistics::new(&nodes, &started, moves, self.started.elapsed().as_secs_f64());
        match home.wishes.summary {
            _ if home.executes.load(Ordering::Relaxed) => {}
            Summary::None => {}
            Summary::Table => home.report().write(&total.table()),
            Summary::Json => {
                if let Ok(text) = serde_json::to_string(&total) {
                    home.report().write(&format!("{text}\n"));
                }
            }
        }
    }

    /// What this node did so far.
    fn statistics(&self, replica: u32) -> NodeStatistics {
        let counters = &self.pager.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Memory of a replica that is alone and needs no memory file. With other nodes only the stub has
        // private memory.
        let private = if self.facts.places.is_alone() { private_bytes(replica) } else { 0 };
        NodeStatistics {
            name: self.node.to_string(),
            cpu_seconds: processor_seconds(replica),
            daemon_cpu_seconds: processor_seconds(std::process::id()) - self.daemon_seconds,
            memory_bytes: self.pager.memory().bytes().unwrap_or(0) + private,
            read_faults: counters.faults(FaultCause::Read),
            write_faults: counters.faults(FaultCause::Write),
            upgrade_faults: counters.faults(FaultCause::Upgrade),
            waits: counters.waits(),
            bytes_sent: self.peers.sent_bytes(),
            deputy_calls: get(&counters.deputy_calls),
            wait_seconds: get(&counters.wait_nanoseconds) as f64 / 1e9,
            memory: self.memory_pieces(),
        }
    }

    /// Where this node has memory; nothing if no one will look at it.
    fn memory_pieces(&self) -> Vec<MemoryPiece> {
        if !self.part.summary {
            return Vec::new();
        }
        memory_map::pieces(self.pager.memory(), |extent| self.pager.owner(extent)).unwrap_or_default()
    }

    /// Follows what happens until the run has ended.
    pub(crate) fn follow(&self) {
        let inbox = self.inbox.lock();
        match &self.role {
            Role::Home(home) => self.follow_at_home(home, &inbox),
            Role::Remote(remote) => self.follow_elsewhere(remote, &inbox),
        }
    }

    fn follow_at_home(&self, home: &Home, inbox: &Receiver<Event>) {
        while let Ok(event) = inbox.recv() {
            match event {
                Event::ReplicaEnded => {
                    self.finish(home);
                    home.wait_for_leave(Instant::now() + LEAVE_DEADLINE);
                    return;
                }
                // One that was to take part and could not is told of by who asked it.
                Event::PeerLost { node, reason } if !home.presence.is_loss(node, &reason) => {}
                Event::PeerLost { node, reason } if !self.is_ending() => {
                    let reason = format!("{node} was lost: {reason}; the program ends with it");
                    return self.end_program(home, &reason);
                }
                Event::Broken(reason) if !self.is_ending() => {
                    return self.end_program(home, &reason);
                }
                // A part of the end, or nothing that home is sent.
                Event::PeerLost { .. } | Event::Broken(_) | Event::End | Event::Bye => {}
            }
        }
    }

    /// At home: the run cannot go on. One line, and the program ends with 125.
    fn end_program(&self, home: &Home, reason: &str) {
        self.ending.store(true, Ordering::Release);
        home.report().notice(reason);
        if let Some(commands) = self.commands.get() {
            commands.end(STATUS_OURS);
        }
        let _settled = home.presence.settle(LEAVE_DEADLINE);
        let deadline = Instant::now() + LEAVE_DEADLINE;
        home.end_nodes(deadline);
        home.wait_for_leave(deadline);
    }

    /// Starts this node's part, and follows what happens until home has said that the run has ended, or is
    /// gone.
    fn follow_elsewhere(&self, remote: &Remote, inbox: &Receiver<Event>) {
        let mut replica = RemoteReplica(None);
        if let Err(reason) = self.begin_elsewhere(&mut replica) {
            if self.peers.get(NodeId::HOME).is_none() {
                // Without connections home cannot be told, and sees it.
                return;
            }
            self.emit(Event::Broken(reason));
        }
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
                // Home may have lost nothing: that two others cannot reach each other, only they know.
                Ok(Event::PeerLost { node, reason }) if node != NodeId::HOME => {
                    if !self.is_ending() {
                        remote.send_home(&ControlMessage::PeerLost { node: node.get(), reason });
                    }
                }
                Ok(Event::ReplicaEnded | Event::Broken(_)) => {}
                Ok(Event::Bye | Event::PeerLost { .. }) | Err(_) => return,
            }
        }
    }
}

/// The replica of a node that is not the home, a child of this daemon. It does not outlive this value.
pub(super) struct RemoteReplica(pub(super) Option<Child>);

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
