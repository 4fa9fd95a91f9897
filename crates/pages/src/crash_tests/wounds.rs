//! Wounds: runs of blocks that are gone, wherever they are in the file, and pairs of blocks far from each
//! other. Every acknowledged commit is there, or opening names what is damaged; what is read is right or is
//! named.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::explore::IDENTITY;
use super::model::{Chance, Version, page_bytes, random_step};
use crate::disk::{BLOCK_SIZE, Block, MemoryDisk};
use crate::store::{LogEnd, Mutation, OpenError, ReadError, Store, StoreOptions};

/// Lengths of wounds, in blocks.
const RUNS: [usize; 6] = [1, 2, 3, 4, 8, 16];

/// How a store has come to be what it is.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// Commits only: the log is all there is.
    Log,
    Folded,
    /// Begun by a build that knows of no witnesses.
    Upgraded,
    Compacted,
}

/// A store's file, and what it was like some times before.
struct Past {
    image: Vec<u8>,
    before: Vec<Vec<u8>>,
    version: Version,
}

fn options(mutation: Mutation) -> StoreOptions {
    StoreOptions { segment_blocks: 12, fold_blocks: 4096, growth_blocks: 16, mutation }
}

fn lived(life: Life, options: StoreOptions) -> Past {
    let memory = Arc::new(MemoryDisk::default());
    let mut store = Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
    if matches!(life, Life::Upgraded) {
        store.write_old_metas().unwrap();
        store = Store::open(Arc::clone(&memory), options).unwrap().0;
    }
    let mut chance = Chance(life as u64 + 5);
    let mut version = Version::default();
    let mut before = Vec::new();
    for step in 0..40 {
        let change = random_step(&mut chance, &version);
        version = version.after(&change);
        version.commit(&mut store, &change).unwrap();
        match (life, step) {
            (Life::Folded | Life::Upgraded, 6 | 12 | 18 | 24) => store.fold().unwrap(),
            (Life::Compacted, 20) => drop(store.compact(&mut |_, _| {}).unwrap()),
            _ => {}
        }
        if step % 9 == 8 {
            before.push(memory.image());
        }
    }
    assert_eq!(store.audit().unwrap().faults, Vec::<String>::new());
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().damage, []);
    Past { image: memory.image(), before, version }
}

/// The ways in which a run of blocks is lost: zeroes, ones, noise, and what was there some time before.
fn wound(image: &mut [u8], at: usize, blocks: usize, way: usize, past: &Past) {
    let range = at * BLOCK_SIZE..(at + blocks) * BLOCK_SIZE;
    match way {
        0 => image[range].fill(0),
        1 => image[range].fill(0xff),
        2 => {
            let mut chance = Chance(at as u64);
            for word in image[range].as_chunks_mut::<4>().0 {
                *word = (chance.below(1 << 32) as u32).to_le_bytes();
            }
        }
        _ => {
            let old = &past.before[way - 3];
            let end = range.end.min(old.len());
            if range.start < end {
                image[range.start..end].copy_from_slice(&old[range.start..end]);
            }
        }
    }
}

/// What is silently wrong with a store that has these wounds.
fn silence(past: &Past, wounds: &[(usize, usize)], way: usize, options: StoreOptions) -> Option<String> {
    let mut image = past.image.clone();
    for (at, blocks) in wounds {
        wound(&mut image, *at, *blocks, way, past);
    }
    let disk = Arc::new(MemoryDisk::new(image));
    let (store, _) = match Store::open_read_only(Arc::clone(&disk), options) {
        Ok(opened) => opened,
        Err(OpenError::Damaged(_) | OpenError::Truncated { .. }) => return None,
        // Without both slots nothing says that it ever was one.
        Err(OpenError::NotAnArena)
            if wounds.iter().map(|(at, blocks)| at + blocks.min(&2)).sum::<usize>() <= 3 =>
        {
            return None;
        }
        Err(error) => return Some(format!("{wounds:?}, way {way}: {error}")),
    };
    let found = store.position().transaction;
    if found != past.version.transaction {
        return Some(format!("{wounds:?}, way {way}: opened at {found} of {}", past.version.transaction));
    }
    let Ok(pages) = store.pages() else { return None };
    let expected: Vec<u32> = past.version.pages.keys().copied().collect();
    if !pages.iter().map(|(page, _)| *page).eq(expected) {
        return Some(format!("{wounds:?}, way {way}: other pages"));
    }
    for (page, entry) in pages {
        let mut block = Block::ZERO;
        match store.read_entry(page, entry, &mut block.0) {
            Ok(()) if block.0 == page_bytes(page, past.version.pages[&page]).0 => {}
            Err(ReadError::Damaged(_)) => {}
            read => return Some(format!("{wounds:?}, way {way}: page {page}: {read:?}")),
        }
    }
    None
}

