//! On which node each thread of a process executes: where a new one starts, and where one goes that was told
//! to move. Home decides, since its daemon knows the threads of the process.
//!
//! Not here: how a thread moves, and over how many nodes a process is spread by itself (`spreading`).

pub mod spreading;

use crate::ids::{NodeId, NodeSet};
use alloc::collections::BTreeMap;
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
    /// As [`Policy::Spread`], over the nodes that [`Placement::spread_over`] says: home alone at first.
    Auto,
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
    /// A thread that moved counts where it was.
    ForgetMoves,
    /// A wish is carried out again and again.
    KeepWishes,
    /// Threads start on nodes that are not in use.
    IgnoreActive,
    /// Threads that have to leave a node all go home.
    AllHome,
    /// A node that joins gets no thread.
    ForgetJoined,
    /// A node that is about to leave gets threads.
    ForgetRetired,
    /// A node is not asked about a thread that came unsent, with a wish.
    AskOnce,
}

/// Every mistake.
pub const MUTATIONS: [Mutation; 11] = [
    Mutation::ForgetExits,
    Mutation::NoTurns,
    Mutation::ForgetFirst,
    Mutation::OverfillPack,
    Mutation::ForgetMoves,
    Mutation::KeepWishes,
    Mutation::IgnoreActive,
    Mutation::AllHome,
    Mutation::ForgetJoined,
    Mutation::ForgetRetired,
    Mutation::AskOnce,
];

/// A thread of the process, by its id at home.
pub type ThreadId = u32;

/// Where a thread is, and where it shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thread {
    node: NodeId,
    wish: Option<NodeId>,
    moves: u64,
}

/// Where the threads of one process are.
#[derive(Clone, Debug)]
pub struct Placement {
    policy: Policy,
    threads: BTreeMap<ThreadId, Thread>,
    /// Threads of each node that have not ended.
    live: Vec<u32>,
    /// Threads that began on each node.
    started: Vec<u64>,
    /// The node that got the last thread.
    last: usize,
    /// Threads start on this many nodes, from home on, those that retire left out.
    active: usize,
    /// Nodes that get no threads any more.
    retired: NodeSet,
    /// How often a thread changed its node.
    moves: u64,
    mutation: Option<Mutation>,
}

impl Placement {
    /// A process without threads. `nodes` is not zero.
    #[must_use]
    pub fn new(policy: Policy, nodes: u8) -> Self {
        let nodes = usize::from(nodes.max(1));
        Self {
            policy,
            threads: BTreeMap::new(),
            live: vec![0; nodes],
            started: vec![0; nodes],
            last: 0,
            active: if policy == Policy::Auto { 1 } else { nodes },
            retired: NodeSet::EMPTY,
            moves: 0,
            mutation: None,
        }
    }

