//! Ordered maps against those of std, over commits, rollbacks and reopening; and collections beside each
//! other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use banyan_arena::collections::{CollectionError, Nested, Plain};
use banyan_arena::disk::MemoryDisk;
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions, persist_struct};

type Memory = Arena<Arc<MemoryDisk>>;

fn arena(number: u64) -> (Arc<MemoryDisk>, Memory) {
    let disk = Arc::new(MemoryDisk::default());
    let identity = Identity { uuid: [9; 16], base: 0x3100_0000_0000 + (number << 36), reservation: 1 << 33 };
    let arena = Arena::format(Arc::clone(&disk), identity, ArenaOptions::default()).unwrap();
    (disk, arena)
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }

    /// Few different ones, some of them long, many with the same first bytes.
    fn key(&mut self) -> Vec<u8> {
        let number = self.below(700);
        match number % 4 {
            0 => number.to_string().into_bytes(),
            1 => [&[7; 9][..], &number.to_be_bytes()[6..]].concat(),
            2 => vec![0; number as usize % 40],
            _ => vec![b'k'; number as usize],
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let length = if self.below(20) == 0 { 20_000 } else { 30 };
        vec![self.below(256) as u8; self.below(length) as usize]
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn check(arena: &Memory, model: &Model, chance: &mut Chance) {
    let shown = arena.shown();
    let Some(map) = shown.ordered::<[u8], [u8]>("map").unwrap() else { return assert!(model.is_empty()) };
    assert_eq!(map.len(), model.len());
    let expected = || model.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert!(map.iter().eq(expected()));
    assert!(map.iter().rev().eq(expected().rev()));
    assert_eq!(map.first(), expected().next());
    assert_eq!(map.last(), expected().next_back());
    for _ in 0..20 {
        let (start, end) = (chance.key(), chance.key());
        let bound = |key: &'_ Vec<u8>, way| match way {
            0 => Bound::Included(key.clone()),
            1 => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        let bounds = (bound(&start, chance.below(3)), bound(&end, chance.below(3)));
        let slices = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
        let inside = |key: &[u8]| std::ops::RangeBounds::<[u8]>::contains(&slices, key);
        let wanted: Vec<_> = expected().filter(|(key, _)| inside(key)).collect();
        assert_eq!(map.range(slices).collect::<Vec<_>>(), wanted);
        // From both ends, until they meet.
        let (mut range, mut from_both) = (map.range(slices), Vec::new());
        let mut behind = Vec::new();
        loop {
            let next = if chance.below(2) == 0 { range.next() } else { None };
            from_both.extend(next);
            let Some(last) = range.next_back() else { break };
            behind.push(last);
        }
        from_both.extend(range);
        from_both.extend(behind.into_iter().rev());
        assert_eq!(from_both, wanted);
    }
}

#[test]
fn an_ordered_map_does_what_that_of_std_does() {
    for seed in 0..12 {
        let (disk, mut arena) = arena(1);
        let mut chance = Chance(seed);
        let (mut model, mut committed) = (Model::new(), Model::new());
        for step in 0..6000 {
            // It grows, and then it shrinks, so that nodes are cut and joined.
            let growing = step / 1500 % 2 == 0;
            let key = chance.key();
            if chance.below(10) < if growing { 8 } else { 3 } {
                let value = chance.value();
                let new = arena.ordered::<[u8], [u8]>("map").unwrap().insert(&key, &value).unwrap();
                assert_eq!(new, model.insert(key, value).is_none());
            } else {
                let removed = arena.ordered::<[u8], [u8]>("map").unwrap().remove(&key);
                assert_eq!(removed, model.remove(&key).is_some());
            }
            let key = chance.key();
            let shown = arena.shown();
            let map = shown.ordered::<[u8], [u8]>("map").unwrap().unwrap();
            assert_eq!(map.get(&key), model.get(&key).map(Vec::as_slice));
            match chance.below(400) {
                0 => {
                    arena.commit(0, step).unwrap();
                    committed.clone_from(&model);
                }
                1 => {
                    arena.rollback().unwrap();
                    model.clone_from(&committed);
                }
                2 => {
                    arena.commit(0, step).unwrap();
                    committed.clone_from(&model);
                    drop(arena);
                    arena = Arena::load(Arc::clone(&disk), ArenaOptions::default()).unwrap();
                }
                3 => check(&arena, &model, &mut chance),
                _ => {}
            }
        }
        check(&arena, &model, &mut chance);
        arena.ordered::<[u8], [u8]>("map").unwrap().delete();
        assert_eq!(arena.used(), 0, "everything comes back");
    }
}

#[test]
fn numbers_are_ordered_as_numbers() {
    let (_, mut arena) = arena(2);
    let mut map = arena.ordered::<i64, Plain<f64>>("numbers").unwrap();
    for number in [3, -1, i64::MIN, 0, i64::MAX, 256, -256] {
        map.insert(&number, &Plain(number as f64 / 2.0)).unwrap();
    }
    let keys: Vec<i64> = map.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [i64::MIN, -256, -1, 0, 3, 256, i64::MAX]);
    assert_eq!(map.range(-1..256).map(|(_, value)| value).collect::<Vec<f64>>(), [-0.5, 0.0, 1.5]);
    assert_eq!(map.get(&-256), Some(-128.0));
    let mut texts = arena.ordered::<str, str>("texts").unwrap();
    for word in ["b", "", "ab", "a", "ä"] {
        texts.insert(word, &word.to_uppercase()).unwrap();
    }
    assert_eq!(texts.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["", "a", "ab", "b", "ä"]);
    let from_a = (Bound::Excluded("a"), Bound::Excluded("b"));
    assert_eq!(texts.range(from_a).collect::<Vec<_>>(), [("ab", "AB")]);
}

#[test]
fn maps_lie_in_maps() {
    let (disk, mut arena) = arena(3);
    type Users = Nested<str, Nested<u64, str>>;
    let mut users = arena.ordered::<u32, Users>("users").unwrap();
    for country in 0..40_u32 {
        let mut cities = users.open_nested(&country).unwrap();
        for city in ["north", "south"] {
            let mut people = cities.open_nested(city).unwrap();
            for person in 0..50_u64 {
                people.insert(&person, &format!("{person} of {city} in {country}")).unwrap();
            }
        }
    }
    assert!(users.remove(&7) && !users.remove(&7));
    assert!(users.open_nested(&8).unwrap().remove("north"));
    arena.commit(0, 1).unwrap();
    drop(arena);
    let mut arena = Arena::load(disk, ArenaOptions::default()).unwrap();
    {
        let shown = arena.shown();
        let users = shown.ordered::<u32, Users>("users").unwrap().unwrap();
        assert_eq!(users.keys().collect::<Vec<_>>(), (0..40).filter(|at| *at != 7).collect::<Vec<_>>());
        assert!(users.nested(&7).is_none());
        assert_eq!(users.nested(&8).unwrap().len(), 1);
        let cities = users.nested(&9).unwrap();
        assert_eq!(cities.nested("south").unwrap().get(&49), Some("49 of south in 9"));
    }
    arena.ordered::<u32, Users>("users").unwrap().delete();
    assert_eq!(arena.used(), 0, "everything comes back");
}

#[test]
fn there_are_as_many_collections_as_one_likes() {
    let (disk, mut arena) = arena(4);
    let name = |number: u64| format!("a collection with a rather long name, number {number}");
    for number in 0..500 {
        arena.vec::<u64>(&name(number)).unwrap().push(number).unwrap();
        arena.commit(0, number).unwrap();
    }
    arena.set_root("of the program", 1);
    arena.commit(0, 500).unwrap();
    drop(arena);
    let mut arena = Arena::load(disk, ArenaOptions::default()).unwrap();
    for number in 0..500 {
        let vec = arena.vec::<u64>(&name(number)).unwrap();
        assert_eq!(*vec, [number]);
        vec.delete();
        assert!(arena.shown().vec::<u64>(&name(number)).unwrap().is_none());
    }
    // The empty directory stays.
    assert!(arena.used() < 4096);
}

/// Whatever a snapshot had is read from it by threads, while the writer changes and frees all of it.
#[test]
fn collections_of_a_snapshot_are_read_beside_the_writer() {
    let (_, mut arena) = arena(7);
    let mut chance = Chance(77);
    let mut model = Model::new();
    for number in 0..60 {
        arena.vec::<u64>(&format!("one of many collections, {number}")).unwrap().push(number).unwrap();
    }
    for round in 0..20_u64 {
        for _ in 0..300 {
            let (key, value) = (chance.key(), chance.value());
            arena.ordered::<[u8], [u8]>("map").unwrap().insert(&key, &value).unwrap();
            model.insert(key, value);
        }
        *arena.boxed("round", || 0_u64).unwrap() = round;
        arena.vec::<u64>("list").unwrap().push(round).unwrap();
        arena.map::<u64, u32>("squares").unwrap().insert(round, (round * round) as u32).unwrap();
        arena.string("text").unwrap().push_str("ä").unwrap();
        let mut nested = arena.ordered::<u64, Nested<str, u64>>("nested").unwrap();
        nested.open_nested(&round).unwrap().insert("twice", &(2 * round)).unwrap();
        let name = format!("round {round}");
        arena.snapshot(&name, 0, round).unwrap();
        let reader = arena.reader(&name).unwrap();
        let model = &model;
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                assert_eq!(reader.boxed("round").unwrap(), Some(round));
                assert_eq!(reader.vec::<u64>("list").unwrap(), Some((0..=round).collect()));
                assert_eq!(reader.vec::<u64>("one of many collections, 57").unwrap(), Some(vec![57]));
                assert_eq!(reader.vec::<u64>("none").unwrap(), None);
                assert!(reader.vec::<u32>("list").is_err());
                let squares = reader.hash_map::<u64, u32>("squares").unwrap().unwrap();
                assert!(
                    (0..=round).all(|at| squares[&at] == (at * at) as u32)
                        && squares.len() == round as usize + 1
                );
                assert_eq!(reader.string("text").unwrap().unwrap(), "ä".repeat(round as usize + 1));
                let nested = reader.ordered::<u64, Nested<str, u64>>("nested").unwrap().unwrap();
                let inner = nested.nested(&round).unwrap().unwrap();
                assert_eq!(inner.get("twice", |value| value).unwrap(), Some(2 * round));
                let map = reader.ordered::<[u8], [u8]>("map").unwrap().unwrap();
                assert_eq!(map.len(), model.len());
                let bounds = (Bound::Excluded(&b"2"[..]), Bound::Included(&b"5"[..]));
                let mut seen = Vec::new();
                map.visit(bounds, |key, value| {
                    seen.push((key.to_vec(), value.to_vec()));
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
                let inside = |key: &[u8]| std::ops::RangeBounds::<[u8]>::contains(&bounds, key);
                assert!(
                    seen.iter()
                        .map(|(key, value)| (key, value))
                        .eq(model.iter().filter(|(key, _)| inside(key)))
                );
                for (key, value) in model {
                    assert_eq!(map.get(key, <[u8]>::to_vec).unwrap().as_ref(), Some(value));
                }
            });
            let mut scratch = Chance(round);
            for step in 0..30 {
                let key = scratch.key();
                arena.ordered::<[u8], [u8]>("map").unwrap().remove(&key);
                arena.ordered::<[u8], [u8]>("map").unwrap().insert(&key, b"later").unwrap();
                arena.commit(1, step).unwrap();
                if step % 10 == 0 {
                    arena.fold().unwrap();
                }
            }
            reading.join().unwrap();
        });
        // The map becomes again what the model is.
        let mut map = arena.ordered::<[u8], [u8]>("map").unwrap();
        map.clear();
        for (key, value) in model {
            map.insert(key, value).unwrap();
        }
        arena.drop_snapshot(&name).unwrap();
    }
}