/// Blocks of which the state hangs as a whole: slots, witnesses, headers and their copies.
fn heads(past: &Past) -> Vec<usize> {
    let magics: [&[u8]; 3] = [b"BANYARNA", b"BANYRECD", b"BANYWITN"];
    let blocks = past.image.chunks(BLOCK_SIZE).enumerate();
    let heads = blocks.filter(|(_, block)| magics.iter().any(|magic| block.starts_with(magic)));
    heads.map(|(at, _)| at).collect()
}

fn silent_wounds(mutation: Mutation) -> Vec<String> {
    let options = options(mutation);
    let mut silent = Vec::new();
    for life in [Life::Log, Life::Folded, Life::Upgraded, Life::Compacted] {
        let past = lived(life, options);
        let blocks = past.image.len() / BLOCK_SIZE;
        let ways = 3 + past.before.len();
        let mut judge = |wounds: &[(usize, usize)], way| {
            silent.extend(silence(&past, wounds, way, options).map(|found| format!("{life:?}: {found}")));
        };
        for length in RUNS {
            for at in 0..=blocks - length {
                (0..ways).for_each(|way| judge(&[(at, length)], way));
            }
        }
        let heads = heads(&past);
        for (number, at) in heads.iter().enumerate() {
            for other in &heads[number + 1..] {
                (0..ways).for_each(|way| judge(&[(*at, 1), (*other, 1)], way));
            }
        }
    }
    silent
}

#[test]
fn a_wound_of_any_sixteen_blocks_or_of_any_two_is_silent_nowhere() {
    assert_eq!(silent_wounds(Mutation::None), Vec::<String>::new());
    let silent = silent_wounds(Mutation::SkipWitness);
    let lives: BTreeSet<&str> = silent.iter().filter_map(|found| found.split(':').next()).collect();
    assert_eq!(lives.len(), 4, "the mutant survived: {lives:?}");
}

/// A file that has its length and its slots, but zeroes from somewhere on, as file systems may leave it.
#[test]
fn a_file_whose_end_is_zeroes_is_named() {
    let options = options(Mutation::None);
    for life in [Life::Log, Life::Folded, Life::Compacted] {
        let past = lived(life, options);
        let blocks = past.image.len() / BLOCK_SIZE;
        let used =
            past.image.chunks(BLOCK_SIZE).rposition(|block| block.iter().any(|byte| *byte != 0)).unwrap();
        for at in 1..=used {
            assert_eq!(silence(&past, &[(at, blocks - at)], 0, options), None);
        }
    }
}

/// A reader beside a writer sees what is damaged, too, unless the newest commits are nothing to it.
#[test]
fn a_reader_beside_the_writer_is_told_of_a_lost_end() {
    let options = options(Mutation::None);
    let mut past = lived(Life::Folded, options);
    let last = heads(&past).into_iter().filter(|at| past.image[at * BLOCK_SIZE..].starts_with(b"BANYRECD"));
    let number = |at: &usize| u64::from_le_bytes(*past.image[at * BLOCK_SIZE + 24..].first_chunk().unwrap());
    // It may be there twice.
    for at in last.filter(|at| number(at) == past.version.transaction).collect::<Vec<_>>() {
        past.image[at * BLOCK_SIZE..][..BLOCK_SIZE].fill(0);
    }
    let disk = Arc::new(MemoryDisk::new(past.image));
    let open = |end| Store::open_concurrently(&mut || Ok::<_, OpenError>(Arc::clone(&disk)), options, end);
    assert!(matches!(open(LogEnd::Checked), Err(OpenError::Damaged(_))));
    let found = open(LogEnd::Taken).unwrap().0.position().transaction;
    assert_eq!(found + 1, past.version.transaction);
}

/// A broken witness costs nothing while the other one is whole, and is whole again once the store was open
/// for writing.
#[test]
fn a_broken_witness_is_named_and_written_again() {
    let options = options(Mutation::None);
    let past = lived(Life::Folded, options);
    for at in heads(&past).into_iter().filter(|at| past.image[at * BLOCK_SIZE..].starts_with(b"BANYWITN")) {
        let mut image = past.image.clone();
        image[at * BLOCK_SIZE + 30] ^= 4;
        let disk = Arc::new(MemoryDisk::new(image));
        let (mut store, report) = Store::open_read_only(Arc::clone(&disk), options).unwrap();
        let offset = (at * BLOCK_SIZE) as u64;
        assert_eq!(report.broken_witness.map(|damage| damage.offset), Some(offset));
        let damage = store.verify(&mut |_, _| {}).unwrap().damage;
        assert_eq!(damage.iter().map(|damage| damage.offset).collect::<Vec<_>>(), [offset]);
        drop(Store::open(Arc::clone(&disk), options).unwrap());
        assert!(disk.image()[at * BLOCK_SIZE..][..BLOCK_SIZE] == past.image[at * BLOCK_SIZE..][..BLOCK_SIZE]);
    }
}
