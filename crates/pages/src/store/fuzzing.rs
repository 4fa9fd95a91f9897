//! Entry points for fuzzers: bytes from anywhere go through the decoders, and must be refused or read, never
//! end in a panic or an allocation beyond their size. The crate `fuzz` runs these; the test below runs
//! them on mutated arenas in every build.

use std::sync::Arc;

use super::codec::{checksum, wide_checksum};
use super::fold::{SnapshotTable, decode_dead, decode_runs};
use super::format::{META_MAGIC, Meta, RECORD_MAGIC, RecordBody, RecordHeader};
use super::free_space::FreeSpace;
use super::tree::Node;
use super::{CommitRequest, Identity, SnapshotOperation, Store, StoreOptions};
use crate::disk::{BLOCK_SIZE, Block, MemoryDisk};

/// The bytes are an arena file: opens it, reads what it can, verifies it.
pub fn open(bytes: &[u8]) {
    let mut image = bytes.to_vec();
    image.resize(bytes.len().next_multiple_of(BLOCK_SIZE), 0);
    let Ok((mut store, _)) = Store::open(MemoryDisk::new(image), StoreOptions::default()) else { return };
    let mut block = Block::ZERO;
    for (page, entry) in store.pages().unwrap_or_default().into_iter().take(64) {
        // An error is an answer as good as any.
        let _read = store.read_entry(page, entry, &mut block.0);
    }
    for info in store.snapshots() {
        if let Some(handle) = store.folded_snapshot(&info.name) {
            let _pages = store.pages_of(&handle);
        }
    }
    let _verified = store.verify(&mut |_, _| {});
}

/// The bytes are a node, a record, a meta slot, a blob, each with the checksum that it wants.
pub fn tree(bytes: &[u8]) {
    let _node = Node::decode(bytes);
    let _body = RecordBody::decode(bytes);
    let (_runs, _dead) = (decode_runs(bytes), decode_dead(bytes));
    let (_table, _space) = (SnapshotTable::decode(bytes), FreeSpace::decode_index(bytes, 1 << 20));
    let mut block = Block::ZERO;
    let length = bytes.len().min(BLOCK_SIZE);
    block.0[..length].copy_from_slice(&bytes[..length]);
    let _header = RecordHeader::decode(&block, false);
    let sum = wide_checksum(&block.0[..BLOCK_SIZE - 16]);
    block.0[BLOCK_SIZE - 16..].copy_from_slice(&sum.to_le_bytes());
    let _meta = Meta::decode(&block, true);
    let _sum = checksum(bytes);
}

/// A small arena with snapshots and a log, as a file.
///
/// # Errors
/// None on a disk in memory.
pub fn sample() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let disk = Arc::new(MemoryDisk::default());
    let options =
        StoreOptions { segment_blocks: 8, fold_blocks: 16, growth_blocks: 16, ..StoreOptions::default() };
    let identity = Identity { uuid: [3; 16], base: 1 << 44, reservation: 1 << 30 };
    let mut store = Store::create(Arc::clone(&disk), identity, options)?;
    let mut block = Block::ZERO;
    for event in 0..40_u64 {
        block.0[..8].copy_from_slice(&event.to_le_bytes());
        let operation = match event % 9 {
            4 => SnapshotOperation::Retain(format!("at {event}")),
            _ => SnapshotOperation::None,
        };
        let pages = (0..3).map(|at| ((event * 7 % 50 + at) as u32, Some(&block.0[..]))).collect();
        store.commit(&CommitRequest { event, operation, pages, ..CommitRequest::default() })?;
    }
    Ok(disk.image())
}

/// Makes the checksum of a block right again, of whichever kind the block is.
fn resign(block: &mut [u8]) {
    if block.starts_with(META_MAGIC) {
        let sum = wide_checksum(&block[..BLOCK_SIZE - 16]);
        block[BLOCK_SIZE - 16..].copy_from_slice(&sum.to_le_bytes());
    } else if block.starts_with(RECORD_MAGIC) {
        block[96..104].fill(0);
        let sum = checksum(block);
        block[96..104].copy_from_slice(&sum.to_le_bytes());
    }
}

/// An arena with some bytes changed, and the checksums of metas and records made right over them. `next`
/// gives random numbers below its argument.
pub fn mutated(whole: &[u8], next: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let blocks = bytes.len() / BLOCK_SIZE;
    for _ in 0..1 + next(4) {
        // Metas most of all: everything else hangs on them.
        let number = if next(2) == 0 { next(2) } else { next(blocks) };
        let block = &mut bytes[number * BLOCK_SIZE..(number + 1) * BLOCK_SIZE];
        let bound = if next(2) == 0 { 256 } else { BLOCK_SIZE };
        let at = next(bound);
        match next(3) {
            0 => block[at] ^= 1 << next(8),
            1 => block[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)],
            _ => {
                let at = at.min(BLOCK_SIZE - 8);
                let word = [0, u64::MAX, 1 << 52, u64::from(u32::MAX), blocks as u64][next(5)];
                block[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        resign(block);
    }
    if next(8) == 0 {
        let length = next(bytes.len());
        bytes.truncate(length);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_arenas_are_refused_or_read() {
        let whole = sample().unwrap();
        let mut seed = 5_u64;
        let mut next = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % bound
        };
        for _ in 0..3000 {
            let bytes = mutated(&whole, &mut next);
            open(&bytes);
            let start = next(bytes.len().max(1)).min(bytes.len());
            tree(&bytes[start..(start + BLOCK_SIZE).min(bytes.len())]);
        }
    }
}
