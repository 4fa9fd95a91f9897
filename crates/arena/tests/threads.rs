//! A process that can have no more threads: an arena does without them, and loses nothing.
//!
//! The child is given default stacks that no address space holds, so each start of a thread fails there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use banyan_arena::store::StoreOptions;
use banyan_arena::{Arena, ArenaOptions, Loading};

const CHILD: &str = "BANYAN_ARENA_THREADLESS_CHILD";

fn options() -> ArenaOptions {
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.fold_blocks, store.growth_blocks) = (64, 100, 256);
    ArenaOptions {
        base: 0x2e00_0000_0000,
        reservation: 1 << 30,
        loading: Loading::Eager,
        store,
        ..ArenaOptions::default()
    }
}

fn count_in(arena: &mut Arena, value: u64) {
    *arena.boxed("n", || 0_u64).unwrap() = value;
}

#[test]
fn child_without_threads() {
    let Ok(path) = std::env::var(CHILD) else { return };
    assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a thread was started");
    let mut arena = Arena::create(Path::new(&path), options()).unwrap();
    count_in(&mut arena, 1);
    arena.commit(1, 1).unwrap();
    count_in(&mut arena, 2);
    arena.begin_commit(1, 2).unwrap();
    assert_eq!(arena.wait().unwrap().event, 2);
    arena.commit(1, 3).unwrap();
    for event in 4..=700 {
        count_in(&mut arena, event);
        match event % 3 {
            0 => arena.begin_commit(1, event).unwrap(),
            _ => drop(arena.commit(1, event).unwrap()),
        }
    }
    let store = arena.store();
    assert!(store.log_blocks() < 500, "{} blocks of log", store.log_blocks());
    assert!(store.statistics().folds > 2, "{} folds", store.statistics().folds);
    drop(store);
}

#[test]
fn without_threads_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_without_threads", "--nocapture", "--test-threads=1"])
        .env(CHILD, &path)
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let mut arena = Arena::open(&path, options()).unwrap();
    assert_eq!((arena.position().event, *arena.boxed("n", || 0_u64).unwrap()), (700, 700));
}
