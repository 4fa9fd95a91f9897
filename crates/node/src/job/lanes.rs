//! A job's connections to the other nodes: making them, receiving on them, and making them again.
//!
//! The node with the higher number dials, the other accepts, both at the start and later. A coherence lane
//! that ends is made again. On the control lane every message counts: when it ends, so does the run.
//!
//! Threads: one receives on each lane.
//!
//! Lock order: `arrived` is taken alone.

use super::end::Event;
use super::home::Home;
use super::questions::Answer;
use super::remote::Remote;
use super::{Job, Role, START_DEADLINE};
use crate::cluster::authority::Authority;
use crate::pager::PagerError;
use crate::sys::scheduling;
use crate::transport::{self, ConnectError, Connection, Lane, LaneEnd, Peer};
use banyan_core::placement::spreading::Usage;
use banyan_wire::control::ControlMessage;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::NodeId;
use banyan_wire::stub::{Command, Failed, Reply, StartCarrier, Used};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A broken lane must stand again within this time: a lost node has to be noticed within five seconds.
const AGAIN_DEADLINE: Duration = Duration::from_secs(3);
/// Between two attempts at that.
const AGAIN_PAUSE: Duration = Duration::from_millis(10);

/// Connections that were accepted and not taken yet, by the peer and the purpose.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    connections: Mutex<HashMap<(u32, u32), Connection>>,
    one_more: Condvar,
}

impl Arrived {
    fn put(&self, hello: &Hello, connection: Connection) {
        let mut connections = self.connections.lock();
        connections.insert((hello.node, hello.purpose), connection);
        self.one_more.notify_all();
    }

    /// What arrived from a node that did not join after all.
    pub(super) fn forget(&self, node: NodeId) {
        self.connections.lock().retain(|&(from, _), _| from != u32::from(node.get()));
    }

    fn take(&self, node: NodeId, purpose: Purpose, deadline: Instant) -> Option<Connection> {
        let wanted = (u32::from(node.get()), purpose as u32);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut connections = self.connections.lock();
        let missing = |connections: &mut HashMap<_, _>| !connections.contains_key(&wanted);
        self.one_more.wait_while_for(&mut connections, missing, left);
        connections.remove(&wanted)
    }
}

impl Job {
    /// Dials the nodes with lower numbers and accepts those with higher ones: three lanes each.
    pub(super) fn connect(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_DEADLINE;
        self.facts.places.others(self.node).try_for_each(|node| self.connect_to(node, deadline))
    }

    /// Makes the three lanes to a node.
    pub(super) fn connect_to(&self, node: NodeId, deadline: Instant) -> Result<(), String> {
        let mut made = Vec::new();
        let mut lane = |purpose| -> Result<Arc<Lane>, String> {
            let lane = self.make_lane(node, purpose, deadline)?;
            made.push(Arc::clone(&lane));
            Ok(lane)
        };
        let peer = lane(Purpose::Urgent).and_then(|urgent| {
            Ok(Peer { urgent, bulk: lane(Purpose::Bulk)?, control: lane(Purpose::Control)? })
        });
        match peer {
            Ok(peer) => self.peers.insert(node, peer),
            Err(reason) => {
                made.iter().for_each(|lane| lane.end());
                return Err(reason);
            }
        }
        Ok(())
    }

    fn make_lane(&self, node: NodeId, purpose: Purpose, deadline: Instant) -> Result<Arc<Lane>, String> {
        let connection = self.connection(node, purpose, deadline)?;
        let name = format!("{} {}", lane_name(purpose), node.get());
        let lane = Lane::new(&connection, &name).map_err(|error| error.to_string())?;
        let own = Arc::clone(&lane);
        self.thread(&name, move |job| match purpose {
            Purpose::Control => job.follow_control(node, &connection),
            _ => job.follow_coherence(node, purpose, connection, &own),
        });
        Ok(lane)
    }

    /// Ends all connections with other nodes.
    pub(super) fn disconnect(&self) {
        for node in self.peers.nodes() {
            self.peers.remove(node);
        }
    }

    /// A greeted connection to `node`, dialled or accepted.
    fn connection(&self, node: NodeId, purpose: Purpose, deadline: Instant) -> Result<Connection, String> {
        if node < self.node {
            self.dial(node, purpose, 0).map_err(|error| error.to_string())
        } else {
            let arrived = self.arrived.take(node, purpose, deadline);
            arrived.ok_or_else(|| format!("{node} did not come up"))
        }
    }

    fn dial(&self, node: NodeId, purpose: Purpose, thread: u32) -> Result<Connection, ConnectError> {
        let hello =
            Hello::new(purpose, self.facts.trust.greeting_secret(), self.facts.id, self.node.get(), thread);
        transport::dial(node, &self.facts.places.get(node), &self.facts.trust, self.nodes(), &hello)
    }

