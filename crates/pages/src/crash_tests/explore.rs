//! The explorer: workloads, crash points, crash states, recovery, oracle; and again from there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crash_disk::{Choices, CrashDisk, image_number};
use super::model::{Chance, Step, Version, random_step};
use super::recording::{CrashPoint, RecordingDisk};
use crate::disk::{BLOCK_SIZE, Block, Disk, MemoryDisk, Room};
use crate::store::{CommitError, Identity, Mutation, Store, StoreOptions};

pub(crate) const IDENTITY: Identity =
    Identity { uuid: *b"crash tests uuid", base: 1 << 44, reservation: 1 << 30 };

pub(crate) fn small(mutation: Mutation) -> StoreOptions {
    StoreOptions { segment_blocks: 8, fold_blocks: 14, growth_blocks: 16, mutation }
}

/// Bounds of an exploration.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Recoveries at one crash point, depth first.
    pub(crate) exhaustive: usize,
    /// Recoveries with random choices where that was not all.
    pub(crate) random: usize,
    /// Steps of a workload.
    pub(crate) steps: usize,
    /// Crash states of a workload from which another workload goes on.
    pub(crate) branches: usize,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) states: HashSet<u64>,
    pub(crate) points: usize,
    pub(crate) exhausted: usize,
    pub(crate) fault: Option<String>,
}

/// Recovers from one crash state and judges it. The transaction recovered, or the fault.
fn judge(
    point: &CrashPoint,
    disk: &Arc<CrashDisk>,
    versions: &[Version],
    options: StoreOptions,
) -> Result<usize, String> {
    let (mut store, _) = Store::open(Arc::clone(disk), options).map_err(|error| format!("open: {error}"))?;
    let transaction = store.position().transaction;
    let allowed = point.acknowledged..=point.acknowledged + 1;
    let found = allowed
        .filter_map(|index| Some((index, versions.get(index)?)))
        .find(|(_, version)| version.transaction == transaction);
    let Some((index, version)) = found else {
        return Err(format!(
            "recovered commit {transaction}, acknowledged {}",
            versions[point.acknowledged].transaction
        ));
    };
    match version.fault(&mut store) {
        None => Ok(index),
        Some(fault) => Err(fault),
    }
}

/// Explores every crash point of a run; gives some concrete states to go on from.
fn explore_points(
    points: Vec<CrashPoint>,
    versions: &[Version],
    options: StoreOptions,
    budget: Budget,
    chance: &mut Chance,
    tally: &mut Tally,
) -> Vec<(Vec<u8>, Version)> {
    let mut branches = Vec::new();
    for point in points.into_iter().map(Arc::new) {
        tally.points += 1;
        let base = image_number(&point.durable);
        let mut choices = Choices::default();
        let mut complete = false;
        for run in 0..budget.exhaustive + budget.random {
            if run == budget.exhaustive {
                choices = Choices { random: Some(chance.below(1 << 40)), ..Choices::default() };
            }
            let disk = Arc::new(CrashDisk::new(Arc::clone(&point), choices));
            let judged = judge(&point, &disk, versions, options);
            tally.states.insert(disk.fingerprint(base));
            let index = match judged {
                Ok(index) => index,
                Err(fault) => {
                    tally.fault = Some(fault);
                    return branches;
                }
            };
            if branches.len() < budget.branches && chance.below(97) == 0 {
                branches.push((disk.concretize(chance.below(1 << 40)), versions[index].clone()));
            }
            choices = disk.take_choices();
            if run >= budget.exhaustive {
                let seed = chance.below(1 << 40);
                choices = Choices { random: Some(seed), ..Choices::default() };
            } else if !choices.advance() {
                complete = true;
                break;
            }
        }
        tally.exhausted += usize::from(complete);
    }
    branches
}

