//! Random programs on an arena beside the same on plain Rust values: after every step both hold the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banyan_arena::disk::MemoryDisk;
use banyan_arena::store::{Identity, StoreOptions};
use banyan_arena::{Arena, ArenaOptions, Loading, Tracking};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Allocate(usize, u8),
    Write(usize, usize, u8),
    Resize(usize, usize),
    Free(usize),
    Commit,
    Defer,
    Rollback,
    Snapshot,
    DropSnapshot(usize),
    Fold,
    Reopen(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![1..200_usize, 200..9000_usize, 9000..300_000_usize, Just(2 << 20)];
    prop_oneof![
        5 => (size.clone(), any::<u8>()).prop_map(|(size, byte)| Step::Allocate(size, byte)),
        6 => (any::<usize>(), any::<usize>(), any::<u8>()).prop_map(|(id, at, byte)| Step::Write(id, at, byte)),
        2 => (any::<usize>(), size).prop_map(|(id, size)| Step::Resize(id, size)),
        3 => any::<usize>().prop_map(Step::Free),
        4 => Just(Step::Commit),
        2 => Just(Step::Defer),
        2 => Just(Step::Rollback),
        1 => Just(Step::Snapshot),
        1 => any::<usize>().prop_map(Step::DropSnapshot),
        1 => Just(Step::Fold),
        1 => any::<u8>().prop_map(Step::Reopen),
    ]
}

/// Objects by address: what each must hold.
type Objects = BTreeMap<usize, Vec<u8>>;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

fn bytes<'a>(address: usize, length: usize) -> &'a mut [u8] {
    // SAFETY: the callers pass live objects of the arena, one at a time.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address), length) }
}

fn pick(objects: &Objects, id: usize) -> Option<usize> {
    objects.keys().nth(id % objects.len().max(1)).copied()
}

fn pointer(address: usize) -> NonNull<u8> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap()
}

static BASES: AtomicU64 = AtomicU64::new(0);

fn run(steps: Vec<Step>, tracking: Tracking) {
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.fold_blocks, store.growth_blocks) = (64, 400, 64);
    let base = 0x2c00_0000_0000 + ((BASES.fetch_add(1, Ordering::Relaxed) % 64) << 34);
    let options = ArenaOptions { base, reservation: 1 << 32, store, tracking, ..Default::default() };
    let disk = Arc::new(MemoryDisk::default());
    let identity = Identity { uuid: [1; 16], base, reservation: 1 << 32 };
    let mut arena = Arena::format(Arc::clone(&disk), identity, options).unwrap();
    let (mut present, mut committed) = (Objects::new(), Objects::new());
    let mut snapshots: BTreeMap<String, Objects> = BTreeMap::new();
    for (event, step) in (1..).zip(steps) {
        match step {
            Step::Allocate(size, byte) => {
                let address = arena.allocate(layout(size)).unwrap().as_ptr() as usize;
                bytes(address, size).fill(byte);
                assert!(present.insert(address, vec![byte; size]).is_none(), "handed out twice");
            }
            Step::Write(id, at, byte) => {
                if let Some(address) = pick(&present, id) {
                    let object = present.get_mut(&address).unwrap();
                    let at = at % object.len();
                    bytes(address, object.len())[at] = byte;
                    object[at] = byte;
                }
            }
            Step::Resize(id, size) => {
                if let Some(address) = pick(&present, id) {
                    let mut object = present.remove(&address).unwrap();
                    // SAFETY: the object is live and has this layout.
                    let moved = unsafe { arena.reallocate(pointer(address), layout(object.len()), size) };
                    let moved = moved.unwrap().as_ptr() as usize;
                    let kept = object.len().min(size);
                    bytes(moved, size)[kept..].fill(0);
                    object.resize(size, 0);
                    object[kept..].fill(0);
                    present.insert(moved, object);
                }
            }
            Step::Free(id) => {
                if let Some(address) = pick(&present, id) {
                    let object = present.remove(&address).unwrap();
                    // SAFETY: the object is live and has this layout.
                    unsafe { arena.free(pointer(address), layout(object.len())) };
                }
            }
            Step::Commit => {
                arena.commit(0, event).unwrap();
                committed = present.clone();
            }
            Step::Defer => {
                arena.begin_commit(0, event).unwrap();
                committed = present.clone();
            }
            Step::Rollback => {
                arena.rollback().unwrap();
                present = committed.clone();
            }
            Step::Snapshot => {
                let name = format!("at {event}");
                arena.snapshot(&name, 0, event).unwrap();
                committed = present.clone();
                snapshots.insert(name, present.clone());
            }
            Step::DropSnapshot(id) => {
                if let Some(name) = snapshots.keys().nth(id % snapshots.len().max(1)).cloned() {
                    arena.drop_snapshot(&name).unwrap();
                    committed = present.clone();
                    snapshots.remove(&name);
                }
            }
            Step::Fold => arena.fold().unwrap(),
            Step::Reopen(how) => {
                drop(arena);
                let lazy = how % 2 == 0 && tracking == Tracking::WriteProtection;
                let loading = if lazy { Loading::Lazy } else { Loading::Eager };
                let memory_budget = (lazy && how % 3 == 0).then_some(4 << 20);
                let options = ArenaOptions { loading, memory_budget, ..options };
                arena = Arena::load(Arc::clone(&disk), options).unwrap();
                present = committed.clone();
            }
        }
        for (address, object) in &present {
            assert!(bytes(*address, object.len()) == object.as_slice(), "after event {event}");
        }
    }
    for (name, objects) in &snapshots {
        let snapshot = arena.open_snapshot(name).unwrap();
        for (address, object) in objects {
            let mut found = vec![0; object.len()];
            arena.read_snapshot(&snapshot, *address, &mut found).unwrap();
            assert!(found == *object, "snapshot {name}");
        }
        arena.close_snapshot(&snapshot);
    }
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn write_protection_keeps_everything(steps in prop::collection::vec(step(), 1..60)) {
        run(steps, Tracking::WriteProtection);
    }

    #[test]
    fn signals_keep_everything(steps in prop::collection::vec(step(), 1..40)) {
        run(steps, Tracking::Signals);
    }
}
