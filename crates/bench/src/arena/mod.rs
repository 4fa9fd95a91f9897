//! The arena, on the disk of a directory: commits, recovery, first writes, nouns. Rivals take turns on the
//! same disk.
//!
//! Here are the rows and their order; `store` measures the store, `nouns` what needs no disk; `rivals` has
//! what the store is compared with.

#[expect(unsafe_code, reason = "small objects are allocated, written and freed inside what is timed")]
mod nouns;
mod plot;
#[cfg_attr(feature = "rivals", expect(unsafe_code, reason = "LMDB maps a file that nothing else may change"))]
mod rivals;
#[expect(unsafe_code, reason = "pages of the heap are written inside what is timed")]
mod store;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use self::plot::commit_plot;
use self::store::Pages;
use crate::plan::{Bench, Plan};
use crate::report::Report;
use crate::row::Row;
use anyhow::Context;
use banyan_arena::disk::{BLOCK_SIZE, FileDiskError};
use banyan_arena::noun::CueError;
use banyan_arena::store::CommitError;
use banyan_arena::{AllocateError, Arena, ArenaError, ArenaOptions};

/// What to measure.
#[derive(Clone, Copy, Debug)]
struct BenchOptions {
    /// Commits measured for each size.
    commits: usize,
    /// Pages of the heap that commits are measured on, and values that each rival keeps.
    heap_pages: usize,
    /// Bytes of heap that amplification and first writes are measured on.
    resident: usize,
    /// Bytes of nouns that live through a collection.
    live: usize,
    /// Cells of a noun that fits no cache.
    large_cells: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { commits: 200, heap_pages: 16_384, resident: 256 << 20, live: 1 << 30, large_cells: 4_000_000 }
    }
}

impl BenchOptions {
    /// Little of each, to see that it works; the figures mean nothing.
    fn quick() -> Self {
        Self { commits: 4, heap_pages: 1024, resident: 4 << 20, live: 1 << 20, large_cells: 10_000 }
    }
}

/// Why the bench could not go on.
#[derive(Debug, thiserror::Error)]
enum BenchError {
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
    fn rival(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Rival(Box::new(error))
    }
}

/// The median time of commits of one size, of one contestant.
#[derive(Clone, Debug, PartialEq)]
struct CommitPoint {
    /// Pages that each commit changed.
    pages: usize,
    /// Who committed: `banyan`, or the name of a rival.
    contestant: String,
    /// Median microseconds.
    median: f64,
}

/// The benches of the arena by the names of their rows.
pub(crate) fn benches() -> Vec<Bench> {
    let bench = |(name, about): &(&'static str, &'static str)| Bench { name, about };
    BENCHES.iter().map(bench).collect()
}

const BENCHES: &[(&str, &str)] = &[
    ("arena.commit.k1", "a durable commit of 1 page against each rival's"),
    ("arena.commit.k16", "a durable commit of 16 pages against each rival's"),
    ("arena.commit.k256", "a durable commit of 256 pages against each rival's"),
    ("arena.snapshot.retain", "what retaining a snapshot costs beyond its commit"),
    ("arena.commit.stop", "how long a program stands still for a deferred commit"),
    ("arena.commit.million", "one commit of a million scattered pages"),
    ("arena.open.crash", "opening an arena after a crash, with 64 MiB of log"),
    ("arena.amplification", "bytes written for each byte that was changed"),
    ("arena.write.first", "the first write to a page after a commit"),
    ("arena.alloc.small", "allocating and freeing small objects against mimalloc"),
    ("arena.jam", "writing a noun as bytes"),
    ("arena.cue", "reading a noun from bytes"),
    ("arena.jam.large", "writing a noun that fits no cache"),
    ("arena.cue.large", "reading one"),
    ("arena.gc.step", "one step of the collector of nouns"),
];

/// A directory for the files that goes when it is dropped.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        // A directory that stays behind spoils no figure.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes the measurements that are selected, and draws the plot if one is wanted.
pub(crate) fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let path = plan.directory.join(format!("banyan-arena-bench-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| {
        format!("cannot make {}; choose a directory on the disk to measure with --directory", path.display())
    })?;
    let room = Room(path);
    let mut plot = None;
    if let Some(path) = &plan.plot {
        // Before the minutes of measuring.
        let made = std::fs::File::create(path);
        plot = Some(made.with_context(|| {
            format!("cannot write {}; choose a file that can be written", path.display())
        })?);
    }
    let options = if plan.quick { BenchOptions::quick() } else { BenchOptions::default() };
    let wanted = |name: &str| plan.selection.wants(name);
    let points = bench(&room.0, options, &wanted, report).context("the bench of the arena did not end")?;
    if let Some(mut file) = plot {
        file.write_all(commit_plot(&points).as_bytes()).context("the plot could not be written")?;
    }
    Ok(())
}

/// Which rows are wanted.
type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// Takes the measurements that are wanted in a directory. Gives what was measured of commits.
fn bench(
    directory: &Path,
    options: BenchOptions,
    wanted: Wanted<'_>,
    report: &mut Report,
) -> Result<Vec<CommitPoint>, BenchError> {
    let is_wanted = |names: &[&str]| names.iter().any(|name| wanted(name));
    let announce = |report: &Report, names: &[&str]| {
        for (name, about) in BENCHES.iter().filter(|(name, _)| names.contains(name) && wanted(name)) {
            report.announce(name, about);
        }
    };
    let commits = ["arena.commit.k1", "arena.commit.k16", "arena.commit.k256", "arena.snapshot.retain"];
    let mut points = Vec::new();
    if is_wanted(&commits) {
        announce(report, &commits);
        points = store::commits(directory, options, report)?;
    }
    if wanted("arena.commit.stop") {
        announce(report, &["arena.commit.stop"]);
        store::stop(directory, options, report)?;
    }
    if wanted("arena.commit.million") {
        announce(report, &["arena.commit.million"]);
        store::million(directory, report)?;
    }
    if wanted("arena.open.crash") {
        announce(report, &["arena.open.crash"]);
        store::open_after_crash(directory, report)?;
    }
    let writes = ["arena.amplification", "arena.write.first"];
    if is_wanted(&writes) {
        announce(report, &writes);
        let path = directory.join("bench.arena");
        let mut arena = Arena::create(&path, ArenaOptions::default())?;
        let mut pages = Pages::new(&mut arena, options.resident / BLOCK_SIZE)?;
        pages.settle(&mut arena)?;
        amplification(&mut arena, &mut pages, report)?;
        first_write(&mut arena, &mut pages, report)?;
    }
    let small = [
        "arena.alloc.small",
        "arena.jam",
        "arena.cue",
        "arena.jam.large",
        "arena.cue.large",
        "arena.gc.step",
    ];
    if is_wanted(&small) {
        announce(report, &small);
        nouns::nouns(directory, options, wanted, report)?;
    }
    Ok(points)
}

fn amplification(arena: &mut Arena, pages: &mut Pages, report: &mut Report) -> Result<(), BenchError> {
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
    let row = Row::new("arena.amplification", value, "written/dirtied")
        .judged("at most 1.1 at k = 64", value <= 1.1)
        .against("the bytes that were changed", value)
        .note(format!("{} folds, {grown} bytes grown", after.folds - before.folds));
    report.add(&row);
    Ok(())
}

fn first_write(arena: &mut Arena, pages: &mut Pages, report: &mut Report) -> Result<(), BenchError> {
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
    let (name, unit, bar) = ("arena.write.first", "us", "at most 1.2 us");
    let row = Row::new(name, best, unit).judged(bar, best <= 1.2);
    report.add(&row);
    Ok(())
}
