//! A job's connections to the other nodes: making them, receiving on them, and making them again.
//!
//! The node with the higher number dials, the other accepts, both at the start and later. The coherence protocol
//! tolerates the loss of messages, so a coherence lane that breaks, or brings what is no message, is closed and made
//! anew, and only what was in it is lost. On the control lane every message counts: when it ends, so does the run.
//!
//! Threads: one accepts, one greets each connection that was accepted, and one receives on each lane.
//!
//! Lock order: `arrived` is taken alone.

use super::end::Event;
use super::home::Home;
use super::remote::Remote;
use super::{Job, PROCESS, Role, START_DEADLINE};
use crate::cluster::authority::Authority;
use crate::pager::PagerError;
use crate::transport::{self, Lane, Lanes, MeshError};
use banyan_sys::scheduling;
use banyan_wire::address::NodeId;
use banyan_wire::coherence::{HEADER_BYTES, Header};
use banyan_wire::control::ControlMessage;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::stub::{CommandKind, Record};
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A broken lane must stand again within this time: a lost node has to be noticed within five seconds.
const AGAIN_DEADLINE: Duration = Duration::from_secs(3);
/// A lane that broke more often than this is given up.
const AGAIN_MAX: u32 = 64;

/// Connections that were accepted and that nobody has taken yet, by the peer's number and the purpose.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    streams: Mutex<HashMap<(u8, u32), TcpStream>>,
    one_more: Condvar,
}

impl Arrived {
    fn put(&self, hello: &Hello, stream: TcpStream) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.insert((hello.node as u8, hello.purpose), stream);
        self.one_more.notify_all();
    }

    fn take(&self, node: u8, purpose: Purpose, deadline: Instant) -> Option<TcpStream> {
        let wanted = (node, purpose as u32);
        let left = deadline.saturating_duration_since(Instant::now());
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let waited =
            self.one_more.wait_timeout_while(streams, left, |streams| !streams.contains_key(&wanted));
        waited.unwrap_or_else(PoisonError::into_inner).0.remove(&wanted)
    }
}

/// Why nothing more is received on a connection.
enum LaneEnd {
    /// The other side closed it.
    Closed,
    /// It broke, or brought what it must not.
    Bad(String),
    /// This daemon cannot go on, and has said why.
    Broken,
}

impl From<io::Error> for LaneEnd {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::ConnectionReset => Self::Bad("it was reset".into()),
            _ => Self::Bad(error.to_string()),
        }
    }
}

impl Job {
    /// Dials the nodes with lower numbers and accepts those with higher ones: three lanes each.
    pub(super) fn connect(&self, listener: TcpListener) -> Result<Vec<Option<Lanes>>, String> {
        self.thread("accept", move |job| job.accept(&listener));
        let deadline = Instant::now() + START_DEADLINE;
        let mut lanes = Vec::new();
        for node in 0..self.nodes() {
            if node == self.node.get() {
                lanes.push(None);
                continue;
            }
            let make = |purpose: Purpose| -> Result<Arc<Lane>, String> {
                let stream = self.lane_stream(node, purpose, deadline)?;
                let name = lane_name(purpose);
                let lane =
                    Lane::new(&stream, &format!("{name} {node}")).map_err(|error| error.to_string())?;
                let own = Arc::clone(&lane);
                self.thread(&format!("{name} {node}"), move |job| {
                    job.receive(node, purpose, stream, &own);
                });
                Ok(lane)
            };
            lanes.push(Some(Lanes {
                urgent: make(Purpose::Urgent)?,
                bulk: make(Purpose::Bulk)?,
                control: make(Purpose::Control)?,
            }));
        }
        Ok(lanes)
    }

    /// A greeted connection to `node`, dialled or accepted.
    fn lane_stream(&self, node: u8, purpose: Purpose, deadline: Instant) -> Result<TcpStream, String> {
        let own = self.node.get();
        if node < own {
            let hello = Hello::new(purpose, self.settings.run, own, 0);
            let address = self.settings.addresses[usize::from(node)];
            transport::dial(node, address, self.nodes(), &hello).map_err(|error| error.to_string())
        } else {
            let arrived = self.arrived.take(node, purpose, deadline);
            arrived.ok_or_else(|| format!("node {node} did not come up"))
        }
    }

    fn accept(&self, listener: &TcpListener) {
        loop {
            let Ok((stream, address)) = listener.accept() else { continue };
            // Greeting may take as long as a stranger keeps silent: each in a thread of its own.
            self.thread("greet", move |job| {
                let (run, own) = (job.settings.run, job.node.get());
                match transport::greet(&stream, address, run, own, job.nodes()) {
                    Ok((hello, Purpose::Deputy)) => job.start_carrier(&stream, hello.thread),
                    Ok((hello, _)) if hello.node > u32::from(own) => job.arrived.put(&hello, stream),
                    // A lower number is dialled, and does not dial.
                    Ok(_) => {}
                    Err(error) => job.notice(&error.to_string()),
                }
            });
        }
    }

