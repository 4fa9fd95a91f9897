//! A disk that is full: as long as what lives leaves room, commits go on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::explore::IDENTITY;
use super::model::{Chance, Step, Version};
use crate::disk::{BLOCK_SIZE, Disk, MemoryDisk, Room};
use crate::store::{CommitError, Mutation, SnapshotOperation, Store, StoreOptions};

/// A disk that does not grow beyond a length.
struct FullDisk {
    disk: Arc<MemoryDisk>,
    most: AtomicU64,
}

impl Disk for FullDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.disk.write_at(offset, pieces)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn length(&self) -> io::Result<u64> {
        self.disk.length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        if length > self.most.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.grow(length, room)
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        self.disk.cut(length)
    }
}

const LIVE: u32 = 120;

/// A store with so many live pages, on a disk that will not take the file beyond `most` blocks.
fn full(most: u64, mutation: Mutation) -> (Store<Arc<FullDisk>>, Version, Arc<MemoryDisk>, StoreOptions) {
    let memory = Arc::new(MemoryDisk::default());
    // The log is folded where the disk is full, and nowhere else.
    let options = StoreOptions { segment_blocks: 16, fold_blocks: 1 << 20, growth_blocks: 16, mutation };
    let most = AtomicU64::new(most * BLOCK_SIZE as u64);
    let disk = Arc::new(FullDisk { disk: Arc::clone(&memory), most });
    let mut store = Store::create(disk, IDENTITY, options).unwrap();
    let step = step((0..LIVE).collect(), 1, SnapshotOperation::None);
    let version = Version::default().after(&step);
    version.commit(&mut store, &step).unwrap();
    (store, version, memory, options)
}

fn step(pages: Vec<u32>, seed: u64, operation: SnapshotOperation) -> Step {
    let pages = pages.into_iter().map(|page| (page, Some(seed | 1))).collect();
    Step { pages, operation, fold: false }
}

fn random_pages(chance: &mut Chance) -> Vec<u32> {
    let mut pages: Vec<u32> = (0..1 + chance.below(12)).map(|_| chance.below(LIVE.into()) as u32).collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// Commits until one fails; how many did not.
fn churn(store: &mut Store<Arc<FullDisk>>, version: &mut Version, commits: usize) -> usize {
    let mut chance = Chance(11);
    for at in 0..commits {
        let step = step(random_pages(&mut chance), chance.below(1 << 30), SnapshotOperation::None);
        let next = version.after(&step);
        match next.commit(store, &step) {
            Ok(()) => *version = next,
            Err(CommitError::DiskFull { .. }) => return at,
            Err(error) => panic!("{error}"),
        }
    }
    commits
}

#[test]
fn dead_log_on_a_full_disk_is_cleared() {
    for most in [400, 450, 500, 640] {
        let (mut store, mut version, memory, options) = full(most, Mutation::None);
        assert_eq!(churn(&mut store, &mut version, 1500), 1500, "{most} blocks");
        assert_eq!(version.fault(&mut store), None);
        drop(store);
        let mut reopened = Store::open(memory, options).unwrap().0;
        assert_eq!(version.fault(&mut reopened), None);
    }
    let (mut store, mut version, ..) = full(500, Mutation::NoReserve);
    assert!(churn(&mut store, &mut version, 1500) < 1500, "without a reserve it is full for ever");
}

#[test]
fn snapshots_that_fill_a_disk_can_be_dropped() {
    let (mut store, mut version, ..) = full(640, Mutation::None);
    let mut chance = Chance(3);
    let mut names = Vec::new();
    loop {
        assert!(names.len() < 1000, "the disk is never full");
        let name = format!("s{}", names.len());
        let operation = SnapshotOperation::Retain(name.clone());
        let step = step(random_pages(&mut chance), chance.below(1 << 30), operation);
        let next = version.after(&step);
        match next.commit(&mut store, &step) {
            Ok(()) => version = next,
            Err(CommitError::DiskFull { .. }) => break,
            Err(error) => panic!("{error}"),
        }
        names.push(name);
    }
    assert!(names.len() > 10);
    for name in names {
        let step = step(Vec::new(), 1, SnapshotOperation::Drop(name));
        let next = version.after(&step);
        next.commit(&mut store, &step).unwrap();
        version = next;
    }
    assert_eq!(churn(&mut store, &mut version, 500), 500);
    assert_eq!(version.fault(&mut store), None);
}
