//! A thread that is wished elsewhere gets there, whatever is on its way meanwhile: every order of a few
//! wishes, of the messages that tell nodes of them, and of the steps of a move. Nothing is said twice, so
//! nothing may be lost.
//!
//! `Placement` is the code that runs at home; the replicas and the other nodes are a model of what they do
//! (`remote/migration.rs` in the stub, `job/moving.rs` in the daemon).
#![forbid(unsafe_code)]

use banyan_core::ids::NodeId;
use banyan_core::placement::{Mutation, Placement, Policy};
use std::collections::HashSet;

const NODES: usize = 3;
const HOME: usize = 0;
const THREAD: u32 = 7;

/// What a node or a replica could forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// A node that is told of a thread which has not come yet tells nobody when it comes.
    NotKept,
    /// A thread that comes home while its deputy was told stays.
    DeputyForgets,
    /// A node notes only after the question that it was told of a thread.
    NotedLate,
}

/// Where the thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// It runs the program, and is to leave or not.
    Runs { node: usize, leave: bool },
    /// It has left the node and is with its deputy, which asks home where it goes.
    Left { node: usize },
    /// As it is after a call that only home can make.
    ComesHome,
    /// Home has chosen the node, which is to start its carrier.
    Travels { to: usize },
    /// Home knows it at home, where its deputy is about to become it.
    Arrives,
}

/// What a node does with a message about the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    /// Noted. The replica is asked next.
    Ask,
    /// It was not here, and is noted now: only with a slip.
    Note,
}

#[derive(Clone, Debug)]
struct State {
    placement: Placement,
    at: At,
    wishes: u8,
    last: usize,
    /// Calls that only home can make, and connections that fail, still to come.
    home_calls: u8,
    failures: u8,
    /// Messages on their way to each node.
    sent: [u8; NODES],
    told: [Vec<Told>; NODES],
    /// Which nodes have noted the thread.
    noted: [bool; NODES],
    /// Carriers that were started, before the node looks at what it has noted.
    started: [u8; NODES],
    /// The deputy was told.
    deputy: bool,
}

fn id(node: usize) -> NodeId {
    NodeId::new(node as u8).unwrap_or(NodeId::HOME)
}

impl State {
    fn new(placement: Placement) -> Self {
        let mut placement = placement;
        placement.first(THREAD);
        Self {
            placement,
            at: At::Runs { node: HOME, leave: false },
            wishes: 3,
            last: HOME,
            home_calls: 1,
            failures: 1,
            sent: [0; NODES],
            told: Default::default(),
            noted: [false; NODES],
            started: [0; NODES],
            deputy: false,
        }
    }

    fn tell(&mut self, node: Option<NodeId>) {
        if let Some(node) = node {
            self.sent[usize::from(node.get())] += 1;
        }
    }

    /// Home hears where the thread is.
    fn is_on(&mut self, node: usize) {
        self.placement.moved(THREAD, id(node));
        self.tell(self.placement.leaves(THREAD));
    }

    /// The replica of a node is asked to have the thread leave. Says whether it is there.
    fn ask(&mut self, node: usize, slip: Option<Slip>) -> bool {
        match &mut self.at {
            At::Runs { node: at, leave } if *at == node => *leave = true,
            _ if node == HOME => self.deputy |= slip != Some(Slip::DeputyForgets),
            _ => return false,
        }
        true
    }

