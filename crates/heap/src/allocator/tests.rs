//! The allocator beside a model: random histories, and the end of a process at every store of every change.

use super::change::{crash, roll_back};
use super::classes::SMALL_MAX;
use super::runs::{self, descriptor};
use super::*;
use crate::layout::{BITMAP_WORDS, CLASSES, GRANULE_WORDS, WORD_FRONTIER, WORD_GRANULE_TABLE, WORD_PARTIAL};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

struct Plenty;

impl Backing for Plenty {
    fn reserve_metadata(&self, _: usize, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn reserve(&self, _: Object) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: Object) -> io::Result<()> {
        Ok(())
    }
}

const GRANULES: usize = 24;
const GEOMETRY: Geometry = Geometry { granules: GRANULES };
const ALLOCATOR: Allocator<'static> = Allocator { geometry: GEOMETRY, backing: &Plenty };
const ME: Participant = Participant::new(3, 1);

fn metadata() -> Vec<AtomicU64> {
    (0..GEOMETRY.metadata_bytes() / 8).map(|_| AtomicU64::new(0)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Allocate { bytes: usize, align: usize },
    Free { offset: usize },
}

/// What a process does for an operation, change by change.
fn carry_out(words: &[AtomicU64], operation: Operation) -> Result<Option<Object>, Refused> {
    match operation {
        Operation::Allocate { bytes, align } if Allocator::is_small(bytes, align) => {
            let mut change = Change::begin(words);
            let object = ALLOCATOR.small(&mut change, bytes, align)?;
            change.commit();
            Ok(Some(object))
        }
        Operation::Allocate { bytes, .. } => {
            let mut change = Change::begin(words);
            let object = ALLOCATOR.begin_large(&mut change, bytes, ME)?;
            change.commit();
            let mut change = Change::begin(words);
            ALLOCATOR.finish_large(&mut change, object)?;
            change.commit();
            Ok(Some(object))
        }
        Operation::Free { offset } => {
            let mut change = Change::begin(words);
            let emptied = ALLOCATOR.free(&mut change, offset, ME)?;
            change.commit();
            if let Some(emptied) = emptied {
                let mut change = Change::begin(words);
                ALLOCATOR.finish_free(&mut change, emptied.offset)?;
                change.commit();
            }
            Ok(None)
        }
    }
}

/// What the next holder of the lock does after a death.
fn recover(words: &[AtomicU64]) {
    roll_back(words);
    loop {
        let mut change = Change::begin(words);
        let Some(left) = ALLOCATOR.next_abandoned(&change, |_| false).unwrap() else { break };
        ALLOCATOR.finish_free(&mut change, left.offset).unwrap();
        change.commit();
    }
}

/// Every object that the metadata knows, after it was found to be in order.
fn objects(words: &[AtomicU64]) -> BTreeMap<usize, usize> {
    let change = Change::begin(words);
    let get = |word: usize| words[word].load(Ordering::Relaxed);
    let frontier = get(WORD_FRONTIER) as usize;
    let mut found = BTreeMap::new();
    let (mut granule, mut was_free) = (0, false);
    let mut listed = vec![0; CLASSES];
    while granule < frontier {
        let kind = runs::kind(&change, granule).unwrap();
        let length = get(descriptor(granule, 1)) as usize;
        assert!(length > 0 && granule + length <= frontier, "runs fill the heap up to the frontier");
        for inner in granule + 1..granule + length - usize::from(length > 1) {
            assert_eq!(get(descriptor(inner, 0)), 0, "granule {inner} is inside of a run");
        }
        let bits = GEOMETRY.bitmaps() + granule * BITMAP_WORDS;
        let in_use: u32 = (0..BITMAP_WORDS).map(|word| get(bits + word).count_ones()).sum();
        assert!(!(was_free && kind == runs::FREE), "free neighbours are one run");
        was_free = kind == runs::FREE;
        if kind == runs::SPAN {
            let state = get(descriptor(granule, 3));
            let class = (get(descriptor(granule, 0)) >> 8) as usize;
            assert_eq!(state & 0xffff, u64::from(in_use));
            let is_full = in_use as usize == classes::objects_of_class(class);
            assert_eq!((state >> 32) & 1 == 0, is_full, "a span with room is listed");
            listed[class] += usize::from(!is_full);
            for number in (0..4096).filter(|bit| get(bits + bit / 64) >> (bit % 64) & 1 == 1) {
                let bytes = classes::size_of_class(class);
                found.insert(granule * GRANULE + number * bytes, bytes);
            }
        } else {
            assert_eq!(in_use, 0, "only spans have bits");
            if let Some((_, bytes)) = runs::large_at(&change, GEOMETRY, granule).unwrap() {
                found.insert(granule * GRANULE, bytes);
            } else {
                assert_eq!(kind, runs::FREE, "after recovery nothing is pending");
            }
        }
        granule += length;
    }
    assert!(!was_free, "what is free below the frontier is not a run");
    for unused in frontier..GRANULES {
        assert_eq!(get(WORD_GRANULE_TABLE + unused * GRANULE_WORDS), 0);
    }
    for (class, expected) in listed.into_iter().enumerate() {
        let (mut length, mut next) = (0, get(WORD_PARTIAL + class) as usize);
        while next != 0 {
            length += 1;
            assert!(length <= expected, "a list has what it should, once");
            next = (get(descriptor(next - 1, 2)) & 0xffff_ffff) as usize;
        }
        assert_eq!(length, expected);
    }
    assert_eq!(get(WORD_USED), found.values().sum::<usize>() as u64);
    found
}

fn random_operation(random: &mut fastrand::Rng, living: &BTreeMap<usize, usize>) -> Operation {
    if !living.is_empty() && random.u32(..100) < 48 {
        let number = random.usize(..living.len());
        return Operation::Free { offset: *living.keys().nth(number).unwrap() };
    }
    let bytes = match random.u32(..10) {
        0..4 => random.usize(1..200),
        4..8 => random.usize(1000..SMALL_MAX),
        _ => random.usize(SMALL_MAX..4 * GRANULE),
    };
    Operation::Allocate { bytes, align: 1 << random.u32(..8) }
}

#[test]
fn random_histories_agree_with_a_model() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let words = metadata();
        let mut living = BTreeMap::new();
        for _ in 0..1500 {
            let operation = random_operation(&mut random, &living);
            match (operation, carry_out(&words, operation)) {
                (Operation::Allocate { bytes, align }, Ok(Some(object))) => {
                    assert!(object.bytes >= bytes && object.offset.is_multiple_of(align));
                    let before = living.range(..=object.offset).next_back();
                    assert!(before.is_none_or(|(at, bytes)| at + bytes <= object.offset), "seed {seed}");
                    let after = living.range(object.offset..).next();
                    assert!(after.is_none_or(|(at, _)| *at >= object.offset + object.bytes));
                    living.insert(object.offset, object.bytes);
                }
                (Operation::Free { offset }, Ok(None)) => {
                    living.remove(&offset);
                    assert!(carry_out(&words, operation).is_err(), "freed twice is refused");
                }
                (Operation::Allocate { .. }, Err(Refused::NoRoom)) => {}
                (operation, result) => panic!("seed {seed}: {operation:?} gives {result:?}"),
            }
        }
        assert_eq!(objects(&words), living, "seed {seed}");
        for offset in living.keys() {
            carry_out(&words, Operation::Free { offset: *offset }).unwrap();
        }
        assert!(objects(&words).is_empty());
    }
}

