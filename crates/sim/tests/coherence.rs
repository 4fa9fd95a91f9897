//! The protocol holds in random histories and in every state of small clusters, and every deliberate mistake
//! in it is noticed.
#![forbid(unsafe_code)]

use banyan_core::coherence::{Faithful, MUTATIONS, Mutant, Mutation, Policy};
use banyan_core::ids::Microseconds;
use banyan_sim::explorer::{self, Breaks, Order, Setting};
use banyan_sim::simulation::{self, Shape, Work};

#[test]
fn random_histories_keep_every_invariant() {
    for seed in 0..300 {
        if let Err(failure) = simulation::run(seed) {
            panic!("{failure}");
        }
    }
}

#[test]
fn memory_that_is_freed_while_it_is_used_keeps_every_invariant() {
    for seed in 0..300 {
        if let (Err(failure), _) = simulation::run_shape(seed, Shape::freeing(seed), &Faithful, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn a_node_that_leaves_takes_nothing_with_it() {
    for seed in 0..1000 {
        if let (Err(failure), _) = simulation::run_shape(seed, Shape::retiring(seed), &Faithful, None) {
            panic!("{failure}");
        }
    }
}

#[test]
fn a_seed_says_everything() {
    let trace = |seed| simulation::run_with(seed, &Faithful, Some(String::new())).1;
    for seed in 0..5 {
        assert_eq!(trace(seed), trace(seed));
    }
}

#[test]
fn a_part_of_every_setting_keeps_every_invariant() {
    for setting in explorer::settings() {
        if let Err(counterexample) = explorer::explore(&setting, &Faithful, Order::Deepest, 100_000) {
            panic!("{}: {counterexample}", setting.name);
        }
    }
}

/// How many messages it takes until each node has written often to pages of all of them; none if that is too
/// much for the simulator.
fn messages_for_scattered_writes(nodes: u8, turn_max: u64) -> Option<u64> {
    let policy =
        Policy { window_first: 0, turn_max: Microseconds(turn_max), give_empty: false, ..Policy::default() };
    let shape = Shape {
        nodes,
        extents: 1,
        pages: 32,
        threads: 1,
        operations: 20_000,
        loss: 0,
        repeats: 0,
        delay: 40,
        pauses: 0,
        policy,
        work: Work::ScatteredWrites,
        rest: 2,
        interruptions: 0,
        retires: None,
    };
    match simulation::run_shape(7, shape, &Faithful, None).0 {
        Ok(tally) => Some(tally.messages),
        Err(failure) if failure.violation.invariant == "progress" => None,
        Err(failure) => panic!("{nodes} nodes: {failure}"),
    }
}

#[test]
fn nodes_that_write_to_the_same_pages_take_turns_with_all_of_them() {
    for nodes in 2..=6 {
        let messages = messages_for_scattered_writes(nodes, Policy::default().turn_max.0);
        // Each gathers the 48 pages a few times: three or four messages a page.
        assert!(messages.is_some_and(|messages| messages < 2_000 * u64::from(nodes)), "{messages:?}");
    }
    // Without turns the nodes only get in each other's way.
    let messages = messages_for_scattered_writes(3, 0);
    assert!(messages.is_none_or(|messages| messages > 20_000), "{messages:?}");
}

/// The invariants that notice this mistake: the first one that random histories break, and the first one that
/// the explorer finds broken.
fn noticed(mutation: Mutation) -> (Option<&'static str>, Option<&'static str>) {
    let broken = |seed, shape| {
        let (outcome, _) = simulation::run_shape(seed, shape, &Mutant(mutation), None);
        outcome.err().map(|failure| failure.violation.invariant)
    };
    let simulated = (0..400).find_map(|seed| broken(seed, Shape::of_seed(seed)));
    let simulated = simulated.or_else(|| (0..400).find_map(|seed| broken(seed, Shape::freeing(seed))));
    let simulated = simulated.or_else(|| (0..400).find_map(|seed| broken(seed, Shape::retiring(seed))));
    let explored = explorer::settings().iter().find_map(|setting| {
        let outcome = explorer::explore(setting, &Mutant(mutation), Order::Nearest, 20_000);
        outcome.err().map(|counterexample| counterexample.violation.invariant)
    });
    (simulated, explored)
}

#[test]
fn every_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for mutation in MUTATIONS {
        let (simulated, explored) = noticed(mutation);
        println!("{mutation:?}: simulation {simulated:?}, explorer {explored:?}");
        if simulated.is_none() && explored.is_none() {
            unnoticed.push(mutation);
        }
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}

/// Only a world in which others act between two outputs of a step can tell in which order they were: where
/// every step is one event, a grant that leaves before the page is dropped does no harm.
#[test]
fn a_grant_before_the_drop_shows_only_between_outputs() {
    let mutant = Mutant(Mutation::GrantBeforeDrop);
    for seed in 0..300 {
        let whole = Shape { interruptions: 0, ..Shape::of_seed(seed) };
        if let (Err(failure), _) = simulation::run_shape(seed, whole, &mutant, None) {
            panic!("{failure}");
        }
    }
    for setting in explorer::settings() {
        let whole = Setting { breaks: Breaks::Nowhere, ..setting };
        if let Err(counterexample) = explorer::explore(&whole, &mutant, Order::Nearest, 20_000) {
            panic!("{}: {counterexample}", whole.name);
        }
    }
    let (simulated, explored) = noticed(Mutation::GrantBeforeDrop);
    assert!(simulated.is_some() && explored.is_some());
}
