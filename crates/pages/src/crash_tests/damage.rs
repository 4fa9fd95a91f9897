//! Damage to the log, which looks like its end: a header that is gone, a file that was cut. Whatever was
//! acknowledged is there, or what is in its place is named. The witnesses lag here, as they may after a power
//! cut; `wounds` has them.

use std::sync::Arc;

use super::explore::{IDENTITY, small};
use super::model::{Chance, Version, random_step};
use crate::disk::{BLOCK_SIZE, Disk, MemoryDisk};
use crate::store::{FIRST_WITNESSES, LogEnd, Mutation, OpenError, Store, StoreOptions};

/// A store whose log goes on for some segments: its image, its last commit, the headers of the log, first to
/// last, and the block at which its last segment ends.
fn logged(seed: u64, options: StoreOptions) -> (Vec<u8>, Version, Vec<u64>, u64) {
    let memory = Arc::new(MemoryDisk::default());
    let mut store = Store::create(Arc::clone(&memory), IDENTITY, options).unwrap();
    let mut chance = Chance(seed);
    let mut version = Version::default();
    for step in 0..30 {
        let change = random_step(&mut chance, &version);
        version = version.after(&change);
        version.commit(&mut store, &change).unwrap();
        if step == 9 {
            store.fold().unwrap();
        }
    }
    assert_eq!(store.audit().unwrap().faults, Vec::<String>::new());
    let headers = store.log_headers();
    assert!(headers.len() == 20, "nothing was folded in between");
    let end = store.log_end();
    (lagging(memory.image()), version, headers, end)
}

/// The file with witnesses that have heard of nothing yet.
fn lagging(mut image: Vec<u8>) -> Vec<u8> {
    let new = Arc::new(MemoryDisk::default());
    Store::create(Arc::clone(&new), IDENTITY, small(Mutation::None)).unwrap();
    let new = new.image();
    for at in FIRST_WITNESSES.map(|block| block as usize * BLOCK_SIZE) {
        image[at..at + BLOCK_SIZE].copy_from_slice(&new[at..at + BLOCK_SIZE]);
    }
    image
}

fn logging(mutation: Mutation) -> StoreOptions {
    StoreOptions { fold_blocks: 4096, ..small(mutation) }
}

/// The ways in which a block can be broken.
fn breaks(block: &mut [u8], way: u64, chance: &mut Chance) {
    match way {
        0 => block.fill(0),
        1 => block[..512].fill(0xa5),
        2 => block[512 * 7..].fill(1),
        3 => block[chance.below(8) as usize] ^= 1 << chance.below(8),
        _ => block[chance.below(BLOCK_SIZE as u64) as usize] ^= 1 << chance.below(8),
    }
}

/// What opening does to commits behind the damage: the first that are silently gone.
fn silently_gone(mutation: Mutation, seeds: u64) -> Option<String> {
    let options = logging(mutation);
    for seed in 1..=seeds {
        let (image, version, headers, _) = logged(seed, options);
        let mut chance = Chance(seed);
        for (number, header) in headers.iter().enumerate() {
            for way in 0..12 {
                let mut damaged = image.clone();
                let at = *header as usize * BLOCK_SIZE;
                breaks(&mut damaged[at..at + BLOCK_SIZE], way, &mut chance);
                let is_last = number + 1 == headers.len();
                let disk = Arc::new(MemoryDisk::new(damaged));
                if way == 4 && !is_last {
                    // A reader looks beside a writer, and sees the same.
                    let mut again = || Ok::<_, OpenError>(Arc::clone(&disk));
                    let read = Store::open_concurrently(&mut again, options, LogEnd::Checked);
                    if read.is_ok() {
                        return Some(format!("seed {seed}, header {number}: a reader took it for the end"));
                    }
                }
                match Store::open(Arc::clone(&disk), options) {
                    Err(OpenError::Damaged(damage)) if !is_last && damage.offset == at as u64 => {}
                    // The last one cannot be told from one that a crash tore, but where nothing of it is left
                    // it is not even seen.
                    Ok((_, report)) if is_last && (report.dropped.is_some() || way < 2) => {}
                    Ok((store, _)) => {
                        let found = store.position().transaction;
                        return Some(format!(
                            "seed {seed}, header {number} broken in way {way}: {found} of {}",
                            version.transaction
                        ));
                    }
                    Err(error) => return Some(format!("seed {seed}, header {number}, way {way}: {error}")),
                }
            }
        }
    }
    None
}

#[test]
fn a_broken_header_is_never_the_end_of_the_log() {
    assert_eq!(silently_gone(Mutation::None, 12), None);
    assert!(silently_gone(Mutation::SkipRepeat, 12).is_some(), "the mutant survived");
}

/// Lengths at which a cut file is opened as if it were whole.
fn cuts_not_seen(mutation: Mutation) -> Vec<u64> {
    let options = logging(mutation);
    let mut unseen = Vec::new();
    for seed in 1..=6 {
        let (image, _, _, end) = logged(seed, options);
        for blocks in 0..end {
            let cut = image[..blocks as usize * BLOCK_SIZE].to_vec();
            match Store::open(MemoryDisk::new(cut), options) {
                Err(OpenError::Truncated { found, expected }) => {
                    assert!(found == blocks * BLOCK_SIZE as u64 && expected > found);
                }
                Err(OpenError::NotAnArena) if blocks == 0 => {}
                Err(OpenError::Damaged(_) | OpenError::Io(_)) => {}
                _ => unseen.push(blocks),
            }
        }
    }
    unseen
}

