//! Rows of other nodes: asked for over connections of their own, all nodes at the same time.
//!
//! A node that says nothing for [`PATIENCE`] is left out of the rest of the query, with a warning. What it is
//! asked for is bounded by what it sends before it is asked for more.
//!
//! Threads: one for each scan of each node; it ends with the scan, or when nobody takes the rows. Locks:
//! each is taken alone, and none while a node is waited for.

use super::{Facts, Other, Spec};
use crate::transport::{Connection, read_message};
use banyan_tables::Scan;
use banyan_wire::cluster::MemberId;
use banyan_wire::control::Place;
use banyan_wire::frame;
use banyan_wire::handshake::{Hello, Purpose};
use banyan_wire::ids::JobId;
use banyan_wire::sql::{CONDITIONS_MAX, Cell, TableMessage};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// How long a node may say nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers that wait to be taken.
const WAITING_MAX: usize = 4;
/// A connection is left for later queries as long as this: the other side closes it after a minute.
const LEFT_FOR: Duration = Duration::from_secs(30);

/// Connections of each node that are left at most: a join reads several tables of it at a time.
const LEFT_MAX: usize = 4;

/// Connections that nobody uses now, of all queries of this node: who looks every second must not shake hands
/// every second, which costs both sides more than most questions do.
#[derive(Debug, Default)]
pub(crate) struct LeftConnections(Mutex<BTreeMap<PlaceKey, Vec<Left>>>);

/// Where a node is reached, and who it proves to be.
type PlaceKey = (SocketAddr, Option<MemberId>);

#[derive(Debug)]
struct Left {
    since: Instant,
    connection: Connection,
}

impl LeftConnections {
    fn take(&self, place: &Place) -> Option<Connection> {
        let mut all = self.0.lock();
        let newest = all.get_mut(&(place.address, place.member))?.pop()?;
        (newest.since.elapsed() < LEFT_FOR).then_some(newest.connection)
    }

    fn put(&self, place: &Place, connection: Connection) {
        let mut all = self.0.lock();
        for left in all.values_mut() {
            left.retain(|left| left.since.elapsed() < LEFT_FOR);
        }
        all.retain(|_, left| !left.is_empty());
        let left = all.entry((place.address, place.member)).or_default();
        if left.len() < LEFT_MAX {
            left.push(Left { since: Instant::now(), connection });
        }
    }
}

/// Whether a connection has been used by another query, so that the other side may have closed it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    New,
    Old,
}

/// The other nodes of one query.
#[derive(Debug)]
pub(super) struct Fleet {
    facts: Arc<dyn Facts>,
    others: Vec<Other>,
    /// Who starts the threads; none when the query has ended.
    starter: Mutex<Option<Sender<Reading>>>,
    /// Nodes that are left out, and why.
    silent: Mutex<BTreeMap<usize, String>>,
    /// How many of these were shown to the user.
    told: Mutex<BTreeSet<usize>>,
}

/// The reading of one node's rows, to be started.
pub(super) struct Reading {
    fleet: Arc<Fleet>,
    node: usize,
    question: TableMessage,
    columns: usize,
    to: SyncSender<Arrival>,
}

/// What came from a node.
struct Arrival {
    node: usize,
    /// Its rows, one after another; an error ends what comes from it.
    rows: Result<(u32, Vec<Cell>), String>,
    last: bool,
}

/// Rows on their way from other nodes.
pub(super) struct Incoming {
    fleet: Arc<Fleet>,
    arrivals: Receiver<Arrival>,
    /// Nodes that have more to say.
    outstanding: BTreeSet<usize>,
}

