//! Measurements of commits, stops, snapshots and opens. Rivals take turns with the arena, commit by commit,
//! on the same disk, so that what else the disk does hits all of them alike.

use std::alloc::Layout;
use std::path::Path;
use std::time::Instant;

use super::rivals::rivals;
use super::{BenchError, BenchOptions, CommitPoint};
use crate::report::Report;
use crate::row::Row;
use crate::statistics::{median, percentile};
use banyan_arena::disk::{BLOCK_SIZE, Block};
use banyan_arena::{Arena, ArenaError, ArenaOptions, Loading};

/// Rounds, the last ones, in which a heavy rival takes part, alone.
const HEAVY_ROUNDS: usize = 5;

/// Waits until the disk has written what it holds: for some time after, everything is slow.
fn settle_disk(options: BenchOptions) {
    rustix::fs::sync();
    std::thread::sleep(std::time::Duration::from_millis(10) * options.commits as u32);
}

/// One large object in an arena, and random pages of it.
pub(super) struct Pages {
    address: usize,
    pub(super) count: usize,
    seed: u64,
}

impl Pages {
    pub(super) fn new(arena: &mut Arena, count: usize) -> Result<Self, BenchError> {
        let layout =
            Layout::from_size_align(count * BLOCK_SIZE, BLOCK_SIZE).map_err(std::io::Error::other)?;
        Ok(Self { address: arena.allocate(layout)?.as_ptr() as usize, count, seed: 1 })
    }

    pub(super) fn random(&mut self) -> usize {
        self.below(self.count)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) as usize % bound
    }

    /// Writes a word into `count` pages chosen at random.
    pub(super) fn dirty(&mut self, count: usize) {
        for _ in 0..count {
            let page = self.random();
            self.touch(page);
        }
    }

    pub(super) fn touch(&mut self, page: usize) {
        let word: *mut u64 = std::ptr::with_exposed_provenance_mut(self.address + page * BLOCK_SIZE);
        // SAFETY: the page lies in an object of `count` pages that `new` allocated and nobody else uses.
        unsafe { word.write_volatile(self.seed | 1) };
    }

    fn write(&mut self, page: usize, block: &Block) {
        let target: *mut Block = std::ptr::with_exposed_provenance_mut(self.address + page * BLOCK_SIZE);
        // SAFETY: as above; a page is aligned as a block is.
        unsafe { target.write(block.clone()) };
    }

    /// Every page written and folded, and overwritten at random twice over, so that growth is behind.
    pub(super) fn settle(&mut self, arena: &mut Arena) -> Result<(), BenchError> {
        (0..self.count).for_each(|page| self.touch(page));
        arena.commit(0, 0)?;
        arena.fold()?;
        for _ in 0..2 * self.count / 256 {
            self.dirty(256);
            arena.commit(0, 0)?;
        }
        Ok(arena.fold()?)
    }
}