    /// A greeted connection of another node of this job.
    pub(crate) fn arrived(&self, hello: &Hello, purpose: Purpose, connection: Connection) {
        if purpose == Purpose::Deputy {
            self.start_carrier(connection, hello.thread);
        } else if hello.node > u32::from(self.node.get()) {
            self.arrived.put(hello, connection);
        }
        // A lower number is dialled, and does not dial.
    }

    fn start_carrier(&self, connection: Connection, thread: u32) {
        let command = Command::StartCarrier(StartCarrier { thread });
        let commands = self.commands.get().ok_or_else(|| io::ErrorKind::NotConnected.into());
        let started = commands.and_then(|commands| {
            let connection = connection.into_descriptor()?;
            commands.command(&command, Some(connection.as_fd()))
        });
        match started {
            Ok(Reply::Started(_)) => {
                if let Role::Remote(remote) = &self.role
                    && remote.to_leave.lock().contains(&thread)
                {
                    self.told_to_have_leave(remote, thread);
                }
            }
            // The deputy sees its connection closed and keeps the thread at home no longer: the run ends.
            Ok(Reply::Failed(Failed { errno })) => {
                let error = io::Error::from_raw_os_error(errno as i32);
                self.emit(Event::Broken(format!("a thread could not be started: {error}")));
            }
            Ok(Reply::Done(_) | Reply::Used(_)) => {
                self.emit(Event::Broken("the replica replied to another command than was given".into()));
            }
            Err(error) => self.emit(Event::Broken(format!("a thread could not be started: {error}"))),
        }
    }

    /// At home: a connection for a deputy whose thread will run on `node`.
    pub(crate) fn connect_deputy(&self, node: NodeId, thread: u32) -> Result<OwnedFd, ConnectError> {
        let connection = self.dial(node, Purpose::Deputy, thread)?;
        let address = self.facts.places.get(node).address;
        connection.into_descriptor().map_err(|source| ConnectError::Unreachable { node, address, source })
    }

    /// Receives on one coherence lane for as long as there is one.
    fn follow_coherence(&self, node: NodeId, purpose: Purpose, connection: Connection, lane: &Lane) {
        let _ = scheduling::make_urgent();
        let again = || {
            // A connection may be lost before it is greeted: that one failed says nothing of the next.
            let deadline = Instant::now() + AGAIN_DEADLINE;
            while !self.is_ending() {
                match self.connection(node, purpose, deadline) {
                    Ok(connection) => return Some(connection),
                    Err(_) if Instant::now() >= deadline => return None,
                    Err(_) => std::thread::sleep(AGAIN_PAUSE),
                }
            }
            None
        };
        let report = |reason: &str| {
            let name = lane_name(purpose);
            self.notice(&format!("the {name} connection with {node} was made again: {reason}"));
        };
        let receive = |connection: &Connection| self.receive_coherence(node, connection);
        let end = transport::receive_again(lane, connection, receive, again, report);
        if !self.is_ending() && !matches!(end, LaneEnd::Stopped) {
            self.lost(node, &end.to_string());
        }
    }

    fn receive_coherence(&self, node: NodeId, connection: &Connection) -> Result<Infallible, LaneEnd> {
        transport::receive_coherence(connection, self.facts.id.0, |message, payload| {
            match self.pager.receive(node, message, payload) {
                Ok(()) => Ok(()),
                Err(error @ PagerError::Rejected { .. }) => Err(LaneEnd::Bad(error.to_string())),
                Err(error) => {
                    self.emit(Event::Broken(error.to_string()));
                    Err(LaneEnd::Stopped)
                }
            }
        })
    }

    /// Receives on a control lane until it ends.
    fn follow_control(&self, node: NodeId, connection: &Connection) {
        let Err(end) = transport::receive_control(connection, |message| match message {
            ControlMessage::LookedUp { id, region } => {
                self.questions.answer(id, Answer::Region(region));
                Ok(())
            }
            ControlMessage::Forgotten { id } | ControlMessage::Grown { id } | ControlMessage::Done { id } => {
                self.questions.answer(id, Answer::Done);
                Ok(())
            }
            ControlMessage::Used { id, user, system } => {
                self.questions.answer(id, Answer::Used(Used { user, system }));
                Ok(())
            }
            ControlMessage::StandsStill { id, held } => {
                self.questions.answer(id, Answer::Held(held));
                Ok(())
            }
            ControlMessage::Usage { id, used, waited, lost } => {
                self.questions.answer(id, Answer::Usage(Usage { used, waited, lost, spare: 0 }));
                Ok(())
            }
            message => match &self.role {
                Role::Home(home) => self.control_at_home(home, node, message),
                Role::Remote(_) => self.control_elsewhere(message),
            },
        });
        // The other side must notice, too.
        connection.close();
        if let Some(home) = self.home() {
            home.node_has_gone(node);
        }
        self.lost(node, &end.to_string());
    }

