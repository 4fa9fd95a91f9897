//! The heap over real files: commits, rollbacks, snapshots, kills, refusals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use banyan_arena::disk::{Disk, FileDiskError, MemoryDisk, Room};
use banyan_arena::store::{CommitError, Identity, StoreOptions};
use banyan_arena::{Arena, ArenaError, ArenaOptions, DEFAULT_BASE, Loading, Tracking};

/// Each test has its own base, since they share one process.
fn options(number: u64) -> ArenaOptions {
    let mut store = StoreOptions::default();
    store.fold_blocks = 64;
    ArenaOptions {
        base: 0x1200_0000_0000 + (number << 36),
        reservation: 1 << 32,
        store,
        ..Default::default()
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 16).unwrap()
}

/// A linked list of words in the arena: the simplest thing with pointers.
fn push(arena: &mut Arena, value: u64) {
    let node = arena.allocate(layout(16)).unwrap();
    let head = arena.root("head").unwrap_or(0);
    // SAFETY: the node was just allocated with 16 bytes, aligned to 16.
    unsafe { node.cast::<[u64; 2]>().write([value, head]) };
    arena.set_root("head", node.as_ptr() as u64);
}

fn list(arena: &Arena) -> Vec<u64> {
    let mut values = Vec::new();
    let mut at = arena.root("head").unwrap_or(0);
    while at != 0 {
        let node: *const [u64; 2] = std::ptr::with_exposed_provenance(at as usize);
        assert!(arena.in_arena(node));
        // SAFETY: every address on the list is a node that `push` wrote.
        let [value, next] = unsafe { node.read() };
        values.push(value);
        at = next;
    }
    values.reverse();
    values
}

#[test]
fn what_was_committed_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list.arena");
    let mut arena = Arena::create(&path, options(1)).unwrap();
    for value in 0..1000 {
        push(&mut arena, value);
        if value % 10 == 9 {
            arena.commit(1, value).unwrap();
        }
    }
    push(&mut arena, 7777);
    drop(arena);
    let mut arena = Arena::open(&path, options(1)).unwrap();
    assert_eq!(list(&arena), (0..1000).collect::<Vec<_>>());
    assert_eq!((arena.position().epoch, arena.position().event), (1, 999));
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

#[test]
fn a_rollback_undoes_memory_roots_and_allocations() {
    let directory = tempfile::tempdir().unwrap();
    for tracking in [Tracking::WriteProtection, Tracking::Signals, Tracking::Compare] {
        let path = directory.path().join(format!("rollback-{tracking:?}.arena"));
        let mut arena = Arena::create(&path, ArenaOptions { tracking, ..options(2) }).unwrap();
        for round in 0..20_u64 {
            push(&mut arena, round);
            let large = arena.allocate(layout(3 << 20)).unwrap();
            // SAFETY: the object was just allocated with this size.
            unsafe { large.write_bytes(round as u8 + 1, 3 << 20) };
            arena.set_root("large", large.as_ptr() as u64);
            arena.commit(0, round).unwrap();
            let used = arena.used();
            for value in 0..100 {
                push(&mut arena, 1_000_000 + value);
            }
            // SAFETY: the object is live, has this layout, and is reached only through the root after this.
            unsafe { arena.free(large, layout(3 << 20)) };
            arena.rollback().unwrap();
            assert_eq!(list(&arena), (0..=round).collect::<Vec<_>>());
            assert_eq!(arena.used(), used);
            let large: *const u8 = std::ptr::with_exposed_provenance(arena.root("large").unwrap() as usize);
            // SAFETY: the rollback brought the object back.
            let bytes = unsafe { std::slice::from_raw_parts(large, 3 << 20) };
            assert!(bytes.iter().all(|byte| *byte == round as u8 + 1));
            assert!(tracking == Tracking::Compare || arena.dirty_pages().unwrap() == 0);
            // SAFETY: as above; the slice is not used any more.
            unsafe { arena.free(std::ptr::NonNull::new(large.cast_mut()).unwrap(), layout(3 << 20)) };
            arena.remove_root("large");
        }
        drop(arena);
    }
}

/// Counts the bytes that are read.
struct Counting(MemoryDisk, AtomicU64);

impl Disk for Counting {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.0.write_at(offset, pieces)
    }
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.0.write_durable_at(offset, pieces)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        self.0.grow(length, room)
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }
}