/// Commits of 1, 16 and 256 pages.
pub(super) fn commits(
    directory: &Path,
    options: BenchOptions,
    report: &mut Report,
) -> Result<Vec<CommitPoint>, BenchError> {
    let mut arena = Arena::create(&directory.join("bench-commits.arena"), ArenaOptions::default())?;
    let mut pages = Pages::new(&mut arena, options.heap_pages)?;
    pages.settle(&mut arena)?;
    let mut rivals = rivals(directory, options.heap_pages)?;
    let mut points = Vec::new();
    settle_disk(options);
    let rows = [
        (1, Some("arena.commit.k1")),
        (4, None),
        (16, Some("arena.commit.k16")),
        (64, None),
        (256, Some("arena.commit.k256")),
    ];
    for (count, row) in rows {
        let (mut commit, mut event) = (Vec::new(), Vec::new());
        let mut theirs: Vec<Vec<f64>> = rivals.iter().map(|_| Vec::new()).collect();
        for round in 0..options.commits {
            // The same distinct pages for all, whole and new, made before the clock starts.
            let mut chosen = std::collections::BTreeSet::new();
            while chosen.len() < count {
                chosen.insert(pages.random() as u32);
            }
            let block = Block([round as u8 | 1; BLOCK_SIZE]);
            let chosen: Vec<(u32, Block)> = chosen.into_iter().map(|page| (page, block.clone())).collect();
            // One that writes so much that the others would wait for it comes last, alone.
            let heavy = round + HEAVY_ROUNDS.min(options.commits / 2) >= options.commits;
            // A store that comes after another finds the caches and the disk as that one has left them: so
            // the order changes, and with it who comes after whom.
            let mut order: Vec<usize> = (0..=rivals.len()).collect();
            for place in (1..order.len()).rev() {
                order.swap(place, pages.below(place + 1));
            }
            for contestant in order {
                let started = Instant::now();
                let Some(rival) = rivals.get_mut(contestant) else {
                    for (page, block) in &chosen {
                        pages.write(*page as usize, block);
                    }
                    let written = Instant::now();
                    arena.commit(0, round as u64)?;
                    commit.push(written.elapsed().as_secs_f64() * 1e6);
                    event.push(started.elapsed().as_secs_f64() * 1e6);
                    continue;
                };
                if heavy != rival.is_light() {
                    rival.commit(&chosen)?;
                    theirs[contestant].push(started.elapsed().as_secs_f64() * 1e6);
                }
            }
        }
        settle_disk(options);
        let (value, with_writes) = (median(commit.iter().copied()), median(event.iter().copied()));
        let mut detail = format!(
            "p99 {:.0} us; with the writes to the heap {with_writes:.0} us",
            percentile(commit.iter().copied(), 0.99)
        );
        let mut ok = true;
        let mut bare = value;
        let mut point = |contestant: &str, median| {
            points.push(CommitPoint { pages: count, contestant: contestant.to_owned(), median });
        };
        point("banyan", value);
        for (rival, times) in rivals.iter().zip(&mut theirs) {
            let median = median(times.iter().copied());
            point(rival.name(), median);
            detail += &format!("; {} {median:.0} us", rival.name());
            if rival.name() == "bare" {
                bare = median;
                ok &= value <= 1.5 * median;
            } else {
                // They are timed with their writes, so is the arena.
                ok &= with_writes < median;
            }
        }
        if !cfg!(feature = "rivals") {
            detail += "; no databases: build with the feature rivals to compare with LMDB, redb and SQLite";
        }
        if let Some(name) = row {
            let bar = "faster than each rival, and at most 1.5 x bare";
            let row = Row::new(name, value, "us")
                .judged(bar, ok)
                .against("one write and sync of the same bytes", value / bare)
                .note(detail);
            report.add(&row);
        }
    }
    retain(&mut arena, &mut pages, options, report)?;
    Ok(points)
}

