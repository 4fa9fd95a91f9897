//! Errors of the disk at every call, and single flipped bits everywhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::explore::{IDENTITY, small};
use super::model::{Chance, Version, random_step};
use crate::disk::{Block, Disk, MemoryDisk, Room};
use crate::store::{CommitError, Mutation, OpenError, Store};

/// How the failing call fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    Error,
    Full,
    ShortWrite,
}

/// Fails one call, the n-th, and every write and sync after it if it was a write or sync.
pub(super) struct FailingDisk {
    disk: Arc<MemoryDisk>,
    left: AtomicI64,
    failure: Failure,
}

impl FailingDisk {
    /// The call fails before which there are so many others.
    pub(super) fn new(disk: Arc<MemoryDisk>, calls: i64, failure: Failure) -> Self {
        Self { disk, left: AtomicI64::new(calls), failure }
    }
    fn due(&self) -> bool {
        self.left.fetch_sub(1, Ordering::Relaxed) == 0
    }
    fn error(&self) -> io::Error {
        let kind =
            if self.failure == Failure::Full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        io::Error::new(kind, "injected")
    }
}

impl Disk for FailingDisk {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        if self.due() {
            if self.failure == Failure::ShortWrite {
                self.disk.write_at(offset, &[&pieces[0][..512]])?;
            }
            return Err(self.error());
        }
        self.disk.write_at(offset, pieces)
    }
    /// Whether a note is written matters to no commit.
    fn note_at(&self, offset: u64, block: &Block) -> io::Result<()> {
        self.disk.note_at(offset, block)
    }
    fn sync(&self) -> io::Result<()> {
        if self.due() { Err(self.error()) } else { self.disk.sync() }
    }
    fn length(&self) -> io::Result<u64> {
        self.disk.length()
    }
    fn grow(&self, length: u64, room: Room) -> io::Result<()> {
        if self.due() { Err(self.error()) } else { self.disk.grow(length, room) }
    }
    fn cut(&self, length: u64) -> io::Result<()> {
        if self.due() { Err(self.error()) } else { self.disk.cut(length) }
    }
}

/// After an error at any call the store says so, and reopens at the last good commit or at the one
/// that was under way.
#[test]
fn an_error_at_any_call_loses_nothing() {
    for failure in [Failure::Error, Failure::Full, Failure::ShortWrite] {
        for call in 0..120 {
            let memory = Arc::new(MemoryDisk::default());
            let options = small(Mutation::None);
            Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
            let disk = FailingDisk::new(Arc::clone(&memory), call + 1, failure);
            let mut store = Store::open(disk, options).unwrap().0;
            let mut chance = Chance(call as u64 + 1);
            let mut good = Version::default();
            let mut flight = None;
            for _ in 0..40 {
                let step = random_step(&mut chance, &good);
                let next = good.after(&step);
                match next.commit(&mut store, &step) {
                    Ok(()) => good = next,
                    Err(CommitError::DiskFull { .. }) => {
                        // Nothing has happened: the store goes on and holds what it held.
                        assert_eq!(good.fault(&mut store), None);
                        assert!(!store.is_poisoned());
                    }
                    Err(CommitError::Io(_)) => {
                        assert!(store.is_poisoned());
                        flight = Some(next);
                    }
                    Err(CommitError::Poisoned) => {
                        flight = flight.or(None);
                    }
                    Err(other) => panic!("{other}"),
                }
                if store.is_poisoned() {
                    let again = next_commit_is_refused(&good, &mut store, &mut chance);
                    assert!(again, "a poisoned store took a commit");
                    break;
                }
            }
            drop(store);
            let mut store = Store::open(MemoryDisk::new(memory.image()), options).unwrap().0;
            let transaction = store.position().transaction;
            let version = match flight {
                Some(flight) if flight.transaction == transaction => flight,
                _ => good,
            };
            assert_eq!(version.fault(&mut store), None, "{failure:?} at call {call}");
        }
    }
}