#[test]
fn a_cut_file_is_never_taken_for_a_shorter_log() {
    assert_eq!(cuts_not_seen(Mutation::None), Vec::<u64>::new());
    assert!(!cuts_not_seen(Mutation::TakeCutForEnd).is_empty(), "the mutant survived");
}

/// A segment that could not hold a record beside the header behind which the log leaves it is made longer.
#[test]
fn the_shortest_segments_have_second_headers() {
    for blocks in 0..4 {
        let options =
            StoreOptions { segment_blocks: blocks, growth_blocks: blocks, ..logging(Mutation::None) };
        let (image, version, headers, _) = logged(2, options);
        for (number, header) in headers.iter().enumerate() {
            let mut damaged = image.clone();
            let at = *header as usize * BLOCK_SIZE;
            damaged[at..at + BLOCK_SIZE].fill(0);
            let opened = Store::open(MemoryDisk::new(damaged), options);
            let is_last = number + 1 == headers.len();
            let found = opened.map(|(store, _)| store.position().transaction);
            assert_eq!(found.is_ok(), is_last, "{blocks} blocks, header {number} of {}", version.transaction);
        }
    }
}

/// A process that is killed between the two headers of a record leaves one. The record counts, nothing is
/// damaged, and from the next opening on its header is there twice.
#[test]
fn a_second_header_that_a_crash_kept_from_being_written_is_written_when_the_store_is_opened() {
    let options = logging(Mutation::None);
    let (image, mut version, ..) = logged(5, options);
    let memory = Arc::new(MemoryDisk::new(image));
    let mut store = Store::open(Arc::clone(&memory), options).unwrap().0;
    let mut chance = Chance(5);
    // Until the last record is one with two headers.
    let repeat = (0..100).find_map(|_| {
        let (before, end) = (store.log_repeats(), store.log_end());
        let change = random_step(&mut chance, &version);
        version = version.after(&change);
        version.commit(&mut store, &change).unwrap();
        (store.log_repeats() > before).then_some((end - 1) as usize)
    });
    let (repeat, first) = (repeat.unwrap(), *store.log_headers().last().unwrap() as usize);
    drop(store);
    let blocks = |block: usize| block * BLOCK_SIZE..(block + 1) * BLOCK_SIZE;
    let mut torn = memory.image();
    assert!(torn[blocks(repeat)] == torn[blocks(first)], "block {repeat} repeats block {first}");
    torn[blocks(repeat)].fill(0);

    let torn = Arc::new(MemoryDisk::new(torn));
    let (mut reader, report) = Store::open_read_only(Arc::clone(&torn), options).unwrap();
    assert_eq!(reader.position().transaction, version.transaction);
    assert_eq!(report.broken_repeat.map(|damage| damage.offset), Some((repeat * BLOCK_SIZE) as u64));
    assert_eq!(reader.verify(&mut |_, _| {}).unwrap().damage, []);

    let (mut store, _) = Store::open(Arc::clone(&torn), options).unwrap();
    assert!(torn.image()[blocks(repeat)] == torn.image()[blocks(first)]);
    let change = random_step(&mut chance, &version);
    version = version.after(&change);
    version.commit(&mut store, &change).unwrap();
    assert_eq!(store.verify(&mut |_, _| {}).unwrap().damage, []);
    let mut damaged = lagging(torn.image());
    damaged[blocks(first)].fill(0);
    assert!(matches!(Store::open(MemoryDisk::new(damaged), options), Err(OpenError::Damaged(_))));
}

/// A file of version 1 has no second headers; they begin when no build of that version would take it any
/// more.
#[test]
fn an_old_file_gets_second_headers_once_both_metas_are_new() {
    let options = logging(Mutation::None);
    let (image, mut version, ..) = logged(3, options);
    let memory = Arc::new(MemoryDisk::new(image));
    // As an old build would have left it: nothing in the log, both slots of its version.
    let mut store = Store::open(Arc::clone(&memory), options).unwrap().0;
    store.fold().unwrap();
    store.write_old_metas().unwrap();
    drop(store);
    let mut store = Store::open(Arc::clone(&memory), options).unwrap().0;
    let mut chance = Chance(8);
    for round in 0..3 {
        for _ in 0..8 {
            let change = random_step(&mut chance, &version);
            version = version.after(&change);
            version.commit(&mut store, &change).unwrap();
        }
        assert_eq!(store.log_repeats() > 0, round == 2, "round {round}");
        let image = memory.image();
        let opened = Store::open(MemoryDisk::new(image), options).unwrap().0;
        assert_eq!(opened.position().transaction, version.transaction);
        store.fold().unwrap();
        assert_eq!(store.audit().unwrap().faults, Vec::<String>::new());
    }
    assert!(store.disk().length().unwrap() > 0);
}