/// What retaining a snapshot costs beyond the commit that it retains.
fn retain(
    arena: &mut Arena,
    pages: &mut Pages,
    options: BenchOptions,
    report: &mut Report,
) -> Result<(), BenchError> {
    let (mut plain, mut retained) = (Vec::new(), Vec::new());
    // A difference of some microseconds between commits of some hundred: it takes many of them, in turns.
    for round in 0..5 * options.commits {
        let name = format!("bench {round}");
        for turn in 0..2 {
            pages.dirty(4);
            let started = Instant::now();
            if (turn + round) % 2 == 0 {
                arena.commit(0, 0)?;
                plain.push(started.elapsed().as_secs_f64() * 1e6);
            } else {
                arena.snapshot(&name, 0, 0)?;
                retained.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
        arena.drop_snapshot(&name)?;
    }
    let (plain, retained) = (median(plain.iter().copied()), median(retained.iter().copied()));
    let value = retained - plain;
    let row = Row::new("arena.snapshot.retain", value, "us")
        .judged("at most 10 us beyond the commit", value <= 10.0)
        .against("the commit alone", retained / plain)
        .note(format!("medians: commit {plain:.0} us, commit and retain {retained:.0} us, of 4 pages"));
    report.add(&row);
    Ok(())
}

/// How long the program stands still for a deferred commit: 1 GiB in memory, 1 % of it dirty.
pub(super) fn stop(directory: &Path, options: BenchOptions, report: &mut Report) -> Result<(), BenchError> {
    settle_disk(options);
    let path = directory.join("bench-stop.arena");
    let mut arena = Arena::create(&path, ArenaOptions::default())?;
    let mut pages = Pages::new(&mut arena, (1 << 30) / BLOCK_SIZE)?;
    (0..pages.count).for_each(|page| pages.touch(page));
    arena.commit(0, 0)?;
    arena.fold()?;
    let (mut stops, mut whole) = (Vec::new(), Vec::new());
    for round in 0..25 {
        pages.dirty(pages.count / 100);
        let started = Instant::now();
        arena.begin_commit(0, round)?;
        let stopped = started.elapsed().as_secs_f64() * 1e3;
        arena.wait()?;
        // The first ones pay for the memory that the copies go to.
        if round >= 5 {
            stops.push(stopped);
            whole.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    let value = median(stops.iter().copied());
    let row = Row::new("arena.commit.stop", value, "ms").judged("at most 3 ms", value <= 3.0).note(format!(
        "p99 {:.2} ms; durable after {:.2} ms",
        percentile(stops.iter().copied(), 0.99),
        median(whole.iter().copied())
    ));
    report.add(&row);
    drop(arena);
    std::fs::remove_file(path)?;
    Ok(())
}

/// A million scattered pages in one event.
pub(super) fn million(directory: &Path, report: &mut Report) -> Result<(), BenchError> {
    const PAGES: usize = 1_000_000;
    let path = directory.join("bench-million.arena");
    let mut arena = Arena::create(&path, ArenaOptions::default())?;
    // Every second page of twice as many: no two of them side by side.
    let mut pages = Pages::new(&mut arena, 2 * PAGES)?;
    (0..PAGES).for_each(|page| pages.touch(2 * page));
    let mappings = std::fs::read_to_string("/proc/self/maps")?.lines().count();
    let started = Instant::now();
    arena.commit(0, 1)?;
    let value = started.elapsed().as_secs_f64();
    let after = std::fs::read_to_string("/proc/self/maps")?.lines().count().max(mappings);
    let written = arena.store().statistics();
    let row = Row::new("arena.commit.million", value, "s")
        .judged(
            "commits, with fewer than 64 mappings in the process",
            written.bytes_dirtied >= (PAGES * BLOCK_SIZE) as u64 && after < 64,
        )
        .against("the bytes that were changed", written.bytes_written as f64 / written.bytes_dirtied as f64)
        .note(format!("{after} mappings, {:.2} GB/s", written.bytes_written as f64 / value / 1e9));
    report.add(&row);
    drop(arena);
    std::fs::remove_file(path)?;
    Ok(())
}

/// The time to open an arena after a crash with 64 MiB of log, for heaps of 1 GiB and 16 GiB.
pub(super) fn open_after_crash(directory: &Path, report: &mut Report) -> Result<(), BenchError> {
    let mut figures = Vec::new();
    for (gigabytes, stride) in [(1_usize, 1), (16, 16)] {
        let path = directory.join("bench-open.arena");
        let mut arena = Arena::create(&path, ArenaOptions::default())?;
        let mut pages = Pages::new(&mut arena, (gigabytes << 30) / BLOCK_SIZE)?;
        let count = pages.count / stride;
        for page in 0..count {
            pages.touch(page * stride);
        }
        arena.commit(0, 0)?;
        arena.fold()?;
        while arena.store().log_blocks() < (64 << 20) / BLOCK_SIZE as u64 {
            for _ in 0..16 {
                let page = pages.random() % count;
                pages.touch(page * stride);
            }
            arena.commit(0, 0)?;
        }
        // As a crash leaves it: nothing is folded when an arena is dropped.
        drop(arena);
        let mut times = Vec::new();
        let mut records = 0;
        for _ in 0..5 {
            let started = Instant::now();
            let options = ArenaOptions { loading: Loading::Lazy, ..ArenaOptions::default() };
            let arena = Arena::open(&path, options).map_err(|error: ArenaError| error)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            records = arena.recovery().records;
        }
        figures.push((gigabytes, median(times.iter().copied()), records, count));
        std::fs::remove_file(&path)?;
    }
    let value = figures.iter().map(|(_, time, ..)| *time).fold(0.0, f64::max);
    let parts: Vec<String> = figures
        .iter()
        .map(|(size, time, records, count)| {
            format!("{size} GiB heap with {count} pages: {time:.1} ms, {records} records")
        })
        .collect();
    let row = Row::new("arena.open.crash", value, "ms")
        .judged(
            "at most 50 ms, the same at 1 GiB and 16 GiB",
            value <= 50.0 && figures[1].1 <= 1.5 * figures[0].1,
        )
        .against("a heap of 1 GiB", figures[1].1 / figures[0].1)
        .note(parts.join("; "));
    report.add(&row);
    Ok(())
}
