//! Nodes that talk over connections with faults: what a lane loses is asked for again, delays change nothing,
//! and the end of a control lane is noticed. The nodes are real coherence machines with a model of their
//! memory.

use super::faulty::{Ending, Faults, Faulty, Order};
use super::{Connection, Lane, LaneEnd, Peer, Peers, receive_again, receive_coherence, receive_control};
use banyan_core::coherence::{self, Held, Input, Machine, Output, Policy, ThreadNumber};
use banyan_wire::coherence::{Contents, HEADER_BYTES, Message, bitmap_bytes, encode_header, encode_payload};
use banyan_wire::control::ControlMessage;
use banyan_wire::frame;
use banyan_wire::ids::{
    Access, ExtentNumber, Microseconds, NodeId, PAGE_BYTES, PageNumber, Run, Transaction,
};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const PROCESS: u32 = 1;
const EXTENT: ExtentNumber = ExtentNumber(0x8000);
const PAGES: u64 = 3;
/// A test that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// The two ends of a connection.
pub(super) fn pair() -> (Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = Connection::dial(listener.local_addr().unwrap(), Duration::from_secs(5)).unwrap();
    let (other, _) = Connection::accept(&listener).unwrap();
    (one, other)
}

fn node(number: usize) -> NodeId {
    NodeId::new(number as u8).unwrap()
}

/// What goes wrong with the n-th connection of a lane, each with its own seed.
type Schedule = fn(u64) -> Faults;

fn late(seed: u64) -> Faults {
    Faults { seed, delay: Duration::from_millis(4), order: Order::Kept, ending: Ending::Never }
}

fn disordered(seed: u64) -> Faults {
    Faults { order: Order::ByDelay, ..late(seed) }
}

fn cut(seed: u64) -> Faults {
    // Rarely at the end of a message: a read grant has 64 + 8 + 4096 bytes.
    let end = 1000 + fastrand::Rng::with_seed(seed).u64(..20_000);
    Faults { delay: Duration::ZERO, ending: Ending::Cut(end), ..late(seed) }
}

/// One node: a machine, and what its replica would have in memory.
struct Member {
    own: NodeId,
    peers: Peers,
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
    over: AtomicBool,
}

struct State {
    machine: Machine,
    /// The counter in each page that is here.
    pages: HashMap<PageNumber, u64>,
    retained: HashMap<Transaction, Vec<u8>>,
}

impl Member {
    fn new(own: NodeId) -> Self {
        let state = State {
            machine: Machine::new(own, Policy::default()),
            pages: HashMap::new(),
            retained: HashMap::new(),
        };
        Self {
            own,
            peers: Peers::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            started: Instant::now(),
            over: AtomicBool::new(false),
        }
    }

    fn step(&self, state: &mut State, input: Input, payload: &[u8]) {
        let frame = match &input {
            Input::Receive { message: Message::Grant { run, .. }, .. } => Some(*run),
            _ => None,
        };
        let now = Microseconds(self.started.elapsed().as_micros() as u64 + 1);
        let mut outputs = Vec::new();
        state.machine.step(now, input, &mut outputs);
        let mut at = 0;
        while at < outputs.len() {
            match outputs[at].clone() {
                Output::Share { extent } => {
                    let empty = state.pages.is_empty();
                    state.machine.step(now, Input::Shared { extent, empty }, &mut outputs);
                }
                Output::Send { to, lane, message, contents } => {
                    let frame = self.frame(state, &message, contents);
                    let peer = self.peers.get(to).expect("every node has lanes to every other");
                    match lane {
                        coherence::Lane::Urgent => peer.urgent.send(&frame),
                        coherence::Lane::Bulk => peer.bulk.send(&frame),
                    }
                }
                Output::Install { run, .. } => {
                    let whole = frame.expect("pages come with a grant");
                    let pages = Contents::new(whole, payload).unwrap();
                    for (page, bytes) in pages.pages().filter(|(page, _)| run.contains(*page)) {
                        let counter = bytes.map_or(0, |bytes| {
                            u64::from_le_bytes(*bytes.first_chunk().expect("a page is longer"))
                        });
                        state.pages.insert(page, counter);
                    }
                }
                Output::Invalidate { run } => run.pages().for_each(|page| {
                    state.pages.remove(&page);
                }),
                Output::Retain { run, transaction } => {
                    let kept = contents(state, run);
                    state.retained.insert(transaction, kept);
                }
                Output::Release { transaction, .. } => {
                    state.retained.remove(&transaction);
                }
                Output::Reject { from, reason } => panic!("{} rejects {from}: {reason}", self.own),
                Output::Fatal { reason } => panic!("{}: {reason}", self.own),
                _ => {}
            }
            at += 1;
        }
        self.changed.notify_all();
    }