/// What opening reads after a crash follows from the records of the log and not from its bytes, nor from the
/// size of the heap.
#[test]
fn opening_reads_records_and_not_their_pages() {
    // So few that the log is not folded before, which depends on the heap's size.
    const RECORDS: u64 = 20;
    const SEGMENT: u64 = 256;
    let bytes_to_open = |number: u64, pages: u64, heap_pages: u64| {
        let mut store = StoreOptions::default();
        (store.segment_blocks, store.fold_blocks) = (SEGMENT, 1 << 30);
        let base = 0x1c00_0000_0000 + (number << 36);
        let options =
            ArenaOptions { base, reservation: 1 << 32, store, loading: Loading::Lazy, ..Default::default() };
        let disk = Arc::new(Counting(MemoryDisk::default(), AtomicU64::new(0)));
        let identity = Identity { uuid: [5; 16], base, reservation: 1 << 32 };
        let mut arena = Arena::format(Arc::clone(&disk), identity, options).unwrap();
        arena.vec::<u64>("words").unwrap().extend_from_slice(&vec![1; heap_pages as usize * 512]).unwrap();
        arena.commit(0, 0).unwrap();
        arena.fold().unwrap();
        arena.commit(0, 0).unwrap();
        arena.fold().unwrap();
        for event in 1..=RECORDS {
            let mut words = arena.vec::<u64>("words").unwrap();
            (0..pages as usize).for_each(|page| words[page * 512] = event);
            arena.commit(0, event).unwrap();
        }
        let log = arena.store().log_blocks();
        drop(arena);
        disk.1.store(0, Ordering::Relaxed);
        let arena = Arena::load(Arc::clone(&disk), options).unwrap();
        assert_eq!((arena.position().event, arena.recovery().records), (RECORDS, RECORDS));
        (disk.1.load(Ordering::Relaxed), log * 4096)
    };
    let ((small, _), (wide, log), (large, _)) =
        (bytes_to_open(1, 1, 8_000), bytes_to_open(2, 100, 8_000), bytes_to_open(3, 1, 40_000));
    // The last record's pages are read, and the rest of its segment.
    let end = (100 + SEGMENT) * 4096;
    assert!(wide <= small + end && log > 4 * end, "{wide} and {small} bytes, of {log} of log");
    assert!(large <= small + end, "{large} and {small} bytes");
}

#[test]
fn snapshots_stay_while_the_writer_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("snapshots.arena");
    let mut arena = Arena::create(&path, options(3)).unwrap();
    let object = arena.allocate(layout(64 << 10)).unwrap();
    for round in 0..30_u8 {
        // SAFETY: the object is live and has this size.
        unsafe { object.add(usize::from(round) * 1024).write_bytes(round + 1, 1024) };
        arena.snapshot(&format!("round {round}"), 0, u64::from(round)).unwrap();
    }
    assert!(matches!(arena.snapshot("round 3", 0, 0), Err(CommitError::SnapshotExists(_))));
    for round in (0..30_u8).step_by(2) {
        arena.drop_snapshot(&format!("round {round}")).unwrap();
    }
    let check = |arena: &mut Arena| {
        for round in (1..30_u8).step_by(2) {
            let snapshot = arena.open_snapshot(&format!("round {round}")).unwrap();
            assert!(matches!(
                arena.drop_snapshot(&format!("round {round}")),
                Err(CommitError::SnapshotInUse(_))
            ));
            let mut bytes = vec![0; 30 << 10];
            arena.read_snapshot(&snapshot, object.as_ptr() as usize, &mut bytes).unwrap();
            for (at, part) in bytes.chunks(1024).enumerate() {
                let expected = if at <= usize::from(round) { at as u8 + 1 } else { 0 };
                assert!(part.iter().all(|byte| *byte == expected));
            }
            // What lies outside the heap reads as zero, also at both ends of all addresses.
            for address in [0, options(3).base as usize - 1, usize::MAX - 1, usize::MAX] {
                let mut outside = [1; 2];
                arena.read_snapshot(&snapshot, address, &mut outside[..1]).unwrap();
                arena.read_snapshot(&snapshot, address, &mut outside).unwrap();
                assert_eq!(outside[0], 0, "{address:#x}");
            }
            arena.close_snapshot(&snapshot);
        }
    };
    check(&mut arena);
    let changed = arena.diff("round 1", "round 3").unwrap();
    assert_eq!(changed.len(), 1, "both rounds wrote one page: {changed:?}");
    drop(arena);
    let mut arena = Arena::open(&path, options(3)).unwrap();
    check(&mut arena);
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
}