    /// Every state that may be next.
    fn next(&self, slip: Option<Slip>) -> Vec<Self> {
        let mut all = Vec::new();
        let mut step = |change: &mut dyn FnMut(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        if self.wishes > 0 {
            for node in 0..NODES {
                step(&mut |next| {
                    (next.wishes, next.last) = (next.wishes - 1, node);
                    let at = next.placement.wish(THREAD, id(node));
                    next.tell(at);
                });
            }
        }
        for node in 0..NODES {
            if self.sent[node] > 0 {
                step(&mut |next| {
                    next.sent[node] -= 1;
                    next.noted[node] |= node != HOME && slip != Some(Slip::NotedLate);
                    next.told[node].push(Told::Ask);
                });
            }
            for (turn, &told) in self.told[node].iter().enumerate() {
                step(&mut |next| {
                    next.told[node].remove(turn);
                    match told {
                        Told::Ask if next.ask(node, slip) || slip == Some(Slip::NotKept) => {
                            next.noted[node] = false;
                        }
                        Told::Ask if slip == Some(Slip::NotedLate) => next.told[node].push(Told::Note),
                        Told::Ask => {}
                        Told::Note => next.noted[node] = true,
                    }
                });
            }
            if self.started[node] > 0 {
                step(&mut |next| {
                    next.started[node] -= 1;
                    if next.noted[node] {
                        next.told[node].push(Told::Ask);
                    }
                });
            }
        }
        match self.at {
            At::Runs { node, leave } => {
                if leave {
                    step(&mut |next| next.at = At::Left { node });
                }
                if node != HOME && self.home_calls > 0 {
                    step(&mut |next| (next.home_calls, next.at) = (next.home_calls - 1, At::ComesHome));
                }
            }
            At::Left { node } => step(&mut |next| {
                let to = next.placement.destination(THREAD).map_or(HOME, |to| usize::from(to.get()));
                next.at = match to {
                    HOME if node == HOME => At::Runs { node, leave: false },
                    HOME => At::ComesHome,
                    to => At::Travels { to },
                };
            }),
            At::ComesHome => step(&mut |next| {
                next.is_on(HOME);
                next.at = At::Arrives;
            }),
            At::Travels { to } => {
                step(&mut |next| {
                    next.at = At::Runs { node: to, leave: false };
                    next.started[to] += 1;
                });
                if self.failures > 0 {
                    step(&mut |next| {
                        next.failures -= 1;
                        next.is_on(HOME);
                        next.at = At::Arrives;
                    });
                }
            }
            At::Arrives => step(&mut |next| {
                next.at = At::Runs { node: HOME, leave: std::mem::take(&mut next.deputy) };
            }),
        }
        all
    }

    /// Where nothing is on its way any more, the thread is where home knows it, and where it was wished last
    /// unless something took it home.
    fn check(&self) -> Result<(), String> {
        let node = self.placement.node(THREAD).map(|node| usize::from(node.get()));
        let there = self.at == At::Runs { node: node.unwrap_or(NODES), leave: false };
        let whole = self.home_calls == 1 && self.failures == 1;
        let heard = self.placement.wishes().count() == 0 && (!whole || node == Some(self.last));
        if there && heard { Ok(()) } else { Err(format!("{self:?}")) }
    }
}

/// Follows every order of steps, and says how many states there are.
fn explore(placement: Placement, slip: Option<Slip>) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut left = vec![State::new(placement)];
    while let Some(state) = left.pop() {
        let next = state.next(slip);
        // Wishes, calls and failures may come, and need not.
        let rests = next.iter().all(|next| {
            (next.wishes, next.home_calls, next.failures) != (state.wishes, state.home_calls, state.failures)
        });
        if rests {
            state.check()?;
        }
        left.extend(next.into_iter().filter(|next| seen.insert(format!("{next:?}"))));
    }
    Ok(seen.len())
}

#[test]
fn a_thread_gets_where_it_was_wished_last() {
    let states = explore(Placement::new(Policy::Spread, NODES as u8), None).unwrap();
    assert!(states > 10_000, "{states} states");
}

#[test]
fn what_is_forgotten_is_noticed() {
    for slip in [Slip::NotKept, Slip::DeputyForgets, Slip::NotedLate] {
        let explored = explore(Placement::new(Policy::Spread, NODES as u8), Some(slip));
        assert!(explored.is_err(), "unnoticed: {slip:?}");
    }
    let mutant = Placement::mutant(Policy::Spread, NODES as u8, Mutation::AskOnce);
    assert!(explore(mutant, None).is_err(), "unnoticed: {:?}", Mutation::AskOnce);
}