/// Runs a random workload from an image, noting every crash point.
fn run_workload(
    image: Vec<u8>,
    start: Version,
    options: StoreOptions,
    steps: usize,
    chance: &mut Chance,
) -> Result<(Vec<CrashPoint>, Vec<Version>), String> {
    let length = image.len() as u64;
    let disk = Arc::new(RecordingDisk::new(image));
    if chance.below(3) == 0 {
        disk.fill_up(length + chance.below(24) * BLOCK_SIZE as u64);
    }
    let opened = Store::open(Arc::clone(&disk), options);
    let (mut store, _) = opened.map_err(|error| format!("open: {error}"))?;
    let mut versions = vec![start];
    for _ in 0..steps {
        if chance.below(8) == 0 {
            store = after_failed_sync(store, &disk, &mut versions, options, chance)?;
        }
        let before = &versions[versions.len() - 1];
        let step: Step = random_step(chance, before);
        let next = before.after(&step);
        versions.push(next);
        let index = versions.len() - 1;
        match versions[index].commit(&mut store, &step) {
            Ok(()) => disk.acknowledge(index),
            // Nothing of it is written, though folds may have been, to make room.
            Err(CommitError::DiskFull { .. }) => drop(versions.pop()),
            Err(error) => return Err(format!("commit: {error}")),
        }
        if step.fold && chance.below(2) == 0 {
            match store.fold() {
                Ok(()) | Err(CommitError::DiskFull { .. }) => {}
                Err(error) => return Err(format!("fold: {error}")),
            }
        } else if step.fold {
            fold_among_commits(&mut store, &disk, &mut versions, chance)?;
        }
        let index = versions.len() - 1;
        if let Some(fault) = versions[index].fault(&mut store) {
            return Err(fault);
        }
        if chance.below(10) == 0 {
            match store.compact(&mut |_, _| {}) {
                Ok(done) if done.after == disk.length().unwrap_or(0) => {}
                Ok(done) => return Err(format!("compacted to {} bytes, but not cut there", done.after)),
                Err(CommitError::DiskFull { .. }) => {}
                Err(error) => return Err(format!("compaction: {error}")),
            }
            if let Some(fault) = versions[index].fault(&mut store) {
                return Err(format!("after a compaction: {fault}"));
            }
        }
        if chance.below(6) == 0 {
            // The process is killed and starts again, with no power cut: what it wrote is not durable yet.
            drop(store);
            let opened = Store::open(Arc::clone(&disk), options);
            store = opened.map_err(|error| format!("open after a kill: {error}"))?.0;
        } else if chance.below(6) == 0 {
            // The same, killed between the write and the sync of a commit.
            let next_step = random_step(chance, &versions[index]);
            let next = versions[index].after(&next_step);
            let cut = Arc::new(KilledBeforeSync(Arc::clone(&disk), AtomicBool::new(false)));
            drop(store);
            versions.push(next);
            // It may be killed while it opens.
            if let Ok((mut doomed, _)) = Store::open(cut, options)
                && versions[index + 1].commit(&mut doomed, &next_step).is_ok()
            {
                return Err("a commit was acknowledged although no sync succeeded".to_owned());
            }
            let opened = Store::open(Arc::clone(&disk), options);
            store = opened.map_err(|error| format!("open after a kill: {error}"))?.0;
            if store.position().transaction == versions[index].transaction {
                versions.pop();
            }
            disk.acknowledge(versions.len() - 1);
        }
    }
    drop(store);
    Ok((disk.take_points(), versions))
}