#[test]
fn a_process_that_dies_at_any_store_leaves_the_state_before_or_after() {
    let copy = |words: &[AtomicU64]| -> Vec<AtomicU64> {
        words.iter().map(|word| AtomicU64::new(word.load(Ordering::Relaxed))).collect()
    };
    let mut points = 0;
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let words = metadata();
        for _ in 0..60 {
            let before = objects(&words);
            let operation = random_operation(&mut random, &before);
            for after in 0.. {
                let crashed = copy(&words);
                let ended = crash::after(after, || carry_out(&crashed, operation)).is_some();
                // The next holder of the lock may die in recovery too, anywhere.
                if after % 3 == 0 {
                    let _ended = crash::after(after / 3 % 9, || recover(&crashed));
                }
                recover(&crashed);
                let now = objects(&crashed);
                let is_after = match operation {
                    Operation::Free { offset } => {
                        let mut expected = before.clone();
                        expected.remove(&offset);
                        now == expected
                    }
                    Operation::Allocate { .. } => {
                        now.len() == before.len() + 1 && before.iter().all(|it| now.get(it.0) == Some(it.1))
                    }
                };
                assert!(now == before || is_after, "seed {seed}, {operation:?}, at {after}");
                points += 1;
                if ended {
                    break;
                }
                assert!(after < 10_000);
            }
            let _refused = carry_out(&words, operation);
        }
    }
    assert!(points > 5_000, "{points} places were tried");
}

#[test]
fn damage_is_an_error_and_nothing_is_touched_outside() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let words = metadata();
        let mut living = BTreeMap::new();
        for _ in 0..40 {
            let operation = random_operation(&mut random, &living);
            if let Ok(Some(object)) = carry_out(&words, operation) {
                living.insert(object.offset, object.bytes);
            }
        }
        for _ in 0..8 {
            words[random.usize(..words.len())].store(random.u64(..), Ordering::Relaxed);
            let near = WORD_GRANULE_TABLE + random.usize(..GRANULES * GRANULE_WORDS);
            words[near].store(random.u64(..64), Ordering::Relaxed);
        }
        for _ in 0..40 {
            let _any = carry_out(&words, random_operation(&mut random, &living));
        }
    }
}

/// To free such an object would give back, or clear, what is none of its.
#[test]
fn a_large_object_that_claims_more_than_its_granules_is_damage() {
    let words = metadata();
    let object = carry_out(&words, Operation::Allocate { bytes: 100_000, align: 8 }).unwrap().unwrap();
    let word = descriptor(object.offset / GRANULE, 3);
    for (bytes, is_possible) in
        [(2 * GRANULE, true), (2 * GRANULE + 1, false), (usize::MAX, false), (0, false)]
    {
        words[word].store(bytes as u64, Ordering::Relaxed);
        let change = Change::begin(&words);
        match ALLOCATOR.object(&change, object.offset) {
            Ok(found) => assert!(is_possible && found.bytes == bytes, "{found:?}"),
            Err(Refused::Damaged(damaged)) => assert!(!is_possible && damaged.word == word, "{bytes}"),
            Err(other) => panic!("{other}"),
        }
    }
}
