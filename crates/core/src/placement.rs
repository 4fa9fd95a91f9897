//! On which node a new thread of a process starts. Home decides, since its daemon knows the threads of the
//! process.
//!
//! Not here: moving a thread that runs, and anything that is measured while threads run.

use crate::ids::NodeId;
use alloc::vec;
use alloc::vec::Vec;

/// How threads are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each thread goes to the node that has the fewest; among equals, to the one whose turn it is.
    Spread,
    /// A node gets this many threads before the next node gets any, and as many again when all nodes have
    /// them.
    Pack(u32),
}

/// A deliberate mistake, for tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Threads that ended count for ever.
    ForgetExits,
    /// Among equals, always the first node.
    NoTurns,
    /// The program's first thread does not count.
    ForgetFirst,
    /// A node is full one thread too late.
    OverfillPack,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 4] =
    [Mutation::ForgetExits, Mutation::NoTurns, Mutation::ForgetFirst, Mutation::OverfillPack];

/// Where the threads of one process are.
#[derive(Clone, Debug)]
pub struct Placement {
    policy: Policy,
    /// Threads of each node that have not ended.
    live: Vec<u32>,
    /// The node that got the last thread.
    last: usize,
    mutation: Option<Mutation>,
}

impl Placement {
    /// A process whose first thread has just started at home. `nodes` is not zero.
    #[must_use]
    pub fn new(policy: Policy, nodes: u8) -> Self {
        let mut live = vec![0; usize::from(nodes.max(1))];
        live[0] = 1;
        Self { policy, live, last: 0, mutation: None }
    }

    /// As [`Self::new`], but wrong.
    #[must_use]
    pub fn mutant(policy: Policy, nodes: u8, mutation: Mutation) -> Self {
        let mut placement = Self { mutation: Some(mutation), ..Self::new(policy, nodes) };
        placement.live[0] = u32::from(mutation != Mutation::ForgetFirst);
        placement
    }

    /// Chooses the node of a new thread, and counts the thread there.
    #[must_use]
    pub fn start(&mut self) -> NodeId {
        let full = self.threads_per_round();
        let rounds = |&live: &u32| live / full;
        let fewest = self.live.iter().map(rounds).min().unwrap_or(0);
        let nodes = self.live.len();
        let first = match self.policy {
            Policy::Spread if self.mutation != Some(Mutation::NoTurns) => self.last + 1,
            _ => 0,
        };
        let chosen = (first..first + nodes)
            .map(|turn| turn % nodes)
            .find(|&node| rounds(&self.live[node]) == fewest)
            .unwrap_or(0);
        self.live[chosen] += 1;
        self.last = chosen;
        node_id(chosen)
    }

    /// A thread that was to start on a node stays at home.
    pub fn stays_at_home(&mut self, node: NodeId) {
        self.ended(node);
        self.live[0] += 1;
    }

    /// A thread of a node has ended. What was never started is not counted: this comes from inside the
    /// program.
    pub fn ended(&mut self, node: NodeId) {
        if self.mutation == Some(Mutation::ForgetExits) {
            return;
        }
        if let Some(live) = self.live.get_mut(usize::from(node.get())) {
            *live = live.saturating_sub(1);
        }
    }

    /// Threads of each node that have not ended, by number.
    #[must_use]
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    fn threads_per_round(&self) -> u32 {
        let extra = u32::from(self.mutation == Some(Mutation::OverfillPack));
        match self.policy {
            Policy::Spread => 1,
            Policy::Pack(threads) => threads.max(1) + extra,
        }
    }
}

fn node_id(index: usize) -> NodeId {
    u8::try_from(index).ok().and_then(NodeId::new).unwrap_or(NodeId::HOME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(policy: Policy, nodes: u8, threads: usize) -> Vec<u8> {
        let mut placement = Placement::new(policy, nodes);
        (0..threads).map(|_| placement.start().get()).collect()
    }

    #[test]
    fn threads_that_do_not_end_take_turns() {
        assert_eq!(first(Policy::Spread, 3, 7), [1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(first(Policy::Spread, 1, 3), [0, 0, 0]);
    }

    #[test]
    fn a_node_is_packed_before_the_next_one() {
        assert_eq!(first(Policy::Pack(2), 3, 8), [0, 1, 1, 2, 2, 0, 0, 1]);
    }

    #[test]
    fn one_thread_after_another_visits_every_other_node() {
        let mut placement = Placement::new(Policy::Spread, 3);
        let nodes: Vec<u8> = (0..4)
            .map(|_| {
                let node = placement.start();
                placement.ended(node);
                node.get()
            })
            .collect();
        assert_eq!(nodes, [1, 2, 1, 2]);
    }

    #[test]
    fn an_end_that_cannot_be_changes_nothing() {
        let mut placement = Placement::new(Policy::Spread, 2);
        placement.ended(node_id(1));
        placement.ended(node_id(9));
        assert_eq!(placement.live(), [1, 0]);
        assert_eq!(placement.start().get(), 1);
        placement.stays_at_home(node_id(1));
        assert_eq!(placement.live(), [2, 0]);
    }
}