/// A sync fails, the process ends, and the next one opens the file in the same boot: it reads the page cache.
fn after_failed_sync(
    mut store: Store<Arc<RecordingDisk>>,
    disk: &Arc<RecordingDisk>,
    versions: &mut Vec<Version>,
    options: StoreOptions,
    chance: &mut Chance,
) -> Result<Store<Arc<RecordingDisk>>, String> {
    disk.fail_sync(Some(chance.below(5)));
    for _ in 0..4 {
        let before = &versions[versions.len() - 1];
        let step = random_step(chance, before);
        let next = before.after(&step);
        versions.push(next);
        let index = versions.len() - 1;
        match versions[index].commit(&mut store, &step) {
            Ok(()) => disk.acknowledge(index),
            Err(CommitError::Io(_)) => break,
            Err(CommitError::DiskFull { .. }) => {
                versions.pop();
                break;
            }
            Err(error) => return Err(format!("commit: {error}")),
        }
        if chance.below(3) == 0 && store.fold().is_err() {
            break;
        }
        if store.is_poisoned() {
            break;
        }
    }
    drop(store);
    // One of the syncs of the next open may fail as well.
    disk.fail_sync((chance.below(2) == 0).then(|| chance.below(3)));
    drop(Store::open(Arc::clone(disk), options));
    disk.fail_sync(None);
    let opened = Store::open(Arc::clone(disk), options);
    let store = opened.map_err(|error| format!("open after a failed sync: {error}"))?.0;
    // A crash before this may bring back what failed: it keeps its place, and what was before it gets
    // another.
    let transaction = store.position().transaction;
    let found = versions.iter().rev().take(2).find(|version| version.transaction == transaction).cloned();
    versions.push(found.ok_or_else(|| format!("commit {transaction} after a failed sync"))?);
    disk.acknowledge(versions.len() - 1);
    Ok(store)
}

/// A fold as another thread writes it: before each of its operations on the disk there may be a commit.
fn fold_among_commits(
    store: &mut Store<Arc<RecordingDisk>>,
    disk: &Arc<RecordingDisk>,
    versions: &mut Vec<Version>,
    chance: &mut Chance,
) -> Result<(), String> {
    let work = match store.begin_fold() {
        Ok(Some(work)) => work,
        Ok(None) | Err(CommitError::DiskFull { .. }) => return Ok(()),
        Err(error) => return Err(format!("fold: {error}")),
    };
    let mut failed = None;
    let written = work.write(disk, &mut || {
        if failed.is_some() || chance.below(3) > 0 {
            return;
        }
        let before = &versions[versions.len() - 1];
        let step = random_step(chance, before);
        let next = before.after(&step);
        versions.push(next);
        let index = versions.len() - 1;
        match versions[index].commit(store, &step) {
            Ok(()) => disk.acknowledge(index),
            Err(CommitError::DiskFull { .. }) => drop(versions.pop()),
            Err(error) => failed = Some(format!("commit beside a fold: {error}")),
        }
    });
    store.finish_fold(work, written).map_err(|error| format!("fold: {error}"))?;
    failed.map_or(Ok(()), Err)
}

/// Passes writes on and fails every sync: the process dies there.
struct KilledBeforeSync(Arc<RecordingDisk>, AtomicBool);

impl KilledBeforeSync {
    fn killed(&self) -> std::io::Error {
        self.1.store(true, Ordering::Relaxed);
        std::io::Error::other("killed")
    }
}

impl Disk for KilledBeforeSync {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> std::io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Err(self.killed()) } else { self.0.write_at(offset, pieces) }
    }
    fn write_durable_at(&self, offset: u64, pieces: &[&[u8]]) -> std::io::Result<()> {
        self.write_at(offset, pieces)?;
        Err(self.killed())
    }
    fn note_at(&self, offset: u64, block: &Block) -> std::io::Result<()> {
        if self.1.load(Ordering::Relaxed) { Err(self.killed()) } else { self.0.note_at(offset, block) }
    }
    fn sync(&self) -> std::io::Result<()> {
        // Syncs of the open and of growth are passed on; the one after the record's writes is cut off.
        if self.0.window_is_empty() { self.0.sync() } else { Err(self.killed()) }
    }
    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }
    fn grow(&self, length: u64, room: Room) -> std::io::Result<()> {
        self.0.grow(length, room)
    }
    fn cut(&self, length: u64) -> std::io::Result<()> {
        self.0.cut(length)
    }
}

