//! Threads that start and end at random stay evenly spread, or packed, and every deliberate mistake is
//! noticed.
#![forbid(unsafe_code)]

use banyan_core::ids::NodeId;
use banyan_core::placement::{MUTATIONS, Mutation, Placement, Policy, ThreadId};
use banyan_sim::random::Random;

const NODES_MAX: u64 = 9;
const STEPS: u32 = 200;

/// Where threads really are, whatever the placement believes.
struct Model {
    policy: Policy,
    live: Vec<u32>,
    /// Nodes that get no threads any more.
    retired: Vec<usize>,
    last: usize,
    /// The threads that have not ended, with their nodes.
    threads: Vec<(ThreadId, usize)>,
}

impl Model {
    /// What is wrong with the choice of `node` for a new thread.
    fn check(&self, node: usize) -> Result<(), String> {
        let usable = |node: &usize| !self.retired.contains(node);
        let all = || (0..self.live.len()).filter(usable);
        let fewest = all().map(|node| self.live[node]).min().unwrap_or(0);
        if !usable(&node) {
            return Err(format!("node {node} has retired"));
        }
        match self.policy {
            Policy::Spread | Policy::Auto if self.live[node] > fewest => {
                Err(format!("node {node} has more threads than others"))
            }
            Policy::Spread | Policy::Auto => {
                let nodes = self.live.len();
                let turns = (self.last + 1..).map(|turn| turn % nodes).filter(usable);
                let turn = turns.take(nodes).find(|&node| self.live[node] == fewest);
                if turn == Some(node) { Ok(()) } else { Err(format!("it is not the turn of node {node}")) }
            }
            Policy::Pack(threads) => {
                let rounds = |node: usize| self.live[node] / threads;
                match all().find(|&other| {
                    rounds(other) < rounds(node) || other < node && rounds(other) == rounds(node)
                }) {
                    Some(other) => Err(format!("node {other} has room, and node {node} was chosen")),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A node gets no threads any more, and those that it has go.
fn retire(placement: &mut Placement, model: &mut Model, index: usize) {
    let Some(node) = NodeId::new(index as u8).filter(|&node| node != NodeId::HOME) else { return };
    placement.retire(node);
    model.retired.push(index);
    for (thread, to) in placement.refuges(node) {
        placement.moved(thread, to);
        let to = usize::from(to.get());
        model.live[index] -= 1;
        model.live[to] += 1;
        model.threads.iter_mut().filter(|(other, _)| *other == thread).for_each(|(_, at)| *at = to);
    }
}

/// One history of threads.
fn run(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut nodes = 1 + random.below(NODES_MAX) as u8;
    let policy = if random.percent(50) { Policy::Spread } else { Policy::Pack(1 + random.below(5) as u32) };
    let mut placement = match mutation {
        None => Placement::new(policy, nodes),
        Some(mutation) => Placement::mutant(policy, nodes, mutation),
    };
    let mut model = Model {
        policy,
        live: vec![0; usize::from(nodes)],
        retired: Vec::new(),
        last: 0,
        threads: vec![(0, 0)],
    };
    model.live[0] = 1;
    placement.first(0);
    let starts = 40 + random.below(50);
    let wrong = |step: u32, what: &str| format!("seed {seed}, step {step}: {what}");
    for step in 0..STEPS {
        if random.percent(2) {
            nodes += 1;
            placement.grow(nodes);
            model.live.push(0);
        }
        if random.percent(1) {
            retire(&mut placement, &mut model, random.below(u64::from(nodes)) as usize);
        }
        if random.percent(starts) {
            let thread = step + 1;
            let index = usize::from(placement.start(thread).get());
            model.check(index).map_err(|error| wrong(step, &error))?;
            model.last = index;
            let stays = index != 0 && random.percent(5);
            if stays {
                placement.moved(thread, NodeId::HOME);
            }
            let index = if stays { 0 } else { index };
            model.live[index] += 1;
            model.threads.push((thread, index));
        } else if !model.threads.is_empty() {
            let chosen = random.below(model.threads.len() as u64) as usize;
            let (thread, from) = model.threads[chosen];
            if random.percent(50) {
                model.live[from] -= 1;
                model.threads.swap_remove(chosen);
                placement.ended(thread);
                continue;
            }
            let to = random.below(u64::from(nodes)) as u8;
            let node = NodeId::new(to).ok_or("a node number")?;
            let leaves = placement.wish(thread, node).map(|node| usize::from(node.get()));
            let may = from != usize::from(to) && !model.retired.contains(&usize::from(to));
            if leaves != may.then_some(from) {
                return Err(wrong(step, "a thread is to leave where it is not"));
            }
            if leaves.is_some() && random.percent(80) {
                if placement.destination(thread) != Some(node) {
                    return Err(wrong(step, "a thread goes elsewhere than it shall"));
                }
                placement.moved(thread, node);
                model.live[from] -= 1;
                model.live[usize::from(to)] += 1;
                model.threads[chosen].1 = usize::from(to);
                if placement.leaves(thread).is_some() {
                    return Err(wrong(step, "a thread moves on though nobody wished it"));
                }
                if placement.destination(thread) != Some(node) {
                    return Err(wrong(step, "a thread that was asked in vain does not go back"));
                }
            } else if leaves.is_some() {
                placement.moved(thread, NodeId::HOME);
                model.live[from] -= 1;
                model.live[0] += 1;
                model.threads[chosen].1 = 0;
                if placement.leaves(thread) != (to != 0).then_some(NodeId::HOME) {
                    return Err(wrong(step, "a thread that came home unsent is not asked to go on"));
                }
            }
        }
        if mutation.is_none() && placement.live() != model.live {
            return Err(format!("seed {seed}, step {step}: {:?} is not {:?}", placement.live(), model.live));
        }
    }
    Ok(())
}

/// One history of a process that is spread and brought together again.
fn spread(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let nodes = 1 + random.below(NODES_MAX) as u8;
    let mut placement = match mutation {
        None => Placement::new(Policy::Auto, nodes),
        Some(mutation) => Placement::mutant(Policy::Auto, nodes, mutation),
    };
    placement.first(0);
    let mut active = 1_u8;
    let mut threads = 1;
    for step in 0..STEPS {
        let wrong = |what: &str| format!("seed {seed}, step {step}: {what}");
        let node_of = |placement: &Placement, thread| placement.node(thread).map_or(u8::MAX, NodeId::get);
        match random.below(10) {
            0..=4 => {
                let node = placement.start(threads);
                threads += 1;
                if node.get() >= active {
                    return Err(wrong("a thread starts on a node that is not in use"));
                }
            }
            5..=7 => placement.ended(random.below(u64::from(threads)) as ThreadId),
            _ => {
                active = 1 + random.below(u64::from(nodes)) as u8;
                let sleeping = random.below(4) as ThreadId + 2;
                let wants = |thread: ThreadId| !thread.is_multiple_of(sleeping);
                let before: Vec<(ThreadId, NodeId)> = placement.threads().collect();
                let moves = placement.spread_over(active, wants);
                for &(thread, to) in &moves {
                    let from = placement.wish(thread, to).ok_or_else(|| wrong("a move to where it is"))?;
                    if from.get() < active && !wants(thread) {
                        return Err(wrong("one that sleeps is moved"));
                    }
                    let _ = placement.destination(thread);
                    placement.moved(thread, to);
                }
                if placement.threads().any(|(_, node)| node.get() >= active) {
                    return Err(wrong("a thread is left on a node that is not in use"));
                }
                // Those that had to leave count where they came to.
                let counted = |thread: ThreadId, was: NodeId| wants(thread) || was.get() >= active;
                let count = |node: u8| {
                    let here = |&&(thread, was): &&(ThreadId, NodeId)| {
                        counted(thread, was) && node_of(&placement, thread) == node
                    };
                    before.iter().filter(here).count()
                };
                let counts: Vec<usize> = (0..active).map(count).collect();
                let (most, least) = (counts.iter().max(), counts.iter().min());
                if most.zip(least).is_some_and(|(most, least)| most - least > 1) {
                    return Err(wrong("the threads that want to run are not evenly distributed"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_process_is_spread_evenly_and_brought_together_whole() {
    for seed in 0..2000 {
        if let Err(failure) = spread(seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn as_few_threads_move_as_can_and_neighbours_stay_together() {
    let mut placement = Placement::new(Policy::Auto, 4);
    placement.first(0);
    for thread in 1..8 {
        assert_eq!(placement.start(thread), NodeId::HOME);
    }
    let mut to = |nodes| -> Vec<(ThreadId, u8)> {
        let moves = placement.spread_over(nodes, |_| true);
        for &(thread, node) in &moves {
            placement.moved(thread, node);
        }
        moves.into_iter().map(|(thread, node)| (thread, node.get())).collect()
    };
    assert_eq!(to(2), [(4, 1), (5, 1), (6, 1), (7, 1)]);
    assert_eq!(to(4), [(2, 2), (3, 2), (6, 3), (7, 3)]);
    assert_eq!(to(4), []);
    assert_eq!(to(1), [(4, 0), (5, 0), (2, 0), (3, 0), (6, 0), (7, 0)]);
}

#[test]
fn random_threads_are_placed_as_the_policy_says() {
    for seed in 0..2000 {
        if let Err(failure) = run(seed, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn threads_without_end_differ_by_one_between_nodes() {
    for nodes in 1..=9 {
        let mut placement = Placement::new(Policy::Spread, nodes);
        placement.first(0);
        for thread in 1..=100 {
            let _ = placement.start(thread);
            let (least, most) = (placement.live().iter().min(), placement.live().iter().max());
            assert!(most.unwrap_or(&0) - least.unwrap_or(&0) <= 1, "{:?}", placement.live());
        }
    }
}

#[test]
fn every_mistake_is_noticed() {
    for mutation in MUTATIONS {
        let is_noticed = |seed| run(seed, Some(mutation)).is_err() || spread(seed, Some(mutation)).is_err();
        assert!((0..400).any(is_noticed), "unnoticed: {mutation:?}");
    }
}