    /// As [`Self::new`], but wrong.
    #[must_use]
    pub fn mutant(policy: Policy, nodes: u8, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..Self::new(policy, nodes) }
    }

    /// The process has `nodes` nodes from now on, no fewer than before. Unless they are chosen by
    /// [`Self::spread_over`] ([`Policy::Auto`]), threads start on the new ones, too.
    pub fn grow(&mut self, nodes: u8) {
        let nodes = usize::from(nodes).max(self.live.len());
        self.live.resize(nodes, 0);
        self.started.resize(nodes, 0);
        if self.policy != Policy::Auto && self.mutation != Some(Mutation::ForgetJoined) {
            self.active = self.usable().len();
        }
    }

    /// A node that is not home gets no threads any more. Those that were told to go there are not any more.
    pub fn retire(&mut self, node: NodeId) {
        if node == NodeId::HOME || self.mutation == Some(Mutation::ForgetRetired) {
            return;
        }
        self.retired = self.retired.with(node);
        self.active = self.active.min(self.usable().len());
        for found in self.threads.values_mut().filter(|found| found.wish == Some(node)) {
            found.wish = None;
        }
    }

    /// The nodes that threads may go to.
    fn usable(&self) -> Vec<usize> {
        (0..self.live.len()).filter(|&node| !self.retired.contains(node_id(node))).collect()
    }

    /// How many nodes threads may go to.
    #[must_use]
    pub fn nodes(&self) -> u8 {
        self.usable().len() as u8
    }

    /// Whether threads may go to a node.
    #[must_use]
    pub fn is_usable(&self, node: NodeId) -> bool {
        usize::from(node.get()) < self.live.len() && !self.retired.contains(node)
    }

    /// Where the threads shall go that are on a node which retires, and have not been asked to go: each to
    /// the node in use that has the fewest then.
    #[must_use]
    pub fn refuges(&self, node: NodeId) -> Vec<(ThreadId, NodeId)> {
        let mut live = self.live.clone();
        let in_use: Vec<usize> = self.usable().into_iter().take(self.active).collect();
        let there = self.threads.iter().filter(|(_, found)| found.node == node && found.wish.is_none());
        there
            .map(|(&thread, _)| {
                let to = in_use.iter().copied().min_by_key(|&node| live[node]).unwrap_or(0);
                live[to] += 1;
                (thread, node_id(to))
            })
            .collect()
    }

    /// The process's first thread has started, at home.
    pub fn first(&mut self, thread: ThreadId) {
        if self.mutation != Some(Mutation::ForgetFirst) {
            self.enter(thread, 0);
        }
    }

    /// Chooses the node of a new thread, and counts the thread there.
    #[must_use]
    pub fn start(&mut self, thread: ThreadId) -> NodeId {
        let full = self.threads_per_round();
        let rounds = |&live: &u32| live / full;
        let mut nodes = self.usable();
        if self.mutation != Some(Mutation::IgnoreActive) {
            nodes.truncate(self.active);
        }
        let fewest = nodes.iter().map(|&node| rounds(&self.live[node])).min().unwrap_or(0);
        let first = match self.policy {
            Policy::Spread | Policy::Auto if self.mutation != Some(Mutation::NoTurns) => self.last + 1,
            _ => 0,
        };
        // From the node on whose turn it is.
        let turn = nodes.partition_point(|&node| node < first) % nodes.len();
        nodes.rotate_left(turn);
        let fits = |node: &usize| rounds(&self.live[*node]) == fewest;
        let chosen = nodes.into_iter().find(fits).unwrap_or(0);
        self.last = chosen;
        self.enter(thread, chosen);
        node_id(chosen)
    }

    fn enter(&mut self, thread: ThreadId, node: usize) {
        // An id comes again only when its thread has ended, whether that was said or not.
        self.ended(thread);
        self.live[node] += 1;
        self.started[node] += 1;
        self.threads.insert(thread, Thread { node: node_id(node), wish: None, moves: 0 });
    }

    /// A thread is on another node now, or never came to the one that was chosen for it. What never started
    /// is not counted: this comes from inside the program. Says whether it was elsewhere.
    pub fn moved(&mut self, thread: ThreadId, to: NodeId) -> bool {
        let index = usize::from(to.get());
        let Some(found) = self.threads.get_mut(&thread).filter(|_| index < self.live.len()) else {
            return false;
        };
        let from = core::mem::replace(&mut found.node, to);
        if found.wish == Some(to) && self.mutation != Some(Mutation::KeepWishes) {
            found.wish = None;
        }
        if from != to && self.mutation != Some(Mutation::ForgetMoves) {
            self.live[usize::from(from.get())] -= 1;
            self.live[index] += 1;
            found.moves += 1;
            self.moves += 1;
        }
        from != to
    }

    /// A thread has ended.
    pub fn ended(&mut self, thread: ThreadId) {
        if self.mutation == Some(Mutation::ForgetExits) {
            return;
        }
        if let Some(Thread { node, .. }) = self.threads.remove(&thread) {
            self.live[usize::from(node.get())] -= 1;
        }
    }

    /// A thread shall go to a node. Returns where it is, if it is to leave there: that node is to be asked.
    pub fn wish(&mut self, thread: ThreadId, node: NodeId) -> Option<NodeId> {
        let known = self.is_usable(node);
        let found = self.threads.get_mut(&thread).filter(|_| known)?;
        found.wish = (found.node != node).then_some(node);
        found.wish.map(|_| found.node)
    }

    /// From now on threads are on `nodes` nodes, from home on: new ones start there, and of those that want
    /// to run, which `wants` knows, each node gets as many as another. As few as possible move, and those
    /// that began one after the other stay together, since they are likelier to share memory. Returns who
    /// shall go where; [`Self::wish`] has them go.
    pub fn spread_over(&mut self, nodes: u8, wants: impl Fn(ThreadId) -> bool) -> Vec<(ThreadId, NodeId)> {
        let usable = self.usable();
        self.active = usize::from(nodes).clamp(1, usable.len());
        let in_use = &usable[..self.active];
        let mut members: Vec<Vec<ThreadId>> = vec![Vec::new(); self.live.len()];
        for (&thread, found) in &self.threads {
            let node = usize::from(found.node.get());
            // One that sleeps may stay on a node that is in use.
            if !in_use.contains(&node) || wants(thread) {
                members[node].push(thread);
            }
        }
        let total: usize = members.iter().map(Vec::len).sum();
        // The first nodes get one more, if it does not come out even.
        let share = |node: usize| match in_use.iter().position(|&used| used == node) {
            None => 0,
            Some(0) if self.mutation == Some(Mutation::AllHome) => total,
            Some(_) if self.mutation == Some(Mutation::AllHome) => 0,
            Some(turn) => total / self.active + usize::from(turn < total % self.active),
        };
        let mut leaving = Vec::new();
        for (node, threads) in members.iter_mut().enumerate() {
            let stay = share(node).min(threads.len());
            leaving.extend(threads.split_off(stay));
        }
        let mut leaving = leaving.into_iter();
        let mut moves = Vec::new();
        for (node, threads) in members.iter().enumerate() {
            let room = share(node).saturating_sub(threads.len());
            moves.extend(leaving.by_ref().take(room).map(|thread| (thread, node_id(node))));
        }
        moves
    }

    /// Where a thread goes that has left its node because that was asked, and is from now on. Without a wish
    /// the node was asked in vain, when the thread had left already, and it goes back.
    pub fn destination(&mut self, thread: ThreadId) -> Option<NodeId> {
        let found = self.threads.get(&thread)?;
        let to = found.wish.unwrap_or(found.node);
        let to = if self.is_usable(to) { to } else { NodeId::HOME };
        self.moved(thread, to);
        Some(to)
    }

    /// Where a thread is that shall go elsewhere. When it has come where it was not sent, it may be there
    /// with a wish of which another node was told, and its node is to be asked.
    #[must_use]
    pub fn leaves(&self, thread: ThreadId) -> Option<NodeId> {
        let found = self.threads.get(&thread).filter(|_| self.mutation != Some(Mutation::AskOnce))?;
        found.wish.map(|_| found.node)
    }

    /// The threads that have been told to move and have not yet, and where to.
    pub fn wishes(&self) -> impl Iterator<Item = (ThreadId, NodeId)> + '_ {
        self.threads.iter().filter_map(|(&thread, found)| Some((thread, found.wish?)))
    }

    /// Where a thread is.
    #[must_use]
    pub fn node(&self, thread: ThreadId) -> Option<NodeId> {
        self.threads.get(&thread).map(|found| found.node)
    }

    /// Every thread and where it is, by id.
    pub fn threads(&self) -> impl Iterator<Item = (ThreadId, NodeId)> + '_ {
        self.threads.iter().map(|(&thread, found)| (thread, found.node))
    }

    /// The threads from this id on: where each is, how often it changed its node, and where it shall go.
    pub fn threads_from(
        &self,
        first: ThreadId,
    ) -> impl Iterator<Item = (ThreadId, NodeId, u64, Option<NodeId>)> + '_ {
        self.threads.range(first..).map(|(&thread, found)| (thread, found.node, found.moves, found.wish))
    }

    /// Threads of each node that have not ended, by number.
    #[must_use]
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// Threads that began on each node, by number.
    #[must_use]
    pub fn started(&self) -> &[u64] {
        &self.started
    }

    /// How often a thread changed its node.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    fn threads_per_round(&self) -> u32 {
        let extra = u32::from(self.mutation == Some(Mutation::OverfillPack));
        match self.policy {
            Policy::Spread | Policy::Auto => 1,
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

    fn first(policy: Policy, nodes: u8, threads: u32) -> Vec<u8> {
        let mut placement = begun(policy, nodes);
        (1..=threads).map(|thread| placement.start(thread).get()).collect()
    }

    fn begun(policy: Policy, nodes: u8) -> Placement {
        let mut placement = Placement::new(policy, nodes);
        placement.first(0);
        placement
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
        let mut placement = begun(Policy::Spread, 3);
        let nodes: Vec<u8> = (1..=4)
            .map(|thread| {
                let node = placement.start(thread);
                placement.ended(thread);
                node.get()
            })
            .collect();
        assert_eq!(nodes, [1, 2, 1, 2]);
    }

    #[test]
    fn what_cannot_be_changes_nothing() {
        let mut placement = begun(Policy::Spread, 2);
        placement.ended(7);
        placement.moved(7, node_id(1));
        placement.moved(0, node_id(9));
        assert_eq!((placement.wish(7, node_id(1)), placement.wish(0, node_id(9))), (None, None));
        assert_eq!(placement.live(), [1, 0]);
        assert_eq!(placement.start(1).get(), 1);
        placement.moved(1, NodeId::HOME);
        assert_eq!((placement.live(), placement.started()), (&[2, 0][..], &[1, 1][..]));
        assert_eq!(placement.start(1).get(), 1, "an id that comes again is another thread");
        assert_eq!(placement.live(), [1, 1]);
    }

    #[test]
    fn nodes_that_join_get_threads() {
        let mut placement = begun(Policy::Spread, 1);
        let start = |placement: &mut Placement, thread| placement.start(thread).get();
        assert_eq!((start(&mut placement, 1), start(&mut placement, 2)), (0, 0));
        placement.grow(3);
        assert_eq!((start(&mut placement, 3), start(&mut placement, 4)), (1, 2));
        placement.grow(2);
        assert_eq!(placement.live(), [3, 1, 1], "none leaves by that");
        assert_eq!(placement.spread_over(3, |_| true), [(2, node_id(1))]);
        let mut placement = begun(Policy::Auto, 1);
        placement.grow(2);
        assert_eq!(start(&mut placement, 1), 0, "until it is to be spread");
        assert_eq!(placement.spread_over(2, |_| true), [(1, node_id(1))]);
    }

    #[test]
    fn a_node_that_retires_gets_no_threads() {
        let mut placement = begun(Policy::Spread, 4);
        let start = |placement: &mut Placement, thread| placement.start(thread).get();
        assert_eq!(placement.wish(0, node_id(2)), Some(NodeId::HOME));
        assert_eq!([1, 2, 3].map(|thread| start(&mut placement, thread)), [1, 2, 3]);
        placement.retire(node_id(2));
        placement.retire(NodeId::HOME);
        assert_eq!((placement.wishes().count(), placement.nodes()), (0, 3), "no one is to go there");
        assert_eq!(placement.wish(0, node_id(2)), None);
        assert_eq!([4, 5, 6].map(|thread| start(&mut placement, thread)), [0, 1, 3]);
        assert_eq!(placement.refuges(node_id(2)), [(2, NodeId::HOME)]);
        assert!(placement.is_usable(node_id(3)) && !placement.is_usable(node_id(2)));
        assert!(!placement.is_usable(node_id(4)));
        let moves = placement.spread_over(4, |_| true);
        assert_eq!(moves, [(2, NodeId::HOME)], "the rest is spread over the three others already");
        placement.grow(5);
        assert_eq!([7, 8].map(|thread| start(&mut placement, thread)), [4, 4]);
    }

    #[test]
    fn a_wish_is_carried_out_once() {
        let mut placement = begun(Policy::Spread, 3);
        assert_eq!(placement.wish(0, NodeId::HOME), None);
        assert_eq!(placement.wish(0, node_id(2)), Some(NodeId::HOME));
        assert_eq!(placement.wish(0, node_id(1)), Some(NodeId::HOME), "the last one counts");
        assert_eq!(placement.destination(0), Some(node_id(1)));
        placement.moved(0, node_id(1));
        assert_eq!((placement.leaves(0), placement.node(0)), (None, Some(node_id(1))));
        assert_eq!(placement.destination(0), Some(node_id(1)), "asked in vain, it goes back");
        assert_eq!((placement.moves(), placement.live()), (1, &[0, 1, 0][..]));
        assert_eq!(placement.wish(0, node_id(2)), Some(node_id(1)));
        assert_eq!(placement.wish(0, node_id(1)), None, "it is there: the wish is taken back");
        assert_eq!(placement.leaves(0), None);
    }

    #[test]
    fn a_wish_that_comes_between_two_nodes_is_told_at_the_next() {
        let mut placement = begun(Policy::Spread, 3);
        assert_eq!(placement.wish(0, node_id(1)), Some(NodeId::HOME));
        assert_eq!(placement.destination(0), Some(node_id(1)));
        assert_eq!(placement.wish(0, node_id(2)), Some(node_id(1)), "where it will be");
        placement.moved(0, NodeId::HOME);
        assert_eq!(placement.leaves(0), Some(NodeId::HOME), "it could not get there");
        placement.moved(0, node_id(1));
        placement.retire(node_id(1));
        assert_eq!(placement.refuges(node_id(1)), [], "it was asked");
        placement.moved(0, node_id(2));
        assert_eq!((placement.leaves(0), placement.live()), (None, &[0, 0, 1][..]));
        placement.retire(node_id(2));
        assert_eq!(placement.destination(0), Some(NodeId::HOME), "it does not go back to one that leaves");
    }
}
