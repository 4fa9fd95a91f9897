//! Measurements, each with the bar that it is held to. Rivals run interleaved on the same disk.
//!
//! Here are the rows and their order; `store` measures the store, `rivals` has who it is compared with.

mod nouns;
mod plot;
mod rivals;
mod store;

use std::path::Path;
use std::time::Instant;

pub use self::plot::commit_plot;
use self::store::Pages;
use banyan_arena::disk::{BLOCK_SIZE, FileDiskError};
use banyan_arena::noun::CueError;
use banyan_arena::store::CommitError;
use banyan_arena::{AllocateError, Arena, ArenaError, ArenaOptions};

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Commits measured for each size.
    pub commits: usize,
    /// Pages of the heap that commits are measured on, and values that each rival keeps.
    pub heap_pages: usize,
    /// Bytes of heap that amplification and first writes are measured on.
    pub resident: usize,
    /// Bytes of nouns that live through a collection.
    pub live: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { commits: 200, heap_pages: 16_384, resident: 256 << 20, live: 1 << 30 }
    }
}

impl BenchOptions {
    /// Little of each, to see that it works; the figures mean nothing.
    #[must_use]
    pub fn quick() -> Self {
        Self { commits: 4, heap_pages: 1024, resident: 4 << 20, live: 1 << 20 }
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
    /// A rival failed.
    #[error("a rival of the bench failed")]
    Rival(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BenchError {
    pub(super) fn rival(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Rival(Box::new(error))
    }
}

/// The median time of commits of one size, of one contestant.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitPoint {
    /// Pages that each commit changed.
    pub pages: usize,
    /// Who committed: `banyan`, or the name of a rival.
    pub contestant: String,
    /// Median microseconds.
    pub median: f64,
}

/// The value below which so many of a hundred lie.
pub(super) fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or(f64::NAN)
}

/// Which measurements to take: says of a name whether it is wanted.
pub type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// Takes the measurements that are wanted in a directory, which needs 6 GiB for all of them, and reports each row as
/// it is done. Gives what was measured of commits, for [`commit_plot`](super::commit_plot).
///
/// # Errors
/// [`BenchError`]; files that were made are left to the caller's directory.
pub fn bench(
    directory: &Path,
    options: BenchOptions,
    wanted: Wanted<'_>,
    report: &mut dyn FnMut(BenchRow),
) -> Result<Vec<CommitPoint>, BenchError> {
    let is_wanted = |names: &[&str]| names.iter().any(|name| wanted(name));
    let report = &mut |row: BenchRow| {
        if wanted(row.name) {
            report(row);
        }
    };
    let mut points = Vec::new();
    if is_wanted(&["commit.k1", "commit.k16", "commit.k256", "snapshot.retain"]) {
        points = store::commits(directory, options, report)?;
    }
    if wanted("commit.stop") {
        store::stop(directory, options, report)?;
    }
    if wanted("commit.million") {
        store::million(directory, report)?;
    }
    if wanted("open.crash") {
        store::open_after_crash(directory, report)?;
    }
    if is_wanted(&["amplification", "write.first"]) {
        let path = directory.join("bench.arena");
        let mut arena = Arena::create(&path, ArenaOptions::default())?;
        let mut pages = Pages::new(&mut arena, options.resident / BLOCK_SIZE)?;
        pages.settle(&mut arena)?;
        amplification(&mut arena, &mut pages, report)?;
        first_write(&mut arena, &mut pages, report)?;
    }
    if is_wanted(&["alloc.small", "jam", "cue", "gc.step"]) {
        nouns::nouns(directory, options, wanted, report)?;
    }
    Ok(points)
}

fn amplification(
    arena: &mut Arena,
    pages: &mut Pages,
    report: &mut dyn FnMut(BenchRow),
) -> Result<(), BenchError> {
    arena.fold()?;
    let before = arena.store().statistics();
    for _ in 0..4096 {
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
