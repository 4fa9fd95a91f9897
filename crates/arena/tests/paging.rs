//! Lazy loading, eviction under a budget, deferred commits: the arena against a plain copy of what it must
//! hold.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::Layout;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use banyan_arena::disk::{Disk, MemoryDisk, Room};
use banyan_arena::store::{CommitError, Identity, StoreOptions};
use banyan_arena::{Arena, ArenaError, ArenaOptions, Loading, Tracking};

const PAGE: usize = 4096;

fn options(number: u64) -> ArenaOptions {
    let mut store = StoreOptions::default();
    store.fold_blocks = 512;
    ArenaOptions {
        base: 0x2000_0000_0000 + (number << 36),
        reservation: 1 << 34,
        store,
        ..Default::default()
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// One large object of words, one looked at in each page, beside a model of it.
struct Words {
    address: usize,
    model: Vec<u64>,
}

impl Words {
    fn new<D: Disk>(arena: &mut Arena<D>, pages: usize) -> Self {
        let layout = Layout::from_size_align(pages * PAGE, PAGE).unwrap();
        let address = arena.allocate(layout).unwrap().as_ptr() as usize;
        arena.set_root("words", address as u64);
        Self { address, model: vec![0; pages] }
    }
    fn word(&self, page: usize) -> *mut u64 {
        std::ptr::with_exposed_provenance_mut(self.address + page * PAGE + page % 500 * 8)
    }
    fn get(&self, page: usize) -> u64 {
        // SAFETY: the word lies in the object, which is live.
        unsafe { self.word(page).read_volatile() }
    }
    fn set(&mut self, page: usize, value: u64) {
        // SAFETY: as above.
        unsafe { self.word(page).write_volatile(value) };
        self.model[page] = value;
    }
    fn check(&self, page: usize) {
        assert_eq!(self.get(page), self.model[page], "page {page}");
    }
}

fn create_filled(path: &Path, number: u64, pages: usize) -> Words {
    let mut arena = Arena::create(path, options(number)).unwrap();
    let mut words = Words::new(&mut arena, pages);
    for page in 0..pages {
        words.set(page, page as u64 * 3 + 1);
    }
    arena.commit(1, 1).unwrap();
    words
}

fn lazy(number: u64, budget: Option<usize>) -> ArenaOptions {
    ArenaOptions { loading: Loading::Lazy, memory_budget: budget, ..options(number) }
}

#[test]
fn pages_come_when_they_are_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lazy.arena");
    let mut words = create_filled(&path, 1, 5000);
    let mut chance = Chance(1);
    for round in 0..4 {
        let mut arena = Arena::open(&path, lazy(1, None)).unwrap();
        assert!(arena.is_lazy());
        assert!(arena.pager_statistics().loaded < 100, "opening loads next to nothing");
        for _ in 0..300 {
            let page = chance.below(5000);
            words.check(page);
            if chance.below(2) == 0 {
                words.set(page, chance.0);
            }
        }
        // Not written since it came: not dirty.
        assert!(arena.dirty_pages().unwrap() <= 300);
        arena.commit(1, round).unwrap();
        (0..5000).for_each(|page| words.check(page));
        assert!(arena.pager_statistics().faults < 5000, "a walk reads ahead");
        assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    }
}

/// An arena eight times its memory budget, written and read at random, rolled back and reopened.
#[test]
fn an_arena_larger_than_its_budget() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("budget.arena");
    const PAGES: usize = 16_384;
    const BUDGET: usize = 8 << 20;
    let mut words = create_filled(&path, 2, PAGES);
    let mut chance = Chance(7);
    for round in 0..3 {
        let mut arena = Arena::open(&path, lazy(2, Some(BUDGET))).unwrap();
        for event in 0..20_u64 {
            let before = words.model.clone();
            for _ in 0..400 {
                let page = chance.below(PAGES);
                words.check(page);
                if chance.below(3) == 0 {
                    words.set(page, chance.0);
                }
            }
            match chance.below(4) {
                0 => {
                    arena.rollback().unwrap();
                    words.model = before;
                }
                1 => arena.begin_commit(round, event).unwrap(),
                _ => {
                    arena.commit(round, event).unwrap();
                }
            }
        }
        (0..PAGES).for_each(|page| words.check(page));
        arena.commit(round, 100).unwrap();
        let statistics = arena.pager_statistics();
        assert!(statistics.evicted > PAGES as u64 / 2, "{statistics:?}");
        assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    }
}

