//! `inspect::dump`: every kind of collection is shown, and a file that was made to deceive costs no more than
//! the limits.

use std::alloc::Layout;

use banyan_arena::collections::{Nested, Plain};
use banyan_arena::inspect::{DumpLimits, InspectError, Item, dump};
use banyan_arena::noun::{Nouns, ToNoun};
use banyan_arena::{Arena, ArenaOptions, persist_struct};

fn number(number: impl ToString + Copy) -> Item {
    Item::Number(number.to_string())
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

persist_struct! {
    struct Point {
        x: u32,
        y: u32,
    }
}

#[test]
fn each_kind_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let options = ArenaOptions { base: 0x5a00_0000_0000, reservation: 1 << 30, ..Default::default() };
    let mut arena = Arena::create(&path, options).unwrap();
    arena.boxed("box", || -5_i128).unwrap();
    arena.vec::<bool>("flags").unwrap().extend_from_slice(&[true, false]).unwrap();
    arena.string("text").unwrap().push_str("words").unwrap();
    for at in 0..500_u64 {
        arena.map::<u8, char>("letters").unwrap().insert(at as u8, 'x').unwrap();
        arena.ordered::<i32, Plain<f32>>("plain").unwrap().insert(&(at as i32 - 250), &Plain(0.5)).unwrap();
    }
    arena.ordered::<[u8], [u8]>("bytes").unwrap().insert(&[0, 255], &[7; 3000]).unwrap();
    let mut nested = arena.ordered::<str, Nested<u64, str>>("nested").unwrap();
    nested.open_nested("ada").unwrap().insert(&9, "nine").unwrap();
    arena.vec::<Point>("points").unwrap().push(Point { x: 1, y: 2 }).unwrap();
    // So many that their names are in the directory.
    for at in 0..80 {
        arena.boxed(&format!("one of many {at}"), || at).unwrap();
    }
    let mut nouns = Nouns::new(&mut arena);
    let noun = (0..2000_u64).collect::<Vec<_>>().to_noun(&mut nouns).unwrap();
    arena.set_root("noun", noun.word());
    arena.commit(0, 1).unwrap();

    let limits = DumpLimits { entries: 1000, bytes: 100 };
    let shown = |name: &str| dump(&path, None, name, limits).unwrap();
    let found = shown("box");
    assert_eq!((found.kind.as_str(), &found.entries[..]), ("ABox<i128>", &[(None, number(-5))][..]));
    assert_eq!(shown("flags").entries, [(None, number(true)), (None, number(false))]);
    assert_eq!(shown("text").entries, [(None, text("words"))]);
    assert_eq!(shown("one of many 79").entries, [(None, number(79))]);
    let letters = shown("letters");
    assert_eq!((letters.length, letters.entries.len(), letters.is_whole), (256, 256, true));
    assert!(letters.entries.contains(&(Some(number(65)), number('x'))));
    let plain = shown("plain");
    assert!(plain.is_whole && plain.entries.len() == 500);
    assert_eq!(plain.entries[0], (Some(number(-250)), number(0.5)));
    assert!(plain.entries.is_sorted_by_key(|(key, _)| match key {
        Some(Item::Number(key)) => key.parse::<i32>().unwrap(),
        _ => panic!("a key that is no number"),
    }));
    let bytes = shown("bytes");
    assert_eq!(bytes.entries, [(Some(Item::Bytes(vec![0, 255])), Item::Bytes(vec![7; 100]))]);
    assert!(!bytes.is_whole);
    let nested = shown("nested");
    assert_eq!(nested.entries, [(Some(text("ada")), Item::Entries(vec![(number(9), text("nine"))]))]);
    let noun = shown("noun");
    assert!(!noun.is_whole && noun.kind == "noun");
    assert!(matches!(dump(&path, None, "points", limits), Err(InspectError::UnknownType(_))));
    assert!(matches!(dump(&path, None, "none", limits), Err(InspectError::NoSuchRoot(_))));
    let few = dump(&path, None, "plain", DumpLimits { entries: 10, bytes: 100 }).unwrap();
    assert_eq!((few.entries.len(), few.length, few.is_whole), (10, 500, false));
}

/// Heads, trees and atoms whose numbers lead in circles, outside, or are as large as can be.
#[test]
fn a_heap_that_deceives_costs_no_more_than_the_limits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let options = ArenaOptions { base: 0x5a10_0000_0000, reservation: 1 << 40, ..Default::default() };
    let mut arena = Arena::create(&path, options).unwrap();
    arena.vec::<u64>("vec").unwrap().push(1).unwrap();
    arena.string("text").unwrap().push_str("x").unwrap();
    arena.map::<u64, u64>("map").unwrap().insert(1, 1).unwrap();
    arena.ordered::<u64, Nested<u64, u64>>("tree").unwrap().open_nested(&1).unwrap().insert(&1, &1).unwrap();
    arena.boxed("box", || 7_u64).unwrap();
    let layout = Layout::from_size_align(4096, 16).unwrap();
    let place = arena.allocate(layout).unwrap().cast::<u64>();
    arena.set_root("noun", (2 << 62) | place.as_ptr() as u64);
    arena.set_root("cell", (3 << 62) | place.as_ptr() as u64);
    let names = ["vec", "text", "map", "tree", "box", "noun", "cell"];
    arena.commit(0, 0).unwrap();
    let heads: Vec<u64> = {
        let roots = banyan_arena::inspect::info(&path).unwrap().position.roots;
        names[..5].iter().map(|name| roots[&format!("\u{1}{name}")]).collect()
    };
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 20
    };
    for round in 0..60_u64 {
        let value = |random: &mut dyn FnMut() -> u64| match random() % 6 {
            0 => u64::MAX - random() % 64,
            1 => place.as_ptr() as u64 + random() % 64 * 8,
            2 => random() % 40,
            3 => 1 << (random() % 64),
            4 => (1 << 32) | (random() % 32),
            _ => options.base + random() % (1 << 40),
        };
        for head in &heads {
            // Not the hash: what follows is still taken for what it was.
            for field in 1..12 {
                let address = (head + field * 8) as *mut u64;
                // SAFETY: a head, and what lies behind it in its span, is memory of this arena; nothing
                // of this process reads it but by copies.
                unsafe { address.write(value(&mut random)) };
            }
        }
        for at in 0..512 {
            // SAFETY: the object has 512 words.
            unsafe { place.add(at).write(value(&mut random)) };
        }
        arena.commit(0, round + 1).unwrap();
        for name in names {
            if let Ok(dump) = dump(&path, None, name, DumpLimits { entries: 100, bytes: 100 }) {
                assert!(dump.entries.len() <= 100);
            }
        }
    }
}
