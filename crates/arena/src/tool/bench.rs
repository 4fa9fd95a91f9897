//! Measurements, each with the bar that it is held to. Rivals run interleaved on the same disk.
//!
//! Here the rival is the floor: a bare O_DIRECT write of the same bytes and a data sync.

use std::alloc::Layout;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::arena::{AllocateError, Arena, ArenaError, ArenaOptions};
use crate::disk::{BLOCK_SIZE, Block, Disk, FileDisk, FileDiskError};
use crate::noun::CueError;
use crate::store::CommitError;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Commits measured for each size.
    pub commits: usize,
    /// Bytes of heap that are resident for the stop time.
    pub resident: usize,
    /// Bytes of nouns that live through a collection.
    pub live: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { commits: 200, resident: 256 << 20, live: 1 << 30 }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct BenchRow {
    /// Name, such as `commit.k16`.
    pub name: &'static str,
    /// The figure, in `unit`.
    pub value: f64,
    /// Unit of the value.
    pub unit: &'static str,
    /// The value against what it is compared with; 0 if with nothing.
    pub ratio: f64,
    /// What must hold, in words.
    pub bar: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// Figures beside.
    pub detail: String,
}

impl BenchRow {
    /// The row as a JSON object on one line.
    #[must_use]
    pub fn json(&self) -> String {
        let Self { name, value, unit, ratio, bar, ok, detail } = self;
        // All texts are this module's own and hold no character that JSON escapes.
        format!(
            r#"{{"name":"{name}","value":{value:.3},"unit":"{unit}","ratio":{ratio:.3},"bar":"{bar}","ok":{ok},"detail":"{detail}"}}"#
        )
    }
}