/// A thread of the program writes without pause while pages are dropped under it: no write may be lost.
#[test]
fn eviction_loses_no_write_that_races_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("race.arena");
    const PAGES: usize = 8192;
    let words = create_filled(&path, 3, PAGES);
    let mut arena = Arena::open(&path, lazy(3, Some(4 << 20))).unwrap();
    let stop = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let (words, stop) = (&words, &stop);
        let writer = scope.spawn(move || {
            // Few pages, so that the budget is never all dirt.
            let mut counts = vec![0_u64; 256];
            let mut chance = Chance(3);
            while !stop.load(Ordering::Relaxed) {
                let at = chance.below(counts.len());
                let word = words.word(at * 32);
                // SAFETY: the word lies in the object, and this thread alone touches it.
                unsafe { word.write_volatile(word.read_volatile() + 1) };
                counts[at] += 1;
            }
            counts
        });
        let mut chance = Chance(9);
        for _ in 0..30_000 {
            let page = chance.below(PAGES);
            if !page.is_multiple_of(32) {
                words.check(page);
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    for (at, count) in counts.iter().enumerate() {
        assert_eq!(words.get(at * 32), words.model[at * 32] + count);
    }
    arena.commit(0, 0).unwrap();
    assert!(arena.pager_statistics().evicted > 1000, "{:?}", arena.pager_statistics());
}

#[test]
fn freed_memory_is_zero_and_comes_back_with_a_rollback() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("freed.arena");
    let words = create_filled(&path, 4, 2048);
    let layout = Layout::from_size_align(2048 * PAGE, PAGE).unwrap();
    let mut arena = Arena::open(&path, lazy(4, None)).unwrap();
    let pointer = std::ptr::NonNull::new(words.word(0).cast::<u8>()).unwrap();
    for deferred in [false, true] {
        words.check(77);
        // SAFETY: the object was allocated with this layout; after the rollback it is again.
        unsafe { arena.free(pointer, layout) };
        assert_eq!(words.get(1000), 0, "freed pages read as zero although a commit holds them");
        assert_eq!(words.get(77), 0);
        arena.rollback().unwrap();
        (0..2048).for_each(|page| words.check(page));
        if deferred {
            // SAFETY: as above, and for good.
            unsafe { arena.free(pointer, layout) };
            arena.begin_commit(0, 9).unwrap();
            assert_eq!(words.get(500), 0, "zero too while the commit is on its way");
            arena.wait().unwrap();
            assert_eq!(words.get(501), 0);
        }
    }
    drop(arena);
    let arena = Arena::open(&path, lazy(4, None)).unwrap();
    assert_eq!(words.get(77), 0);
    drop(arena);
}

#[test]
fn deferred_commits_are_kept_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deferred.arena");
    let mut words = create_filled(&path, 5, 3000);
    let mut chance = Chance(11);
    for loading in [Loading::Eager, Loading::Lazy] {
        let mut arena = Arena::open(&path, ArenaOptions { loading, ..options(5) }).unwrap();
        for event in 0..200 {
            for _ in 0..20 {
                let page = chance.below(3000);
                words.set(page, chance.0);
            }
            arena.begin_commit(5, event).unwrap();
            // Written right after the copy was taken: part of the next commit, not of that one.
            words.set(event as usize, 1);
        }
        let position = arena.wait().unwrap().clone();
        assert_eq!((position.epoch, position.event), (5, 199));
        let last = words.model.clone();
        words.set(2999, 12345);
        arena.rollback().unwrap();
        words.model = last;
        words.model[199] = words.get(199);
        (0..3000).for_each(|page| words.check(page));
        arena.begin_commit(5, 200).unwrap();
        // Dropped with a commit under way: it is finished.
        drop(arena);
        let arena = Arena::open(&path, ArenaOptions { loading, ..options(5) }).unwrap();
        assert_eq!(arena.position().event, 200);
        (0..3000).for_each(|page| words.check(page));
    }
}

/// A disk that is full, or broken, when told.
struct Failing {
    memory: MemoryDisk,
    full: AtomicBool,
    broken: AtomicBool,
}

impl Disk for Failing {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.memory.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> std::io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("broken"));
        }
        self.memory.write_at(offset, pieces)
    }
    fn sync(&self) -> std::io::Result<()> {
        if self.broken.load(Ordering::Relaxed) { Err(std::io::Error::other("broken")) } else { Ok(()) }
    }
    fn length(&self) -> std::io::Result<u64> {
        self.memory.length()
    }
    fn grow(&self, length: u64, room: Room) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.memory.grow(length, room)
    }
    fn cut(&self, length: u64) -> std::io::Result<()> {
        self.memory.cut(length)
    }
}