fn next_commit_is_refused<D: Disk>(good: &Version, store: &mut Store<D>, chance: &mut Chance) -> bool {
    let step = random_step(chance, good);
    let refused = |result| matches!(result, Err(CommitError::Poisoned));
    refused(good.after(&step).commit(store, &step)) && refused(store.fold())
}

/// Any single flipped bit is named by open, by the recovery report or by verify, or lies in a free
/// block; wrong bytes are never served.
#[test]
fn any_flipped_bit_is_found_and_named() {
    let options = small(Mutation::None);
    let memory = Arc::new(MemoryDisk::default());
    let mut store = Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
    let mut chance = Chance(5);
    let mut version = Version::default();
    for _ in 0..25 {
        let step = random_step(&mut chance, &version);
        version = version.after(&step);
        version.commit(&mut store, &step).unwrap();
    }
    assert!(store.log_blocks() > 0, "the log must have a tail for this test");
    let image = memory.image();
    let (total, _) = store.space();
    let mut named = 0;
    for block in 0..total {
        let used = store.block_is_used(block).unwrap();
        let reserved = store.block_is_reserved(block);
        for _ in 0..6 {
            let mut damaged = image.clone();
            let byte = block as usize * 4096 + chance.below(4096) as usize;
            damaged[byte] ^= 1 << chance.below(8);
            let inside = |damage: &crate::store::Damage| {
                (damage.offset..damage.offset + damage.length).contains(&(byte as u64))
            };
            match Store::open(MemoryDisk::new(damaged), options) {
                Ok((mut opened, report)) => {
                    let verified = opened.verify(&mut |_, _| {}).unwrap();
                    let found = verified.damage.iter().any(inside)
                        || report.dropped.as_ref().is_some_and(inside)
                        || report.broken_slot.as_ref().is_some_and(inside)
                        || report.broken_repeat.as_ref().is_some_and(inside)
                        || report.broken_witness.as_ref().is_some_and(inside)
                        // A list of freed blocks is only padding behind its last run.
                        || report.dropped.is_some();
                    if opened.position().transaction == version.transaction && verified.damage.is_empty() {
                        assert_eq!(version.fault(&mut opened), None);
                        assert!(
                            found || !used || reserved || opened.is_padding(byte as u64),
                            "byte {byte} of block {block} was not named"
                        );
                    } else {
                        assert!(found || opened.position().transaction + 1 == version.transaction);
                        named += 1;
                    }
                }
                Err(OpenError::Damaged(damage)) => {
                    assert!(inside(&damage), "{damage} for byte {byte}");
                    named += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(named > 100, "only {named} flips were named");
}

/// Files that are no arena, or no longer one.
#[test]
fn bad_files_are_refused_with_a_reason() {
    let options = small(Mutation::None);
    let open = |image: Vec<u8>| Store::open(MemoryDisk::new(image), options).map(|_| ()).unwrap_err();
    assert!(matches!(open(Vec::new()), OpenError::NotAnArena));
    assert!(matches!(open(vec![7; 65536]), OpenError::NotAnArena));
    let memory = Arc::new(MemoryDisk::default());
    Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
    let image = memory.image();
    assert!(matches!(open(image[..8192].to_vec()), OpenError::Truncated { .. }));
    let mut newer = image.clone();
    newer[8] = 9;
    newer[4096 + 8] = 9;
    assert!(matches!(open(newer), OpenError::UnsupportedVersion { found: 9 }));
    // Made where pages have another size: intact, and not for us.
    let mut large = image.clone();
    for slot in large[..8192].chunks_mut(4096) {
        slot[12..16].copy_from_slice(&16384_u32.to_le_bytes());
        let sum = xxhash_rust::xxh3::xxh3_128(&slot[..4080]);
        slot[4080..].copy_from_slice(&sum.to_le_bytes());
    }
    let error = open(large);
    assert!(matches!(error, OpenError::PageSize { found: 16384 }));
    assert!(error.to_string().contains("export it"), "{error}");
    let mut broken = image;
    broken[40] ^= 1;
    broken[4096 + 40] ^= 1;
    assert!(matches!(open(broken), OpenError::Damaged(_)));
}
