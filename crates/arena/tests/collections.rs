//! Typed collections against those of std, over commits, rollbacks and reopening.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::sync::Arc;

use banyan_arena::collections::CollectionError;
use banyan_arena::disk::MemoryDisk;
use banyan_arena::store::Identity;
use banyan_arena::{Arena, ArenaOptions};
use proptest::prelude::*;

fn identity(number: u64) -> Identity {
    Identity { uuid: [9; 16], base: 0x3000_0000_0000 + (number << 36), reservation: 1 << 33 }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    Pop,
    Insert(usize, u64),
    Remove(usize),
    Put(u16, u64),
    Take(u16),
    Text(String),
    Cut,
    Commit,
    Rollback,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<u64>().prop_map(Step::Push),
        2 => Just(Step::Pop),
        2 => (any::<usize>(), any::<u64>()).prop_map(|(at, value)| Step::Insert(at, value)),
        2 => any::<usize>().prop_map(Step::Remove),
        8 => (0_u16..300, any::<u64>()).prop_map(|(key, value)| Step::Put(key, value)),
        5 => (0_u16..300).prop_map(Step::Take),
        2 => ".{0,12}".prop_map(Step::Text),
        1 => Just(Step::Cut),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..400)
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    list: Vec<u64>,
    map: HashMap<u16, u64>,
    text: String,
    pushes: u64,
}

fn check(arena: &mut Arena<Arc<MemoryDisk>>, model: &Model) {
    assert_eq!(&*arena.vec::<u64>("list").unwrap(), model.list.as_slice());
    assert_eq!(&*arena.string("text").unwrap(), model.text.as_str());
    assert_eq!(*arena.boxed("pushes", || 0_u64).unwrap(), model.pushes);
    let map = arena.map::<u16, u64>("map").unwrap();
    assert_eq!(map.iter().map(|(key, value)| (*key, *value)).collect::<HashMap<_, _>>(), model.map);
    assert_eq!(map.len(), model.map.len());
    for key in 0..300 {
        assert_eq!(map.get(&key), model.map.get(&key));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn they_do_what_those_of_std_do(steps in steps()) {
        let disk = Arc::new(MemoryDisk::default());
        let mut arena = Arena::format(disk.clone(), identity(1), ArenaOptions::default()).unwrap();
        let (mut model, mut committed) = (Model::default(), Model::default());
        for step in steps {
            match step {
                Step::Push(value) => {
                    arena.vec("list").unwrap().push(value).unwrap();
                    *arena.boxed("pushes", || 0_u64).unwrap() += 1;
                    model.list.push(value);
                    model.pushes += 1;
                }
                Step::Pop => prop_assert_eq!(arena.vec("list").unwrap().pop(), model.list.pop()),
                Step::Insert(at, value) => {
                    let at = at % (model.list.len() + 1);
                    arena.vec("list").unwrap().insert(at, value).unwrap();
                    model.list.insert(at, value);
                }
                Step::Remove(at) if !model.list.is_empty() => {
                    let at = at % model.list.len();
                    prop_assert_eq!(arena.vec::<u64>("list").unwrap().remove(at), model.list.remove(at));
                }
                Step::Remove(_) => {}
                Step::Put(key, value) => {
                    let before = arena.map("map").unwrap().insert(key, value).unwrap();
                    prop_assert_eq!(before, model.map.insert(key, value));
                }
                Step::Take(key) => {
                    let before = arena.map::<u16, u64>("map").unwrap().remove(&key);
                    prop_assert_eq!(before, model.map.remove(&key));
                }
                Step::Text(text) => {
                    arena.string("text").unwrap().push_str(&text).unwrap();
                    model.text.push_str(&text);
                }
                Step::Cut => prop_assert_eq!(arena.string("text").unwrap().pop(), model.text.pop()),
                Step::Commit => {
                    arena.commit(0, 0).unwrap();
                    committed = model.clone();
                }
                Step::Rollback => {
                    arena.rollback().unwrap();
                    model = committed.clone();
                }
                Step::Reopen => {
                    arena.commit(0, 0).unwrap();
                    committed = model.clone();
                    let place = arena.vec::<u64>("list").unwrap().as_ptr();
                    let is_there = !model.list.is_empty();
                    drop(arena);
                    arena = Arena::load(disk.clone(), ArenaOptions::default()).unwrap();
                    prop_assert!(!is_there || arena.vec::<u64>("list").unwrap().as_ptr() == place, "it moved");
                }
            }
        }
        check(&mut arena, &model);
        arena.vec::<u64>("list").unwrap().delete();
        arena.map::<u16, u64>("map").unwrap().delete();
        arena.string("text").unwrap().delete();
        arena.boxed("pushes", || 0_u64).unwrap().delete();
        prop_assert_eq!(arena.used(), 0, "everything comes back");
    }
}

#[test]
fn a_root_is_refused_as_another_type() {
    let mut arena =
        Arena::format(Arc::new(MemoryDisk::default()), identity(2), ArenaOptions::default()).unwrap();
    arena.vec::<u64>("x").unwrap().push(1).unwrap();
    for wrong in [
        arena.vec::<u32>("x").map(|_| ()),
        arena.vec::<[u64; 1]>("x").map(|_| ()),
        arena.string("x").map(|_| ()),
        arena.map::<u64, u64>("x").map(|_| ()),
        arena.boxed("x", || 1_u64).map(|_| ()),
    ] {
        assert!(matches!(wrong, Err(CollectionError::WrongType { name, .. }) if name == "x"));
    }
    // A root of that name which the program sets by itself is another one.
    arena.set_root("x", 0xdead_beef);
    assert_eq!(&*arena.vec::<u64>("x").unwrap(), [1]);
}

#[test]
#[should_panic(expected = "belongs to a collection")]
fn the_roots_of_collections_cannot_be_set() {
    let mut arena =
        Arena::format(Arc::new(MemoryDisk::default()), identity(3), ArenaOptions::default()).unwrap();
    arena.set_root("\u{1}x", 0x1234);
}

#[test]
fn a_map_of_many_keys() {
    let mut arena =
        Arena::format(Arc::new(MemoryDisk::default()), identity(4), ArenaOptions::default()).unwrap();
    let mut map = arena.map::<[u8; 12], u32>("words").unwrap();
    for number in 0..20_000_u32 {
        let mut key = [b' '; 12];
        let text = number.to_string();
        key[..text.len()].copy_from_slice(text.as_bytes());
        assert_eq!(map.insert(key, number).unwrap(), None);
        assert_eq!(*map.get_or_insert(key, 7).unwrap(), number);
        if number % 3 == 0 {
            assert_eq!(map.remove(&key), Some(number));
            assert!(!map.contains_key(&key));
        }
    }
    assert_eq!(map.len(), 13_333);
    assert!(map.iter().all(|(key, value)| std::str::from_utf8(key).unwrap().trim() == value.to_string()));
}