#[test]
fn a_failed_deferred_commit_is_told_and_keeps_its_pages_dirty() {
    let disk = Arc::new(Failing {
        memory: MemoryDisk::default(),
        full: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    });
    let identity = Identity { uuid: [7; 16], base: options(6).base, reservation: 1 << 34 };
    let mut arena = Arena::format(Arc::clone(&disk), identity, options(6)).unwrap();
    let mut words = Words::new(&mut arena, 20_000);
    arena.commit(0, 1).unwrap();
    disk.full.store(true, Ordering::Relaxed);
    for page in 0..20_000 {
        words.set(page, 5);
    }
    arena.begin_commit(0, 2).unwrap();
    words.set(3, 6);
    // Told by the next call, whichever that is.
    let error = arena.wait().unwrap_err();
    assert!(matches!(error, CommitError::DiskFull { .. }), "{error}");
    disk.full.store(false, Ordering::Relaxed);
    assert_eq!(arena.position().event, 1);
    arena.commit(0, 3).unwrap();
    drop(arena);
    let mut arena = Arena::load(Arc::clone(&disk), options(6)).unwrap();
    (0..20_000).for_each(|page| words.check(page));
    disk.broken.store(true, Ordering::Relaxed);
    words.set(9, 9);
    arena.begin_commit(0, 4).unwrap();
    words.set(10, 10);
    assert!(matches!(arena.wait().unwrap_err(), CommitError::Io(_)));
    assert!(matches!(arena.commit(0, 5).unwrap_err(), CommitError::Poisoned));
    drop(arena);
    disk.broken.store(false, Ordering::Relaxed);
    let arena = Arena::load(Arc::clone(&disk), options(6)).unwrap();
    assert_eq!(arena.position().event, 3);
    assert_eq!((words.get(9), words.get(10)), (5, 5));
}

/// A flipped bit in a page is an error of the range that holds it, and of an eager open; it is never served.
#[test]
fn damage_is_named_before_it_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.arena");
    let words = create_filled(&path, 7, 300);
    // Out of the log: a last record that does not verify counts as one that a crash cut off.
    Arena::open(&path, options(7)).unwrap().fold().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let needle = words.model[123].to_le_bytes();
    let within = 123 * 8;
    let at = (0..bytes.len() / PAGE).map(|block| block * PAGE + within);
    let at = at.filter(|at| bytes[*at..*at + 8] == needle).collect::<Vec<_>>();
    assert_eq!(at.len(), 1);
    bytes[at[0] + 100] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let arena = Arena::open(&path, lazy(7, None)).unwrap();
    words.check(122);
    let error = arena.load_range(words.word(100) as usize, 50 * PAGE).unwrap_err();
    assert!(error.to_string().contains(&format!("bytes {}..", at[0] / PAGE * PAGE)), "{error}");
    arena.load_range(words.word(200) as usize, PAGE).unwrap();
    drop(arena);
    let eager = ArenaOptions { loading: Loading::Eager, ..options(7) };
    assert!(matches!(Arena::open(&path, eager), Err(ArenaError::Read(_))));
}

#[test]
fn explicit_tracking_keeps_what_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("explicit.arena");
    let explicit = ArenaOptions { tracking: Tracking::Explicit, ..options(8) };
    let mut arena = Arena::create(&path, explicit).unwrap();
    let mut words = Words::new(&mut arena, 100);
    let mut small = Vec::new();
    for value in 0..1000_u64 {
        let object = arena.allocate(Layout::new::<[u64; 4]>()).unwrap().cast::<u64>();
        // SAFETY: the object was just allocated with room for the word.
        unsafe { object.write(value) };
        small.push(object);
    }
    words.set(5, 55);
    arena.dirty(words.word(5), 8).unwrap();
    words.set(6, 66);
    arena.commit(0, 1).unwrap();
    drop(arena);
    let arena = Arena::open(&path, explicit).unwrap();
    assert_eq!((words.get(5), words.get(6)), (55, 0), "what was not said is not kept");
    for (value, object) in (0..1000).zip(small) {
        // SAFETY: the object was committed.
        assert_eq!(unsafe { object.read() }, value);
    }
    drop(arena);
    let refused = Arena::open(&path, ArenaOptions { memory_budget: Some(1 << 20), ..explicit });
    assert!(matches!(refused, Err(ArenaError::LazyUnavailable)));
}