#[test]
fn bad_input_is_refused_and_the_file_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("refused.arena");
    let mut arena = Arena::create(&path, options(4)).unwrap();
    push(&mut arena, 1);
    arena.commit(0, 1).unwrap();
    let refused = |path: &Path| Arena::open(path, options(4)).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&path), ArenaError::File { source: FileDiskError::Locked, .. }));
    let again = Arena::create(&path, options(5)).map(|_| ()).unwrap_err();
    assert!(matches!(again, ArenaError::File { source: FileDiskError::Exists, .. }));
    let copy = directory.path().join("copy.arena");
    std::fs::copy(&path, &copy).unwrap();
    assert!(matches!(refused(&copy), ArenaError::BaseTaken { .. }));
    assert!(matches!(refused(&directory.path().join("none")), ArenaError::File { .. }));
    let null = ArenaOptions { base: 0, ..options(4) };
    let at_null = Arena::create(&directory.path().join("null.arena"), null).map(drop).unwrap_err();
    assert!(at_null.to_string().contains("above 0"), "{at_null}");
    // Nor is an arena made that could not be opened here.
    let taken = Arena::create(&directory.path().join("taken.arena"), options(4)).map(drop).unwrap_err();
    assert!(matches!(taken, ArenaError::BaseTaken { .. }));
    drop(arena);
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
    assert_eq!(list(&Arena::open(&path, options(4)).unwrap()), [1]);
    let names = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 2, "a failed create leaves no file behind");
}

/// The store may be looked at more than once in an expression, also while a commit waits for it.
#[test]
fn the_store_is_borrowed_more_than_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut arena = Arena::create(&directory.path().join("twice.arena"), options(60)).unwrap();
    push(&mut arena, 1);
    for round in 1..50 {
        push(&mut arena, round);
        arena.begin_commit(0, round).unwrap();
        let (first, second) = (arena.store(), arena.store());
        // The thread may be waiting to write by now.
        std::thread::sleep(Duration::from_micros(200));
        assert_eq!(first.log_blocks(), second.log_blocks());
        assert_eq!((arena.snapshots().len(), arena.store().snapshots().len()), (0, 0));
    }
    arena.wait().unwrap();
}

/// In the child: commits without end, reporting to the parent each acknowledged event.
#[test]
fn child_of_the_kill_test() {
    use std::io::Write;
    let Ok(path) = std::env::var("BANYAN_ARENA_KILL_CHILD") else { return };
    let mut arena = Arena::open_or_create(path.as_ref(), options(6)).unwrap();
    let mut out = io::stdout();
    for event in arena.position().event + 1..1_000_000 {
        push(&mut arena, event);
        arena.commit(0, event).unwrap();
        writeln!(out, "acknowledged {event}").unwrap();
    }
}

/// Arenas of earlier builds have their heap where programs under `banyan run` have theirs: the file says
/// where, and that is where it opens.
#[test]
fn an_arena_with_the_former_default_base_still_opens() {
    const FORMER_BASE: u64 = 0x1000_0000_0000;
    assert_ne!(DEFAULT_BASE, FORMER_BASE);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("former.arena");
    let former = ArenaOptions { base: FORMER_BASE, reservation: 1 << 40, ..Default::default() };
    let mut arena = Arena::create(&path, former).unwrap();
    push(&mut arena, 7);
    arena.commit(1, 0).unwrap();
    drop(arena);
    let mut arena = Arena::open(&path, ArenaOptions::default()).unwrap();
    push(&mut arena, 8);
    arena.commit(2, 0).unwrap();
    assert_eq!(list(&arena), [7, 8]);
    assert_eq!(arena.root("head").map(|head| head >> 40), Some(FORMER_BASE >> 40));
}

/// A child is killed at random instants, first create, growth and folds included; BANYAN_ARENA_KILLS sets
/// how often.
#[test]
fn a_kill_loses_no_acknowledged_commit() {
    let rounds = std::env::var("BANYAN_ARENA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().join("killed-0.arena");
    for round in 0..rounds {
        if round % 20 == 0 {
            path = directory.path().join(format!("killed-{round}.arena"));
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_the_kill_test", "--nocapture", "--test-threads=1"])
            .env("BANYAN_ARENA_KILL_CHILD", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let lifetime = Duration::from_micros(500 + (round * 7919) % 40_000);
        while started.elapsed() < lifetime {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text
            .lines()
            .filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok())
            .next_back();
        if !path.exists() {
            assert_eq!(told, None);
            continue;
        }
        let mut arena = Arena::open(&path, options(6)).unwrap();
        let event = arena.position().event;
        assert!(told.is_none_or(|told| event == told || event == told + 1), "{event} after {told:?}");
        assert_eq!(list(&arena), (1..=event).collect::<Vec<_>>());
        assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    }
}
