//! Compaction, but for what a crash leaves of it, which `explore` looks at: that the file is short
//! afterwards, that either meta slot may be lost, and that an error at any call loses nothing.

use std::sync::Arc;

use super::errors::{FailingDisk, Failure};
use super::explore::{IDENTITY, small};
use super::model::{Chance, Step, Version};
use crate::disk::{BLOCK_SIZE, Disk, MemoryDisk};
use crate::store::{CommitError, Mutation, SnapshotOperation, Store};

/// A file of which most is free: many pages became zero, and one of two snapshots was dropped.
fn mostly_free(seed: u64) -> (Arc<MemoryDisk>, Version) {
    let memory = Arc::new(MemoryDisk::default());
    let mut store = Store::create(Arc::clone(&memory), IDENTITY, small(Mutation::None)).unwrap();
    let mut chance = Chance(seed);
    let mut version = Version::default();
    for round in 0..60 {
        let pages = match round {
            0..40 => (0..20).map(|at| (round * 20 + at, Some(chance.0 | u64::from(at)))).collect(),
            _ => (0..40).map(|at| ((round - 40) * 40 + at, None)).filter(|(page, _)| page % 9 > 0).collect(),
        };
        let operation = match round {
            20 => SnapshotOperation::Retain("dropped".to_owned()),
            50 => SnapshotOperation::Retain("kept".to_owned()),
            55 => SnapshotOperation::Drop("dropped".to_owned()),
            _ => SnapshotOperation::None,
        };
        chance.below(2);
        let step = Step { pages, operation, fold: false };
        version = version.after(&step);
        version.commit(&mut store, &step).unwrap();
    }
    (memory, version)
}

#[test]
fn a_compacted_file_is_short_and_either_slot_may_be_lost() {
    let (memory, mut version) = mostly_free(5);
    let before = memory.length().unwrap();
    let mut store = Store::open(Arc::clone(&memory), small(Mutation::None)).unwrap().0;
    let done = store.compact(&mut |_, _| {}).unwrap();
    assert_eq!(version.fault(&mut store), None);
    assert_eq!((done.before, done.after), (before, memory.length().unwrap()));
    let live = store.audit().unwrap().used * BLOCK_SIZE as u64;
    assert!(done.after < before / 2 && done.after < live + live / 4, "{done:?}, {live} of it live");
    let again = store.compact(&mut |_, _| {}).unwrap();
    assert!(again.after <= done.after && again.moved < 8, "{again:?} after {done:?}");
    for slot in 0..2 {
        let mut image = memory.image();
        image[slot * BLOCK_SIZE..][..BLOCK_SIZE].fill(0x55);
        let mut store = Store::open(MemoryDisk::new(image), small(Mutation::None)).unwrap().0;
        assert_eq!(version.fault(&mut store), None, "slot {slot} was lost");
    }
    // It goes on.
    for round in 0..30 {
        let pages = (0..10).map(|at| (round * 10 + at, Some(u64::from(round) + 1))).collect();
        let step = Step { pages, operation: SnapshotOperation::None, fold: false };
        version = version.after(&step);
        version.commit(&mut store, &step).unwrap();
        assert_eq!(version.fault(&mut store), None);
    }
    let mut reopened = Store::open(memory, small(Mutation::None)).unwrap().0;
    assert_eq!(version.fault(&mut reopened), None);
}

#[test]
fn a_snapshot_that_is_read_is_not_moved() {
    let (memory, mut version) = mostly_free(6);
    let mut store = Store::open(memory, small(Mutation::None)).unwrap().0;
    let handle = store.open_snapshot("kept").unwrap();
    assert!(matches!(store.compact(&mut |_, _| {}), Err(CommitError::SnapshotInUse(name)) if name == "kept"));
    assert_eq!(version.fault(&mut store), None);
    store.close_snapshot(&handle);
    store.compact(&mut |_, _| {}).unwrap();
    let step = Step {
        pages: [(3, Some(9))].into(),
        operation: SnapshotOperation::Drop("kept".to_owned()),
        fold: true,
    };
    version = version.after(&step);
    version.commit(&mut store, &step).unwrap();
    store.fold().unwrap();
    assert_eq!(version.fault(&mut store), None);
}

#[test]
fn an_error_at_any_call_of_a_compaction_loses_nothing() {
    let (memory, version) = mostly_free(7);
    let mut calls = 0;
    for failure in [Failure::Error, Failure::Full, Failure::ShortWrite] {
        for call in 0.. {
            let copy = Arc::new(MemoryDisk::new(memory.image()));
            let disk = FailingDisk::new(Arc::clone(&copy), call + 1, failure);
            let mut store = Store::open(disk, small(Mutation::None)).unwrap().0;
            let done = store.compact(&mut |_, _| {});
            if store.is_poisoned() {
                assert!(matches!(done, Err(CommitError::Io(_))));
            } else {
                assert_eq!(version.fault(&mut store), None, "{failure:?} at call {call}");
            }
            drop(store);
            let mut store = Store::open(copy, small(Mutation::None)).unwrap().0;
            assert_eq!(version.fault(&mut store), None, "{failure:?} at call {call}");
            calls += 1;
            if done.is_ok() {
                break;
            }
            assert!(call < 500, "it never ends");
        }
    }
    assert!(calls > 30, "only {calls} calls");
}

#[test]
fn a_damaged_page_stays_where_it_is_and_so_does_all_else() {
    let (memory, _) = mostly_free(8);
    let mut store = Store::open(Arc::clone(&memory), small(Mutation::None)).unwrap().0;
    store.fold().unwrap();
    let last = store.pages().unwrap().into_iter().map(|(_, entry)| entry.block).max().unwrap();
    memory.write_at(last * BLOCK_SIZE as u64, &[&[7; BLOCK_SIZE]]).unwrap();
    assert!(matches!(store.compact(&mut |_, _| {}), Err(CommitError::Read(_))));
    assert!(!store.is_poisoned());
    assert_eq!(store.audit().unwrap().faults, Vec::<String>::new());
}
