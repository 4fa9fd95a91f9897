//! Nouns against the published vectors, and against hostile input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banyan_arena::disk::MemoryDisk;
use banyan_arena::noun;
use banyan_arena::noun::{CueError, FromNoun, Noun, NounText, Nouns, ToNoun};
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
fn the_macro_builds_what_it_says() {
    let mut arena = arena(7);
    let mut nouns = Nouns::new(&mut arena);
    let x = 40_u64;
    let noun = noun!(&mut nouns, [1 [2 "three"] (x + 2) ~]).unwrap();
    let [one, two, forty_two] = [1, 2, 42].map(Noun::small);
    let three = nouns.atom_of_bytes(b"three").unwrap();
    let pair = nouns.tuple(&[two, three]).unwrap();
    let expected = nouns.tuple(&[one, pair, forty_two, Noun::ZERO]).unwrap();
    assert!(nouns.equal(noun, expected));
    let atom = noun!(&mut nouns, 7).unwrap();
    assert_eq!(atom, Noun::small(7));
    let shared = noun!(&mut nouns, [[1 2] [1 2] 1 2]).unwrap();
    assert_eq!(hex(&nouns.jam(shared)), "c5c8262701");
}

fn there_and_back<T: ToNoun + FromNoun + PartialEq + std::fmt::Debug>(
    nouns: &mut Nouns<'_, Arc<MemoryDisk>>,
    value: T,
) {
    let noun = value.to_noun(nouns).unwrap();
    assert_eq!(T::from_noun(nouns, noun), Some(value));
}

#[test]
fn rust_values_come_back() {
    let mut arena = arena(8);
    let mut nouns = Nouns::new(&mut arena);
    there_and_back(&mut nouns, 0_u8);
    there_and_back(&mut nouns, u64::MAX);
    there_and_back(&mut nouns, (1_u64 << 63) - 1);
    there_and_back(&mut nouns, 1_u64 << 63);
    there_and_back(&mut nouns, u128::MAX);
    there_and_back(&mut nouns, "a text that is no direct atom".to_owned());
    there_and_back(&mut nouns, String::new());
    there_and_back(&mut nouns, [true, false].to_vec());
    there_and_back(&mut nouns, (1_u32, "two".to_owned(), vec![3_u64; 3]));
    there_and_back(&mut nouns, vec![Some(0_u8), None, Some(2)]);
    let deep: Vec<u32> = (0..1_000_000).collect();
    there_and_back(&mut nouns, deep);
    // Wrong shapes are refused, not cut.
    let noun = noun!(&mut nouns, [256 0]).unwrap();
    assert_eq!(u8::from_noun(&nouns, noun), None);
    assert_eq!(Vec::<u8>::from_noun(&nouns, noun), None);
    assert_eq!(Vec::<u16>::from_noun(&nouns, noun), Some(vec![256]));
    assert_eq!(bool::from_noun(&nouns, Noun::small(2)), None);
    assert_eq!(<(u8, u8, u8)>::from_noun(&nouns, noun), None);
    let not_text = nouns.atom_of_bytes(&[0xff, 0xfe]).unwrap();
    assert_eq!(String::from_noun(&nouns, not_text), None);
}

/// Deep to the left and to the right: nothing here recurses, so the thread's stack does not matter.
#[test]
fn depth_needs_no_stack() {
    let work = || {
        let mut arena = arena(9);
        let mut nouns = Nouns::new(&mut arena);
        for left in [false, true] {
            let mut build = || {
                (0..300_000).fold(Noun::small(1), |noun, at| {
                    let leaf = Noun::small(at % 100);
                    if left { nouns.cell(noun, leaf) } else { nouns.cell(leaf, noun) }.unwrap()
                })
            };
            let (one, other) = (build(), build());
            assert_eq!(nouns.mug(one), nouns.mug(other));
            assert!(nouns.equal(one, other));
            let jammed = nouns.jam(one);
            let cued = nouns.cue(&jammed).unwrap();
            assert!(nouns.equal(cued, one));
            let report = nouns.collect_all(&[one]);
            assert_eq!(report.reached, 300_000);
        }
    };
    std::thread::Builder::new().stack_size(64 << 10).spawn(work).unwrap().join().unwrap();
}

