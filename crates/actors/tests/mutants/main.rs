//! A mistake in a rule of the runtime that no check here notices is a fault of the checks.
//!
//! Each check is one small history in deterministic mode, and says in words what is wrong with it. Mistakes
//! can be made only where debug assertions are on.
#![cfg(debug_assertions)]

#[path = "../simulated/mod.rs"]
mod simulated;

mod begun;
mod kept;
mod paid;
mod supervised;
mod undone;

use std::panic::{AssertUnwindSafe, catch_unwind};

use banyan_actors::mutation::{MUTATIONS, Mutation, with};

/// What is wrong, if anything is.
type Check = fn() -> Result<(), String>;

fn checks() -> Vec<(&'static str, Check)> {
    [undone::CHECKS, supervised::CHECKS, paid::CHECKS, kept::CHECKS, begun::CHECKS].concat()
}

/// One result for a history: what was observed is what the rules say.
fn expect<T: PartialEq + std::fmt::Debug>(observed: &T, expected: &T) -> Result<(), String> {
    if observed == expected { Ok(()) } else { Err(format!("{observed:?} and not {expected:?}")) }
}

/// The checks that notice a mistake.
fn noticing(mutation: Option<Mutation>) -> Vec<&'static str> {
    let notices = |check: &Check| {
        let result = with(mutation, || catch_unwind(AssertUnwindSafe(check)));
        !matches!(result, Ok(Ok(())))
    };
    checks().iter().filter(|(_, check)| notices(check)).map(|(name, _)| *name).collect()
}

#[test]
fn without_a_mistake_all_is_well() {
    for (name, check) in checks() {
        assert_eq!(check(), Ok(()), "{name}");
    }
}

#[test]
fn every_mistake_is_noticed() {
    let unnoticed: Vec<Mutation> =
        MUTATIONS.into_iter().filter(|mutation| noticing(Some(*mutation)).is_empty()).collect();
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
}