impl Fleet {
    pub(super) fn new(facts: Arc<dyn Facts>, others: Vec<Other>, starter: Sender<Reading>) -> Self {
        Self {
            facts,
            others,
            starter: Mutex::new(Some(starter)),
            silent: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Begins to read a table of all others, or only of the one that is called so.
    pub(super) fn scan(self: &Arc<Self>, spec: &'static Spec, scan: &Scan, only: Option<&str>) -> Incoming {
        let (sender, arrivals) = sync_channel(WAITING_MAX);
        let mut outstanding = BTreeSet::new();
        let question = question(spec, scan);
        let columns = (0..spec.columns.len()).filter(|&column| scan.uses(column)).count();
        for (node, other) in self.others.iter().enumerate() {
            if only.is_some_and(|only| only != other.name) || self.silent.lock().contains_key(&node) {
                continue;
            }
            let (fleet, question, to) = (Arc::clone(self), question.clone(), sender.clone());
            let reading = Reading { fleet, node, question, columns, to };
            // Without a starter the query has ended, and nobody waits for rows.
            if self.starter.lock().as_ref().is_some_and(|starter| starter.send(reading).is_ok()) {
                outstanding.insert(node);
            }
        }
        Incoming { fleet: Arc::clone(self), arrivals, outstanding }
    }

    /// Starts a thread that reads a node's rows.
    pub(super) fn start(reading: Reading) {
        let fleet = Arc::clone(&reading.fleet);
        let (node, thread) = (reading.node, std::thread::Builder::new().name("rows".into()));
        let read = move || {
            let Reading { fleet, node, question, columns, to } = reading;
            fleet.read(node, &question, columns, &to);
        };
        if let Err(error) = thread.spawn(read) {
            fleet.leave_out(node, format!("a thread could not be started: {error}"));
        }
    }

    /// The query has ended: nothing is started any more.
    pub(super) fn end(&self) {
        self.starter.lock().take();
    }

    fn leave_out(&self, node: usize, reason: String) {
        self.silent.lock().entry(node).or_insert(reason);
    }

    /// The nodes that are left out.
    pub(super) fn silent(&self) -> Vec<&Other> {
        self.silent.lock().keys().filter_map(|&node| self.others.get(node)).collect()
    }

    /// A line for each node that was left out since the last time.
    pub(super) fn warnings(&self) -> Vec<String> {
        let silent = self.silent.lock().clone();
        let mut told = self.told.lock();
        let fresh = silent.iter().filter(|&(&node, _)| told.insert(node));
        fresh.map(|(&node, reason)| format!("without {}: {reason}", self.others[node].name)).collect()
    }

    /// Reads a table of a node, part by part.
    fn read(&self, node: usize, question: &TableMessage, columns: usize, to: &SyncSender<Arrival>) {
        let begun =
            self.connection(node).and_then(|(connection, age)| match converse(&connection, question) {
                Err(_) if age == Age::Old => {
                    let connection = self.dial(node)?;
                    let answer = converse(&connection, question);
                    Ok((connection, answer))
                }
                answer => Ok((connection, answer)),
            });
        let (connection, mut answer) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let rows = Err(format!("it does not answer: {error}"));
                let _ = to.send(Arrival { node, rows, last: true });
                return;
            }
        };
        loop {
            let (rows, last) = match answer {
                Ok(TableMessage::Refused(reason)) => (Err(reason), true),
                Ok(answer) if !answer.is_possible(columns) => (Err("it answers what cannot be".into()), true),
                Ok(TableMessage::Rows { rows, cells, last }) => (Ok((rows, cells)), last),
                Ok(_) => (Err("it answers something else".into()), true),
                Err(error) => (Err(format!("it does not answer: {error}")), true),
            };
            let is_whole = rows.is_ok();
            if is_whole && last {
                // Before its rows are: the next question may follow at once.
                self.leave(node, connection);
                let _ = to.send(Arrival { node, rows, last });
                return;
            }
            let is_taken = to.send(Arrival { node, rows, last }).is_ok();
            if !is_whole {
                return;
            }
            if !is_taken {
                return self.leave(node, connection);
            }
            answer = converse(&connection, &TableMessage::More);
        }
    }

    fn leave(&self, node: usize, connection: Connection) {
        self.facts.left_connections().put(&self.others[node].place, connection);
    }

    fn connection(&self, node: usize) -> io::Result<(Connection, Age)> {
        match self.facts.left_connections().take(&self.others[node].place) {
            Some(connection) => Ok((connection, Age::Old)),
            None => Ok((self.dial(node)?, Age::New)),
        }
    }

    fn dial(&self, node: usize) -> io::Result<Connection> {
        let trust = self.facts.trust();
        let connection = trust.dial(&self.others[node].place, PATIENCE)?;
        // By then nobody waits for it any more.
        connection.set_read_timeout(Some(2 * PATIENCE))?;
        let hello = Hello::new(Purpose::Tables, trust.greeting_secret(), JobId(0), 0, 0);
        (&connection).write_all(hello.as_bytes())?;
        Ok(connection)
    }
}

impl Incoming {
    /// The next rows, and how many they are. None when all have come that will.
    pub(super) fn next(&mut self) -> Option<(u32, Vec<Cell>)> {
        while !self.outstanding.is_empty() {
            let arrival = match self.arrivals.recv_timeout(PATIENCE) {
                Ok(arrival) => arrival,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    for node in std::mem::take(&mut self.outstanding) {
                        let reason = format!("it said nothing for {} s", PATIENCE.as_secs());
                        self.fleet.leave_out(node, reason);
                    }
                    return None;
                }
            };
            // One that was given up may still speak.
            if !self.outstanding.contains(&arrival.node) {
                continue;
            }
            if arrival.last {
                self.outstanding.remove(&arrival.node);
            }
            match arrival.rows {
                Ok(rows) => return Some(rows),
                Err(reason) => self.fleet.leave_out(arrival.node, reason),
            }
        }
        None
    }
}

fn converse(mut connection: &Connection, message: &TableMessage) -> io::Result<TableMessage> {
    connection.write_all(&frame::encode(message))?;
    connection.flush()?;
    read_message(&mut connection)
}

fn question(spec: &Spec, scan: &Scan) -> TableMessage {
    // Rows too many do no harm.
    let conditions = scan.conditions.iter().take(CONDITIONS_MAX).cloned().collect();
    TableMessage::Scan { table: spec.name.into(), used: scan.used, conditions }
}