#[test]
fn several_collections_are_changed_at_once() {
    let (_, mut arena) = arena(5);
    let collections = arena.collections();
    let mut list = collections.vec::<u64>("list").unwrap();
    let mut index = collections.ordered::<u64, u64>("index").unwrap();
    let mut sum = collections.boxed("sum", || 0_u64).unwrap();
    for number in 0..10_000 {
        list.push(number * 7).unwrap();
        index.insert(&(number * 7), &number).unwrap();
        *sum += number;
    }
    assert!(list.iter().all(|number| index.get(number) == Some(number / 7)));
    assert_eq!(*sum, 49_995_000);
    assert!(
        matches!(collections.vec::<u64>("list"), Err(CollectionError::AlreadyOpen(name)) if name == "list")
    );
    assert_eq!(arena.collections().vec::<u64>("list").unwrap().len(), 10_000);
    let shown = arena.shown();
    let (list, index) = (shown.vec::<u64>("list").unwrap(), shown.ordered::<u64, u64>("index").unwrap());
    assert_eq!(list.unwrap().len(), index.unwrap().len());
    assert!(shown.string("none").unwrap().is_none());
    assert!(matches!(shown.string("list"), Err(CollectionError::WrongType { .. })));
}

mod before {
    banyan_arena::persist_struct! {
        #[derive(Debug, PartialEq)]
        pub struct User { pub id: u64, pub age: u32 }
    }
}

persist_struct! {
    struct User { id: u64, age: u32, height: u32 }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Moved([u16; 8]);

// SAFETY: plain data, laid out as in C.
#[expect(unsafe_code, reason = "a promise about a type")]
unsafe impl banyan_arena::collections::Persist for Moved {
    fn type_name() -> String {
        "u64".to_owned()
    }
}

#[test]
fn a_type_that_was_changed_is_refused() {
    let (_, mut arena) = arena(6);
    arena.vec::<before::User>("users").unwrap().push(before::User { id: 1, age: 30 }).unwrap();
    // As large as before, since there was padding.
    assert_eq!(size_of::<User>(), size_of::<before::User>());
    let user = User { id: 1, age: 30, height: 180 };
    assert_eq!((user.id, user.age, user.height), (1, 30, 180));
    assert!(matches!(arena.vec::<User>("users").map(drop), Err(CollectionError::WrongType { .. })));
    assert_eq!(*arena.vec::<before::User>("users").unwrap(), [before::User { id: 1, age: 30 }]);
    // A name that says too little is found out by size.
    arena.vec::<u64>("numbers").unwrap().push(1).unwrap();
    assert!(matches!(arena.vec::<Moved>("numbers").map(drop), Err(CollectionError::WrongType { .. })));
}