/// One seed: a workload from an empty store, its crash states, and workloads from some of those, to `depth`.
pub(crate) fn explore_seed(seed: u64, mutation: Mutation, budget: Budget, depth: usize, tally: &mut Tally) {
    let options = small(mutation);
    let mut chance = Chance(seed);
    let memory = Arc::new(MemoryDisk::default());
    Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
    let mut starts = vec![(memory.image(), Version::default())];
    for level in 0..depth {
        let mut next = Vec::new();
        for (image, version) in starts {
            match run_workload(image, version, options, budget.steps, &mut chance) {
                Ok((points, versions)) => {
                    next.extend(explore_points(points, &versions, options, budget, &mut chance, tally));
                }
                Err(fault) => tally.fault = Some(fault),
            }
            if let Some(fault) = &tally.fault {
                tally.fault = Some(format!("seed {seed}, depth {}: {fault}", level + 1));
                return;
            }
        }
        starts = next;
    }
}

/// Crash states to reach: a million by default, more by BANYAN_CRASH_STATES.
#[test]
fn every_crash_state_recovers() {
    let goal = std::env::var("BANYAN_CRASH_STATES").ok().and_then(|text| text.parse().ok());
    // A debug build explores a twentieth: the full run belongs to the release build.
    let goal = goal.unwrap_or(if cfg!(debug_assertions) { 50_000 } else { 1_000_000 });
    let deadline = Instant::now() + Duration::from_secs(if goal > 1_000_000 { 3600 } else { 400 });
    let budget = Budget { exhaustive: 400, random: 100, steps: 12, branches: 3 };
    let mut tally = Tally::default();
    let mut seeds = 0;
    while tally.states.len() < goal {
        assert!(Instant::now() < deadline, "only {} states within the deadline", tally.states.len());
        seeds += 1;
        explore_seed(seeds, Mutation::None, budget, 3, &mut tally);
        assert_eq!(tally.fault, None);
    }
    println!(
        "{} distinct crash states at {} crash points of {seeds} seeds, {} points exhausted",
        tally.states.len(),
        tally.points,
        tally.exhausted
    );
}

/// Where few sectors are open, every subset of old and new is built outright: the lazy choice must
/// reach the same outcomes, no more and no fewer.
#[test]
fn brute_force_agrees_on_small_windows() {
    let options = small(Mutation::None);
    let mut windows = 0;
    for seed in 1..400 {
        let mut chance = Chance(seed);
        let memory = Arc::new(MemoryDisk::default());
        Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
        let (points, versions) =
            run_workload(memory.image(), Version::default(), options, 6, &mut chance).unwrap();
        for point in points {
            let changed: Vec<u64> = point.window.sectors.keys().copied().collect();
            // Of a sector that was written over before it was durable there are more than two.
            let twice = point.window.sectors.values().any(|versions| versions.len() > 1);
            if changed.is_empty() || changed.len() > 12 || !point.window.lengths.is_empty() || twice {
                continue;
            }
            windows += 1;
            let point = Arc::new(point);
            let mut brute = BTreeSet::new();
            for subset in 0_u32..1 << changed.len() {
                let mut image = (*point.durable).clone();
                for (at, sector) in changed.iter().enumerate() {
                    if subset >> at & 1 == 1 {
                        let start = *sector as usize * 512;
                        let newest = point.window.sectors[sector].last().unwrap();
                        image[start..start + 512].copy_from_slice(newest);
                    }
                }
                let (mut store, _) = Store::open(MemoryDisk::new(image), options).unwrap();
                let transaction = store.position().transaction;
                let allowed = versions.iter().skip(point.acknowledged).take(2);
                let version = allowed.into_iter().find(|version| version.transaction == transaction).unwrap();
                assert_eq!(version.fault(&mut store), None);
                brute.insert(transaction);
            }
            let mut lazy = BTreeSet::new();
            let mut choices = Choices::default();
            loop {
                let disk = Arc::new(CrashDisk::new(Arc::clone(&point), choices));
                let index = judge(&point, &disk, &versions, options).unwrap();
                lazy.insert(versions[index].transaction);
                choices = disk.take_choices();
                if !choices.advance() {
                    break;
                }
            }
            assert_eq!(brute, lazy);
        }
        if windows >= 300 {
            return;
        }
    }
    assert!(windows >= 50, "only {windows} small windows were found");
}