/// Why the bench could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The arena could not be made or opened.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The arena is too small.
    #[error(transparent)]
    Allocate(#[from] AllocateError),
    /// The comparison file could not be had.
    #[error(transparent)]
    File(#[from] FileDiskError),
    /// The disk failed.
    #[error("the disk failed during the bench")]
    Io(#[from] std::io::Error),
    /// What was jammed could not be cued.
    #[error(transparent)]
    Cue(#[from] CueError),
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6
}

struct Pages {
    address: usize,
    count: usize,
    seed: u64,
}

impl Pages {
    /// Writes a word into `count` pages chosen at random.
    fn dirty(&mut self, count: usize) {
        for _ in 0..count {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.touch((self.seed >> 33) as usize % self.count);
        }
    }
    fn touch(&mut self, page: usize) {
        let word: *mut u64 = std::ptr::with_exposed_provenance_mut(self.address + page * BLOCK_SIZE);
        // SAFETY: the page lies in an object of `count` pages that `bench` allocated and nobody else uses.
        unsafe { word.write_volatile(self.seed | 1) };
    }
}

/// Measures in a directory, which needs about three times the resident bytes free, and reports each row as it is done.
///
/// # Errors
/// [`BenchError`]; files that were made are left to the caller's directory.
pub fn bench(
    directory: &Path,
    options: BenchOptions,
    report: &mut dyn FnMut(BenchRow),
) -> Result<(), BenchError> {
    let path = directory.join("bench.arena");
    let mut arena = Arena::create(&path, ArenaOptions::default())?;
    let bare = FileDisk::create(&directory.join("bench.bare"))?;
    bare.grow(257 * BLOCK_SIZE as u64, true)?;
    bare.sync()?;
    let layout = Layout::from_size_align(options.resident, BLOCK_SIZE).map_err(std::io::Error::other)?;
    let address = arena.allocate(layout)?.as_ptr() as usize;
    let mut pages = Pages { address, count: options.resident / BLOCK_SIZE, seed: 1 };
    for page in 0..pages.count {
        pages.touch(page);
    }
    arena.commit(0, 0)?;
    arena.fold()?;
    // Two rounds of overwriting, so that space is recycled and growth is over.
    for _ in 0..2 * pages.count / 1024 {
        pages.dirty(1024);
        arena.commit(0, 0)?;
    }
    let blocks = Block::zeroed(257);
    for (name, count) in [("commit.k1", 1), ("commit.k16", 16), ("commit.k256", 256)] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        let before = arena.store().statistics();
        for _ in 0..options.commits {
            pages.dirty(count);
            let started = Instant::now();
            arena.commit(0, 0)?;
            ours.push(started.elapsed());
            let started = Instant::now();
            let pieces: Vec<&[u8]> = blocks[..=count].iter().map(|block| &block.0[..]).collect();
            bare.write_at(0, &pieces)?;
            bare.sync()?;
            floor.push(started.elapsed());
        }
        let after = arena.store().statistics();
        let (value, bare_p50) = (percentile(&mut ours, 50), percentile(&mut floor, 50));
        let detail = format!(
            "p99 {:.0} us, bare {bare_p50:.0} us, written/dirtied {:.3}",
            percentile(&mut ours, 99),
            (after.bytes_written - before.bytes_written) as f64
                / (after.bytes_dirtied - before.bytes_dirtied).max(1) as f64
        );
        let ratio = value / bare_p50;
        report(BenchRow {
            name,
            value,
            unit: "us",
            ratio,
            bar: "at most 1.5 x bare",
            ok: ratio <= 1.5,
            detail,
        });
    }
    amplification(&mut arena, &mut pages, report)?;
    first_write(&mut arena, &mut pages, report)?;
    // Left unfolded on purpose: the open below has a log to replay.
    arena.fold()?;
    while arena.store().log_blocks() < (64 << 20) / BLOCK_SIZE as u64 {
        pages.dirty(512);
        arena.commit(0, 0)?;
    }
    drop(arena);
    open_after_crash(&path, report)?;
    super::bench_nouns(directory, options, report)
}

fn amplification(
    arena: &mut Arena,
    pages: &mut Pages,
    report: &mut dyn FnMut(BenchRow),
) -> Result<(), BenchError> {
    arena.fold()?;
    let before = arena.store().statistics();
    for _ in 0..2048 {
        pages.dirty(64);
        arena.commit(0, 0)?;
    }
    arena.fold()?;
    let after = arena.store().statistics();
    let written = after.bytes_written - before.bytes_written;
    let dirtied = after.bytes_dirtied - before.bytes_dirtied;
    let value = written as f64 / dirtied as f64;
    let grown = after.bytes_grown - before.bytes_grown;
    report(BenchRow {
        name: "amplification",
        value,
        unit: "written/dirtied",
        ratio: value,
        bar: "at most 1.1 at k = 64",
        ok: value <= 1.1,
        detail: format!("{} folds, {grown} bytes grown", after.folds - before.folds),
    });
    Ok(())
}

fn first_write(
    arena: &mut Arena,
    pages: &mut Pages,
    report: &mut dyn FnMut(BenchRow),
) -> Result<(), BenchError> {
    let count = pages.count.min(8192);
    let mut best = f64::MAX;
    for _ in 0..5 {
        arena.commit(0, 0)?;
        let started = Instant::now();
        for page in 0..count {
            pages.touch(page);
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / count as f64);
    }
    arena.commit(0, 0)?;
    let (name, unit, bar) = ("write.first", "us", "at most 1.2 us");
    report(BenchRow { name, value: best, unit, ratio: 0.0, bar, ok: best <= 1.2, detail: String::new() });
    Ok(())
}

fn open_after_crash(path: &Path, report: &mut dyn FnMut(BenchRow)) -> Result<(), BenchError> {
    let started = Instant::now();
    let opened = crate::store::Store::open(FileDisk::open(path)?, crate::store::StoreOptions::default());
    let (store, recovery) = opened.map_err(ArenaError::from)?;
    let value = started.elapsed().as_secs_f64() * 1e3;
    report(BenchRow {
        name: "open.crash",
        value,
        unit: "ms",
        ratio: 0.0,
        bar: "at most 50 ms",
        ok: value <= 50.0,
        detail: format!("{} records, pages not loaded: the heap loads them after", recovery.records),
    });
    drop(store);
    Ok(())
}
