//! Proof that the explorer sees: each defect of the commit path, switched on, must be found.

use std::sync::Arc;

use super::explore::{Budget, IDENTITY, Tally, explore_seed, small};
use crate::disk::MemoryDisk;
use crate::store::{Mutation, OpenError, Store};

/// Seeds to try before a mutant counts as survived.
const SEEDS_MAX: u64 = 60;

fn caught(mutation: Mutation) -> Option<String> {
    let budget = Budget { exhaustive: 60, random: 30, steps: 12, branches: 3 };
    let mut tally = Tally::default();
    for seed in 1..=SEEDS_MAX {
        explore_seed(seed, mutation, budget, 2 + usize::from(seed > 3), &mut tally);
        if tally.fault.is_some() {
            return tally.fault;
        }
    }
    None
}

#[test]
fn every_mutant_is_caught() {
    let mutants = [
        Mutation::SkipCommitSync,
        Mutation::SkipFoldDataSync,
        Mutation::SkipMetaSync,
        Mutation::MetaBeforeData,
        Mutation::MetaInPlace,
        Mutation::SkipChainCheck,
        Mutation::SkipHeaderChecksum,
        Mutation::SkipMetaChecksum,
        Mutation::SkipPageChecksum,
        Mutation::ReuseEarly,
        Mutation::ForgetDeadlist,
        Mutation::SkipOpenSync,
        Mutation::KeepDropped,
        Mutation::ForgetLogTail,
        Mutation::FreePendingEarly,
        Mutation::KeepFailed,
        Mutation::TrustTakenBack,
        Mutation::CutEarly,
        Mutation::MoveNoDead,
    ];
    let mut survived = Vec::new();
    for mutant in mutants {
        match caught(mutant) {
            Some(fault) => println!("{mutant:?}: {}", fault.chars().take(160).collect::<String>()),
            None => survived.push(mutant),
        }
    }
    assert!(survived.is_empty(), "mutants that no crash state gave away: {survived:?}");
}

/// The length check is no matter of crashes, since a file grows durably before it is used: what gives
/// its absence away is a file that lost its end.
#[test]
fn ignoring_the_length_is_caught() {
    let refused = |mutation| {
        let disk = Arc::new(MemoryDisk::default());
        Store::create(Arc::clone(&disk), IDENTITY, small(mutation)).unwrap();
        let half = disk.image()[..8 * 4096].to_vec();
        matches!(Store::open(MemoryDisk::new(half), small(mutation)), Err(OpenError::Truncated { .. }))
    };
    assert!(refused(Mutation::None));
    assert!(!refused(Mutation::IgnoreLength), "the mutant survived");
}