/// A number of one, two or many words in every place of the reader's word, and references across them.
#[test]
fn numbers_of_every_length_come_back() {
    let mut arena = arena(10);
    let mut nouns = Nouns::new(&mut arena);
    let mut parts = Vec::new();
    for bits in 0..400_usize {
        let mut bytes = vec![0xa5_u8; bits / 8 + 1];
        let last = bytes.len() - 1;
        bytes[last] = (1 << (bits % 8)) | (bytes[last] & ((1 << (bits % 8)) - 1));
        let atom = nouns.atom_of_bytes(&bytes).unwrap();
        parts.extend([atom, Noun::small(bits as u32), atom]);
    }
    let list = nouns.list(&parts).unwrap();
    let jammed = nouns.jam(list);
    let cued = nouns.cue(&jammed).unwrap();
    assert!(nouns.equal(cued, list));
    // Cut anywhere, it is refused, with no harm.
    for end in 0..jammed.len() {
        assert!(nouns.cue(&jammed[..end]).is_err());
    }
}

/// Memory is bounded by the input's length, whatever the input says.
#[test]
fn bombs_are_bounded() {
    let mut arena = arena(11);
    let mut nouns = Nouns::new(&mut arena);
    // An atom that claims 2^40 bits.
    let mut claim = vec![0_u8; 64];
    claim[5] = 0x04;
    assert!(matches!(nouns.cue(&claim), Err(CueError::Length(_))));
    // As many cells as there can be: [0 0] in every four bits and a bit, and cells that are never closed.
    for pattern in [0b0010_1001_u8, 0b1010_0101, 0b0101_0101, 0b1001_0010, 0xff, 0x11] {
        let input = vec![pattern; 100_000];
        let before = nouns.used();
        let _ = nouns.cue(&input);
        assert!(nouns.used() - before <= 64 * 100_000 + (1 << 16), "{pattern:#b}");
    }
}

#[test]
fn nouns_of_a_snapshot_are_copied_and_written() {
    let mut arena = arena(40);
    let mut nouns = Nouns::new(&mut arena);
    let text = nouns.atom_of_bytes(b"a rather long text that is no direct atom").unwrap();
    let wide = nouns.atom_of_words(&[1, 0, 0x12]).unwrap();
    let numbers = nouns.tuple(&[Noun::small(1), Noun::small(0), wide]).unwrap();
    let noun = nouns.tuple(&[numbers, text, numbers]).unwrap();
    // Each part twice, 200 deep: as text it would never end.
    let mut deep = Noun::small(7);
    for _ in 0..200 {
        deep = nouns.cell(deep, deep).unwrap();
    }
    let (small, large) = (nouns.jam(noun), nouns.jam(deep));
    arena.set_root("noun", noun.word());
    arena.set_root("deep", deep.word());
    arena.set_root("number", u64::MAX);
    arena.snapshot("then", 0, 1).unwrap();
    arena.remove_root("noun");
    arena.remove_root("deep");
    Nouns::new(&mut arena).collect_all(&[]);
    arena.commit(0, 2).unwrap();
    let reader = arena.reader("then").unwrap();
    let root = |name| reader.root(name).unwrap();
    let all = NounText { atoms: 100 };
    let expected = "[[1 0 0x1200000000000000000000000000000001] 'a rather long text that is no direct atom' 1 0 \
                    0x1200000000000000000000000000000001]";
    assert_eq!(all.of(&reader, root("noun")).unwrap(), expected);
    assert!(all.of(&reader, root("deep")).unwrap().ends_with("..."));
    let mut nouns = Nouns::new(&mut arena);
    let again = nouns.copy_from(&reader, root("noun")).unwrap();
    assert_eq!(nouns.jam(again), small);
    let again = nouns.copy_from(&reader, root("deep")).unwrap();
    assert_eq!(nouns.jam(again), large);
    // Whatever a word leads to, it ends, in an error or in some noun.
    for word in [u64::MAX, 1 << 63, 3 << 62 | 1, 2 << 62 | 0x3000_0000_0000] {
        drop((nouns.copy_from(&reader, word), all.of(&reader, word)));
    }
}