    fn start_carrier(&self, stream: &TcpStream, thread: u32) {
        let command = Record::new(CommandKind::StartCarrier as u32, [u64::from(thread), 0, 0, 0, 0, 0, 0, 0]);
        let started = match self.commands.get() {
            Some(commands) => commands.command(&command, Some(stream.as_fd())),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        match started {
            Ok(id) if id >= 0 => drop(self.pager.counters.threads.fetch_add(1, Ordering::Relaxed)),
            // The deputy sees its connection closed and keeps the thread at home no longer: the run ends.
            Ok(error) => self.emit(Event::Broken(format!("a thread could not be started: error {}", -error))),
            Err(error) => self.emit(Event::Broken(format!("a thread could not be started: {error}"))),
        }
    }

    /// At home: a connection for a deputy whose thread will run on `node`.
    pub(crate) fn connect_deputy(&self, node: u8, thread: u32) -> Result<OwnedFd, MeshError> {
        let address = self.settings.addresses[usize::from(node.min(self.nodes() - 1))];
        transport::dial_deputy(node, address, self.nodes(), self.settings.run, thread).map(OwnedFd::from)
    }

    /// Receives on one lane for as long as there is one.
    fn receive(&self, node: u8, purpose: Purpose, mut stream: TcpStream, lane: &Lane) {
        let mut times = 0;
        loop {
            let end = match purpose {
                Purpose::Control => self.receive_control(node, &stream),
                _ => self.receive_coherence(node, &stream),
            };
            let end = match end {
                Ok(never) => match never {},
                Err(end) => end,
            };
            // The other side must notice, too.
            let _ = stream.shutdown(Shutdown::Both);
            let reason = match &end {
                LaneEnd::Broken => return,
                LaneEnd::Closed => "its daemon closed the connection",
                LaneEnd::Bad(reason) => reason,
            };
            if purpose == Purpose::Control {
                return self.peer_has_gone(node, reason);
            }
            if self.is_ending() {
                return;
            }
            times += 1;
            match self.lane_stream(node, purpose, Instant::now() + AGAIN_DEADLINE) {
                Ok(again) if times <= AGAIN_MAX && lane.replace(&again).is_ok() => stream = again,
                _ => return self.lost(node, reason),
            }
            // Whoever closed it says why.
            if let LaneEnd::Bad(reason) = end {
                let name = lane_name(purpose);
                self.notice(&format!("the {name} connection with node {node} was made again: {reason}"));
            }
        }
    }

    fn receive_coherence(&self, node: u8, stream: &TcpStream) -> Result<std::convert::Infallible, LaneEnd> {
        const BUFFER: usize = 64 << 10;
        let _ = scheduling::make_urgent();
        let bad = |error: &dyn std::fmt::Display| LaneEnd::Bad(error.to_string());
        let from = NodeId::new(node).ok_or_else(|| bad(&"a node number that is too high"))?;
        let mut stream = BufReader::with_capacity(BUFFER, stream);
        let mut buffer = Vec::new();
        loop {
            let mut bytes = [0; HEADER_BYTES];
            stream.read_exact(&mut bytes)?;
            let header = Header::decode(&bytes).map_err(|error| bad(&error))?;
            if header.process() != PROCESS {
                return Err(bad(&format!("a message for process {}, which is not here", header.process())));
            }
            // It only grows, so that it is not cleared for every message.
            if buffer.len() < header.payload_bytes() {
                buffer.resize(header.payload_bytes(), 0);
            }
            let payload = &mut buffer[..header.payload_bytes()];
            stream.read_exact(payload)?;
            let message = header.message(payload).map_err(|error| bad(&error))?;
            match self.pager.receive(from, message, payload) {
                Ok(()) => {}
                Err(error @ PagerError::Rejected { .. }) => return Err(bad(&error)),
                Err(error) => {
                    self.emit(Event::Broken(error.to_string()));
                    return Err(LaneEnd::Broken);
                }
            }
        }
    }

    /// The control connection with a node has ended.
    fn peer_has_gone(&self, node: u8, reason: &str) {
        if let (Role::Home(home), Some(node)) = (&self.role, NodeId::new(node)) {
            home.node_has_gone(node);
        }
        self.lost(node, reason);
    }

    fn lost(&self, node: u8, reason: &str) {
        if let Some(node) = NodeId::new(node) {
            self.emit(Event::PeerLost { node, reason: reason.into() });
        }
    }

    fn receive_control(&self, node: u8, stream: &TcpStream) -> Result<std::convert::Infallible, LaneEnd> {
        let from = NodeId::new(node).ok_or_else(|| LaneEnd::Bad("a node number that is too high".into()))?;
        let mut stream = BufReader::new(stream);
        loop {
            match transport::read_control(&mut stream)? {
                ControlMessage::LookedUp { id, region } => self.questions.answer(id, region),
                ControlMessage::Forgotten { id } => self.questions.answer(id, None),
                message => match &self.role {
                    Role::Home(home) => self.control_at_home(home, from, message)?,
                    Role::Remote(_) => self.control_elsewhere(message)?,
                },
            }
        }
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
            ControlMessage::ReplicaLost(how) => self.lost(from.get(), &format!("its replica {how}")),
            ControlMessage::Failed(reason) => self.emit(Event::Broken(format!("{from}: {reason}"))),
            ControlMessage::Ended(statistics) => home.node_has_ended(from, statistics),
            other => return Err(LaneEnd::Bad(format!("a message that is not meant for home: {other:?}"))),
        }
        Ok(())
    }

    fn control_elsewhere(&self, message: ControlMessage) -> Result<(), LaneEnd> {
        match message {
            // Not on this thread: the replica may be learning a region just now, and the answer to that comes in here.
            ControlMessage::Forget { id, start, length } => {
                self.thread("forget", move |job| {
                    if let Err(error) = Remote::forget(job, id, start, length) {
                        job.emit(Event::Broken(error.to_string()));
                    }
                });
            }
            ControlMessage::End => self.emit(Event::End),
            ControlMessage::Bye => self.emit(Event::Bye),
            other => return Err(LaneEnd::Bad(format!("a message that only home is sent: {other:?}"))),
        }
        Ok(())
    }
}

const fn lane_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Urgent => "urgent",
        Purpose::Bulk => "bulk",
        Purpose::Control => "control",
        Purpose::Deputy => "deputy",
    }
}
