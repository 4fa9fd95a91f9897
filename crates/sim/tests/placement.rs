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
    last: usize,
    /// The threads that have not ended, with their nodes.
    threads: Vec<(ThreadId, usize)>,
}

impl Model {
    /// What is wrong with the choice of `node` for a new thread.
    fn check(&self, node: usize) -> Result<(), String> {
        let fewest = self.live.iter().min().copied().unwrap_or(0);
        match self.policy {
            Policy::Spread if self.live[node] > fewest => {
                Err(format!("node {node} has more threads than others"))
            }
            Policy::Spread => {
                let nodes = self.live.len();
                let turn = (self.last + 1..).map(|turn| turn % nodes).find(|&node| self.live[node] == fewest);
                if turn == Some(node) { Ok(()) } else { Err(format!("it is not the turn of node {node}")) }
            }
            Policy::Pack(threads) => {
                let rounds = |node: usize| self.live[node] / threads;
                match (0..self.live.len()).find(|&other| {
                    rounds(other) < rounds(node) || other < node && rounds(other) == rounds(node)
                }) {
                    Some(other) => Err(format!("node {other} has room, and node {node} was chosen")),
                    None => Ok(()),
                }
            }
        }
    }
}

/// One history of threads.
fn run(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let nodes = 1 + random.below(NODES_MAX) as u8;
    let policy = if random.percent(50) { Policy::Spread } else { Policy::Pack(1 + random.below(5) as u32) };
    let mut placement = match mutation {
        None => Placement::new(policy, nodes),
        Some(mutation) => Placement::mutant(policy, nodes, mutation),
    };
    let mut model = Model { policy, live: vec![0; usize::from(nodes)], last: 0, threads: vec![(0, 0)] };
    model.live[0] = 1;
    placement.first(0);
    let starts = 40 + random.below(50);
    let wrong = |step: u32, what: &str| format!("seed {seed}, step {step}: {what}");
    for step in 0..STEPS {
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
            if leaves != (from != usize::from(to)).then_some(from) {
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
                if placement.destination(thread).is_some() {
                    return Err(wrong(step, "a thread moves on though nobody wished it"));
                }
            }
        }
        if mutation.is_none() && placement.live() != model.live {
            return Err(format!("seed {seed}, step {step}: {:?} is not {:?}", placement.live(), model.live));
        }
    }
    Ok(())
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
        assert!((0..400).any(|seed| run(seed, Some(mutation)).is_err()), "unnoticed: {mutation:?}");
    }
}