    fn frame(&self, state: &State, message: &Message, from: coherence::Contents) -> Vec<u8> {
        let mut payload = Vec::new();
        match (from, message) {
            (coherence::Contents::None, _) => encode_payload(message, &mut payload),
            (coherence::Contents::Replica, Message::Grant { run, .. }) => payload = contents(state, *run),
            (coherence::Contents::Retained, Message::Grant { transaction, .. }) => {
                payload.clone_from(&state.retained[transaction]);
            }
            _ => panic!("contents for {message:?}"),
        }
        let mut frame = encode_header(PROCESS, message, payload.len() as u32).to_vec();
        frame.append(&mut payload);
        frame
    }

    /// A thread of the program adds one to the counter in a page, `times` times.
    fn count(&self, page: PageNumber, times: u64) {
        for _ in 0..times {
            let mut state = self.access(page, Access::Write);
            *state.pages.entry(page).or_default() += 1;
        }
    }

    /// Faults until a page may be accessed. It may as long as the state is locked.
    fn access(&self, page: PageNumber, access: Access) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + DEADLINE;
        let limit = EXTENT.run().end();
        let mut state = self.state.lock().unwrap();
        loop {
            match (state.machine.held(page), access) {
                (Held::Exclusive, _) | (Held::Shared, Access::Read) => return state,
                _ => {
                    let fault = Input::Fault { thread: ThreadNumber(0), page, access, limit };
                    self.step(&mut state, fault, &[]);
                }
            }
            assert!(Instant::now() < deadline, "{} waits for {page:?} for ever", self.own);
            state = self.changed.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
        }
    }

    fn keep_time(&self) {
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
            let mut state = self.state.lock().unwrap();
            let now = self.started.elapsed().as_micros() as u64 + 1;
            if state.machine.next_deadline().is_some_and(|due| due.0 <= now) {
                self.step(&mut state, Input::Tick, &[]);
            }
        }
    }
}

/// The payload for a run: the counters that are here, in pages.
fn contents(state: &State, run: Run) -> Vec<u8> {
    let mut payload = vec![0; bitmap_bytes(run.count)];
    for (bit, page) in run.pages().enumerate() {
        let counter = state.pages.get(&page).copied().unwrap_or_default();
        if counter != 0 {
            payload[bit / 8] |= 1 << (bit % 8);
            payload.extend_from_slice(&counter.to_le_bytes());
            payload.resize(payload.len() + PAGE_BYTES as usize - 8, 0);
        }
    }
    payload
}

/// Makes the connections of one lane between two nodes, the first and all that follow it, with faults on both
/// sides.
struct Wire {
    schedule: Schedule,
    seed: u64,
    ends: [Sender<Connection>; 2],
}

impl Wire {
    fn connect(&mut self) {
        let (one, other) = pair();
        for (end, connection) in [one, other].into_iter().enumerate() {
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let faulty = Faulty::new(connection, (self.schedule)(self.seed)).unwrap();
            // Its lane may have ended with the test.
            let _ = self.ends[end].send(Connection::Faulty(faulty));
        }
    }
}

