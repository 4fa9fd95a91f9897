//! One small arena of each version of the file format, as it was written when that version was new, is opened
//! by this build. A change of the format, or of the heap's layout, that cannot read it shows here.
//!
//! Each new version gets its own fixture: `BANYAN_REGENERATE=1 cargo test -p banyan-arena --test format`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use banyan_arena::noun::{FromNoun, Nouns};
use banyan_arena::store::{FORMAT_VERSION, StoreOptions};
use banyan_arena::{Arena, ArenaOptions, inspect, noun};

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/version-{version}.image"))
}

fn options() -> ArenaOptions {
    let mut store = StoreOptions::default();
    (store.segment_blocks, store.growth_blocks) = (16, 32);
    ArenaOptions { base: 0x6000_0000_0000, reservation: 64 << 20, store, ..Default::default() }
}

/// Runs of zeroes are left out, so that the fixture is small: pairs of offset and length, each followed by
/// its bytes.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = (bytes.len() as u64).to_le_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == 0 {
            at += 1;
            continue;
        }
        let zeroes = |from: usize| bytes[from..].iter().take(16).all(|byte| *byte == 0);
        let end = (at..bytes.len()).find(|end| zeroes(*end)).unwrap_or(bytes.len());
        packed.extend_from_slice(&(at as u32).to_le_bytes());
        packed.extend_from_slice(&((end - at) as u32).to_le_bytes());
        packed.extend_from_slice(&bytes[at..end]);
        at = end;
    }
    packed
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(packed[at..at + 4].try_into().unwrap()) as usize;
    let mut bytes = vec![0; u64::from_le_bytes(packed[..8].try_into().unwrap()) as usize];
    let mut at = 8;
    while at < packed.len() {
        let (offset, length) = (word(at), word(at + 4));
        bytes[offset..offset + length].copy_from_slice(&packed[at + 8..at + 8 + length]);
        at += 8 + length;
    }
    bytes
}

/// An arena with something of everything: a folded snapshot, a log, freed pages, nouns and collections.
fn make(path: &Path) {
    let mut options = options();
    // The log goes on in another segment, and again.
    options.store.segment_blocks = 4;
    let mut arena = Arena::create(path, options).unwrap();
    arena.string("text").unwrap().push_str(&format!("written by version {FORMAT_VERSION}")).unwrap();
    for number in 0..100_u64 {
        arena.map("squares").unwrap().insert(number, number * number).unwrap();
        arena.vec("list").unwrap().push(number).unwrap();
    }
    arena.snapshot("first", 1, 1).unwrap();
    arena.fold().unwrap();
    let mut nouns = Nouns::new(&mut arena);
    let noun = noun!(&mut nouns, [1 "a text of more than eight bytes" [2 3]]).unwrap();
    nouns.mug(noun);
    arena.set_root("noun", noun.word());
    arena.commit(1, 2).unwrap();
    arena.vec::<u64>("list").unwrap().truncate(10);
    arena.snapshot("second", 1, 3).unwrap();
    arena.set_root("plain", 0x1234);
    arena.commit(2, 4).unwrap();
}

#[test]
fn every_version_is_read() {
    if std::env::var_os("BANYAN_REGENERATE").is_some() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fixture.arena");
        make(&path);
        std::fs::write(fixture(FORMAT_VERSION), pack(&std::fs::read(&path).unwrap())).unwrap();
    }
    (1..=FORMAT_VERSION).for_each(read);
}

fn read(version: u32) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fixture.arena");
    std::fs::write(&path, unpack(&std::fs::read(fixture(version)).unwrap())).unwrap();
    assert_eq!(inspect::verify(&path, &mut |_, _| {}).unwrap().damage, []);
    assert_eq!(inspect::info(&path).unwrap().format_version, version);
    let mut arena = Arena::open(&path, options()).unwrap();
    let position = arena.position();
    assert_eq!((position.transaction, position.epoch, position.event), (4, 2, 4));
    assert_eq!(arena.root("plain"), Some(0x1234));
    assert_eq!(&*arena.string("text").unwrap(), format!("written by version {version}"));
    assert_eq!(&*arena.vec::<u64>("list").unwrap(), (0..10).collect::<Vec<_>>());
    let map = arena.map::<u64, u64>("squares").unwrap();
    let found: BTreeMap<u64, u64> = map.iter().map(|(key, value)| (*key, *value)).collect();
    assert_eq!(found, (0..100).map(|number| (number, number * number)).collect());
    assert!((0..100).all(|number| map.get(&number) == Some(&(number * number))), "the hash has changed");
    let word = arena.root("noun").unwrap();
    let mut nouns = Nouns::new(&mut arena);
    let noun = nouns.noun_of_word(word).unwrap();
    let found = <(u8, String, (u8, u8))>::from_noun(&nouns, noun);
    assert_eq!(found, Some((1, "a text of more than eight bytes".to_owned(), (2, 3))));
    let again = noun!(&mut nouns, [1 "a text of more than eight bytes" [2 3]]).unwrap();
    assert_eq!(nouns.mug(noun), nouns.mug(again));
    let names: Vec<String> = arena.snapshots().into_iter().map(|snapshot| snapshot.name).collect();
    assert_eq!(names, ["first", "second"]);
    assert!(!arena.diff("first", "second").unwrap().is_empty());
    assert_eq!(arena.store_mut().audit().unwrap().faults, Vec::<String>::new());
    // And it can be written on.
    arena.vec::<u64>("list").unwrap().push(10).unwrap();
    Nouns::new(&mut arena).collect_all(&[]);
    arena.commit(3, 5).unwrap();
    drop(arena);
    let mut arena = Arena::open(&path, options()).unwrap();
    assert_eq!(&*arena.vec::<u64>("list").unwrap(), (0..=10).collect::<Vec<_>>());
}