    pub(super) fn lost(&self, node: NodeId, reason: &str) {
        if self.facts.places.has_left(node) {
            return;
        }
        self.emit(Event::PeerLost { node, reason: reason.into() });
    }

    fn control_at_home(&self, home: &Home, from: NodeId, message: ControlMessage) -> Result<(), LaneEnd> {
        match message {
            ControlMessage::ReplicaReady => home.node_is_ready(from),
            ControlMessage::Lookup { id, address, access } => {
                let region =
                    home.learn(from, address, access).map_err(|error| LaneEnd::Bad(error.to_string()))?;
                self.questions.send(from, &ControlMessage::LookedUp { id, region });
            }
            ControlMessage::Notice(text) => self.notice(&text),
            ControlMessage::ReplicaLost(how) => self.lost(from, &format!("its replica {how}")),
            ControlMessage::PeerLost { node, reason } => match NodeId::new(node) {
                Some(node) => self.lost(node, &format!("{from} says: {reason}")),
                None => return Err(LaneEnd::Bad(format!("a message about node {node}, which cannot be"))),
            },
            ControlMessage::Failed(reason) => self.emit(Event::Broken(format!("{from}: {reason}"))),
            ControlMessage::Ended(statistics) => home.node_has_ended(from, statistics),
            ControlMessage::LetGo => self.asked_to_let_go(home, from),
            ControlMessage::OwnedByOthers(owners) => {
                self.pager.learn_owners(from, &owners).map_err(|error| LaneEnd::Bad(error.to_string()))?;
            }
            other => return Err(LaneEnd::Bad(format!("a message that is not meant for home: {other:?}"))),
        }
        Ok(())
    }

    fn control_elsewhere(&self, message: ControlMessage) -> Result<(), LaneEnd> {
        match message {
            // Not on this thread: the replica may be learning a region just now, and the answer to that comes
            // in here.
            ControlMessage::Forget { id, start, length } => {
                self.thread("forget", move |job| {
                    if let Err(error) = Remote::forget(job, id, start, length) {
                        job.emit(Event::Broken(error.to_string()));
                    }
                });
            }
            // Nor this: a command under way may be waiting for an answer, too.
            ControlMessage::ProcessorTime { id, thread } => {
                self.thread("processor time", move |job| {
                    if let Err(error) = job.say_time(id, thread) {
                        job.emit(Event::Broken(format!("its replica does not tell its time: {error}")));
                    }
                });
            }
            ControlMessage::Leave { thread } => self.thread("leave", move |job| {
                if let Role::Remote(remote) = &job.role {
                    job.told_to_have_leave(remote, thread);
                }
            }),
            ControlMessage::TellUsage { id } => {
                let Usage { used, waited, lost, .. } = self.usage(|_, _| {});
                let answer = ControlMessage::Usage { id, used, waited, lost };
                self.questions.send(NodeId::HOME, &answer);
            }
            ControlMessage::StandStill { id } => self.told_to_stand_still(id),
            ControlMessage::Continue => self.told_to_go_on(),
            ControlMessage::Grow { id, node, place } => {
                self.told_to_grow(id, node, place).map_err(LaneEnd::Bad)?;
            }
            ControlMessage::CancelGrow { node } => self.told_to_cancel_grow(node),
            ControlMessage::Retire { id } => self.told_to_retire(id),
            ControlMessage::Dismiss { id, node } => self.told_to_dismiss(id, other_node(node)?),
            ControlMessage::Close { id } => self.told_to_close(id),
            ControlMessage::Left { id, node } => self.told_of_leave(id, other_node(node)?),
            ControlMessage::End => self.emit(Event::End),
            ControlMessage::Bye => self.emit(Event::Bye),
            other => return Err(LaneEnd::Bad(format!("a message that only home is sent: {other:?}"))),
        }
        Ok(())
    }
}

/// A node that a message of home names, and that is not home.
fn other_node(number: u8) -> Result<NodeId, LaneEnd> {
    let node = NodeId::new(number).filter(|&node| node != NodeId::HOME);
    node.ok_or_else(|| LaneEnd::Bad(format!("a message about node {number}, which cannot leave")))
}

const fn lane_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Urgent => "urgent",
        Purpose::Bulk => "bulk",
        Purpose::Control => "control",
        Purpose::Deputy => "deputy",
        Purpose::Job => "job",
        Purpose::Cluster => "cluster",
        Purpose::Tables => "tables",
        Purpose::Company => "company",
        Purpose::Service => "service",
    }
}