/// Runs threads on all nodes of a cluster that count in the same pages, and checks that no count was lost.
/// Returns how often a lane was made again.
fn count_together(nodes: usize, schedule: Schedule, seed: u64, times: u64) -> u32 {
    let members: Vec<Arc<Member>> = (0..nodes).map(|number| Arc::new(Member::new(node(number)))).collect();
    let again = Arc::new(AtomicU32::new(0));
    for one in 0..nodes {
        for other in one + 1..nodes {
            let mut lanes = [Vec::new(), Vec::new()];
            for lane in 0..3_u64 {
                let seed = seed ^ (lane << 8 | (one as u64) << 16 | (other as u64) << 24);
                let ends = join([&members[one], &members[other]], schedule, seed, &again);
                lanes.iter_mut().zip(ends).for_each(|(lanes, end)| lanes.push(end));
            }
            for (from, to, lanes) in [(one, other, &lanes[0]), (other, one, &lanes[1])] {
                let [urgent, bulk, control] = [0, 1, 2].map(|lane: usize| Arc::clone(&lanes[lane]));
                members[from].peers.insert(node(to), Peer { urgent, bulk, control });
            }
        }
    }
    let page = |number: u64| EXTENT.first_page().plus((number % PAGES) as u32);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..nodes as u64)
            .map(|number| {
                let member = &members[number as usize];
                scope.spawn(move || member.keep_time());
                scope.spawn(move || (0..PAGES).for_each(|at| member.count(page(number + at), times)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for number in 0..PAGES {
            let state = members[nodes - 1].access(page(number), Access::Read);
            assert_eq!(state.pages[&page(number)], nodes as u64 * times, "page {number}");
        }
        members.iter().for_each(|member| member.over.store(true, Ordering::Relaxed));
    });
    for member in &members {
        member.peers.nodes().into_iter().for_each(|node| member.peers.remove(node));
    }
    again.load(Ordering::Relaxed)
}

/// One lane between two nodes with a thread that receives at each end. Returns the sending sides.
fn join(members: [&Arc<Member>; 2], schedule: Schedule, seed: u64, again: &Arc<AtomicU32>) -> [Arc<Lane>; 2] {
    let ((first, one), (second, other)) = (channel(), channel());
    let wire = Arc::new(Mutex::new(Wire { schedule, seed, ends: [first, second] }));
    wire.lock().unwrap().connect();
    let end = |number: usize, connections: Receiver<Connection>| {
        let connection = connections.recv().unwrap();
        let lane = Lane::new(&connection, "faulty").unwrap();
        let (own, wire, again) = (Arc::clone(&lane), Arc::clone(&wire), Arc::clone(again));
        let (member, from) = (Arc::clone(members[number]), members[1 - number].own);
        std::thread::spawn(move || {
            let receive = |connection: &Connection| {
                receive_coherence(connection, PROCESS, |message, payload| {
                    let mut state = member.state.lock().unwrap();
                    member.step(&mut state, Input::Receive { from, message }, payload);
                    Ok(())
                })
            };
            let next = || {
                if member.over.load(Ordering::Relaxed) {
                    return None;
                }
                again.fetch_add(1, Ordering::Relaxed);
                // One side makes the connection again, as the node that dials does.
                if number == 0 {
                    wire.lock().unwrap().connect();
                }
                connections.recv_timeout(Duration::from_secs(5)).ok()
            };
            receive_again(&own, connection, receive, next, |_| {})
        });
        lane
    };
    [end(0, one), end(1, other)]
}

#[test]
fn late_messages_lose_no_write() {
    for seed in 0..2 {
        assert_eq!(count_together(3, late, seed, 20), 0, "nothing was cut");
    }
}

#[test]
fn messages_in_any_order_lose_no_write() {
    for seed in 0..2 {
        assert_eq!(count_together(3, disordered, seed, 20), 0, "nothing was cut");
    }
}

#[test]
fn a_lane_that_is_cut_is_made_again_and_loses_no_write() {
    let again: u32 = (0..2).map(|seed| count_together(2, cut, seed, 60)).sum();
    assert!(again > 4, "lanes were made again {again} times");
}

#[test]
fn a_lane_that_is_cut_too_often_is_given_up() {
    let (ours, theirs) = pair();
    let lane = Lane::new(&ours, "test").unwrap();
    let mut made = 0;
    let mut ends = vec![theirs];
    let again = || {
        made += 1;
        let (ours, theirs) = pair();
        ends.push(theirs);
        Some(ours)
    };
    let end = receive_again(&lane, ours, |_| Err(LaneEnd::Closed), again, |_| {});
    assert!(matches!(end, LaneEnd::Closed), "{end}");
    assert_eq!(made, 64);
    lane.end();
}

/// A control connection over which everything comes through until `ending`.
fn control(ending: Ending) -> (Arc<Lane>, Connection) {
    let (ours, theirs) = pair();
    let faults = Faults { seed: 1, delay: Duration::ZERO, order: Order::Kept, ending };
    let ours = Connection::Faulty(Faulty::new(ours, faults).unwrap());
    (Lane::new(&ours, "control").unwrap(), theirs)
}

#[test]
fn a_control_lane_that_is_cut_in_a_message_ends_after_the_last_whole_one() {
    let message = ControlMessage::Notice("a line".into());
    let whole = frame::encode(&message).len() as u64;
    let (lane, theirs) = control(Ending::Cut(2 * whole + 3));
    for _ in 0..4 {
        lane.send(&frame::encode(&message));
    }
    let mut received = 0;
    let end = receive_control(&theirs, |came| {
        assert_eq!(came, message);
        received += 1;
        Ok(())
    });
    assert!(matches!(end, Err(LaneEnd::Closed | LaneEnd::Bad(_))), "{end:?}");
    assert_eq!(received, 2);
    lane.end();
}

#[test]
fn silence_is_not_an_end_but_a_deadline_is() {
    let message = ControlMessage::ReplicaReady;
    let (lane, theirs) = control(Ending::Silence(HEADER_BYTES as u64));
    theirs.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..100 {
        lane.send(&frame::encode(&message));
    }
    let started = Instant::now();
    let end = receive_control(&theirs, |_| Ok(()));
    assert!(matches!(end, Err(LaneEnd::Bad(_))), "{end:?}");
    assert!(started.elapsed() >= Duration::from_millis(200));
    lane.end();
}