#[test]
fn hostile_input_is_refused() {
    let mut arena = arena(5);
    let mut nouns = Nouns::new(&mut arena);
    assert_eq!(nouns.cue(&[]), Err(CueError::Truncated(0)));
    assert!(matches!(nouns.cue(&[0; 64]), Err(CueError::Length(_))));
    // A reference to itself, before anything was read.
    assert!(matches!(nouns.cue(&[0b111]), Err(CueError::Reference(0))));
    // The lowest bit of each byte comes first. A cell whose head is a reference to that cell.
    assert_eq!(nouns.cue(&[0b0101_1101]), Err(CueError::Reference(2)));
    // A cell whose head is a reference to its tail, which starts at bit 14 and is 0.
    assert_eq!(nouns.cue(&[0b1000_1101, 0b1011_1000]), Err(CueError::Reference(2)));
    // A reference into the middle of a noun: from the tail to bit 3, while the head, 0, starts at bit 2.
    assert_eq!(nouns.cue(&[0b0011_1001, 0b1101]), Err(CueError::Reference(4)));
    // Cells without end.
    assert!(matches!(nouns.cue(&[0b0101_0101; 1 << 16]), Err(CueError::Truncated(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sound jams with a few bytes changed reach further into the reader than random bytes do.
    #[test]
    fn mutated_jams_never_panic(
        values in proptest::collection::vec((any::<u64>(), ".{0,9}", 0_usize..50), 1..100),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..40),
    ) {
        let mut arena = arena(12);
        let mut nouns = Nouns::new(&mut arena);
        let mut parts = vec![Noun::ZERO];
        for (number, text, before) in &values {
            let pair = (*number, text.clone()).to_noun(&mut nouns).unwrap();
            let shared = parts[parts.len().saturating_sub(1 + before)];
            parts.push(nouns.cell(pair, shared).unwrap());
        }
        let list = nouns.list(&parts).unwrap();
        let mut jammed = nouns.jam(list);
        let cued = nouns.cue(&jammed).unwrap();
        prop_assert!(nouns.equal(cued, list));
        for (at, value) in changes {
            let at = at % jammed.len();
            jammed[at] = value;
            if let Ok(noun) = nouns.cue(&jammed) {
                let again = nouns.jam(noun);
                let back = nouns.cue(&again).unwrap();
                prop_assert!(nouns.equal(back, noun));
            }
        }
    }

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

/// A noun as plain as can be, and its jam by the letter of the definition: a table from values to positions.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Plain {
    Atom(u128),
    Cell(Rc<(Plain, Plain)>),
}

fn plain_number(bits: &mut Vec<bool>, value: u128) {
    let length = 128 - value.leading_zeros();
    let width = 32 - length.leading_zeros();
    bits.extend((0..width).map(|_| false));
    bits.push(true);
    bits.extend((0..width.saturating_sub(1)).map(|bit| length >> bit & 1 == 1));
    bits.extend((0..length).map(|bit| value >> bit & 1 == 1));
}

fn plain_jam(noun: &Plain, bits: &mut Vec<bool>, seen: &mut HashMap<Plain, usize>) {
    let length = |value: u128| 128 - value.leading_zeros();
    let before = seen.get(noun).copied();
    seen.entry(noun.clone()).or_insert(bits.len());
    match (noun, before) {
        (Plain::Atom(value), Some(at)) if length(*value) <= length(at as u128) => {
            bits.push(false);
            plain_number(bits, *value);
        }
        (_, Some(at)) => {
            bits.extend([true, true]);
            plain_number(bits, at as u128);
        }
        (Plain::Atom(value), None) => {
            bits.push(false);
            plain_number(bits, *value);
        }
        (Plain::Cell(parts), None) => {
            bits.extend([true, false]);
            plain_jam(&parts.0, bits, seen);
            plain_jam(&parts.1, bits, seen);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Nouns with parts that are shared, and with parts that are equal and not shared, against the
    /// definition.
    #[test]
    fn jam_is_what_the_definition_says(
        steps in proptest::collection::vec((0_u8..10, any::<u16>(), any::<u16>(), any::<u64>()), 1..80),
    ) {
        let mut arena = arena(13);
        let mut nouns = Nouns::new(&mut arena);
        let mut made: Vec<(Plain, Noun)> = vec![(Plain::Atom(0), Noun::ZERO)];
        for (kind, one, two, value) in steps {
            let (one, two) = (usize::from(one) % made.len(), usize::from(two) % made.len());
            let next = match kind {
                // Small ones, so that equal ones are common; words; and atoms of two words.
                0 => (Plain::Atom(u128::from(value % 4)), nouns.atom(value % 4).unwrap()),
                1 => (Plain::Atom(u128::from(value)), nouns.atom(value).unwrap()),
                2 => {
                    let wide = u128::from(value % 3) << 64 | u128::from(one as u64);
                    (Plain::Atom(wide), nouns.atom_of_words(&[wide as u64, (wide >> 64) as u64]).unwrap())
                }
                _ => {
                    let parts = (made[one].0.clone(), made[two].0.clone());
                    (Plain::Cell(Rc::new(parts)), nouns.cell(made[one].1, made[two].1).unwrap())
                }
            };
            made.push(next);
        }
        // The last few together, each twice, once made anew by cue.
        let mut all = (Plain::Atom(0), Noun::ZERO);
        for (plain, noun) in made.iter().rev().take(4) {
            let jammed = nouns.jam(*noun);
            let again = nouns.cue(&jammed).unwrap();
            for part in [*noun, again] {
                let cell = Plain::Cell(Rc::new((plain.clone(), all.0)));
                all = (cell, nouns.cell(part, all.1).unwrap());
            }
        }
        let mut bits = Vec::new();
        plain_jam(&all.0, &mut bits, &mut HashMap::new());
        let bytes: Vec<u8> = bits
            .chunks(8)
            .map(|byte| byte.iter().enumerate().map(|(at, bit)| u8::from(*bit) << at).sum())
            .collect();
        prop_assert_eq!(nouns.jam(all.1), bytes);
    }
}

/// Nouns whose parts were chosen to meet in tables: each is jammed within the deadline, which only a multiple
/// of the usual work would miss, and is what was meant.
#[test]
fn hostile_nouns_are_jammed_like_others() {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut arena = arena(30);
    let mut nouns = Nouns::new(&mut arena);
    let check = |nouns: &mut Nouns<'_, Arc<MemoryDisk>>, noun: Noun, what: &str| {
        let jam = nouns.jam(noun);
        let cued = nouns.cue(&jam).unwrap();
        assert!(nouns.jam(cued) == jam, "{what}");
        assert!(Instant::now() < deadline, "{what} is jammed too slowly");
    };
    // The mugs of a list of equal items come round after some ten thousand.
    let mut list = Noun::ZERO;
    for _ in 0..200_000 {
        list = nouns.cell(Noun::small(1), list).unwrap();
    }
    check(&mut nouns, list, "a list of ones");
    // Twice, so that each cell has an equal one.
    let mut twin = Noun::ZERO;
    for _ in 0..200_000 {
        twin = nouns.cell(Noun::small(1), twin).unwrap();
    }
    let both = nouns.cell(list, twin).unwrap();
    check(&mut nouns, both, "two lists of ones");
    assert!(nouns.jam(both).len() < nouns.jam(list).len() + 64, "the second refers to the first");
    // Atoms that meet under the product with a known factor.
    let inverse = (0..6).fold(1_u64, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(inverse)))
    });
    let mut list = Noun::ZERO;
    for x in 1..200_000_u64 {
        let value = ((x << 32) | (0x1234_5678 ^ x)).wrapping_mul(inverse);
        let atom = nouns.atom(value).unwrap();
        list = nouns.cell(atom, list).unwrap();
    }
    check(&mut nouns, list, "chosen atoms");
    // Two towers of cells whose parts are the same, all the way down.
    let tower = |nouns: &mut Nouns<'_, Arc<MemoryDisk>>| {
        let mut tower = Noun::small(3);
        for _ in 0..100_000 {
            tower = nouns.cell(tower, tower).unwrap();
        }
        tower
    };
    let (one, other) = (tower(&mut nouns), tower(&mut nouns));
    let both = nouns.cell(one, other).unwrap();
    check(&mut nouns, both, "two towers");
}
