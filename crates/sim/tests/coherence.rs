//! The protocol holds in random histories and in every state of small clusters, and every deliberate mistake
//! in it is noticed.
#![forbid(unsafe_code)]

use banyan_core::coherence::{Faithful, MUTATIONS, Mutant, Mutation};
use banyan_sim::explorer::{self, Breaks, Order, Setting};
use banyan_sim::simulation::{self, Shape};

#[test]
fn random_histories_keep_every_invariant() {
    for seed in 0..300 {
        if let Err(failure) = simulation::run(seed) {
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

/// The invariants that notice this mistake: the first one that random histories break, and the first one that
/// the explorer finds broken.
fn noticed(mutation: Mutation) -> (Option<&'static str>, Option<&'static str>) {
    let simulated = (0..400).find_map(|seed| {
        let (outcome, _) = simulation::run_with(seed, &Mutant(mutation), None);
        outcome.err().map(|failure| failure.violation.invariant)
    });
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
