//! Nouns against the published vectors, and against hostile input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use banyan_arena::disk::MemoryDisk;
use banyan_arena::noun::{CueError, Noun, Nouns};
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions};
use proptest::prelude::*;

fn arena(number: u64) -> Arena<Arc<MemoryDisk>> {
    let identity = Identity { uuid: [7; 16], base: 0x1400_0000_0000 + (number << 36), reservation: 1 << 33 };
    Arena::format(Arc::new(MemoryDisk::default()), identity, ArenaOptions::default()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn jam_and_cue_are_exact() {
    let mut arena = arena(1);
    let mut nouns = Nouns::new(&mut arena);
    let [zero, one, two, three] = [0, 1, 2, 3].map(Noun::small);
    let pair = |nouns: &mut Nouns<'_, _>| nouns.tuple(&[one, two]).unwrap();
    let (a, b) = (pair(&mut nouns), pair(&mut nouns));
    let shared = nouns.tuple(&[a, b, one, two]).unwrap();
    let vectors = [
        (zero, "02"),
        (one, "0c"),
        (two, "48"),
        (nouns.tuple(&[zero, zero]).unwrap(), "29"),
        (nouns.tuple(&[one, one]).unwrap(), "3103"),
        (nouns.tuple(&[two, three]).unwrap(), "21d1"),
        (nouns.tuple(&[one, two, three]).unwrap(), "714834"),
        (shared, "c5c8262701"),
    ];
    for (noun, expected) in vectors {
        let jammed = nouns.jam(noun);
        assert_eq!(hex(&jammed), expected);
        let cued = nouns.cue(&jammed).unwrap();
        assert!(nouns.equal(cued, noun));
    }
}

#[test]
fn mugs_are_exact() {
    let mut arena = arena(2);
    let mut nouns = Nouns::new(&mut arena);
    let hello = nouns.atom_of_bytes(b"Hello, world!").unwrap();
    let atoms = [(Noun::ZERO, 0x79ff_04e8), (Noun::small(1), 0x715c_2a60), (Noun::small(2), 0x718b_9468)];
    for (noun, expected) in atoms.into_iter().chain([(hello, 0x4d44_1035)]) {
        assert_eq!(nouns.mug(noun), expected);
    }
    for (word, expected) in [(0, 0x192f_5588), (1, 0x6b32_ec46), (2, 0x02ef_fe10)] {
        let cell = nouns.tuple(&[Noun::small(word), Noun::small(word)]).unwrap();
        assert_eq!(nouns.mug(cell), expected);
    }
}

#[test]
fn sharing_does_not_explode() {
    let mut arena = arena(3);
    let mut nouns = Nouns::new(&mut arena);
    let mut build = |leaf: u32| {
        // 2^200 leaves, 200 cells.
        (0..200).fold(Noun::small(leaf), |noun, _| nouns.cell(noun, noun).unwrap())
    };
    let (left, right, other) = (build(5), build(5), build(6));
    assert!(nouns.equal(left, right));
    assert!(!nouns.equal(left, other));
    let jammed = nouns.jam(left);
    assert!(jammed.len() < 1000);
    let cued = nouns.cue(&jammed).unwrap();
    assert!(nouns.equal(cued, left));
    // A list of a million cells is deep, and no stack overflows.
    let long: Vec<Noun> = (0..1_000_000).map(Noun::small).collect();
    let list = nouns.list(&long).unwrap();
    let jammed = nouns.jam(list);
    let cued = nouns.cue(&jammed).unwrap();
    assert!(nouns.equal(cued, list));
}

#[test]
fn paths_and_addresses() {
    let mut arena = arena(4);
    let mut nouns = Nouns::new(&mut arena);
    let path = nouns.path("/home/doc/readme").unwrap();
    assert_eq!(nouns.at(path, 2).and_then(|noun| nouns.bytes(noun)).unwrap(), b"home");
    assert_eq!(nouns.at(path, 6).and_then(|noun| nouns.bytes(noun)).unwrap(), b"doc");
    assert_eq!(nouns.at(path, 15), Some(Noun::ZERO));
    assert_eq!(nouns.at(path, 0), None);
    let big = nouns.atom(u64::MAX).unwrap();
    assert_eq!(nouns.number(big), Some(u64::MAX));
}

#[test]
fn hostile_input_is_refused() {
    let mut arena = arena(5);
    let mut nouns = Nouns::new(&mut arena);
    assert_eq!(nouns.cue(&[]), Err(CueError::Truncated(0)));
    assert!(matches!(nouns.cue(&[0; 64]), Err(CueError::Length(_))));
    // A reference to itself, before anything was read.
    assert!(matches!(nouns.cue(&[0b111]), Err(CueError::Reference(0))));
    // Cells without end.
    assert!(matches!(nouns.cue(&[0b0101_0101; 1 << 16]), Err(CueError::Truncated(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cue_never_panics(inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 50)) {
        let mut arena = arena(6);
        let mut nouns = Nouns::new(&mut arena);
        for input in inputs {
            if let Ok(noun) = nouns.cue(&input) {
                let jammed = nouns.jam(noun);
                let again = nouns.cue(&jammed).unwrap();
                prop_assert!(nouns.equal(noun, again));
            }
        }
    }
}
